//! Whether a strategy knows bars which have not happened yet.
//!
//! The bars after some bar are overwritten with others, and whatever was decided up to that bar is compared with what
//! was decided before: where each rule is true, and every fill, bit for bit. This is done at many bars, each with
//! several futures. Rules of a template cannot look ahead, since there is nothing in the language to do it with;
//! this is the test of that claim, and of anything else that decides from bars ([`check_decisions`]).

use std::fmt;
use std::sync::Arc;

use crate::backtest::{RunFailure, Strategy};
use crate::bars::{Bars, BarsColumns};
use crate::columns::Columns;
use crate::mask::Mask;
use crate::simulation::Trade;

/// Bars checked, spread evenly over all of them.
const SPREAD_BARS: usize = 64;

/// Bars checked at which a rule becomes true or ceases to be, spread evenly over all such bars: a decision that is
/// rarely taken is hardly ever met elsewhere.
const DECISION_BARS: usize = 64;

/// What a strategy decided over some bars.
#[derive(Debug, Clone, PartialEq)]
pub struct Decisions {
    /// Where each rule is true, by its name, such as `long.enter`. The same rules in the same order every time.
    pub rules: Vec<(&'static str, Arc<Mask>)>,
    /// Every trade in order of entry.
    pub trades: Vec<Trade>,
}

/// What changed although everything it may depend on did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Whether the rule of this name is true.
    Rule(&'static str),
    /// The entry of a trade: its bar, side, price, size or fee.
    Entry,
    /// The exit of a trade: its bar, price, fee, profit or reason.
    Exit,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Rule(name) => write!(f, "the rule {name}"),
            Decision::Entry => f.write_str("the entry of a trade"),
            Decision::Exit => f.write_str("the exit of a trade"),
        }
    }
}

/// Why a strategy did not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookAhead {
    /// A decision depends on bars after it.
    #[error(
        "{decision} at bar {bar} ({date}) changed when only the bars after bar {known} ({known_date}) did: it looks ahead"
    )]
    Found {
        /// What changed.
        decision: Decision,
        /// The bar at which it changed, the first if there are several.
        bar: usize,
        /// That bar's timestamp.
        date: String,
        /// The last bar that was left as it is.
        known: usize,
        /// That bar's timestamp.
        known_date: String,
    },
    /// A run failed, so that there is nothing to compare.
    #[error("cannot be checked: {0}")]
    Run(RunFailure),
}

impl From<RunFailure> for LookAhead {
    fn from(failure: RunFailure) -> Self {
        LookAhead::Run(failure)
    }
}

/// Checks that no rule and no fill of a strategy's run depends on later bars: `values` are its parameters, in the
/// template's order. Takes a few hundred runs.
///
/// # Errors
/// The first decision found that looks ahead, or the failure of the run.
pub fn check(strategy: &Strategy, bars: &Bars, values: &[f64]) -> Result<(), LookAhead> {
    check_decisions(bars, |bars| {
        // Shared only between the rules of this one run: no other will have these bars.
        let mut columns = Columns::new(bars, usize::MAX);
        let rules = strategy.rule_masks(&mut columns, values)?;
        let trades = strategy.replay(&mut columns, values)?.trades;
        Ok(Decisions { rules, trades })
    })
}

/// Checks whatever decides from bars. `decide` is called with the bars themselves first, and then with others.
///
/// # Errors
/// The first decision found that looks ahead, or the first failure of `decide`.
pub fn check_decisions(
    bars: &Bars,
    mut decide: impl FnMut(Arc<Bars>) -> Result<Decisions, RunFailure>,
) -> Result<(), LookAhead> {
    let expected = decide(Arc::new(bars.clone()))?;
    for known in bars_to_check(bars.len(), &expected.rules) {
        for future in Future::ALL {
            let decisions = decide(Arc::new(future.after(bars, known)))?;
            if let Some((decision, bar)) = first_change(&expected, &decisions, known) {
                let (date, known_date) = (bars.date_label(bar), bars.date_label(known));
                return Err(LookAhead::Found { decision, bar, date, known, known_date });
            }
        }
    }
    Ok(())
}

/// The bars after which the others are overwritten, ascending. There is always at least one bar after them.
fn bars_to_check(len: usize, rules: &[(&'static str, Arc<Mask>)]) -> Vec<usize> {
    let last = len.saturating_sub(1);
    let changes = |t: usize| rules.iter().any(|(_, mask)| mask.get(t) != (t > 0 && mask.get(t - 1)));
    let decisions: Vec<usize> = (0..last).filter(|&t| changes(t)).collect();
    let mut chosen: Vec<usize> = spread(last, SPREAD_BARS).collect();
    chosen.extend(spread(decisions.len(), DECISION_BARS).map(|index| decisions[index]));
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

/// At most `most` of `0..len`, evenly spread, the first and the last among them.
fn spread(len: usize, most: usize) -> impl Iterator<Item = usize> {
    let count = len.min(most);
    (0..count).map(move |index| if count > 1 { index * (len - 1) / (count - 1) } else { 0 })
}

/// What bars may be like after the last known one. Between them, prices go every way: whatever is compared with a
/// later price comes out otherwise in one of them.
#[derive(Debug, Clone, Copy)]
enum Future {
    Soars,
    Crashes,
    Anything,
}

impl Future {
    const ALL: [Future; 3] = [Future::Soars, Future::Crashes, Future::Anything];

    /// The same bars up to `known`, and then others of the same timestamps.
    fn after(self, bars: &Bars, known: usize) -> Bars {
        let mut columns = BarsColumns {
            timestamps: bars.timestamps().to_vec(),
            open: bars.open().to_vec(),
            high: bars.high().to_vec(),
            low: bars.low().to_vec(),
            close: bars.close().to_vec(),
            volume: bars.volume().to_vec(),
        };
        // Bars near the limits of an `f64` would not stay finite.
        let price = bars.close()[known].clamp(1e-100, 1e100);
        let volume = bars.volume()[known].clamp(1.0, 1e100);
        let mut noise = Noise(known as u64);
        for t in known + 1..bars.len() {
            let (open, close) = (price * self.factor(&mut noise), price * self.factor(&mut noise));
            columns.open[t] = open;
            columns.close[t] = close;
            columns.high[t] = open.max(close) * (1.0 + noise.next());
            columns.low[t] = open.min(close) * (1.0 - noise.next() / 2.0);
            columns.volume[t] = volume * 4.0 * noise.next();
        }
        Bars::from_columns(columns, "bars overwritten").expect("made-up bars are positive, finite and in order")
    }

    /// A price relative to the last known one.
    fn factor(self, noise: &mut Noise) -> f64 {
        match self {
            Future::Soars => 8.0 + noise.next(),
            Future::Crashes => 1.0 / (8.0 + noise.next()),
            Future::Anything => 0.25 + 4.0 * noise.next(),
        }
    }
}

/// Numbers that look random, the same every time (SplitMix64: G. Steele, D. Lea, C. Flood, "Fast splittable
/// pseudorandom number generators", 2014).
#[derive(Debug)]
struct Noise(u64);

impl Noise {
    /// From 0 to below 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The 53 bits which an `f64` holds.
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The first decision at a bar up to `known` that is not the same, and its bar.
fn first_change(expected: &Decisions, found: &Decisions, known: usize) -> Option<(Decision, usize)> {
    let rules = expected.rules.iter().zip(&found.rules).filter_map(|((name, expected), (_, found))| {
        let bar = (0..=known).find(|&t| expected.get(t) != found.get(t))?;
        Some((Decision::Rule(name), bar))
    });
    let in_rules = rules.min_by_key(|(_, bar)| *bar);
    in_rules.or_else(|| first_changed_fill(&expected.trades, &found.trades, known))
}

fn first_changed_fill(expected: &[Trade], found: &[Trade], known: usize) -> Option<(Decision, usize)> {
    let entered = |trades: &[Trade]| trades.partition_point(|trade| trade.entry_bar <= known);
    let (expected, found) = (&expected[..entered(expected)], &found[..entered(found)]);
    for (expected, found) in expected.iter().zip(found) {
        if entry_of(expected) != entry_of(found) {
            return Some((Decision::Entry, expected.entry_bar.min(found.entry_bar)));
        }
        if exit_of(expected, known) != exit_of(found, known) {
            return Some((Decision::Exit, expected.exit_bar.min(found.exit_bar)));
        }
    }
    let unmatched = expected.get(found.len()).or_else(|| found.get(expected.len()))?;
    Some((Decision::Entry, unmatched.entry_bar))
}

fn entry_of(trade: &Trade) -> impl PartialEq + use<> {
    let numbers = [trade.entry_price, trade.size, trade.entry_fee].map(f64::to_bits);
    (trade.side, trade.entry_bar, numbers)
}

/// The exit of a trade if it lies in the known bars. What only the end of the bars brings about does not: the last
/// bar is never known.
fn exit_of(trade: &Trade, known: usize) -> Option<impl PartialEq + use<>> {
    let numbers = [trade.exit_price, trade.exit_fee, trade.borrow_cost, trade.pnl].map(f64::to_bits);
    (trade.exit_bar <= known).then_some((trade.exit_bar, trade.exit_reason, numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_to_check_are_spread_and_include_decisions() {
        let rare = [("enter", Arc::new(Mask::from_fn(10_000, |t| t == 4321)))];
        let chosen = bars_to_check(10_000, &rare);
        assert_eq!((chosen[0], chosen[chosen.len() - 1]), (0, 9998), "the last bar has none after it");
        assert!(chosen.contains(&4321) && chosen.contains(&4322));
        assert_eq!(chosen.len(), SPREAD_BARS + 2);
        assert!(bars_to_check(1, &[]).is_empty() && bars_to_check(0, &[]).is_empty());
        assert_eq!(bars_to_check(3, &[]), [0, 1]);
    }

    #[test]
    fn noise_fills_its_range() {
        let mut noise = Noise(0);
        let values: Vec<f64> = (0..1000).map(|_| noise.next()).collect();
        assert!(values.iter().all(|value| (0.0..1.0).contains(value)));
        let mean = values.iter().sum::<f64>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
    }
}
