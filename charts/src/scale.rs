//! From numbers to pixels, and round numbers for axes.

/// A linear scale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    /// Numbers `from.0..=from.1` onto pixels `to.0..=to.1`. An empty range of numbers is widened.
    pub(crate) fn new(from: (f64, f64), to: (f64, f64)) -> Self {
        let (low, high) = from;
        let from = if high > low {
            from
        } else {
            // All the same: in the middle.
            let half = if low == 0.0 { 1.0 } else { low.abs() * 0.05 };
            (low - half, high + half)
        };
        Self { from, to }
    }

    pub(crate) fn at(&self, value: f64) -> f64 {
        let (low, high) = self.from;
        // Halved, so that the span of the largest numbers is still a number.
        let share = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
        self.to.0 + share * (self.to.1 - self.to.0)
    }

    /// About `count` round numbers within the range.
    pub(crate) fn ticks(&self, count: usize) -> Vec<f64> {
        let (low, high) = self.from;
        let step = round_step((high / 2.0 - low / 2.0) * 2.0 / count.max(1) as f64);
        if !step.is_finite() || step <= 0.0 {
            return vec![low, high];
        }
        let first = (low / step).ceil();
        let last = (high / step).floor();
        (0..=(last - first).clamp(0.0, 100.0) as usize).map(|index| (first + index as f64) * step).collect()
    }
}

/// The next 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let times = step / power;
    let round = [1.0, 2.0, 5.0].into_iter().find(|round| times <= *round + 1e-9);
    round.unwrap_or(10.0) * power
}

/// The smallest and largest of the finite values; `None` if there are none.
pub(crate) fn extent(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.into_iter().filter(|value| value.is_finite());
    finite.fold(None, |extent, value| match extent {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}

/// A number as an axis shows it: `1.5M`, `12k`, `0.25`.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    let (divisor, unit) = match size {
        size if size >= 1e15 => return format!("{value:.1e}"),
        size if size >= 1e9 => (1e9, "B"),
        size if size >= 1e6 => (1e6, "M"),
        size if size >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let scaled = value / divisor;
    let digits = match scaled.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.01 => 2,
        _ => return format!("{value:.1e}"),
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(Scale::new((0.0, 103.0), (0.0, 1.0)).ticks(5), [0.0, 50.0, 100.0]);
        assert_eq!(Scale::new((-0.55, 0.0), (0.0, 1.0)).ticks(6), [-0.5, -0.4, -0.30000000000000004, -0.2, -0.1, 0.0]);
        let flat = Scale::new((7.0, 7.0), (0.0, 10.0));
        assert!((flat.at(7.0) - 5.0).abs() < 1e-9);
        assert!(!flat.ticks(4).is_empty());
        let huge = Scale::new((-f64::MAX, f64::MAX), (0.0, 10.0));
        assert!((huge.at(0.0) - 5.0).abs() < 1e-9);
        assert!(huge.ticks(4).len() < 200);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.25, -1.5, 950.0, 12_000.0, 7_313_065.0, 2e9, 1e-5].map(short);
        assert_eq!(shown, ["0", "0.25", "-1.5", "950", "12k", "7.31M", "2B", "1.0e-5"]);
    }
}
