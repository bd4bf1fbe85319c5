//! Commands about MLflow.

use jetsweep_shared::config::Overrides;

use super::options::{DataArgs, ServerArgs};
use super::serve::RoleArgs;

/// Which MLflow server.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MlflowUrlArgs {
    /// MLflow tracking server to log runs to, e.g. http://mlflow:5000
    #[arg(long, value_name = "URL")]
    pub(crate) mlflow: Option<String>,
}

impl MlflowUrlArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        overrides.set_if_given("mlflow.url", "--mlflow", self.mlflow.as_ref());
    }
}

/// Arguments of `jetsweep mlflow-bridge`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  jetsweep mlflow-bridge --nats nats://hub:4222 --mlflow http://mlflow:5000")]
pub(crate) struct MlflowBridgeArgs {
    #[command(flatten)]
    pub(crate) mlflow: MlflowUrlArgs,
    #[command(flatten)]
    pub(crate) role: RoleArgs,
}

impl MlflowBridgeArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        self.mlflow.set(overrides);
        self.role.set(overrides);
    }
}

/// Arguments of `jetsweep mlflow`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MlflowArgs {
    #[command(subcommand)]
    pub(crate) command: MlflowCommand,
}

/// What about MLflow.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum MlflowCommand {
    /// Show how far the bridge is: what waits, what is logged, what was refused, the last error
    Status(ServerArgs),
    /// Log what MLflow lacks of a batch; doing it again changes nothing
    Backfill(BackfillArgs),
}

/// Arguments of `jetsweep mlflow backfill`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  jetsweep mlflow backfill momentum-1 --mlflow http://mlflow:5000")]
pub(crate) struct BackfillArgs {
    /// Batch to log
    #[arg(value_name = "BATCH")]
    pub(crate) batch: String,
    #[command(flatten)]
    pub(crate) mlflow: MlflowUrlArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

impl MlflowArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        match &self.command {
            MlflowCommand::Status(server) => server.set(overrides),
            MlflowCommand::Backfill(args) => {
                args.mlflow.set(overrides);
                args.server.set(overrides);
            }
        }
    }
}
