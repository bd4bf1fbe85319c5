//! `jetsweep validate`.

use crate::app::App;
use crate::cli::ValidateArgs;
use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) fn execute(_args: ValidateArgs, _app: &App) -> Answer {
    Err(Failure::broken("validate", anyhow::anyhow!("not built yet")))
}
