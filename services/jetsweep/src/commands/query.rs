//! `jetsweep query`.

use crate::app::App;
use crate::cli::QueryArgs;
use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) async fn execute(_args: QueryArgs, _app: &App) -> Answer {
    Err(Failure::broken("query", anyhow::anyhow!("not built yet")))
}
