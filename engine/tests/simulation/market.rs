//! Bars, rules and costs made up by property tests.

use jetsweep_engine::bars::{Bars, BarsColumns};
use jetsweep_engine::execution::{AtrDistance, Direction, EndPolicy, Execution, Fill, Size};
use jetsweep_engine::mask::Mask;
use jetsweep_engine::simulation::{Rules, Signals};
use proptest::prelude::*;

use crate::plain::{Bits, Bools};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Bars of opens and closes, whose highs and lows are these.
pub(crate) fn bars_of(prices: &[(f64, f64)]) -> Bars {
    bars_within(
        &prices.iter().map(|&(open, close)| [open, open.max(close), open.min(close), close]).collect::<Vec<_>>(),
    )
}

/// Daily bars of open, high, low and close.
pub(crate) fn bars_within(prices: &[[f64; 4]]) -> Bars {
    let column = |index: usize| prices.iter().map(|price| price[index]).collect::<Vec<f64>>();
    let columns = BarsColumns {
        timestamps: (0..prices.len() as i64).map(|t| t * DAY_MS).collect(),
        open: column(0),
        high: column(1),
        low: column(2),
        close: column(3),
        volume: vec![0.0; prices.len()],
    };
    Bars::from_columns(columns, "bars").unwrap()
}

pub(crate) fn mask_of(bits: &[bool]) -> Mask {
    Mask::from_fn(bits.len(), |t| bits[t])
}

/// The masks of both sides' rules.
pub(crate) struct Masks {
    enter: [Mask; 2],
    exit: [Mask; 2],
}

impl Masks {
    pub(crate) fn of(bools: &Bools) -> Self {
        let masks = |bits: &[Bits; 2]| bits.each_ref().map(|bits| mask_of(bits));
        Self { enter: masks(&bools.enter), exit: masks(&bools.exit) }
    }

    pub(crate) fn signals(&self) -> Signals<'_> {
        let rules = |side: usize| Some(Rules { enter: &self.enter[side], exit: &self.exit[side] });
        Signals { long: rules(0), short: rules(1) }
    }
}

/// Bars of up to 200 days, and for each whether each rule holds.
pub(crate) fn market() -> impl Strategy<Value = (Bars, Bools)> {
    let moves = (-0.15..0.15_f64, -0.15..0.15_f64, 0.0..0.08_f64, 0.0..0.08_f64);
    let rules = [0.3, 0.2, 0.15, 0.15].map(prop::bool::weighted);
    prop::collection::vec((moves, rules), 1..200).prop_map(|steps| {
        let mut price = 100.0;
        let mut step = |by: f64| {
            price *= 1.0 + by;
            price
        };
        let prices: Vec<[f64; 4]> = steps
            .iter()
            .map(|((open, close, above, below), _)| {
                let (open, close) = (step(*open), step(*close));
                [open, open.max(close) * (1.0 + above), open.min(close) * (1.0 - below), close]
            })
            .collect();
        let bits = |rule: usize| steps.iter().map(|(_, rules)| rules[rule]).collect::<Bits>();
        (bars_within(&prices), Bools { enter: [bits(0), bits(1)], exit: [bits(2), bits(3)] })
    })
}

fn choice(of: &'static [f64]) -> impl Strategy<Value = f64> {
    prop::sample::select(of)
}

/// Costs, fills and ends of runs that only buy, with all there is.
pub(crate) fn execution() -> impl Strategy<Value = Execution> {
    (
        (choice(&[0.0, 0.001, 0.02]), choice(&[0.0, 0.01, 0.5]), choice(&[0.0, 5.0, 4000.0]), choice(&[0.0, 0.0005])),
        (choice(&[0.0, 0.03]), prop::bool::ANY, prop::bool::ANY),
    )
        .prop_map(|((commission, per_share, least, slippage), (risk_free_rate, at_close, liquidate))| Execution {
            commission,
            commission_per_share: per_share,
            commission_min: least,
            slippage,
            risk_free_rate,
            fill: if at_close { Fill::Close } else { Fill::NextOpen },
            end: if liquidate { EndPolicy::Liquidate } else { EndPolicy::Mark },
            ..Execution::default()
        })
}

/// The same with any size.
pub(crate) fn sized() -> impl Strategy<Value = Execution> {
    let sizes = prop_oneof![
        2 => Just(Size::AllIn),
        1 => choice(&[0.1, 0.5, 1.0]).prop_map(Size::Fraction),
        1 => choice(&[500.0, 60_000.0, 1e9]).prop_map(Size::Cash),
        1 => choice(&[0.5, 100.0, 1e6]).prop_map(Size::Shares),
    ];
    (execution(), sizes, prop::bool::ANY).prop_map(|(rules, size, whole_shares)| Execution {
        size,
        whole_shares,
        ..rules
    })
}

/// Every rule there is.
pub(crate) fn everything() -> impl Strategy<Value = Execution> {
    let part = |of: &'static [f64]| prop::option::weighted(0.3, prop::sample::select(of));
    let distance = || {
        let distance = (1..20_u32, choice(&[0.1, 1.0, 3.0]));
        prop::option::weighted(0.2, distance.prop_map(|(period, multiple)| AtrDistance { period, multiple }))
    };
    let direction = prop::sample::select(vec![Direction::Long, Direction::Short, Direction::Both]);
    (
        (sized(), direction, choice(&[0.0, 0.1])),
        (part(&[0.0001, 0.03, 0.1]), part(&[0.0001, 0.03, 0.1, 1.5]), part(&[0.01, 0.05, 0.2])),
        (distance(), distance(), distance()),
        prop::option::weighted(0.3, 1..20_u32),
    )
        .prop_map(|((rules, direction, borrow_rate), fractions, distances, max_bars)| Execution {
            direction,
            borrow_rate,
            stop_loss: fractions.0,
            take_profit: fractions.1,
            trailing_stop: fractions.2,
            stop_loss_atr: distances.0,
            take_profit_atr: distances.1,
            trailing_stop_atr: distances.2,
            max_bars,
            ..rules
        })
}
