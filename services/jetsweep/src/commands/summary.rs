//! `jetsweep summary`.

use crate::app::App;
use crate::cli::SummaryArgs;
use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) async fn execute(_args: SummaryArgs, _app: &App) -> Answer {
    Err(Failure::broken("summary", anyhow::anyhow!("not built yet")))
}
