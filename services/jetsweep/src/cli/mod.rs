//! The command line as typed. What is meant by it, the configuration in force, is `jetsweep_shared::config`.

mod data;
mod explore;
mod manage;
mod mlflow;
mod options;
mod serve;
mod sweep;

pub(crate) use data::{BucketArgs, BucketCommand, PushArgs};
pub(crate) use explore::{
    BacktestArgs, CancelArgs, ExportArgs, ExportFormat, LookaheadArgs, QueryArgs, ReplayArgs, StatusArgs,
    StrategiesArgs, SummaryArgs, ValidateArgs, WatchArgs,
};
pub(crate) use manage::{DeadArgs, DeadCommand, DeleteArgs, PauseArgs, PruneArgs, RetryArgs};
pub(crate) use mlflow::{BackfillArgs, MlflowArgs, MlflowBridgeArgs, MlflowCommand};
pub(crate) use options::{DataArgs, GlobalArgs, ServerArgs};
pub(crate) use serve::{BenchArgs, ConsolidatorArgs, ConsolidatorCommand, HealthArgs, RoleArgs, WorkerArgs};
pub(crate) use sweep::{RunArgs, SubmitArgs, SweepArgs};

use jetsweep_shared::config::Overrides;

/// Version and commit that this program was built from: `0.1.0 (1a2b3c4)`.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("JETSWEEP_COMMIT"), ")");

/// Sweeps of backtests on a NATS JetStream work queue.
#[derive(Debug, clap::Parser)]
#[command(
    name = "jetsweep",
    version = VERSION,
    about = "Sweeps of backtests on a NATS JetStream work queue",
    long_about = "Sweeps of backtests on a NATS JetStream work queue.\n\n\
        A sweep is symbols x strategies x parameter sets, each combination one run. `jetsweep run` does a sweep on this \
        machine, NATS server included, and leaves every result in .jetsweep/results.duckdb. `jetsweep submit` sends the \
        same sweep to a cluster.",
    after_help = "Examples:\n  \
        jetsweep run examples/quickstart.toml\n  \
        jetsweep run --symbols AAPL,SPY --strategies sma_cross,rsi_reversion --data 'data/sample/{symbol}.csv'\n  \
        jetsweep query \"SELECT symbol, strategy, params, sharpe FROM backtest_results ORDER BY sharpe DESC LIMIT 5\"\n\n\
        Exit codes:\n  \
        0    done\n  \
        1    not done: the infrastructure failed, or jetsweep has a bug\n  \
        2    wrong input (arguments, configuration, sweep spec, data); nothing was started\n  \
        3    the batch ended, but runs failed, are dead or were cancelled\n  \
        130  interrupted; what was done is kept",
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Run a sweep on this machine: NATS server, planner, workers and consolidator in one process
    Run(Box<RunArgs>),
    /// Send a sweep to running services
    Submit(Box<SubmitArgs>),
    /// Show how far batches are
    Status(StatusArgs),
    /// Follow a batch until it ends
    Watch(WatchArgs),
    /// Cancel what a batch has not done yet
    Cancel(CancelArgs),
    /// Take back a batch's queued jobs, and publish no more, until `resume`
    Pause(PauseArgs),
    /// Let a paused batch go on
    Resume(PauseArgs),
    /// Run again what failed, is dead or was cancelled of a batch that has ended
    Retry(RetryArgs),
    /// Delete a batch that has ended, with its results
    Delete(DeleteArgs),
    /// Delete batches that ended long ago
    Prune(PruneArgs),
    /// Look at jobs and messages that were given up on, run them again, remove them
    Dead(DeadArgs),
    /// Compute one run here and show its metrics and trades; no NATS, no database
    Backtest(Box<BacktestArgs>),
    /// Compute a run of a batch again and compare it with its stored row, bit for bit
    Replay(ReplayArgs),
    /// Put bars into the data bucket, from which workers read them without a shared folder; list and check it
    Data(BucketArgs),
    /// Ask the results in SQL
    Query(QueryArgs),
    /// Write a batch's results as CSV, JSON or Parquet
    Export(ExportArgs),
    /// Sum up a batch: what succeeded, what failed and why, the best runs
    Summary(SummaryArgs),
    /// List the built-in strategies, or show one in full
    Strategies(StrategiesArgs),
    /// Check a sweep spec and say what it would run
    Validate(ValidateArgs),
    /// Check that no decision of a sweep's strategies depends on later bars
    Lookahead(Box<LookaheadArgs>),
    /// Serve as planner until told to stop: turns submitted specs into jobs
    Planner(RoleArgs),
    /// Serve as worker until told to stop: runs jobs and publishes results
    Worker(WorkerArgs),
    /// Serve as consolidator until told to stop: writes results to DuckDB and answers queries
    Consolidator(ConsolidatorArgs),
    /// Serve as MLflow bridge until told to stop: logs runs to an MLflow tracking server
    MlflowBridge(MlflowBridgeArgs),
    /// Show how the MLflow bridge is, or log a batch of the past
    Mlflow(MlflowArgs),
    /// Show the configuration in force and where each value came from
    Config(RoleArgs),
    /// Look at everything a deployment needs, and say what to do about what is wrong
    Doctor(RoleArgs),
    /// Ask the service of this configuration whether it is ready
    Health(HealthArgs),
    /// Measure sweeps end to end against the engine alone
    Bench(BenchArgs),
    /// Run one job from standard input; a worker starts this for jobs that were delivered before
    #[command(hide = true)]
    RunJob {
        /// What to do with the job, as JSON
        order: String,
    },
}

impl Command {
    /// What the command's flags set in the configuration.
    pub(crate) fn overrides(&self) -> Overrides {
        let mut overrides = Overrides::new();
        let into = &mut overrides;
        match self {
            Command::Run(args) => args.set(into),
            Command::Submit(args) => args.set(into),
            Command::Status(args) => args.server.set(into),
            Command::Watch(args) => args.server.set(into),
            Command::Cancel(args) => args.server.set(into),
            Command::Pause(args) | Command::Resume(args) => args.server.set(into),
            Command::Retry(args) => args.server.set(into),
            Command::Delete(args) => args.server.set(into),
            Command::Prune(args) => args.server.set(into),
            Command::Dead(args) => args.command.server().set(into),
            Command::Replay(args) => args.server.set(into),
            Command::Data(args) => args.set(into),
            Command::Query(args) => args.server.set(into),
            Command::Export(args) => args.server.set(into),
            Command::Summary(args) => args.server.set(into),
            Command::Planner(args) | Command::Config(args) | Command::Doctor(args) => args.set(into),
            Command::Consolidator(args) => args.role().set(into),
            Command::Worker(args) => args.set(into),
            Command::MlflowBridge(args) => args.set(into),
            Command::Mlflow(args) => args.set(into),
            Command::Health(args) => args.http.set(into),
            Command::Bench(args) => args.set(into),
            Command::Lookahead(args) => args.slots.set(into),
            Command::Backtest(_) | Command::Strategies(_) | Command::Validate(_) | Command::RunJob { .. } => {}
        }
        overrides
    }

    /// Who traces, if the command takes part in a batch's way to its rows: `worker`.
    pub(crate) fn traced_as(&self) -> Option<&'static str> {
        match self {
            Command::Planner(_) => Some("planner"),
            Command::Worker(_) => Some("worker"),
            Command::Consolidator(ConsolidatorArgs { command: None, .. }) => Some("consolidator"),
            Command::MlflowBridge(_) => Some("mlflow-bridge"),
            Command::Run(_) => Some("run"),
            Command::Submit(_) => Some("submit"),
            Command::Retry(_) | Command::Dead(_) => Some("retry"),
            _ => None,
        }
    }

    /// Whether the command serves until told to stop, so that its log is what it has to say.
    pub(crate) fn serves(&self) -> bool {
        matches!(self, Command::Planner(_) | Command::Worker(_) | Command::MlflowBridge(_))
            || matches!(self, Command::Consolidator(ConsolidatorArgs { command: None, .. }))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_that_set_the_same_are_named_alike() {
        // Names an option must not have where another command has the first one for the same thing.
        let rivals = ["--root", "--dir", "--url", "--threads", "--workers", "--fees", "--capital", "--format-output"];
        let mut cli = Cli::command();
        for command in cli.get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            for rival in rivals {
                assert!(!help.contains(&format!("{rival} ")), "{} has {rival}", command.get_name());
            }
        }
    }
}
