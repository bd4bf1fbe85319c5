//! `jetsweep watch`: follows a batch until it ends.

use crate::app::App;
use crate::batches::{self, OneBatch};
use crate::cli::WatchArgs;
use crate::commands::{Answer, status};
use crate::follow::{self, Known};
use crate::services::Services;

pub(crate) async fn execute(args: WatchArgs, app: &App) -> Answer {
    let doing = format!("watch {}", args.batch);
    let batch = batches::id(&args.batch, &doing)?;
    let services = Services::need(app, &doing).await?;
    if let Known::No = follow::known(&services, &batch).await? {
        return Err(status::unknown(&services, &batch, &doing).await);
    }
    let status = follow::to_the_end(&services, &batch, app.format).await?;
    Ok(Box::new(OneBatch::ended(status.into())))
}
