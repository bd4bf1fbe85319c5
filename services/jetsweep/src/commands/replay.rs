//! `jetsweep replay`.

use crate::app::App;
use crate::cli::ReplayArgs;
use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) async fn execute(_args: ReplayArgs, _app: &App) -> Answer {
    Err(Failure::broken("replay", anyhow::anyhow!("not built yet")))
}
