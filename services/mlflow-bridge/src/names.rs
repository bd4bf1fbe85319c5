//! What runs, experiments, metrics and tags are called in MLflow.

use indexmap::IndexMap;
use jetsweep_engine::metrics::Metric;
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::spec::ResolvedSpec;

/// Tags by which the bridge finds its own runs again.
pub(crate) mod tag {
    /// `<batch>:<run>`, or `<batch>:batch`: there is one run of each.
    pub(crate) const JOB_ID: &str = "job_id";
    /// The batch.
    pub(crate) const BATCH_ID: &str = "batch_id";
    /// Number of the run within its batch.
    pub(crate) const RUN: &str = "run";
    /// Generation of the plan that it was computed by.
    pub(crate) const GENERATION: &str = "generation";
    /// The run above it.
    pub(crate) const PARENT: &str = "mlflow.parentRunId";
    /// Text that the run's page shows, Markdown.
    pub(crate) const NOTE: &str = "mlflow.note.content";
}

/// What the asset class is when the spec says nothing.
const DEFAULT_ASSET_CLASS: &str = "equities";

/// Largest whole number of which every smaller one is a double.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Id of a run: what makes it the only one.
pub(crate) fn job_id(batch: &BatchId, run: u64) -> String {
    format!("{batch}:{run}")
}

/// Id of a batch run.
pub(crate) fn batch_job_id(batch: &BatchId) -> String {
    format!("{batch}:batch")
}

/// The asset class of a sweep.
pub(crate) fn asset_class(spec: &ResolvedSpec) -> &str {
    spec.asset_class.as_deref().unwrap_or(DEFAULT_ASSET_CLASS)
}

/// Name of the experiment of a symbol and strategy.
pub(crate) fn experiment(pattern: &str, asset_class: &str, symbol: &str, strategy: &str) -> String {
    pattern.replace("{asset_class}", asset_class).replace("{symbol}", symbol).replace("{strategy}", strategy)
}

/// `AAPL sma_cross fast=5 slow=50`.
pub(crate) fn run_name(symbol: &str, strategy: &str, params: &IndexMap<String, f64>) -> String {
    let params = params.iter().map(|(name, value)| format!(" {name}={}", number(*value)));
    params.fold(format!("{symbol} {strategy}"), |title, param| title + &param)
}

/// A number as the results' table has it in `params`: it reads back as the same double, and whole ones have no
/// fraction.
pub(crate) fn number(value: f64) -> String {
    let is_negative_zero = value == 0.0 && value.is_sign_negative();
    if value.fract() == 0.0 && value.abs() <= LARGEST_WHOLE && !is_negative_zero {
        return (value as i64).to_string();
    }
    format!("{value:?}")
}

/// Name of a metric, which MLflow's page groups by what is before the `/`.
pub(crate) fn metric(metric: Metric) -> String {
    format!("{}/{}", group(metric), metric.name())
}

fn group(metric: Metric) -> &'static str {
    use Metric::*;
    match metric {
        TotalReturn | Cagr | FinalEquity => "return",
        Sharpe | SortinoRatio | Calmar | Volatility | MaxDrawdown | MaxDrawdownBars | Skew | Kurtosis => "risk",
        WinRate | ProfitFactor | TradeCount | AvgTradeReturn | Exposure | BestTradeReturn | WorstTradeReturn
        | AvgWinReturn | AvgLossReturn | Expectancy | PayoffRatio | AvgBarsHeld | TotalFees | OpenTrades
        | SkippedEntries | AmbiguousBars => "trade",
        Bars | BarsPerYear => "runtime",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experiments_follow_their_pattern() {
        let default = jetsweep_shared::config::MlflowConfig::default().experiment;
        let name = experiment(&default, "equities", "BRK.B", "sma_cross");
        assert_eq!(name, "parallel_backtest.equities.BRK.B.sma_cross");
    }

    #[test]
    fn numbers_are_those_of_the_table() {
        let shown = [10.0, 2.5, -0.0, 1e300, 0.1 + 0.2].map(number);
        assert_eq!(shown, ["10", "2.5", "-0.0", "1e300", "0.30000000000000004"]);
        let params = IndexMap::from([("fast".to_owned(), 5.0), ("k".to_owned(), 1.5)]);
        assert_eq!(run_name("AAPL", "x", &params), "AAPL x fast=5 k=1.5");
    }

    #[test]
    fn metric_names_are_what_mlflow_takes() {
        for name in Metric::ALL.iter().map(|m| metric(*m)) {
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "_/ .:-".contains(c)) && name.len() <= 250);
        }
        assert_eq!(metric(Metric::Sharpe), "risk/sharpe");
    }
}
