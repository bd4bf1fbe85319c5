//! Commands that serve, and those for whoever runs them.

use jetsweep_shared::config::Overrides;

use super::options::{DataArgs, HttpArgs, NatsArgs, SlotsArgs, StateArgs};

/// Arguments of the roles.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) nats: NatsArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
}

impl RoleArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        self.state.set(overrides);
        self.nats.set(overrides);
        self.http.set(overrides);
    }
}

/// Arguments of `jetsweep health`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  jetsweep health --http 9464 && echo ready")]
pub(crate) struct HealthArgs {
    /// Ask whether it lives, not whether it is ready
    #[arg(long)]
    pub(crate) live: bool,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
}

/// Arguments of `jetsweep worker`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  jetsweep worker --nats nats://hub:4222 --data /srv/bars --slots 8")]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    pub(crate) slots: SlotsArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) role: RoleArgs,
}

impl WorkerArgs {
    /// Sets what these options say. A worker's `--data` is the folder that sources are relative to.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        self.slots.set(overrides);
        overrides.set_if_given("data.root", "--data", self.data.data.as_ref());
        self.role.set(overrides);
    }
}

/// Arguments of `jetsweep consolidator`.
#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ConsolidatorArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ConsolidatorCommand>,
    #[command(flatten)]
    role: RoleArgs,
}

/// What to do instead of serving.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum ConsolidatorCommand {
    /// Make a new database from the log of results, and put it in the place of the old one, which is kept
    Rebuild(RoleArgs),
}

impl ConsolidatorArgs {
    /// Which server and state folder are meant.
    pub(crate) fn role(&self) -> &RoleArgs {
        match &self.command {
            Some(ConsolidatorCommand::Rebuild(role)) => role,
            None => &self.role,
        }
    }
}

/// Most runs that `bench` makes of a kind: more than this, and periods would go beyond what templates allow.
const MOST_RUNS: u64 = 150_000;

/// Arguments of `jetsweep bench`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  jetsweep bench --data data/sample --output json > bench.json")]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Light runs: SMA crossings over daily bars
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(0..=MOST_RUNS))]
    pub(crate) light: u64,
    /// Heavy runs: several indicators over hourly bars
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(0..=MOST_RUNS))]
    pub(crate) heavy: u64,
    /// Pairs of measurements, end to end and engine alone, of which the medians are told
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) pairs: usize,
    #[command(flatten)]
    pub(crate) slots: SlotsArgs,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    /// nats-server program to start [default: the one on PATH, else .tools/nats-server]
    #[arg(long, value_name = "FILE")]
    pub(crate) nats_server: Option<std::path::PathBuf>,
}

impl BenchArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        self.slots.set(overrides);
        self.state.set(overrides);
        let server = self.nats_server.as_ref().map(|path| path.display());
        overrides.set_if_given("nats.server_binary", "--nats-server", server);
    }
}
