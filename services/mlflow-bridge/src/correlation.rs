//! How the daily returns of runs go together: Pearson's correlation, pair by pair over the days both have.

use bytes::Bytes;
use jetsweep_charts::{Colours, Heatmap};
use jetsweep_shared::events::ReplayReply;
use jiff::civil::Date;

/// Runs whose names a chart has room for.
const MOST_CHARTED: usize = 40;
/// Days two runs must share.
const FEWEST_DAYS: usize = 20;

/// A run's return of each day.
#[derive(Debug, Clone)]
pub(crate) struct DailyReturns {
    /// `#17 AAPL sma_cross`.
    pub(crate) name: String,
    days: Vec<(Date, f64)>,
}

impl DailyReturns {
    /// Those of a run in full: from the last equity of a day to that of the next.
    pub(crate) fn new(name: String, replay: &ReplayReply) -> Self {
        let mut closes: Vec<(Date, f64)> = Vec::new();
        for (label, equity) in replay.dates.iter().zip(&replay.equity) {
            // `2024-01-02`, or `2024-01-02T09:30:00`.
            let Some(date) = label.get(..10).and_then(|date| date.parse::<Date>().ok()) else { continue };
            match closes.last_mut() {
                Some((last, close)) if *last == date => *close = *equity,
                _ => closes.push((date, *equity)),
            }
        }
        let returns =
            closes.windows(2).filter(|pair| pair[0].1 > 0.0).map(|pair| (pair[1].0, pair[1].1 / pair[0].1 - 1.0));
        Self { name, days: returns.collect() }
    }
}

/// Correlations, row after row; absent where two runs share too few days or one of them never moves.
pub(crate) fn matrix(runs: &[DailyReturns]) -> Vec<Option<f64>> {
    let size = runs.len();
    let mut values = vec![None; size * size];
    for row in 0..size {
        for column in row..size {
            let value = correlation(&runs[row].days, &runs[column].days);
            values[row * size + column] = value;
            values[column * size + row] = value;
        }
    }
    values
}

fn correlation(a: &[(Date, f64)], b: &[(Date, f64)]) -> Option<f64> {
    let mut pairs = Vec::with_capacity(a.len().min(b.len()));
    let (mut i, mut j) = (0, 0);
    while let (Some((day_a, x)), Some((day_b, y))) = (a.get(i), b.get(j)) {
        match day_a.cmp(day_b) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                pairs.push((*x, *y));
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    if pairs.len() < FEWEST_DAYS {
        return None;
    }
    let count = pairs.len() as f64;
    let mean_x = pairs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = pairs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in &pairs {
        let (x, y) = (x - mean_x, y - mean_y);
        (xx, yy, xy) = (xx + x * x, yy + y * y, xy + x * y);
    }
    let value = xy / (xx * yy).sqrt();
    value.is_finite().then(|| value.clamp(-1.0, 1.0))
}

/// The matrix as a table: a row and a column a run.
pub(crate) fn csv(runs: &[DailyReturns], values: &[Option<f64>]) -> Bytes {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let header = std::iter::once("run").chain(runs.iter().map(|run| run.name.as_str()));
    // Memory takes everything, and every row is as long as the header.
    csv.write_record(header).expect("a header is a row");
    for (run, values) in runs.iter().zip(values.chunks(runs.len().max(1))) {
        let values = values.iter().map(|value| value.map_or(String::new(), |value| value.to_string()));
        csv.write_record(std::iter::once(run.name.clone()).chain(values)).expect("a run is a row");
    }
    csv.into_inner().expect("memory takes everything").into()
}

/// The matrix as a chart, of as many of the best as are readable.
pub(crate) fn chart(runs: &[DailyReturns], values: &[Option<f64>]) -> String {
    let shown = runs.len().min(MOST_CHARTED);
    let names: Vec<String> = runs[..shown].iter().map(|run| run.name.clone()).collect();
    let rows = values.chunks(runs.len().max(1)).take(shown);
    let values: Vec<Option<f64>> = rows.flat_map(|row| row[..shown].iter().copied()).collect();
    let subtitle = match shown < runs.len() {
        true => format!("the {shown} best of the {} runs in correlation.csv, the best first", runs.len()),
        false => format!("the {shown} best runs that are logged, the best first"),
    };
    Heatmap {
        title: "Correlation of daily returns",
        subtitle: &subtitle,
        x_name: "",
        y_name: "",
        x: &names,
        y: &names,
        values: &values,
        colours: Colours::Around0(1.0),
    }
    .svg()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(values: impl Iterator<Item = f64>, from: &str) -> Vec<(Date, f64)> {
        let from: Date = from.parse().unwrap();
        values
            .enumerate()
            .map(|(day, value)| (from.checked_add(jiff::Span::new().days(day as i64)).unwrap(), value))
            .collect()
    }

    #[test]
    fn correlations_are_over_shared_days() {
        let a = days((0..60).map(|t| f64::from(t % 7)), "2024-01-01");
        let opposite: Vec<_> = a.iter().map(|(day, value)| (*day, -3.0 * value)).collect();
        assert!((correlation(&a, &a).unwrap() - 1.0).abs() < 1e-12);
        assert!((correlation(&a, &opposite[10..]).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(correlation(&a, &days((0..60).map(|_| 0.5), "2024-01-01")), None, "one never moves");
        assert_eq!(correlation(&a, &days((0..60).map(f64::from), "2030-01-01")), None, "no shared day");
    }

    #[test]
    fn tables_and_charts_have_a_row_a_run() {
        let runs: Vec<DailyReturns> = (0..45)
            .map(|run| DailyReturns {
                name: format!("#{run} AAPL x"),
                days: days((0..40).map(|t| f64::from((t * (run + 2)) % 11)), "2024-01-01"),
            })
            .collect();
        let values = matrix(&runs);
        let csv = csv(&runs, &values);
        let csv = std::str::from_utf8(&csv).unwrap();
        assert_eq!(csv.lines().count(), 46);
        assert!(csv.lines().all(|line| line.split(',').count() == 46));
        let chart = chart(&runs, &values);
        assert!(chart.contains("the 40 best of the 45 runs") && !chart.contains(">#40 AAPL x<"));
        assert!(super::csv(&[], &[]).starts_with(b"run"));
    }
}
