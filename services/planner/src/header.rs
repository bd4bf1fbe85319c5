//! Message headers, read and written.

use async_nats::HeaderMap;

/// The value of a header, when the message has it.
pub(crate) fn value<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a str> {
    headers?.get(name).map(|value| value.as_str())
}

/// Text as a header can hold it: in one line, of at most `longest` bytes.
pub(crate) fn text(text: &str, longest: usize) -> String {
    let mut end = text.len().min(longest);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn text_is_cut_at_a_characters_end_and_has_one_line() {
        assert_eq!(text("one\r\ntwo", 100), "one  two");
        assert_eq!(text("ééé", 5), "éé");
    }
}
