//! Timestamps: milliseconds since 1970-01-01T00:00:00, as written in the file, without any conversion of zones.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, date};
use jiff::tz::TimeZone;

const EPOCH: Date = date(1970, 1, 1);

/// Milliseconds of a timestamp as files write it: `2024-01-31`, or `2024-01-31T09:30:00` with `T` or a space, seconds
/// optional, then an optional fraction and an optional `Z` or offset (`+01:00`).
///
/// The clock is kept as written: an offset is accepted and not applied, since bars of one market belong to one clock.
/// Fractions are cut to milliseconds.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (day, clock) = text.split_at_checked("2024-01-31".len())?;
    let day = parse_date(day.as_bytes())?;
    let midnight = start_of(day);
    if clock.is_empty() {
        return Some(midnight);
    }
    let clock = clock.strip_prefix(['T', 't', ' '])?;
    Some(midnight + parse_clock(without_zone(clock))?)
}

/// Milliseconds at which a date starts.
pub(crate) fn start_of(day: Date) -> i64 {
    day.duration_since(EPOCH).as_secs() * 1000
}

/// Date and time of a timestamp; `None` outside the calendar (years -9999 to 9999).
pub(crate) fn civil(timestamp: i64) -> Option<DateTime> {
    Timestamp::from_millisecond(timestamp).ok().map(|at| TimeZone::UTC.to_datetime(at))
}

fn parse_date(text: &[u8]) -> Option<Date> {
    if text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&text[0..4])?, digits(&text[5..7])?, digits(&text[8..10])?);
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// `09:30:00.250` without its `Z` or `+01:00`.
fn without_zone(clock: &str) -> &str {
    if let Some(clock) = clock.strip_suffix(['Z', 'z']) {
        return clock;
    }
    match clock.rsplit_once(['+', '-']) {
        Some((clock, offset)) if is_offset(offset.as_bytes()) => clock,
        _ => clock,
    }
}

fn is_offset(text: &[u8]) -> bool {
    let two_digits = |at: usize| digits(&text[at..at + 2]).is_some();
    match text.len() {
        2 => two_digits(0),
        4 => two_digits(0) && two_digits(2),
        5 => two_digits(0) && text[2] == b':' && two_digits(3),
        _ => false,
    }
}

/// Milliseconds since midnight of `09:30`, `09:30:00` or `09:30:00.250`.
fn parse_clock(clock: &str) -> Option<i64> {
    let (whole, fraction) = match clock.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (clock, None),
    };
    let whole = whole.as_bytes();
    let has_seconds = whole.len() == "09:30:00".len();
    if !(has_seconds || whole.len() == "09:30".len()) || whole[2] != b':' || (has_seconds && whole[5] != b':') {
        return None;
    }
    let (hours, minutes) = (digits(&whole[0..2])?, digits(&whole[3..5])?);
    let seconds = if has_seconds { digits(&whole[6..8])? } else { 0 };
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let milliseconds = match fraction {
        Some(fraction) if has_seconds => parse_fraction(fraction.as_bytes())?,
        Some(_) => return None,
        None => 0,
    };
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds)
}

/// The first three digits of a fraction of a second, as milliseconds.
fn parse_fraction(text: &[u8]) -> Option<i64> {
    /// Picoseconds: finer than any clock behind bars.
    const LONGEST: usize = 12;
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    digits(text)?;
    let place = |index: usize| text.get(index).map_or(0, |digit| i64::from(digit - b'0'));
    Some(place(0) * 100 + place(1) * 10 + place(2))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates_and_clocks_as_written() {
        assert_eq!(parse("1970-01-02"), Some(86_400_000));
        assert_eq!(parse("1969-12-31"), Some(-86_400_000));
        let noon = parse("1970-01-01T12:00:00");
        assert_eq!(noon, Some(43_200_000));
        for same in ["1970-01-01 12:00:00", "1970-01-01T12:00", "1970-01-01T12:00:00Z", "1970-01-01 12:00:00-05:00"] {
            assert_eq!(parse(same), noon, "{same}");
        }
        assert_eq!(parse("1970-01-01T00:00:00.25"), Some(250));
        assert_eq!(parse("1970-01-01T00:00:00.123456789Z"), Some(123));
        assert_eq!(parse("1970-01-01T00:00:00.5+00:00"), Some(500));
    }

    #[test]
    fn refuses_what_is_no_date() {
        let wrong = [
            "",
            "1998",
            "1998-1-2",
            "1998-13-01",
            "1998-02-30",
            "0000-00-00",
            "01/02/1998",
            "1998-01-02x",
            "1998-01-02T",
            "1998-01-02T24:00:00",
            "1998-01-02T09:60:00",
            "1998-01-02T09:30:00.",
            "1998-01-02T09:30.5",
            "1998-01-02T9:30:00",
            "1998-01-02T09:30:00+1",
            "1998-01-0é",
            "19980102",
        ];
        for text in wrong {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn civil_is_the_way_back() {
        let at = parse("2021-03-31T09:30:00").unwrap();
        assert_eq!(civil(at).unwrap().to_string(), "2021-03-31T09:30:00");
        assert_eq!(civil(i64::MAX), None);
    }
}
