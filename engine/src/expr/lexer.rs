//! From text to tokens.

use super::error::{ExprError, Span};
use super::{KEYWORDS, MAX_LENGTH};

/// Operators between or before operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Plus,
    Minus,
    Times,
    Divide,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
    And,
    Or,
    Not,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Number { value: f64, whole: bool },
    Name(String),
    Operator(Operator),
    Open,
    Close,
    Comma,
    End,
}

/// The tokens of `source` with their places. The last one is always [`Token::End`].
///
/// # Errors
/// At the first character or number that cannot be read, or if the text is longer than [`MAX_LENGTH`].
pub(super) fn tokens(source: &str) -> Result<Vec<(Token, Span)>, ExprError> {
    if source.len() > MAX_LENGTH {
        let message = format!("an expression has at most {MAX_LENGTH} bytes, this one has {}", source.len());
        return Err(ExprError::new(0..0, message));
    }
    let bytes = source.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at].is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let (token, length) = token(source, at)?;
        tokens.push((token, at..at + length));
        at += length;
    }
    tokens.push((Token::End, source.len()..source.len()));
    Ok(tokens)
}

/// The token that starts at byte `at`, and its length.
fn token(source: &str, at: usize) -> Result<(Token, usize), ExprError> {
    let rest = &source.as_bytes()[at..];
    let second = rest.get(1).copied().unwrap_or(b' ');
    let instead = |length: usize, written: &str, meant: &str| {
        Err(ExprError::new(at..at + length, format!("\"{written}\" is not an operator here: write \"{meant}\"")))
    };
    let operator = |operator: Operator, length: usize| Ok((Token::Operator(operator), length));
    match (rest[0], second) {
        (b'0'..=b'9', _) | (b'.', b'0'..=b'9') => number(source, at),
        (b'a'..=b'z' | b'A'..=b'Z' | b'_', _) => Ok(word(source, at)),
        (b'(', _) => Ok((Token::Open, 1)),
        (b')', _) => Ok((Token::Close, 1)),
        (b',', _) => Ok((Token::Comma, 1)),
        (b'+', _) => operator(Operator::Plus, 1),
        (b'-', _) => operator(Operator::Minus, 1),
        (b'*', b'*') => instead(2, "**", "x * x"),
        (b'*', _) => operator(Operator::Times, 1),
        (b'/', _) => operator(Operator::Divide, 1),
        (b'<', b'=') => operator(Operator::LessEqual, 2),
        (b'<', b'>') => instead(2, "<>", "!="),
        (b'<', _) => operator(Operator::Less, 1),
        (b'>', b'=') => operator(Operator::GreaterEqual, 2),
        (b'>', _) => operator(Operator::Greater, 1),
        (b'=', b'=') => operator(Operator::Equal, 2),
        (b'=', _) => instead(1, "=", "=="),
        (b'!', b'=') => operator(Operator::NotEqual, 2),
        (b'!', _) => instead(1, "!", "not"),
        (b'&', b'&') => instead(2, "&&", "and"),
        (b'&', _) => instead(1, "&", "and"),
        (b'|', b'|') => instead(2, "||", "or"),
        (b'|', _) => instead(1, "|", "or"),
        _ => {
            let character = source[at..].chars().next().unwrap_or(' ');
            let message = format!("{character:?} has no meaning in an expression");
            Err(ExprError::new(at..at + character.len_utf8(), message))
        }
    }
}

/// A number: digits, optionally a fraction, optionally an exponent. Only plain digits are a whole number.
fn number(source: &str, at: usize) -> Result<(Token, usize), ExprError> {
    let bytes = source.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = at + digits(at);
    let mut whole = true;
    if bytes.get(end) == Some(&b'.') {
        whole = false;
        end += 1;
        end += digits(end);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            whole = false;
            end += 1 + sign + exponent;
        }
    }
    let glued = bytes[end..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    let text = &source[at..end + glued];
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
    match value {
        Some(value) => Ok((Token::Number { value, whole }, end - at)),
        None => Err(ExprError::new(at..end + glued, format!("\"{text}\" is not a number that can be represented"))),
    }
}

/// A name or a word of the grammar.
fn word(source: &str, at: usize) -> (Token, usize) {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    let length = source.as_bytes()[at..].iter().take_while(is_part).count();
    let text = &source[at..at + length];
    debug_assert_eq!(KEYWORDS, ["and", "or", "not"]);
    let token = match text {
        "and" => Token::Operator(Operator::And),
        "or" => Token::Operator(Operator::Or),
        "not" => Token::Operator(Operator::Not),
        _ => Token::Name(text.to_owned()),
    };
    (token, length)
}
