//! Bars that a command reads on this machine.

use std::path::Path;

use jetsweep_shared::spec::{DataRef, Source};
use jetsweep_worker::data::Loader;

use crate::app::App;
use crate::failure::Failure;
use crate::services::Services;

/// What reads bars: those of the data folder `root`, or those that `data` names elsewhere. `doing` completes "failed to ".
///
/// # Errors
///
/// When they are in a data bucket, and there is no connection to the server that has it.
pub(crate) async fn loader(root: &Path, data: &DataRef, app: &App, doing: &str) -> Result<Loader, Failure> {
    let bus = match Source::of(&data.source) {
        Ok(Source::Store(_)) => match Services::find(app).await? {
            Some(services) => Some(services.bus),
            None => return Err(no_bucket(doing, &data.source)),
        },
        _ => None,
    };
    Ok(Loader::new(root.to_owned(), &app.config, bus))
}

fn no_bucket(doing: &str, source: &str) -> Failure {
    let cause = format!("{source} is in the data bucket of a NATS server, and none is configured");
    Failure::bad_input(doing, cause)
        .hint("name the server with nats.url (JETSWEEP_NATS__URL), or bars on this machine with --data")
}

/// Where bars were looked for, as a hint.
pub(crate) fn looked_under(root: &Path, data: &DataRef) -> String {
    match Source::is_file(&data.source) {
        true => format!("bars are looked for under {}; --data says where else", root.display()),
        false => format!("bars are looked for at {}; --data says where else", data.source),
    }
}
