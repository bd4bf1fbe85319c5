//! Options that several commands share, so that they are named and meant alike everywhere.

use std::path::PathBuf;

use jetsweep_shared::config::Overrides;
use jetsweep_shared::ids::Priority;

use crate::output::Format;

/// Options of every command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// How the answer is written to standard output [table: for people; json: one document; quiet: the one value a
    /// script wants]
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "table|json|quiet"
    )]
    pub(crate) output: Format,
    /// How log lines look; logs go to standard error
    #[arg(long, global = true, value_enum, hide_possible_values = true, value_name = "auto|human|json")]
    pub(crate) log_format: Option<LogFormatArg>,
    /// Configuration file [default: jetsweep.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum LogFormatArg {
    /// For people, in colours on a terminal.
    Auto,
    /// For people, without colours.
    Human,
    /// One JSON object a line.
    Json,
}

impl GlobalArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        let format = self.log_format.map(|format| match format {
            LogFormatArg::Auto => "auto",
            LogFormatArg::Human => "human",
            LogFormatArg::Json => "json",
        });
        overrides.set_if_given("log.format", "--log-format", format);
    }
}

/// Where the state of `jetsweep run` lies.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StateArgs {
    /// Folder of the database and the local queue [default: .jetsweep]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

impl StateArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        overrides.set_if_given("state_dir", "--state", self.state.as_ref().map(|state| state.display()));
    }
}

/// Which NATS server.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NatsArgs {
    /// NATS server to use, e.g. nats://hub:4222
    #[arg(long, value_name = "URL")]
    pub(crate) nats: Option<String>,
}

impl NatsArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        overrides.set_if_given("nats.url", "--nats", self.nats.as_ref());
    }
}

/// Where a service shows its health and metrics.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct HttpArgs {
    /// Port, or address and port, of /livez, /readyz and /metrics; a port alone is one of this machine only [default:
    /// none]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) http: Option<String>,
}

impl HttpArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        overrides.set_if_given("http.listen", "--http", self.http.as_ref());
    }
}

/// Where a command that talks to running services, or reads what they left, looks for them.
///
/// With a NATS server configured, there; else at the `jetsweep run` that uses the state folder right now; else, for
/// commands that only read results, in the state folder's database.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
}

impl ServerArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        self.state.set(overrides);
        self.nats.set(overrides);
    }
}

/// Where the bars lie.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DataArgs {
    /// Where the bars are: a path with {symbol} in it, what else a source may be (store://, https://, s3://), or the folder
    /// that the spec's source is relative to
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<String>,
}

/// Execution rules that are changed often; a sweep spec has all of them.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ExecutionArgs {
    /// Commission a side, as a fraction of the traded value: 0.001 is 0.1%
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    pub(crate) commission: Option<f64>,
    /// Slippage as a fraction of the price: 0.0005 is 0.05%
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    pub(crate) slippage: Option<f64>,
    /// Initial cash of each run [default: 100000]
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    pub(crate) cash: Option<f64>,
}

impl ExecutionArgs {
    /// The rules that were given, by the name a sweep spec has for them.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = [("commission", self.commission), ("slippage", self.slippage), ("cash", self.cash)];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// How much is computed at once.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SlotsArgs {
    /// Jobs computed at the same time [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub(crate) slots: Option<u32>,
}

impl SlotsArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        overrides.set_if_given("worker.slots", "--slots", self.slots);
    }
}

/// How urgent a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PriorityArg {
    /// Taken first.
    High,
    /// Taken when nothing urgent waits.
    Normal,
    /// Taken when little else waits.
    Low,
}

impl From<PriorityArg> for Priority {
    fn from(arg: PriorityArg) -> Self {
        match arg {
            PriorityArg::High => Priority::High,
            PriorityArg::Normal => Priority::Normal,
            PriorityArg::Low => Priority::Low,
        }
    }
}
