//! Asking a worker for one run in full, and packing the answer.

use std::io::{self, Read, Write};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::bus::Bus;
use crate::events::{self, ReplayReply, ReplayRequest};
use crate::service::{self, ServiceError};

/// Role of a worker in subjects, and its name as a service.
pub const ROLE: &str = "worker";
/// Its endpoint.
pub const ENDPOINT: &str = "replay";

/// Header by which whoever asks says which packing it takes.
pub const ACCEPT_ENCODING: &str = "Accept-Encoding";
/// Header by which an answer says how it is packed.
pub const CONTENT_ENCODING: &str = "Content-Encoding";
/// The one packing there is.
pub const GZIP: &str = "gzip";

/// Longest silence of a worker that computes a run: it may have to read bars first.
const SILENCE: Duration = Duration::from_secs(60);
/// Largest answer that is taken, in bytes as it comes: packed, the most bars of a symbol come to half of it.
const LARGEST: usize = 256 << 20;
/// Largest answer that is unpacked, in bytes: ten years of minute bars come to a tenth of it.
const LARGEST_UNPACKED: u64 = 1 << 30;

/// One run in full, computed by any worker that answers.
///
/// # Errors
/// [`ServiceError::NoResponders`] without workers; [`ServiceError::Refused`] when the run cannot be computed.
pub async fn replay(bus: &Bus, request: &ReplayRequest) -> Result<ReplayReply, ServiceError> {
    let subject = bus.names.endpoint(ROLE, ENDPOINT);
    let mut asking = HeaderMap::new();
    asking.insert(ACCEPT_ENCODING, GZIP);
    let parts = service::ask(bus, subject.clone(), asking, events::encode(request), SILENCE).await?;
    let (headers, bytes) = parts.all(LARGEST).await?;
    let is_packed = headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding.as_str() == GZIP);
    let failed = |reason: String| ServiceError::Failed { subject: subject.clone(), reason };
    let bytes = if is_packed { unpack(&bytes).map_err(|error| failed(error.to_string()))? } else { bytes };
    events::decode(&bytes).map_err(|error| failed(error.to_string()))
}

/// Packs an answer.
pub fn pack(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory cannot fail.
    let packed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    packed.expect("memory takes everything").into()
}

fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    unpack_at_most(bytes, LARGEST_UNPACKED)
}

fn unpack_at_most(bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    GzDecoder::new(bytes).take(limit + 1).read_to_end(&mut unpacked)?;
    if unpacked.len() as u64 > limit {
        let message = format!("the answer unpacks to more than {limit} bytes, more than any should");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_unpacks() {
        let text = "2024-01-02,100000.5\n".repeat(5000);
        let packed = pack(text.as_bytes());
        assert!(packed.len() * 20 < text.len(), "{}", packed.len());
        assert_eq!(unpack(&packed).unwrap(), text.as_bytes());
        assert!(unpack(&packed[..packed.len() / 2]).is_err(), "half an answer is none");
        let size = text.len() as u64;
        assert_eq!(unpack_at_most(&packed, size).unwrap(), text.as_bytes());
        let told = unpack_at_most(&packed, size - 1).unwrap_err().to_string();
        assert!(told.contains(&(size - 1).to_string()), "{told}");
    }
}
