//! Where the windows of a symbol's bars lie.

use std::ops::Range;

use jiff::civil::Date;

use super::{Holdout, Length, MOST_WINDOWS, Segment, Split, Validation, WalkForward, Window};
use crate::backtest::RunFailure;
use crate::bars::Bars;

/// How much of a test segment may lie after the last bar: a year of bars seldom ends on its last day.
const LAST_BARS_SLACK: Length = Length::Days(7);

/// Train, before its purge, and test.
type Pair = (Range<usize>, Range<usize>);

pub(super) fn of(validation: &Validation, bars: &Bars) -> Result<Vec<Window>, RunFailure> {
    let mut windows = Vec::new();
    let mut add = |(train, test): Pair| {
        let train = train.start..train.end.saturating_sub(validation.purge as usize);
        // A gap in the bars, or the purge, may have left one of them empty: nothing can be chosen or judged there.
        if train.is_empty() || test.is_empty() {
            return Ok(());
        }
        let number = (windows.len() / 2) as u32;
        if number as usize >= MOST_WINDOWS {
            let message =
                format!("walk_forward makes more than {MOST_WINDOWS} windows of the symbol's bars: use a longer step");
            return Err(RunFailure::new("too_many_windows", message));
        }
        windows.push(Window { number, segment: Segment::Train, bars: train });
        windows.push(Window { number, segment: Segment::Test, bars: test });
        Ok(())
    };
    match &validation.split {
        Split::Holdout(holdout) => {
            let start = holdout_start(*holdout, bars);
            add((0..start, start..bars.len()))?;
        }
        Split::WalkForward(walk) => {
            for step in 0.. {
                let Some(pair) = window(walk, step, bars) else { break };
                add(pair)?;
            }
        }
    }
    Ok(windows)
}

/// The first bar held out.
fn holdout_start(holdout: Holdout, bars: &Bars) -> usize {
    let all = bars.len();
    match holdout {
        Holdout::Percent(percent) => all - ((all as f64 * percent / 100.0) as usize).min(all),
        Holdout::Last(Length::Bars(count)) => all.saturating_sub(count as usize),
        Holdout::Last(length) => {
            let end = bars.last_date().and_then(|last| last.tomorrow().ok());
            end.and_then(|end| length.before(end)).map_or(0, |start| bars.first_from(start))
        }
        Holdout::From(date) => bars.first_from(date),
    }
}

/// The window that starts `step` steps after the first bar; `None` when its test segment is not complete, but
/// for [`LAST_BARS_SLACK`].
fn window(walk: &WalkForward, step: u32, bars: &Bars) -> Option<Pair> {
    if let (Length::Bars(train), Length::Bars(test), Length::Bars(by)) = (walk.train, walk.test, walk.step) {
        let start = step as usize * by as usize;
        let middle = start + train as usize;
        let end = middle + test as usize;
        let start = if walk.anchored { 0 } else { start };
        return (end <= bars.len()).then_some((start..middle, middle..end));
    }
    let (first, last) = (bars.first_date()?, bars.last_date()?);
    // From the first date each time: months of different lengths do not add up.
    let start = walk.step.after(first, step)?;
    let middle = walk.train.after(start, 1)?;
    let end = walk.test.after(middle, 1)?;
    if end > LAST_BARS_SLACK.after(last, 1)? {
        return None;
    }
    let at = |date: Date| bars.first_from(date);
    let start = if walk.anchored { 0 } else { at(start) };
    Some((start..at(middle), at(middle)..at(end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::BarsColumns;

    /// A bar each weekday from 2010-01-01, a Friday.
    fn weekdays(count: usize) -> Bars {
        const DAY: i64 = crate::bars::DAY_MS;
        let first = crate::bars::start_of_date("2010-01-01".parse().unwrap());
        let timestamps: Vec<i64> = (0..)
            .map(|day| (day, first + day * DAY))
            .filter(|(day, _)| (day + 4) % 7 < 5)
            .map(|(_, at)| at)
            .take(count)
            .collect();
        let prices = vec![1.0; count];
        let [open, high, low, close, volume] = std::array::from_fn(|_| prices.clone());
        Bars::from_columns(BarsColumns { timestamps, open, high, low, close, volume }, "weekdays").unwrap()
    }

    fn cut(split: Split, purge: u32, bars: &Bars) -> Vec<(Range<usize>, Range<usize>)> {
        let windows = of(&Validation { split, purge }, bars).unwrap();
        let pairs = windows.chunks(2).enumerate().map(|(number, pair)| {
            let [train, test] = pair else { panic!("{pair:?}") };
            assert_eq!((train.number as usize, test.number as usize), (number, number));
            assert_eq!((train.segment, test.segment), (Segment::Train, Segment::Test));
            (train.bars.clone(), test.bars.clone())
        });
        pairs.collect()
    }

    fn walk(train: &str, test: &str, step: &str, anchored: bool) -> Split {
        let length = |text: &str| text.parse().unwrap();
        Split::WalkForward(WalkForward { train: length(train), test: length(test), step: length(step), anchored })
    }

    #[test]
    fn a_holdout_is_the_end_of_the_bars() {
        let bars = weekdays(1000);
        let holdout = |text: &str| Split::Holdout(text.parse().unwrap());
        assert_eq!(cut(holdout("20%"), 0, &bars), [(0..800, 800..1000)]);
        assert_eq!(cut(holdout("33.333%"), 5, &bars), [(0..662, 667..1000)]);
        assert_eq!(cut(holdout("10bars"), 0, &bars), [(0..990, 990..1000)]);
        // The last bar is on 2013-10-31, a Thursday.
        assert_eq!(cut(holdout("1w"), 0, &bars), [(0..995, 995..1000)]);
        assert_eq!(cut(holdout("2013-10-31"), 0, &bars), [(0..999, 999..1000)]);
        // Nothing left of one of the two: no window.
        for nothing in ["0.01%", "10y", "1000bars", "2009-01-01", "2014-01-01"] {
            assert_eq!(cut(holdout(nothing), 0, &bars), [], "{nothing}");
        }
        assert_eq!(cut(holdout("20%"), 800, &bars), []);
    }

    #[test]
    fn a_walk_goes_on_while_test_is_complete() {
        let bars = weekdays(1000);
        assert_eq!(
            cut(walk("500bars", "200bars", "200bars", false), 10, &bars),
            [(0..490, 500..700), (200..690, 700..900)]
        );
        assert_eq!(
            cut(walk("500bars", "200bars", "300bars", true), 0, &bars),
            [(0..500, 500..700), (0..800, 800..1000)]
        );
        // 2010, 2011 and 2012 have 261, 260 and 261 weekdays.
        assert_eq!(cut(walk("1y", "1y", "1y", false), 0, &bars), [(0..261, 261..521), (261..521, 521..782)]);
        assert_eq!(cut(walk("12mo", "52w", "90d", true), 0, &bars).len(), 8);
        assert_eq!(cut(walk("10y", "1y", "1y", false), 0, &bars), []);
    }

    #[test]
    fn test_segments_never_overlap_their_train() {
        let bars = weekdays(3000);
        for (train, test, step) in
            [("3y", "1y", "1y"), ("6mo", "1mo", "3mo"), ("100d", "3w", "8w"), ("250bars", "20bars", "30bars")]
        {
            for purge in [0, 1, 20] {
                let pairs = cut(walk(train, test, step, false), purge, &bars);
                assert!(!pairs.is_empty());
                for (train, test) in &pairs {
                    assert_eq!(train.end + purge as usize, test.start);
                    assert!(test.end <= bars.len() && train.start < train.end && test.start < test.end);
                }
                assert!(pairs.windows(2).all(|two| two[0].1.start < two[1].1.start));
            }
        }
    }

    #[test]
    fn too_many_windows_are_refused() {
        let validation = Validation { split: walk("10bars", "1bars", "1bars", false), purge: 0 };
        assert_eq!(of(&validation, &weekdays(110)).unwrap().len(), 200);
        assert_eq!(of(&validation, &weekdays(111)).unwrap_err().code, "too_many_windows");
    }
}
