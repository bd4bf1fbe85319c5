//! A submitted document: a sweep spec with the headers of its message.

use async_nats::HeaderMap;
use jetsweep_engine::problem::Problem;
use jetsweep_shared::events::headers;
use jetsweep_shared::ids::{BatchId, Priority};
use jetsweep_shared::spec::{self, ResolvedSpec};

use crate::header;

/// Largest document, in bytes. Its message in PLANS, and later perhaps in DEAD, has headers as well, and the server
/// counts them.
pub(crate) const MAX_BYTES: usize = 1024 * 1024 - 16 * 1024;

/// Characters of the digest in the id of a batch that was given none.
const ID_DIGEST_CHARS: usize = 8;

/// What a document asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Submission {
    pub(crate) spec: ResolvedSpec,
    pub(crate) spec_digest: String,
    pub(crate) priority: Priority,
}

/// Reads a document and its message's headers; takes time over the size of the document. A priority in the headers
/// goes before one in the document.
///
/// # Errors
/// Everything that is wrong with either.
pub(crate) fn read(document: &[u8], message_headers: Option<&HeaderMap>) -> Result<Submission, Vec<Problem>> {
    let mut problems = Vec::new();
    let asked = priority_header(message_headers).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let resolved = spec::read(document)
        .map_err(|error| vec![Problem::new("", format!("the sweep spec {error}"))])
        .and_then(|document| Ok((document.resolve()?, document.priority())));
    match resolved {
        Ok((spec, written)) if problems.is_empty() => {
            let spec_digest = spec.digest();
            Ok(Submission { spec, spec_digest, priority: asked.unwrap_or(written) })
        }
        Ok(_) => Err(problems),
        Err(mut found) => {
            found.append(&mut problems);
            Err(found)
        }
    }
}

fn priority_header(message_headers: Option<&HeaderMap>) -> Result<Option<Priority>, Problem> {
    let Some(name) = header::value(message_headers, headers::PRIORITY) else {
        return Ok(None);
    };
    let parsed = name.parse::<Priority>();
    parsed.map(Some).map_err(|error| Problem::new(format!("header {}", headers::PRIORITY), error.to_string()))
}

impl Submission {
    /// The id of the batch when whoever submits gives none: the same for the same spec, so that repeating the request
    /// repeats the answer.
    pub(crate) fn default_id(&self) -> BatchId {
        let digest: String = self.spec_digest.chars().take(ID_DIGEST_CHARS).collect();
        let id = format!("{}-{digest}", self.spec.name);
        id.parse().expect("a sweep's name is at most 40 characters, each of which an id can have")
    }
}
