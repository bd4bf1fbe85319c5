//! `jetsweep cancel`.

use crate::app::App;
use crate::cli::CancelArgs;
use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) async fn execute(_args: CancelArgs, _app: &App) -> Answer {
    Err(Failure::broken("cancel", anyhow::anyhow!("not built yet")))
}
