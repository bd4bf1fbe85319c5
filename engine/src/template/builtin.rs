//! The templates that come with jetsweep, as files to be read and copied.

use super::Template;

macro_rules! builtin_files {
    ($($name:literal),+ $(,)?) => {
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("builtin/", $name, ".toml"))),)+];
    };
}

builtin_files![
    // Trend.
    "sma_cross",
    "ema_cross",
    "triple_sma",
    "sma_trend",
    "adx_trend",
    "trend_pullback",
    // Mean reversion.
    "rsi_reversion",
    "bollinger_reversion",
    "zscore_reversion",
    "stochastic_reversion",
    "williams_r_reversion",
    "cci_reversion",
    "mfi_reversion",
    // Breakout.
    "donchian_breakout",
    "bollinger_breakout",
    "atr_channel_breakout",
    "volume_breakout",
    // Momentum.
    "macd_cross",
    "roc_momentum",
    "skip_month_momentum",
    "calm_momentum",
    // Volatility.
    "volatility_squeeze",
    "volatility_stop",
    "low_volatility",
    // Benchmark.
    "buy_and_hold",
];

/// The built-in template of a name, if there is one.
pub fn builtin(name: &str) -> Option<Template> {
    builtin_source(name).map(read)
}

/// The file of a built-in template, as TOML.
pub fn builtin_source(name: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, source)| *source)
}

/// Names of the built-in templates by family: trend, mean reversion, breakout, momentum, volatility, and at the end the
/// benchmark; the simplest of each first.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// All built-in templates, in the order of [`builtin_names`].
pub fn builtins() -> Vec<Template> {
    FILES.iter().map(|(_, source)| read(source)).collect()
}

fn read(source: &str) -> Template {
    Template::from_toml(source).expect("built-in templates are read by a test")
}
