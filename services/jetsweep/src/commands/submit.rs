//! `jetsweep submit`.

use crate::app::App;
use crate::cli::SubmitArgs;
use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) async fn execute(_args: SubmitArgs, _app: &App) -> Answer {
    Err(Failure::broken("submit", anyhow::anyhow!("not built yet")))
}
