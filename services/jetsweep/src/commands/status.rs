//! `jetsweep status`.

use crate::app::App;
use crate::cli::StatusArgs;
use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) async fn execute(_args: StatusArgs, _app: &App) -> Answer {
    Err(Failure::broken("status", anyhow::anyhow!("not built yet")))
}
