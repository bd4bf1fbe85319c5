//! `jetsweep export`.

use crate::app::App;
use crate::cli::ExportArgs;
use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) async fn execute(_args: ExportArgs, _app: &App) -> Answer {
    Err(Failure::broken("export", anyhow::anyhow!("not built yet")))
}
