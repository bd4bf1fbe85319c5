//! The `[execution]` table of a sweep spec.

use jetsweep_engine::execution::{AtrDistance, Direction, EndPolicy, Execution, Fill, Size};

use super::reader::{self, Problems, Section};
use super::tree::Value;

const FILLS: [(&str, Fill); 2] = [("next_open", Fill::NextOpen), ("close", Fill::Close)];
const ENDS: [(&str, EndPolicy); 2] = [("mark", EndPolicy::Mark), ("liquidate", EndPolicy::Liquidate)];
const DIRECTIONS: [(&str, Direction); 3] =
    [("long", Direction::Long), ("short", Direction::Short), ("both", Direction::Both)];

/// A size made of the number that goes with its name.
type MakeSize = fn(f64) -> Size;

/// Kinds of sizes that have an amount.
const SIZES: [(&str, MakeSize); 3] = [("fraction", Size::Fraction), ("cash", Size::Cash), ("shares", Size::Shares)];

/// Reads the execution rules of a spec: those it leaves out have their defaults.
pub(super) fn read(top: Section<'_>, problems: &mut Problems) -> Execution {
    let Some(table) = top.table("execution", problems) else { return Execution::default() };
    let section = Section { at: "execution", table };
    section.only(&Execution::FIELDS, problems);
    let mut number = |key: &str| section.number(key, "a number", problems);
    let default = Execution::default();
    let mut execution = Execution {
        cash: number("cash").unwrap_or(default.cash),
        commission: number("commission").unwrap_or(default.commission),
        commission_per_share: number("commission_per_share").unwrap_or(default.commission_per_share),
        commission_min: number("commission_min").unwrap_or(default.commission_min),
        slippage: number("slippage").unwrap_or(default.slippage),
        risk_free_rate: number("risk_free_rate").unwrap_or(default.risk_free_rate),
        bars_per_year: number("bars_per_year"),
        borrow_rate: number("borrow_rate").unwrap_or(default.borrow_rate),
        stop_loss: number("stop_loss"),
        take_profit: number("take_profit"),
        trailing_stop: number("trailing_stop"),
        ..default
    };
    execution.fill = section.one_of("fill", &FILLS, problems).unwrap_or_default();
    execution.end = section.one_of("end", &ENDS, problems).unwrap_or_default();
    execution.direction = section.one_of("direction", &DIRECTIONS, problems).unwrap_or_default();
    execution.size = size(section, problems).unwrap_or_default();
    execution.whole_shares = yes_or_no(section, "whole_shares", problems).unwrap_or_default();
    execution.stop_loss_atr = distance(section, "stop_loss_atr", problems);
    execution.take_profit_atr = distance(section, "take_profit_atr", problems);
    execution.trailing_stop_atr = distance(section, "trailing_stop_atr", problems);
    execution.max_bars = whole(section, "max_bars", problems);
    problems.extend_within("execution", execution.problems());
    execution
}

/// `"all_in"`, or a table with exactly one kind of size and its amount.
fn size(section: Section<'_>, problems: &mut Problems) -> Option<Size> {
    const WANTED: &str = "must be \"all_in\", { fraction = 0.5 }, { cash = 10000 } or { shares = 100 }";
    let at = section.path("size");
    let table = match &section.table.get("size")?.value {
        Value::Text(text) if text == "all_in" => return Some(Size::AllIn),
        Value::Table(table) => table,
        other => {
            problems.add(at, format!("{WANTED}, is {}", other.describe()));
            return None;
        }
    };
    let kind = |key: &String| SIZES.iter().find(|(known, _)| known == key);
    match table.first() {
        Some((key, node)) if table.len() == 1 => match kind(key) {
            Some((name, size)) => {
                let amount = reader::number(node, &format!("{at}.{name}"), "a number", problems)?;
                return Some(size(amount));
            }
            None => Section { at: &at, table }.only(&SIZES.map(|(name, _)| name), problems),
        },
        _ => problems.add(at, format!("{WANTED}, is a table of {} keys", table.len())),
    }
    None
}

/// `{ period = 14, multiple = 2 }`.
fn distance(section: Section<'_>, key: &str, problems: &mut Problems) -> Option<AtrDistance> {
    let table = section.table(key, problems)?;
    let at = section.path(key);
    let section = Section { at: &at, table };
    section.only(&["period", "multiple"], problems);
    for missing in ["period", "multiple"].into_iter().filter(|key| !table.contains_key(*key)) {
        problems.add(section.path(missing), "is missing, as in { period = 14, multiple = 2 }");
    }
    let period = whole(section, "period", problems);
    let multiple = section.number("multiple", "a number", problems);
    Some(AtrDistance { period: period?, multiple: multiple? })
}

/// A whole number, when the key is there.
pub(super) fn whole(section: Section<'_>, key: &str, problems: &mut Problems) -> Option<u32> {
    const WANTED: &str = "a whole number";
    let number = section.number(key, WANTED, problems)?;
    let fits = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    if !fits {
        problems.add(section.path(key), format!("must be {WANTED}, is the number {number}"));
        return None;
    }
    Some(number as u32)
}

/// `true` or `false`, when the key is there.
pub(super) fn yes_or_no(section: Section<'_>, key: &str, problems: &mut Problems) -> Option<bool> {
    match &section.table.get(key)?.value {
        Value::Bool(value) => Some(*value),
        other => {
            problems.add(section.path(key), format!("must be true or false, is {}", other.describe()));
            None
        }
    }
}
