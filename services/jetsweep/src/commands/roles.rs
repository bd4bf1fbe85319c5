//! The services as long-running roles.

use crate::app::App;
use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) async fn planner(_app: &App) -> Answer {
    Err(Failure::broken("serve", anyhow::anyhow!("not built yet")))
}

pub(crate) async fn worker(_app: &App) -> Answer {
    Err(Failure::broken("serve", anyhow::anyhow!("not built yet")))
}

pub(crate) async fn consolidator(_app: &App) -> Answer {
    Err(Failure::broken("serve", anyhow::anyhow!("not built yet")))
}
