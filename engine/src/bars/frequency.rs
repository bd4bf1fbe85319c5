//! How many bars make a year.

use super::DAY_MS;

/// Trading days a year of exchanges that rest at weekends.
const WEEKDAYS_A_YEAR: f64 = 252.0;
/// Trading days a year of markets that never rest.
const DAYS_A_YEAR: f64 = 365.0;
const WEEKS_A_YEAR: f64 = 52.0;
const MONTHS_A_YEAR: f64 = 12.0;

/// Most days between daily bars: a long weekend.
const DAILY_GAP: f64 = 4.0;
/// Most days between weekly bars; monthly ones are at least 28 apart.
const WEEKLY_GAP: f64 = 20.0;

/// Bars a year, as documented at [`Bars::bars_per_year`](super::Bars::bars_per_year).
pub(super) fn bars_per_year(timestamps: &[i64]) -> f64 {
    let mut days: Vec<i64> = Vec::new();
    let mut bars_a_day: Vec<i64> = Vec::new();
    for day in timestamps.iter().map(|at| at.div_euclid(DAY_MS)) {
        if days.last() == Some(&day) {
            *bars_a_day.last_mut().expect("grows together with days") += 1;
        } else {
            days.push(day);
            bars_a_day.push(1);
        }
    }
    let mut gaps: Vec<i64> = days.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let dates_a_year = match median(&mut gaps) {
        Some(gap) if gap > WEEKLY_GAP => MONTHS_A_YEAR,
        Some(gap) if gap > DAILY_GAP => WEEKS_A_YEAR,
        _ if trades_at_weekends(&days) => DAYS_A_YEAR,
        _ => WEEKDAYS_A_YEAR,
    };
    dates_a_year * median(&mut bars_a_day).unwrap_or(1.0)
}

/// Whether Saturdays and Sundays both have bars at least half as often as every week having them would give.
///
/// A few special sessions at weekends, or the Sunday evening on which a week of currencies starts, do not make a
/// market of seven days.
fn trades_at_weekends(days: &[i64]) -> bool {
    /// 1970-01-01 was a Thursday, so the first Saturday is day 2.
    const SATURDAY: i64 = 2;
    const SUNDAY: i64 = 3;
    let count = |weekday: i64| days.iter().filter(|day| day.rem_euclid(7) == weekday).count();
    let rarer = count(SATURDAY).min(count(SUNDAY));
    rarer > 0 && rarer * 14 >= days.len()
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
fn median(values: &mut [i64]) -> Option<f64> {
    values.sort_unstable();
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some((lower + upper) as f64 / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(count: i64, keep: impl Fn(i64) -> bool) -> Vec<i64> {
        (0..count).filter(|day| keep(*day)).map(|day| day * DAY_MS).collect()
    }

    fn is_weekday(day: &i64) -> bool {
        !matches!(day.rem_euclid(7), 2 | 3)
    }

    #[test]
    fn daily_bars() {
        assert_eq!(bars_per_year(&days(1000, |day| is_weekday(&day))), 252.0);
        assert_eq!(bars_per_year(&days(1000, |_| true)), 365.0);
        assert_eq!(bars_per_year(&days(10, |_| true)), 365.0);
        assert_eq!(bars_per_year(&[]), 252.0);
        assert_eq!(bars_per_year(&[0]), 252.0);
    }

    #[test]
    fn a_few_sessions_at_weekends_do_not_make_seven_days() {
        assert_eq!(bars_per_year(&days(1000, |day| is_weekday(&day) || day % 100 == 2)), 252.0);
        let sundays_too = |day: i64| day.rem_euclid(7) != 2;
        assert_eq!(bars_per_year(&days(1000, sundays_too)), 252.0);
    }

    #[test]
    fn weekly_and_monthly_bars() {
        assert_eq!(bars_per_year(&days(1000, |day| day % 7 == 1)), 52.0);
        assert_eq!(bars_per_year(&days(3000, |day| day % 30 == 0)), 12.0);
    }

    #[test]
    fn bars_within_a_day() {
        let hours = [9, 10, 11, 12, 13, 14, 15];
        let hour = 60 * 60 * 1000;
        let weekdays = days(1000, |day| is_weekday(&day));
        let hourly: Vec<i64> = weekdays.iter().flat_map(|day| hours.map(|h| day + h * hour)).collect();
        assert_eq!(bars_per_year(&hourly), 252.0 * 7.0);
        let around_the_clock: Vec<i64> = (0..24 * 100).map(|h| h * hour).collect();
        assert_eq!(bars_per_year(&around_the_clock), 365.0 * 24.0);
    }
}
