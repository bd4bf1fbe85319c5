//! Commands that look at batches, results and strategies.

use std::path::PathBuf;

use super::options::{DataArgs, ExecutionArgs, ServerArgs, SlotsArgs};
use super::sweep::SweepArgs;

/// Arguments of `jetsweep status`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StatusArgs {
    /// Batch to show [default: all that are known]
    #[arg(value_name = "BATCH")]
    pub(crate) batch: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `jetsweep watch`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WatchArgs {
    /// Batch to follow
    #[arg(value_name = "BATCH")]
    pub(crate) batch: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `jetsweep cancel`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CancelArgs {
    /// Batch to cancel
    #[arg(value_name = "BATCH")]
    pub(crate) batch: String,
    /// Why, for whoever wonders later
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Return once the wish is stored, before every run of the batch is terminal
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `jetsweep backtest`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  \
    jetsweep backtest --symbol AAPL --strategy sma_cross -p fast=10 -p slow=50 --data 'data/sample/{symbol}.csv'")]
pub(crate) struct BacktestArgs {
    /// Symbol to run over
    #[arg(long, value_name = "SYMBOL")]
    pub(crate) symbol: String,
    /// Strategy to run: a built-in name or a template file
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) strategy: String,
    /// Value of a parameter; the template's default where none is given. May be repeated
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    pub(crate) params: Vec<String>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// First date used
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) from: Option<String>,
    /// Last date used
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) execution: ExecutionArgs,
    /// When orders fill: at the next bar's open, or at the close they are decided on [default: next_open]
    #[arg(long, value_name = "next_open|close")]
    pub(crate) fill: Option<String>,
    /// What becomes of a position open after the last bar: it is marked at the last close, or sold at it
    /// [default: mark]
    #[arg(long, value_name = "mark|liquidate")]
    pub(crate) end: Option<String>,
    /// Commission a side for each share
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    pub(crate) commission_per_share: Option<f64>,
    /// Least commission a side
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    pub(crate) commission_min: Option<f64>,
    /// Risk-free rate a year, as a fraction: 0.02 is 2%
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    pub(crate) risk_free_rate: Option<f64>,
    /// Bars a year, to annualise with [default: told from the bars]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) bars_per_year: Option<f64>,
    /// Any other execution rule of a sweep spec, as in stop_loss=0.05. May be repeated
    #[arg(long = "rule", value_name = "NAME=VALUE", value_parser = rule)]
    pub(crate) rules: Vec<(String, String)>,
    /// Also write the equity at each bar's close to this file, as CSV
    #[arg(long, value_name = "FILE")]
    pub(crate) equity: Option<PathBuf>,
}

fn rule(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err("a rule is NAME=VALUE, as in stop_loss=0.05".to_owned()),
    }
}

/// Arguments of `jetsweep replay`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReplayArgs {
    /// Batch of the run
    #[arg(value_name = "BATCH")]
    pub(crate) batch: String,
    /// Number of the run
    #[arg(value_name = "RUN", required_unless_present = "sample", conflicts_with = "sample")]
    pub(crate) run: Option<u64>,
    /// Replay this many random runs instead of one, and count those that are identical
    #[arg(long, value_name = "N")]
    pub(crate) sample: Option<u64>,
    /// Another seed samples other runs
    #[arg(long, value_name = "SEED", default_value_t = 0, requires = "sample")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `jetsweep query`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  \
    jetsweep query \"SELECT strategy, count(*) AS runs, max(sharpe) FROM backtest_results GROUP BY strategy\"")]
pub(crate) struct QueryArgs {
    /// One statement that reads; - reads standard input
    #[arg(value_name = "SQL")]
    pub(crate) sql: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What a batch is exported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// A header and a line a run.
    Csv,
    /// An object a run, one a line.
    Json,
    /// Apache Parquet.
    Parquet,
}

/// Arguments of `jetsweep export`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  jetsweep export momentum-1 --format parquet -o momentum.parquet")]
pub(crate) struct ExportArgs {
    /// Batch to export
    #[arg(value_name = "BATCH")]
    pub(crate) batch: String,
    /// What to write
    #[arg(long, value_enum, value_name = "csv|json|parquet", hide_possible_values = true, default_value = "csv")]
    pub(crate) format: ExportFormat,
    /// File to write [default: standard output]
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `jetsweep summary`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SummaryArgs {
    /// Batch to sum up
    #[arg(value_name = "BATCH")]
    pub(crate) batch: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `jetsweep strategies`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StrategiesArgs {
    /// Strategy to show in full, as the template it is
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Arguments of `jetsweep validate`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ValidateArgs {
    /// Sweep spec, TOML or JSON; - reads standard input
    #[arg(value_name = "SPEC")]
    pub(crate) spec: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Check the spec only: leave the data files alone
    #[arg(long)]
    pub(crate) no_data: bool,
}

/// Arguments of `jetsweep lookahead`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    jetsweep lookahead examples/quickstart.toml\n  \
    jetsweep lookahead --symbols AAPL --strategies my_template.toml --data 'data/sample/{symbol}.csv'\n\n\
    Bars after some bar are overwritten with others, at many bars of each run; whatever was decided up to that bar must \
    stay as it was, bit for bit: where each rule is true, and every fill.")]
pub(crate) struct LookaheadArgs {
    #[command(flatten)]
    pub(crate) sweep: SweepArgs,
    /// Runs of each strategy checked over each symbol, spread over its grid
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sample: u32,
    #[command(flatten)]
    pub(crate) slots: SlotsArgs,
}
