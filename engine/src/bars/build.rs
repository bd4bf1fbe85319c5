//! The one validation every bar goes through.

use std::ops::Range;

use super::error::Fault;
use super::series::BarsColumns;
use super::{COLUMN_NAMES, time};

/// Most bars of one symbol: 19 years of one-minute bars around the clock, 480 MB.
const MOST_BARS: usize = 10_000_000;

/// A fault and the column it is in.
pub(super) type Refusal = (&'static str, Fault);

/// Which of the bars are kept; all are looked at.
pub(super) struct Keep {
    /// Timestamps of those that are.
    pub(super) times: Range<i64>,
    /// Most of them. If there are more, none is kept, and they are only counted.
    pub(super) most: usize,
}

impl Keep {
    /// All bars are kept.
    pub(super) fn all() -> Self {
        Self { times: i64::MIN..i64::MAX, most: usize::MAX }
    }
}

/// Collects bars, oldest first, and refuses the first that is wrong.
pub(super) struct Builder {
    keep: Keep,
    columns: BarsColumns,
    /// Bars that were looked at.
    seen: usize,
    /// When the last of them is.
    previous: Option<i64>,
    /// Bars among them that are to be kept.
    wanted: usize,
}

/// One bar before validation.
#[derive(Clone, Copy)]
pub(super) struct Bar {
    pub(super) timestamp: i64,
    pub(super) open: f64,
    pub(super) high: f64,
    pub(super) low: f64,
    pub(super) close: f64,
    pub(super) volume: f64,
}

impl Builder {
    pub(super) fn new(keep: Keep) -> Self {
        Self { keep, columns: BarsColumns::default(), seen: 0, previous: None, wanted: 0 }
    }

    pub(super) fn push(&mut self, bar: Bar) -> Result<(), Refusal> {
        self.check_time(bar.timestamp).map_err(|fault| (COLUMN_NAMES[0], fault))?;
        check_prices(&bar)?;
        check_volume(bar.volume).map_err(|fault| ("volume", fault))?;

        self.seen += 1;
        self.previous = Some(bar.timestamp);
        if !self.keep.times.contains(&bar.timestamp) {
            return Ok(());
        }
        self.wanted += 1;
        let columns = &mut self.columns;
        if self.wanted > self.keep.most {
            *columns = BarsColumns::default();
            return Ok(());
        }
        columns.timestamps.push(bar.timestamp);
        columns.open.push(bar.open);
        columns.high.push(bar.high);
        columns.low.push(bar.low);
        columns.close.push(bar.close);
        // Turns -0 into 0, so that equal bars have equal bits and one digest.
        columns.volume.push(bar.volume + 0.0);
        Ok(())
    }

    /// How many bars are to be kept, were there room for them.
    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// The bars that are kept.
    pub(super) fn finish(mut self) -> BarsColumns {
        // Bars live long, in a cache that counts their bytes.
        self.columns.shrink();
        self.columns
    }

    fn check_time(&self, timestamp: i64) -> Result<(), Fault> {
        if time::civil(timestamp).is_none() {
            return Err(Fault::OutsideCalendar(timestamp));
        }
        if self.seen == MOST_BARS {
            return Err(Fault::TooManyBars { limit: MOST_BARS });
        }
        let label = |at: i64| time::civil(at).map_or_else(|| at.to_string(), |civil| civil.to_string());
        match self.previous {
            Some(previous) if timestamp == previous => Err(Fault::Duplicate(label(timestamp))),
            Some(previous) if timestamp < previous => {
                Err(Fault::NotAscending { date: label(timestamp), previous: label(previous) })
            }
            _ => Ok(()),
        }
    }
}

fn check_prices(bar: &Bar) -> Result<(), Refusal> {
    let Bar { open, high, low, close, .. } = *bar;
    for (name, price) in [("open", open), ("high", high), ("low", low), ("close", close)] {
        if !price.is_finite() {
            return Err((name, Fault::NotFinite(price)));
        }
        if price <= 0.0 {
            return Err((name, Fault::NotPositive(price)));
        }
    }
    for (other, value) in [("low", low), ("open", open), ("close", close)] {
        if high < value {
            return Err(("high", Fault::HighBelow { high, other, value }));
        }
    }
    for (other, value) in [("open", open), ("close", close)] {
        if low > value {
            return Err(("low", Fault::LowAbove { low, other, value }));
        }
    }
    Ok(())
}

fn check_volume(volume: f64) -> Result<(), Fault> {
    if !volume.is_finite() {
        return Err(Fault::NotFinite(volume));
    }
    if volume < 0.0 {
        return Err(Fault::NegativeVolume(volume));
    }
    Ok(())
}
