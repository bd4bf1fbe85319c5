//! What can be wrong with execution rules.

use crate::problem::Problem;

use super::{Execution, Size};

/// Most bars of an average true range or of a position. It only keeps numbers apart from nonsense.
const MOST_BARS: u32 = 1_000_000;

impl Execution {
    /// Everything that is wrong with these rules; empty when they can be run.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |name: &str, value: f64, fits: bool, wanted: &str| {
            if !fits {
                problems.push(Problem::new(name, format!("must be {wanted}, is {value}")));
            }
        };
        let fraction = |x: f64| (0.0..1.0).contains(&x);
        let amount = |x: f64| x.is_finite() && x >= 0.0;
        let positive = |x: f64| x.is_finite() && x > 0.0;
        check("cash", self.cash, positive(self.cash), "above 0");
        check("commission", self.commission, fraction(self.commission), "a fraction from 0 to below 1 (0.001 is 0.1%)");
        check("slippage", self.slippage, fraction(self.slippage), "a fraction from 0 to below 1 (0.001 is 0.1%)");
        check("commission_per_share", self.commission_per_share, amount(self.commission_per_share), "0 or more");
        check("commission_min", self.commission_min, amount(self.commission_min), "0 or more");
        let rate = self.risk_free_rate;
        check("risk_free_rate", rate, rate > -1.0 && rate < 1.0, "a fraction a year between -1 and 1 (0.02 is 2%)");
        if let Some(bars) = self.bars_per_year {
            check("bars_per_year", bars, positive(bars), "above 0");
        }
        match self.size {
            Size::AllIn => {}
            Size::Fraction(part) => {
                check("size.fraction", part, part > 0.0 && part <= 1.0, "a fraction above 0, at most 1 (0.5 is half)");
            }
            Size::Cash(cash) => check("size.cash", cash, positive(cash), "above 0"),
            Size::Shares(shares) => check("size.shares", shares, positive(shares), "above 0"),
        }
        check("borrow_rate", self.borrow_rate, amount(self.borrow_rate), "a fraction a year, 0 or more (0.03 is 3%)");
        let below_one = |x: f64| x > 0.0 && x < 1.0;
        for (name, stop) in [("stop_loss", self.stop_loss), ("trailing_stop", self.trailing_stop)] {
            if let Some(part) = stop {
                check(name, part, below_one(part), "a fraction of the price above 0 and below 1 (0.05 is 5%)");
            }
        }
        if let Some(part) = self.take_profit {
            check("take_profit", part, positive(part), "a fraction of the price above 0 (0.05 is 5%)");
        }
        let periods = 1..=MOST_BARS;
        for (name, distance) in self.atr_distances() {
            if let Some(distance) = distance {
                let (period, multiple) = (distance.period, distance.multiple);
                let wanted = format!("a whole number from 1 to {MOST_BARS}");
                check(&format!("{name}.period"), period.into(), periods.contains(&period), &wanted);
                check(&format!("{name}.multiple"), multiple, positive(multiple), "above 0");
            }
        }
        if let Some(bars) = self.max_bars {
            check("max_bars", bars.into(), periods.contains(&bars), &format!("a whole number from 1 to {MOST_BARS}"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use crate::execution::{AtrDistance, Direction, Execution, Size};

    fn places(execution: &Execution) -> Vec<String> {
        execution.problems().into_iter().map(|problem| problem.at).collect()
    }

    #[test]
    fn every_rule_has_bounds() {
        let distance = AtrDistance { period: 0, multiple: 0.0 };
        let execution = Execution {
            size: Size::Fraction(1.5),
            borrow_rate: -0.1,
            stop_loss: Some(1.0),
            take_profit: Some(0.0),
            trailing_stop: Some(f64::NAN),
            stop_loss_atr: Some(distance),
            max_bars: Some(0),
            ..Execution::default()
        };
        let expected = [
            "size.fraction",
            "borrow_rate",
            "stop_loss",
            "trailing_stop",
            "take_profit",
            "stop_loss_atr.period",
            "stop_loss_atr.multiple",
            "max_bars",
        ];
        assert_eq!(places(&execution), expected);
        assert!(places(&Execution::default()).is_empty());
        for size in [Size::Cash(0.0), Size::Shares(f64::INFINITY)] {
            assert_eq!(places(&Execution { size, ..Execution::default() }).len(), 1);
        }
    }

    #[test]
    fn documents_name_the_rules_and_leave_out_unused_ones() {
        let written = serde_json::to_value(Execution::default()).unwrap();
        assert!(written.as_object().unwrap().keys().all(|key| Execution::FIELDS.contains(&key.as_str())));
        assert!(written.get("direction").is_none() && written.get("stop_loss").is_none());

        let text = r#"{ "direction": "both", "size": { "fraction": 0.5 }, "whole_shares": true, "borrow_rate": 0.01,
            "stop_loss": 0.05, "take_profit": 0.1, "trailing_stop": 0.2, "max_bars": 20,
            "stop_loss_atr": { "period": 14, "multiple": 2 }, "take_profit_atr": { "period": 14, "multiple": 4 },
            "trailing_stop_atr": { "period": 20, "multiple": 3 } }"#;
        let read: Execution = serde_json::from_str(text).unwrap();
        assert_eq!((read.direction, read.size), (Direction::Both, Size::Fraction(0.5)));
        assert_eq!(read.trailing_stop_atr, Some(AtrDistance { period: 20, multiple: 3.0 }));
        assert!(read.problems().is_empty());
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(written.as_object().unwrap().len(), Execution::FIELDS.len());
        assert_eq!(serde_json::from_value::<Execution>(written).unwrap(), read);
        assert_eq!(serde_json::from_str::<Execution>(r#"{ "size": "all_in" }"#).unwrap(), Execution::default());
    }
}
