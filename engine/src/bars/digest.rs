//! Identity of bars.

use sha2::{Digest, Sha256};

use super::series::BarsColumns;

/// Names the layout; another layout gets another number.
const TAG: &[u8; 16] = b"jetsweep bars 1\n";

/// The digest as documented at [`Bars::digest`](super::Bars::digest).
pub(super) fn of(columns: &BarsColumns) -> String {
    let mut hasher = Sha256::new();
    hasher.update(TAG);
    hasher.update((columns.timestamps.len() as u64).to_le_bytes());
    update(&mut hasher, &columns.timestamps, |at| at.to_le_bytes());
    for column in [&columns.open, &columns.high, &columns.low, &columns.close, &columns.volume] {
        update(&mut hasher, column, |value| value.to_le_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hashes a column in pieces, since one call a value costs more than hashing it.
fn update<T: Copy>(hasher: &mut Sha256, column: &[T], bytes_of: impl Fn(T) -> [u8; 8]) {
    const PIECE: usize = 512;
    let mut piece = [0; PIECE * 8];
    for values in column.chunks(PIECE) {
        for (bytes, &value) in piece.chunks_exact_mut(8).zip(values) {
            bytes.copy_from_slice(&bytes_of(value));
        }
        hasher.update(&piece[..values.len() * 8]);
    }
}
