//! `jetsweep run`.

use crate::app::App;
use crate::cli::RunArgs;
use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) async fn execute(_args: RunArgs, _app: &App) -> Answer {
    Err(Failure::broken("run", anyhow::anyhow!("not built yet")))
}
