//! The templates that come with jetsweep, as files to be read and copied.

use super::Template;

macro_rules! builtin_files {
    ($($name:literal),+ $(,)?) => {
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("builtin/", $name, ".toml"))),)+];
    };
}

builtin_files![
    "sma_cross",
    "ema_cross",
    "rsi_reversion",
    "bollinger_breakout",
    "bollinger_reversion",
    "donchian_breakout",
    "macd_cross",
];

/// The built-in template of a name, if there is one.
pub fn builtin(name: &str) -> Option<Template> {
    builtin_source(name).map(read)
}

/// The file of a built-in template, as TOML.
pub fn builtin_source(name: &str) -> Option<&'static str> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, source)| *source)
}

/// Names of the built-in templates, simplest first.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// All built-in templates, simplest first.
pub fn builtins() -> Vec<Template> {
    FILES.iter().map(|(_, source)| read(source)).collect()
}

fn read(source: &str) -> Template {
    Template::from_toml(source).expect("built-in templates are read by a test")
}
