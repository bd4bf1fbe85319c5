//! Any bytes as a file of bars: it is refused with its line, or the bars are valid and survive CSV.
#![no_main]

use std::fmt::Write;
use std::io::{self, Read};

use jetsweep_engine::bars::{Bars, BarsError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let read = Bars::read_csv(bytes, "fuzz.csv");
    // Errors by their words: one about NaN holds it, which is not equal to itself.
    let words = |read: &Result<Bars, BarsError>| read.clone().map_err(|error| error.to_string());
    let slowly = Bars::read_csv(OneByOne(bytes), "fuzz.csv");
    assert_eq!(words(&read), words(&slowly), "however a file arrives, it is the same");
    match read {
        Ok(bars) => {
            check(&bars);
            let again = Bars::read_csv(csv_of(&bars).as_bytes(), "again.csv").expect("bars written as CSV are read");
            assert_eq!(again.digest(), bars.digest());
        }
        Err(error) => assert!(error.to_string().starts_with("fuzz.csv")),
    }
});

/// What is promised of all bars.
fn check(bars: &Bars) {
    assert!(!bars.is_empty());
    assert!(bars.timestamps().windows(2).all(|pair| pair[0] < pair[1]));
    assert!(bars.bars_per_year() > 0.0);
    for t in 0..bars.len() {
        let (open, high, low, close) = (bars.open()[t], bars.high()[t], bars.low()[t], bars.close()[t]);
        assert!(low > 0.0 && high.is_finite());
        assert!((low..=high).contains(&open) && (low..=high).contains(&close));
        assert!(bars.volume()[t] >= 0.0 && bars.volume()[t].is_finite());
    }
}

fn csv_of(bars: &Bars) -> String {
    let mut text = "date,open,high,low,close,volume\n".to_owned();
    for t in 0..bars.len() {
        let prices = [bars.open()[t], bars.high()[t], bars.low()[t], bars.close()[t]];
        write!(text, "{}", bars.date_label(t)).expect("a String takes anything");
        for number in prices.into_iter().chain([bars.volume()[t]]) {
            write!(text, ",{number}").expect("a String takes anything");
        }
        text.push('\n');
    }
    text
}

/// A reader that gives one byte at a time.
struct OneByOne<'a>(&'a [u8]);

impl Read for OneByOne<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let least = buffer.len().min(1);
        self.0.read(&mut buffer[..least])
    }
}
