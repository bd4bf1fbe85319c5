//! Bars from CSV: what is read, and what is refused in which words.

use std::fs::File;
use std::io::{self, Read};

use jetsweep_engine::bars::{Bars, BarsColumns, Fault};
use jiff::civil::date;
use proptest::prelude::*;

const HEADER: &str = "date,open,high,low,close,volume\n";

fn read(text: &str) -> Result<Bars, String> {
    Bars::read_csv(text.as_bytes(), "X.csv").map_err(|error| error.to_string())
}

fn refusal(rows: &str) -> String {
    read(&format!("{HEADER}{rows}")).unwrap_err()
}

fn sample(symbol: &str) -> Bars {
    let path = format!("{}/../data/sample/{symbol}.csv", env!("CARGO_MANIFEST_DIR"));
    Bars::read_csv(File::open(path).unwrap(), symbol).unwrap()
}

#[test]
fn all_sample_files_are_daily() {
    for symbol in ["AAPL", "AIG", "BAC", "EEM", "GOOG", "GOOGL", "IBM", "IWM", "SPY"] {
        assert_eq!(sample(symbol).bars_per_year(), 252.0, "{symbol}");
    }
    let spy = sample("SPY");
    assert_eq!((spy.len(), spy.date_label(0), spy.date_label(5848)), (5849, "1998-01-02".into(), "2021-03-31".into()));
    assert_eq!((spy.open()[0], spy.close()[5848]), (63.899643, 396.33));
    assert!(spy.size_bytes() >= 5849 * 48 && spy.size_bytes() < 5849 * 48 + 1000);
}

/// A reader that gives one byte at a time.
struct OneByOne<'a>(&'a [u8]);

impl Read for OneByOne<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let least = buffer.len().min(1);
        self.0.read(&mut buffer[..least])
    }
}

#[test]
fn a_file_is_the_same_however_it_arrives() {
    for start in ["", "\u{feff}", "\u{feff}\n"] {
        for text in [format!("{start}{HEADER}2020-01-02,1,3,1,2,5\n"), start.to_owned()] {
            let slow = Bars::read_csv(OneByOne(text.as_bytes()), "X.csv").map_err(|error| error.to_string());
            assert_eq!(slow, read(&text), "{text:?}");
        }
    }
    assert_eq!(read(&format!("\u{feff}{HEADER}2020-01-02,1,3,1,2,5\n")).unwrap().len(), 1);
}

#[test]
fn columns_may_come_in_any_order_and_case_with_others_between() {
    let text = "\u{feff}Volume, Close ,Adj Close,LOW,High,Open,Date\r\n7,2,9,1,3,2.5,2020-01-02\r\n\r\n8,2,,1,3,\"2\",2020-01-03\r\n";
    let bars = read(text).unwrap();
    assert_eq!((bars.open(), bars.high(), bars.low()), (&[2.5, 2.0][..], &[3.0, 3.0][..], &[1.0, 1.0][..]));
    assert_eq!((bars.close(), bars.volume()), (&[2.0, 2.0][..], &[7.0, 8.0][..]));
}

#[test]
fn bars_within_a_day_keep_their_clock() {
    let rows = "2020-01-02T09:30:00,1,1,1,1,0\n2020-01-02 10:30:00.500Z,1,1,1,1,0\n2020-01-03T00:00,1,1,1,1,0\n";
    let bars = read(&format!("{HEADER}{rows}")).unwrap();
    let labels: Vec<String> = (0..3).map(|t| bars.date_label(t)).collect();
    assert_eq!(labels, ["2020-01-02T09:30:00", "2020-01-02T10:30:00.5", "2020-01-03T00:00:00"]);
}

#[test]
fn refuses_files_without_bars() {
    assert_eq!(
        read("").unwrap_err(),
        "X.csv: is empty; expected the header `date,open,high,low,close,volume` and one bar a line"
    );
    assert_eq!(read(HEADER).unwrap_err(), "X.csv: has a header but no bars");
}

#[test]
fn refuses_headers_that_lack_or_repeat_a_column() {
    assert_eq!(
        read("Date,Open,High,Low,Last,Vol\n").unwrap_err(),
        "X.csv:1: close: the header has no column \"close\", \"volume\" (it has: date, open, high, low, last, vol); \
         needed are date, open, high, low, close, volume"
    );
    assert!(read("2020-01-02,1,1,1,1,0\n").unwrap_err().contains("the header has no column \"date\""));
    assert_eq!(
        read("date,open,high,low,close,volume,Close\n").unwrap_err(),
        "X.csv:1: close: the header has this column more than once; keep one"
    );
}

#[test]
fn refuses_rows_naming_line_and_field() {
    let good = "2020-01-02,2,3,1,2,10\n";
    let cases = [
        ("2020-01-03,2,3,1,2\n", "X.csv:3: 5 fields, but the header has 6"),
        (
            "03/01/2020,2,3,1,2,10\n",
            "X.csv:3: date: \"03/01/2020\" is not a date (2024-01-31, or 2024-01-31T09:30:00 for bars within a day)",
        ),
        ("2020-01-02,2,3,1,2,10\n", "X.csv:3: date: a second bar at 2020-01-02T00:00:00; keep one"),
        (
            "2020-01-01,2,3,1,2,10\n",
            "X.csv:3: date: 2020-01-01T00:00:00 comes after 2020-01-02T00:00:00; sort the bars by date, oldest first",
        ),
        ("2020-01-03,x,3,1,2,10\n", "X.csv:3: open: \"x\" is not a number"),
        ("2020-01-03,,3,1,2,10\n", "X.csv:3: open: \"\" is not a number"),
        ("2020-01-03,2,inf,1,2,10\n", "X.csv:3: high: inf is not a finite number"),
        ("2020-01-03,2,3,NaN,2,10\n", "X.csv:3: low: NaN is not a finite number"),
        ("2020-01-03,2,3,1,0,10\n", "X.csv:3: close: 0 is not a price above 0"),
        ("2020-01-03,-2,3,1,2,10\n", "X.csv:3: open: -2 is not a price above 0"),
        ("2020-01-03,2,3,1,2,-1\n", "X.csv:3: volume: -1 is below 0"),
        ("2020-01-03,2,3,4,2,10\n", "X.csv:3: high: 3 is below the low, 4"),
        ("2020-01-03,4,3,1,2,10\n", "X.csv:3: high: 3 is below the open, 4"),
        ("2020-01-03,2,3,1,4,10\n", "X.csv:3: high: 3 is below the close, 4"),
        ("2020-01-03,2,5,3,4,10\n", "X.csv:3: low: 3 is above the open, 2"),
        ("2020-01-03,4,5,3,2,10\n", "X.csv:3: low: 3 is above the close, 2"),
    ];
    for (row, expected) in cases {
        assert_eq!(refusal(&format!("{good}{row}")), expected);
    }
}

#[test]
fn lines_are_counted_as_an_editor_does() {
    let lines = ["", "date,open,high,low,close,volume", "", "2020-01-02,2,3,1,2,10", "  ", "2020-01-03,x,3,1,2,10"];
    for ending in ["\n", "\r\n"] {
        let text = lines.join(ending);
        for text in [text.clone(), text.clone() + ending, text + ending + ending] {
            assert_eq!(read(&text).unwrap_err(), "X.csv:6: open: \"x\" is not a number");
        }
    }
}

#[test]
fn refuses_bytes_that_are_not_utf8() {
    let error = Bars::read_csv(&b"d\xe4te,open,high,low,close,volume\n"[..], "X.csv").unwrap_err();
    assert_eq!((error.line, error.fault), (Some(1), Fault::NotUtf8));
    let mut text = HEADER.as_bytes().to_vec();
    text.extend(b"2020-01-02,2,3,1,\xff,10\n");
    let error = Bars::read_csv(&text[..], "X.csv").unwrap_err();
    assert_eq!((error.line, error.field.as_deref(), error.fault), (Some(2), Some("close"), Fault::NotUtf8));
    let utf16: Vec<u8> = HEADER.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(Bars::read_csv(&utf16[..], "X.csv").is_err());
}

#[test]
fn a_line_without_end_stops_early() {
    /// Counts what was taken from it.
    struct Endless<'a>(&'a mut usize);
    impl Read for Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(b'1');
            *self.0 += buffer.len();
            Ok(buffer.len())
        }
    }
    for start in [HEADER.to_owned(), format!("{HEADER}2020-01-02,\"")] {
        let mut taken = 0;
        let error = Bars::read_csv(start.as_bytes().chain(Endless(&mut taken)), "X.csv").unwrap_err();
        assert!(matches!(error.fault, Fault::LineTooLong { .. }), "{error}");
        assert_eq!(error.line, Some(2));
        assert!(taken < 1 << 20, "took {taken} bytes");
    }
}

#[test]
fn a_reader_that_fails_is_told_from_bad_bars() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let error = Bars::read_csv(Failing, "X.csv").unwrap_err();
    assert!(error.is_read_failure());
    assert_eq!(error.to_string(), "X.csv: cannot be read: the disk is gone");
}

#[test]
fn between_includes_both_dates() {
    let spy = sample("SPY");
    let year = spy.between(Some(date(2020, 1, 1)), Some(date(2020, 12, 31)));
    assert_eq!((year.date_label(0), year.date_label(year.len() - 1)), ("2020-01-02".into(), "2020-12-31".into()));
    let one = spy.between(Some(date(2020, 12, 31)), Some(date(2020, 12, 31)));
    assert_eq!(one.len(), 1);
    assert!(spy.between(Some(date(2021, 1, 1)), Some(date(2020, 1, 1))).is_empty());
    assert_eq!(spy.between(None, None), spy);
}

#[test]
fn reading_between_dates_is_reading_and_then_cutting() {
    let path = format!("{}/../data/sample/SPY.csv", env!("CARGO_MANIFEST_DIR"));
    let read = |from, to, most_bytes| Bars::read_csv_between(File::open(&path).unwrap(), "SPY", from, to, most_bytes);
    let spy = sample("SPY");
    let days = [None, Some(date(1990, 1, 1)), Some(date(1998, 1, 2)), Some(date(2020, 2, 29)), Some(date(2030, 1, 1))];
    for from in days {
        for to in days {
            let cut = spy.between(from, to);
            let bytes = cut.size_bytes() as u64;
            assert_eq!(read(from, to, bytes).unwrap(), cut, "{from:?} to {to:?}");
            if !cut.is_empty() {
                let error = read(from, to, bytes - 1).unwrap_err();
                assert_eq!(error.fault, Fault::TooLarge { bytes, limit: bytes - 1 }, "{from:?} to {to:?}");
            }
        }
    }
}

#[test]
fn rows_outside_of_the_dates_are_validated_all_the_same() {
    let good = "2020-01-02,1,3,1,2,5\n2020-01-03,1,3,1,2,5\n2020-01-06,1,3,1,2,5\n";
    let between = |rows: &str| {
        let (text, day) = (format!("{HEADER}{rows}"), Some(date(2020, 1, 3)));
        Bars::read_csv_between(text.as_bytes(), "X.csv", day, day, 1 << 20).map_err(|error| error.to_string())
    };
    assert_eq!(between(good).unwrap().len(), 1);
    for (rows, place) in [
        (good.replacen("1,3,1", "1,3,x", 1), "X.csv:2: low"),
        (good.replacen("06,1,3", "06,1,0", 1), "X.csv:4: high"),
        (good.replacen("2020-01-06", "2019-12-31", 1), "X.csv:4: date: 2019-12-31"),
        (good.replacen("2020-01-06", "2020-01-03", 1), "X.csv:4: date: a second bar"),
    ] {
        let told = between(&rows).unwrap_err();
        assert!(told.starts_with(place), "{told}");
        assert_eq!(told, refusal(&rows), "as of the whole file");
    }
}

#[test]
fn a_digest_is_that_of_the_bars_and_not_of_the_file() {
    let plain = format!("{HEADER}2020-01-02,2,3,1,2,10\n2020-01-03,2,3,1,2,0\n");
    let other = "Date,Volume,Open,High,Low,Close\n2020-01-02 00:00:00,10.0,2.0,3e0,1,2\n2020-01-03,-0,2,3,1,2\n";
    let digest = read(&plain).unwrap().digest();
    assert_eq!(read(other).unwrap().digest(), digest);
    // Computed from the documented layout with another language's struct packing and SHA-256.
    assert_eq!(digest, "78cb4535ae8e5a40bd246bcd869f78f2ba591ec7d846bfb83bc555b505d1fd14");
    let spy = sample("SPY");
    assert_ne!(spy.digest(), spy.between(Some(date(1998, 1, 5)), None).digest());
}

#[test]
fn columns_are_validated_too() {
    let good = BarsColumns {
        timestamps: vec![0, 1],
        open: vec![2.0, 2.0],
        high: vec![3.0, 3.0],
        low: vec![1.0, 1.0],
        close: vec![2.0, 2.0],
        volume: vec![0.0, 0.0],
    };
    assert!(Bars::from_columns(good.clone(), "X").is_ok());
    let short = BarsColumns { low: vec![1.0], ..good.clone() };
    assert_eq!(Bars::from_columns(short, "X").unwrap_err().to_string(), "X: low: 1 values, but there are 2 timestamps");
    let wrong = BarsColumns { low: vec![1.0, 9.0], ..good.clone() };
    assert_eq!(Bars::from_columns(wrong, "X").unwrap_err().to_string(), "X:2: high: 3 is below the low, 9");
    let late = BarsColumns { timestamps: vec![0, i64::MAX], ..good };
    assert!(matches!(Bars::from_columns(late, "X").unwrap_err().fault, Fault::OutsideCalendar(_)));
    assert_eq!(Bars::from_columns(BarsColumns::default(), "X").unwrap_err().fault, Fault::NoBars);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), with_header in any::<bool>()) {
        let start = if with_header { HEADER } else { "" };
        let _ = Bars::read_csv(start.as_bytes().chain(&bytes[..]), "X.csv");
    }

    #[test]
    fn no_row_makes_the_reader_panic(row in "[0-9T:.,Z +\"-]{0,60}") {
        let _ = read(&format!("{HEADER}{row}\n"));
    }
}
