//! `jetsweep data check`: everything in the bucket is read, and compared with its digest.

use std::io::{self, Write};

use futures::{FutureExt, StreamExt};
use jetsweep_shared::bucket::{BucketError, Checked, Content, Unreadable};
use serde::Serialize;

use crate::app::App;
use crate::commands::Answer;
use crate::exit::Exit;
use crate::failure::{Failure, OrFail};
use crate::output::number::{self, counted};
use crate::output::{Look, Report};

/// Contents read at the same time.
const AT_ONCE: usize = 4;

const DOING: &str = "check the data bucket";

pub(super) async fn execute(app: &App) -> Answer {
    let bucket = super::open(app, DOING).await?;
    let listing = bucket.list().await.or_broken(|| DOING)?;
    let mut checks = futures::stream::iter(&listing.contents)
        .map(|content| bucket.check(content).map(move |found| (content, found)))
        .buffered(AT_ONCE);
    let names_of = |content: Option<&Content>| {
        let names = listing.names.iter().filter(|named| named.content.as_ref() == content);
        names.map(|named| named.name.clone()).collect::<Vec<_>>()
    };
    let mut report = Everything::default();
    let mut lost = names_of(None);
    while let Some((content, found)) = checks.next().await {
        let found = found.or_broken(|| DOING)?;
        if found == Checked::Gone {
            lost.extend(names_of(Some(content)));
            continue;
        }
        report.checked += 1;
        report.checked_bytes += content.bytes;
        if let Checked::Broken(reason) = found {
            let names = names_of(Some(content));
            report.broken.push(Broken { digest: Some(content.digest.clone()), names, reason });
        }
    }
    for name in lost {
        let reason = match bucket.find(&name).await {
            // Taken away or pushed since.
            Ok(_) => continue,
            Err(BucketError::Broken { reason, .. } | BucketError::Unreadable { reason, .. }) => reason,
            Err(error) => return Err(Failure::broken(DOING, error)),
        };
        report.broken.push(Broken { digest: None, names: vec![name], reason });
    }
    for Unreadable { name, reason, .. } in listing.unreadable {
        report.broken.push(Broken { digest: None, names: vec![name], reason });
    }
    Ok(Box::new(report))
}

/// What was checked, and what is broken.
#[derive(Default, Serialize)]
struct Everything {
    /// Contents.
    checked: u64,
    checked_bytes: u64,
    broken: Vec<Broken>,
}

/// A content that is not what its digest says, or a name that leads to none.
#[derive(Serialize)]
struct Broken {
    /// Absent when there is no content.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Names that refer to it.
    names: Vec<String>,
    reason: String,
}

impl Report for Everything {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        for Broken { digest, names, reason } in &self.broken {
            let what = match (names.is_empty(), digest) {
                (true, Some(digest)) => digest.clone(),
                _ => names.join(", "),
            };
            writeln!(out, "{}: {what}: {reason}", look.red("broken"))?;
        }
        let checked = format!("{} checked, {}", counted(self.checked, "content"), number::bytes(self.checked_bytes));
        match self.broken.is_empty() {
            true => writeln!(out, "{checked}: {}", look.green("all as their digests say")),
            false => writeln!(
                out,
                "{checked}: {} broken; push those files again with --force, or take the names away: jetsweep data rm",
                self.broken.len()
            ),
        }
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    /// The number of broken ones.
    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.broken.len())
    }

    fn exit(&self) -> Exit {
        if self.broken.is_empty() { Exit::Done } else { Exit::Failed }
    }
}
