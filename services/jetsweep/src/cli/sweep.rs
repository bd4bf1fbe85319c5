//! Commands that start a sweep.

use std::path::PathBuf;

use jetsweep_shared::config::Overrides;

use super::mlflow::MlflowUrlArgs;
use super::options::{DataArgs, ExecutionArgs, NatsArgs, PriorityArg, SlotsArgs, StateArgs};

/// The sweep itself: a spec, or the short form without a file.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SweepArgs {
    /// Sweep spec, TOML or JSON; - reads standard input
    #[arg(value_name = "SPEC", required_unless_present_any = ["symbols", "resume"], conflicts_with_all = ["symbols", "strategies", "params"])]
    pub(crate) spec: Option<PathBuf>,
    /// Symbols, instead of a spec
    #[arg(long, value_name = "A,B,...", value_delimiter = ',', requires = "strategies")]
    pub(crate) symbols: Vec<String>,
    /// Strategies, instead of a spec: built-in names or template files
    #[arg(long, value_name = "S,T,...", value_delimiter = ',', requires = "symbols")]
    pub(crate) strategies: Vec<String>,
    /// Values of a parameter, for each strategy that has it: fast=10, fast=5,10,20 or fast=5:50:5 (from 5 to 50 in
    /// steps of 5). May be repeated
    #[arg(short, long = "param", value_name = "NAME=VALUES")]
    pub(crate) params: Vec<String>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) execution: ExecutionArgs,
}

/// The batch that a sweep becomes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BatchArgs {
    /// Id of the batch [default: made from the name of the sweep]
    #[arg(long, value_name = "ID")]
    pub(crate) batch: Option<String>,
    /// How urgent the batch is: high, normal or low [default: the spec's, else normal]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "LEVEL")]
    pub(crate) priority: Option<PriorityArg>,
}

/// Arguments of `jetsweep run`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    jetsweep run examples/quickstart.toml\n  \
    jetsweep run --symbols AAPL,SPY --strategies sma_cross -p fast=5:50:5 --data 'data/sample/{symbol}.csv'\n  \
    jetsweep run --resume momentum-20240131-093000-7f3a")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) sweep: SweepArgs,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    /// Finish a batch that was interrupted or killed: only what is missing is run
    #[arg(
        long, value_name = "BATCH",
        conflicts_with_all = ["spec", "symbols", "strategies", "params", "commission", "slippage", "cash", "batch"]
    )]
    pub(crate) resume: Option<String>,
    /// Start even if data files are missing or bad; the runs of their symbols fail with that reason
    #[arg(long)]
    pub(crate) skip_invalid: bool,
    #[command(flatten)]
    pub(crate) slots: SlotsArgs,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    /// nats-server program to start [default: the one on PATH, else .tools/nats-server]
    #[arg(long, value_name = "FILE", conflicts_with = "nats")]
    pub(crate) nats_server: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) mlflow: MlflowUrlArgs,
}

impl RunArgs {
    /// Sets what these options say. `--data` is not among them: it may be the spec's source as well as the data root.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        self.slots.set(overrides);
        self.state.set(overrides);
        self.nats.set(overrides);
        let server = self.nats_server.as_ref().map(|path| path.display());
        overrides.set_if_given("nats.server_binary", "--nats-server", server);
        self.mlflow.set(overrides);
    }
}

/// Arguments of `jetsweep submit`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    jetsweep submit --nats nats://hub:4222 sweep.toml\n  \
    jetsweep submit --nats nats://hub:4222 --priority high --wait sweep.toml")]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) sweep: SweepArgs,
    #[command(flatten)]
    pub(crate) batch: BatchArgs,
    /// Follow the batch until it ends
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
}

impl SubmitArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        self.state.set(overrides);
        self.nats.set(overrides);
    }
}
