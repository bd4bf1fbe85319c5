//! `jetsweep bench`.

use crate::app::App;
use crate::cli::BenchArgs;
use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) async fn execute(_args: BenchArgs, _app: &App) -> Answer {
    Err(Failure::broken("bench", anyhow::anyhow!("not built yet")))
}
