//! `jetsweep data check`: everything in the bucket is read, and compared with its digest.

use std::io::{self, Write};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, future};
use jetsweep_shared::bucket::{BucketError, Content, DataBucket};
use serde::Serialize;
use sha2::{Digest, Sha256};

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
        .map(|content| digest(&bucket, content).map(move |found| (content, found)))
        .buffered(AT_ONCE);
    let mut report = Checked { checked: 0, checked_bytes: 0, broken: Vec::new() };
    while let Some((content, found)) = checks.next().await {
        report.checked += 1;
        report.checked_bytes += content.bytes;
        let reason = match found {
            Ok(found) if found == content.digest => continue,
            Ok(found) => format!("what is stored has digest {found}"),
            Err(BucketError::Broken { reason, .. }) => reason,
            Err(error) => return Err(Failure::broken(DOING, error)),
        };
        let names = listing.names.iter().filter(|named| named.content.as_ref() == Some(content));
        let names = names.map(|named| named.name.clone()).collect();
        report.broken.push(Broken { digest: Some(content.digest.clone()), names, reason });
    }
    for named in listing.names.iter().filter(|named| named.content.is_none()) {
        let reason = "its content is gone".to_owned();
        report.broken.push(Broken { digest: None, names: vec![named.name.clone()], reason });
    }
    Ok(Box::new(report))
}

/// The digest of what is stored.
async fn digest(bucket: &DataBucket, content: &Content) -> Result<String, BucketError> {
    let add = |mut digest: Sha256, piece: Bytes| {
        digest.update(&piece);
        future::ready(Ok(digest))
    };
    let digest = bucket.read(content).try_fold(Sha256::new(), add).await?;
    Ok(super::hex(&digest.finalize()))
}

/// What was checked, and what is broken.
#[derive(Serialize)]
struct Checked {
    /// Contents.
    checked: u64,
    checked_bytes: u64,
    broken: Vec<Broken>,
}

/// A content that is not what its digest says.
#[derive(Serialize)]
struct Broken {
    /// Absent when the content is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// Names that refer to it.
    names: Vec<String>,
    reason: String,
}

impl Report for Checked {
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
            false => writeln!(out, "{checked}: {} broken; push those files again with --force", self.broken.len()),
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
