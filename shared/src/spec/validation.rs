//! The `[validation]` table of a sweep spec.

use std::str::FromStr;

use jetsweep_engine::validation::{Length, Split, Validation, WalkForward};

use super::execution::{whole, yes_or_no};
use super::reader::{Problems, Section};

const KEYS: [&str; 3] = ["holdout", "walk_forward", "purge"];
const WALK_FORWARD_KEYS: [&str; 4] = ["train", "test", "step", "anchored"];

const WANTED: &str = "write holdout = \"20%\" or walk_forward = { train = \"3y\", test = \"1y\" }";

/// Reads how runs are validated out of sample; `None` where the spec does not say, or says it wrongly.
pub(super) fn read(top: Section<'_>, problems: &mut Problems) -> Option<Validation> {
    let section = Section { at: "validation", table: top.table("validation", problems)? };
    section.only(&KEYS, problems);
    let purge = whole(section, "purge", problems).unwrap_or_default();
    let split = match (section.table.contains_key("holdout"), section.table.contains_key("walk_forward")) {
        (true, true) => {
            problems.add("validation.walk_forward", "stands beside holdout: keep one of them");
            None
        }
        (false, false) => {
            problems.add("validation", format!("has no windows: {WANTED}"));
            None
        }
        (true, false) => {
            parsed(section, "holdout", "a share, a length or a date, as in \"20%\"", problems).map(Split::Holdout)
        }
        (false, true) => walk_forward(section, problems).map(Split::WalkForward),
    };
    let validation = Validation { split: split?, purge };
    problems.extend_within("validation", validation.problems());
    Some(validation)
}

/// `{ train = "3y", test = "1y" }`, with `step` and `anchored` where they are wanted.
fn walk_forward(section: Section<'_>, problems: &mut Problems) -> Option<WalkForward> {
    let table = section.table("walk_forward", problems)?;
    let at = section.path("walk_forward");
    let section = Section { at: &at, table };
    section.only(&WALK_FORWARD_KEYS, problems);
    for missing in ["train", "test"].into_iter().filter(|key| !table.contains_key(*key)) {
        problems.add(section.path(missing), "is missing, as in { train = \"3y\", test = \"1y\" }");
    }
    let train = length(section, "train", problems);
    let test = length(section, "test", problems);
    let step = if table.contains_key("step") { length(section, "step", problems)? } else { test? };
    let anchored = yes_or_no(section, "anchored", problems).unwrap_or_default();
    Some(WalkForward { train: train?, test: test?, step, anchored })
}

fn length(section: Section<'_>, key: &str, problems: &mut Problems) -> Option<Length> {
    parsed(section, key, "a length in quotes, as in \"3y\"", problems)
}

/// A text that is read further, when the key is there.
fn parsed<T: FromStr<Err = String>>(
    section: Section<'_>,
    key: &str,
    wanted: &str,
    problems: &mut Problems,
) -> Option<T> {
    let text = section.text(key, wanted, problems)?;
    text.parse().map_err(|message: String| problems.add(section.path(key), message)).ok()
}
