//! Bytes as text.

/// Bytes in lower-case hexadecimal, as digests are written everywhere.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(encode([0, 0x0f, 0xa0, 0xff]), "000fa0ff");
        assert_eq!(encode([]), "");
    }
}
