//! Hourly bars made from daily ones, the same ones each time: the sample has none.
//!
//! Seven bars a day walk from the day's open to its close; one of them reaches the day's high, another its low.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use jetsweep_engine::bars::Bars;

/// Bars a day, at 09:00 to 15:00.
const HOURS: usize = 7;

/// Writes hourly bars of each symbol into `folder`.
pub(super) fn make(daily: &Path, symbols: &[String], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    for symbol in symbols {
        let file = format!("{symbol}.csv");
        let bars = Bars::read_csv(File::open(daily.join(&file))?, &file)?;
        write(&bars, BufWriter::new(File::create(folder.join(&file))?))?;
    }
    Ok(())
}

fn write(bars: &Bars, mut out: impl Write) -> io::Result<()> {
    writeln!(out, "date,open,high,low,close,volume")?;
    let mut numbers = Numbers(bars.len() as u64 + 1);
    for t in 0..bars.len() {
        let (high, low) = (bars.high()[t], bars.low()[t]);
        // Prices at the full hours: the first is the day's open, the last its close.
        let mut prices = [bars.open()[t]; HOURS + 1];
        for price in &mut prices[1..HOURS] {
            *price = low + (high - low) * numbers.fraction();
        }
        prices[HOURS] = bars.close()[t];
        let (at_high, at_low) = (numbers.below(HOURS), numbers.below(HOURS));
        let volume = (bars.volume()[t] / HOURS as f64).floor();
        let day = bars.date_label(t);
        for hour in 0..HOURS {
            let (from, to) = (prices[hour], prices[hour + 1]);
            let top = if hour == at_high { high } else { from.max(to) };
            let bottom = if hour == at_low { low } else { from.min(to) };
            writeln!(out, "{day}T{:02}:00:00,{from},{top},{bottom},{to},{volume}", 9 + hour)?;
        }
    }
    out.flush()
}

/// Numbers that look random and are the same each time (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to below 1.
    fn fraction(&mut self) -> f64 {
        /// Bits that a double holds exactly.
        const BITS: u32 = 53;
        (self.next() >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hourly_bars_add_up_to_the_daily_ones() {
        let csv = "date,open,high,low,close,volume\n2024-01-02,10,12,9,11,700\n2024-01-03,11,11.5,8,8.5,70\n";
        let daily = Bars::read_csv(csv.as_bytes(), "daily.csv").unwrap();
        let mut text = Vec::new();
        write(&daily, &mut text).unwrap();
        let hourly = Bars::read_csv(text.as_slice(), "hourly.csv").unwrap();
        assert_eq!(hourly.len(), 14);
        let highest = |range: std::ops::Range<usize>| hourly.high()[range].iter().copied().fold(f64::MIN, f64::max);
        let lowest = |range: std::ops::Range<usize>| hourly.low()[range].iter().copied().fold(f64::MAX, f64::min);
        assert_eq!((hourly.open()[0], hourly.close()[6], highest(0..7), lowest(0..7)), (10.0, 11.0, 12.0, 9.0));
        assert_eq!((hourly.open()[7], hourly.close()[13], highest(7..14), lowest(7..14)), (11.0, 8.5, 11.5, 8.0));
        assert_eq!(hourly.date_label(0), "2024-01-02T09:00:00");
    }
}
