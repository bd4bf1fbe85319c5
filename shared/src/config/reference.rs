//! The reference of the configuration: the table of `docs/configuration.md`, made from the keys and their defaults.

use std::fmt::Write;

use serde_json::Value;

use super::keys::{DAY_SECONDS, KEYS, Key};
use super::kind::Kind;
use super::settings::Config;

/// Units of bytes, the largest first.
const BYTES: [(i64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

/// Every key with what it takes, its default and its meaning, as a table in Markdown.
pub fn reference() -> String {
    // A config of plain strings and numbers always becomes JSON.
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut table = "| key | takes | default | meaning |\n|---|---|---|---|\n".to_owned();
    for key in &KEYS {
        let default = default(key, key.value(&defaults));
        // Writing to memory cannot fail.
        let _ = writeln!(table, "| `{}` | {} | {default} | {} |", key.path, takes(key.kind), key.meaning);
    }
    table
}

fn takes(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Secret => "text, never shown".to_owned(),
        Kind::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
        Kind::Share => "above 0, at most 1".to_owned(),
        Kind::Fraction => "0 to 1".to_owned(),
        Kind::Whole { unit, min, max: i64::MAX } => format!("{unit}, from {min}"),
        Kind::Whole { unit, min, max } => {
            let bound = |number: i64| short(number, unit).unwrap_or_else(|| number.to_string());
            format!("{unit}, {} to {}", bound(min), bound(max))
        }
    }
}

/// The default as it would be written, or in the key's own words.
fn default(key: &Key, value: Option<&Value>) -> String {
    if let Some(words) = key.default {
        return words.to_owned();
    }
    match (value, key.kind) {
        (None, _) => String::new(),
        (Some(Value::String(text)), _) => format!("`{text}`"),
        (Some(value), Kind::Whole { unit, .. }) => match value.as_i64().and_then(|number| short(number, unit)) {
            Some(short) => format!("`{value}` ({short})"),
            None => format!("`{value}`"),
        },
        (Some(value), _) => format!("`{value}`"),
    }
}

/// A large number of a unit in a larger one, if it comes out even.
fn short(number: i64, unit: &str) -> Option<String> {
    match unit {
        "bytes" => {
            let (size, name) = BYTES.into_iter().find(|(size, _)| number >= *size && number % size == 0)?;
            Some(format!("{} {name}", number / size))
        }
        "seconds" if number >= DAY_SECONDS && number % DAY_SECONDS == 0 => {
            let days = number / DAY_SECONDS;
            Some(format!("{days} day{}", if days == 1 { "" } else { "s" }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Set to rewrite the table.
    const UPDATE: &str = "UPDATE_REFERENCE";
    /// What is made of the file lies between these lines.
    const MARKERS: (&str, &str) = (
        "<!-- made by shared/src/config/reference.rs: begin -->\n",
        "<!-- made by shared/src/config/reference.rs: end -->\n",
    );

    #[test]
    fn the_documented_table_is_the_one_of_the_code() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let document = std::fs::read_to_string(&path).unwrap();
        let (before, rest) =
            document.split_once(MARKERS.0).expect("docs/configuration.md has a line where the table begins");
        let (table, after) = rest.split_once(MARKERS.1).expect("docs/configuration.md has a line where the table ends");
        let made = format!("\n{}\n", reference());
        if table == made {
            return;
        }
        if std::env::var_os(UPDATE).is_some() {
            let document = format!("{before}{}{made}{}{after}", MARKERS.0, MARKERS.1);
            return std::fs::write(&path, document).unwrap();
        }
        let documented: Vec<&str> = table.lines().collect();
        let differs = made.lines().find(|line| !documented.contains(line)).unwrap_or("it has rows too many");
        panic!(
            "the table of docs/configuration.md is not the one of the code, as in\n  {differs}\nRewrite it with \
             {UPDATE}=1 cargo test -p jetsweep-shared config::reference, and commit it"
        );
    }

    #[test]
    fn numbers_are_told_as_they_are_written_and_as_they_are_read() {
        let reference = reference();
        for row in [
            "| `nats.replicas` | copies, 1 to 5 | `1` | copies of",
            "| `worker.cache_bytes` | bytes, 1 MiB to 1 TiB | `536870912` (512 MiB) | most memory",
            "| `consolidator.results_retention_seconds` | seconds, 0 to 3650 days | `604800` (7 days) |",
            "| `limits.batch_runs` | runs, from 1 | `1000000000` |",
            "| `log.format` | `auto` or `human` or `json` | `auto` |",
            "| `worker.slots` | slots, 1 to 1024 | cores |",
            "| `http.token` | text, never shown |  |",
        ] {
            assert!(reference.contains(row), "{row} in\n{reference}");
        }
    }
}
