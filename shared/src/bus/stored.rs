//! Reading what is stored, and telling what is missing from what cannot be looked at.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;

use super::{Bus, BusError};
use crate::disguise;

/// Messages of a subject that are looked at for one that somebody published. There is one, unless somebody misuses the
/// server.
const MOST_PASSED_OVER: usize = 100;

/// Whether a stream was not found because there is none.
pub fn is_no_stream(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(refusal) if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

impl Bus {
    /// The payload of [`Bus::last_stored`].
    pub async fn last(&self, stream: &str, subject: &str) -> Result<Option<Bytes>, BusError> {
        Ok(self.last_stored(stream, subject).await?.map(|message| message.payload))
    }

    /// The last message of a subject that somebody published, if there is one: [answers in disguise](crate::disguise) are passed
    /// over.
    pub async fn last_stored(&self, stream: &str, subject: &str) -> Result<Option<StreamMessage>, BusError> {
        let failed = |reason: String| BusError::Read { what: format!("{subject} in {stream}"), reason };
        let stream = self.jetstream.get_stream(stream).await.map_err(|error| failed(error.to_string()))?;
        let last = match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) if disguise::is_answer(Some(&message.headers)) => message.sequence,
            Ok(message) => return Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(None),
            Err(error) => return Err(failed(error.to_string())),
        };
        let (mut found, mut from) = (None, 1);
        for _ in 0..MOST_PASSED_OVER {
            match stream.get_first_raw_message_by_subject(subject, from).await {
                Ok(message) => {
                    from = message.sequence + 1;
                    if !disguise::is_answer(Some(&message.headers)) {
                        found = Some(message);
                    }
                    if from > last {
                        return Ok(found);
                    }
                }
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(found),
                Err(error) => return Err(failed(error.to_string())),
            }
        }
        Err(failed(format!(
            "more than {MOST_PASSED_OVER} messages are on this subject that nobody published: as operator, look at them with \
             `nats stream get` and remove them with `nats stream rmm`"
        )))
    }

    /// Place of the last message of a subject of RESULTS on which nothing is that somebody published; `None` if something
    /// is.
    pub(super) async fn only_disguised(&self, subject: &str) -> Result<Option<u64>, BusError> {
        let stream = self.names.results_stream();
        if self.names.parse_result(subject).is_none() || self.last_stored(&stream, subject).await?.is_some() {
            return Ok(None);
        }
        let failed = |reason: String| BusError::Read { what: format!("{subject} in {stream}"), reason };
        let results = self.jetstream.get_stream(&stream).await.map_err(|error| failed(error.to_string()))?;
        match results.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(message.sequence)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}
