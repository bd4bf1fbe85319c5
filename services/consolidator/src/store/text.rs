//! Parameters as JSON text.

use std::fmt::Write;

/// Whole numbers up to here are written without a fraction: every one of them is a double.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A JSON object of one number a name. Every number reads back as the same double; whole ones have no fraction, so
/// that `{"fast":10}` looks like what the user wrote.
pub fn params_json<'a>(params: impl IntoIterator<Item = (&'a str, f64)>) -> String {
    let mut text = String::from("{");
    for (name, value) in params {
        if text.len() > 1 {
            text.push(',');
        }
        push_name(&mut text, name);
        push_number(&mut text, value);
    }
    text.push('}');
    text
}

fn push_name(text: &mut String, name: &str) {
    let name = serde_json::Value::from(name);
    // Writing to a string cannot fail.
    let _ = write!(text, "{name}:");
}

fn push_number(text: &mut String, value: f64) {
    let is_negative_zero = value == 0.0 && value.is_sign_negative();
    let written = if !value.is_finite() {
        write!(text, "null")
    } else if value.fract() == 0.0 && value.abs() <= LARGEST_WHOLE && !is_negative_zero {
        write!(text, "{}", value as i64)
    } else {
        // The shortest digits that read back as the same double.
        write!(text, "{value:?}")
    };
    // Writing to a string cannot fail.
    let _ = written;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_to_the_bit() {
        for value in [0.0, -0.0, 1.0, 0.1, -3.5, 1e300, 5e-324, 9_007_199_254_740_992.0, 1e22, 0.1 + 0.2] {
            let text = params_json([("x", value)]);
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read["x"].as_f64().unwrap().to_bits(), value.to_bits(), "{text}");
        }
        assert_eq!(params_json([("fast", 10.0), ("k", 2.5)]), r#"{"fast":10,"k":2.5}"#);
        assert_eq!(params_json([("a\"b", f64::NAN)]), r#"{"a\"b":null}"#);
        assert_eq!(params_json([]), "{}");
    }
}
