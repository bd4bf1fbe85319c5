//! `jetsweep watch`.

use crate::app::App;
use crate::cli::WatchArgs;
use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) async fn execute(_args: WatchArgs, _app: &App) -> Answer {
    Err(Failure::broken("watch", anyhow::anyhow!("not built yet")))
}
