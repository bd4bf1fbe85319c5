//! `jetsweep data`: the data bucket, from which workers read bars without a shared folder.

mod check;
mod push;

use std::io::{self, Write};
use std::time::Duration;

use jetsweep_shared::bucket::{BucketError, DataBucket, Freed};
use jiff::Timestamp;
use serde::Serialize;

use crate::app::App;
use crate::cli::BucketCommand;
use crate::commands::Answer;
use crate::failure::{Failure, OrFail};
use crate::output::number::{bytes, counted};
use crate::output::{Align, Look, Report, Table};
use crate::services::Services;

/// Characters of a digest that people see.
const SHOWN_DIGEST: usize = 12;

pub(crate) async fn execute(command: BucketCommand, app: &App) -> Answer {
    match command {
        BucketCommand::Push(args) => push::execute(args, app).await,
        BucketCommand::Ls { prefix, .. } => list(prefix.as_deref().unwrap_or_default(), app).await,
        BucketCommand::Check(_) => check::execute(app).await,
        BucketCommand::Gc { older_than, .. } => tidy(older_than, app).await,
        BucketCommand::Rm { names, .. } => remove(names, app).await,
    }
}

/// The bucket, for commands that can do nothing without one.
async fn open(app: &App, doing: &str) -> Result<DataBucket, Failure> {
    let services = Services::need(app, doing).await?;
    let bucket = DataBucket::open(&services.bus).await.or_broken(|| doing)?;
    let none = || Failure::bad_input(doing, format!("there is no bucket {}", services.bus.names.data_bucket()));
    bucket.ok_or_else(|| none().hint("`jetsweep data push` makes it, and so does a planner"))
}

async fn list(prefix: &str, app: &App) -> Answer {
    const DOING: &str = "list the data bucket";
    let listing = open(app, DOING).await?.list().await.or_broken(|| DOING)?;
    let names = listing.names.into_iter().map(|named| Name {
        name: named.name,
        bytes: named.content.as_ref().map(|content| content.bytes),
        digest: named.content.map(|content| content.digest),
        pushed_at: named.pushed_at,
        unreadable: None,
    });
    let unreadable = listing.unreadable.into_iter().map(|found| Name {
        name: found.name,
        bytes: None,
        digest: None,
        pushed_at: found.stored_at,
        unreadable: Some(found.reason),
    });
    Ok(Box::new(Names(names.chain(unreadable).filter(|name| name.name.starts_with(prefix)).collect())))
}

async fn tidy(older_than: Duration, app: &App) -> Answer {
    const DOING: &str = "tidy up the data bucket";
    Ok(Box::new(open(app, DOING).await?.tidy(older_than).await.or_broken(|| DOING)?))
}

async fn remove(names: Vec<String>, app: &App) -> Answer {
    const DOING: &str = "take names out of the data bucket";
    let bucket = open(app, DOING).await?;
    let (mut removed, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match bucket.remove(&name).await {
            Ok(true) => removed.push(name),
            Ok(false) => missing.push(name),
            Err(error @ BucketError::IsContent(_)) => {
                return Err(Failure::bad_input(DOING, error).hint("`jetsweep data gc` removes what no name refers to"));
            }
            Err(error) => return Err(Failure::broken(DOING, error)),
        }
    }
    if !missing.is_empty() {
        let cause = format!("there is no {}", missing.join(", "));
        return Err(Failure::bad_input(DOING, cause).hint("`jetsweep data ls` shows the names there are"));
    }
    Ok(Box::new(Removed { removed }))
}

/// The names in the bucket, then what is no name.
struct Names(Vec<Name>);

#[derive(Serialize)]
struct Name {
    name: String,
    /// Absent when its content is gone.
    bytes: Option<u64>,
    digest: Option<String>,
    pushed_at: Timestamp,
    /// Why its entry is of no use, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

impl Report for Names {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        if self.0.is_empty() {
            return writeln!(out, "nothing there");
        }
        let columns = [("name", Align::Left), ("size", Align::Right), ("digest", Align::Left), ("pushed", Align::Left)];
        let mut table = Table::new(look, columns);
        for name in &self.0 {
            let digest = match (&name.digest, &name.unreadable) {
                (Some(digest), _) => &digest[..SHOWN_DIGEST.min(digest.len())],
                (None, Some(_)) => "unreadable",
                (None, None) => "gone",
            };
            let size = name.bytes.map_or("-".to_owned(), bytes);
            table.row([name.name.as_str(), &size, digest, &format!("{:.0}", name.pushed_at)]);
        }
        writeln!(out, "{table}")?;
        self.0.iter().try_for_each(|Name { name, unreadable, .. }| match unreadable {
            Some(reason) => writeln!(
                out,
                "{}: {name}: {reason}; push its file again, or take it away: jetsweep data rm '{name}'",
                look.red("unreadable")
            ),
            None => Ok(()),
        })
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, &self.0)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        let readable = self.0.iter().filter(|name| name.unreadable.is_none());
        readable.map(|name| &name.name).try_for_each(|name| writeln!(out, "{name}"))
    }
}

impl Report for Freed {
    fn human(&self, out: &mut dyn Write, _look: Look) -> io::Result<()> {
        let contents = counted(self.contents, "content");
        let remains = counted(self.remains, "unfinished upload");
        writeln!(out, "{contents} and {remains} removed, {} freed", bytes(self.bytes))
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.bytes)
    }
}

/// Names that are gone.
#[derive(Serialize)]
struct Removed {
    removed: Vec<String>,
}

impl Report for Removed {
    fn human(&self, out: &mut dyn Write, _look: Look) -> io::Result<()> {
        self.removed.iter().try_for_each(|name| writeln!(out, "{name} removed"))
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        self.removed.iter().try_for_each(|name| writeln!(out, "{name}"))
    }
}
