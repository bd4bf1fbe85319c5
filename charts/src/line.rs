//! A value over time: equity, drawdown.

use crate::scale::{Scale, extent, short};
use crate::svg::{Anchor, FAINT, GRID, Svg};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 360.0;
/// Around the plot, in pixels: top, right, bottom, left.
const MARGINS: (f64, f64, f64, f64) = (58.0, 24.0, 36.0, 66.0);
/// Columns of pixels of the plot: of more points only what can be seen is drawn.
const COLUMNS: usize = 800;
/// Labels of the axes, about.
const TICKS: usize = 6;

/// What lies between the line and an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Nothing.
    None,
    /// Colour up to the line of 0 at the top: depths.
    FromTop,
}

/// One value over time.
#[derive(Debug, Clone)]
pub struct LineChart<'a> {
    /// Above the chart.
    pub title: &'a str,
    /// Below the title, smaller.
    pub subtitle: &'a str,
    /// Date of each point.
    pub dates: &'a [String],
    /// Value of each point; one that is not finite is a gap.
    pub values: &'a [f64],
    /// Colour of the line, as SVG writes it.
    pub colour: &'a str,
    /// What is filled.
    pub fill: Fill,
    /// Whether values are fractions, shown as percentages.
    pub percent: bool,
}

impl LineChart<'_> {
    /// The chart as an SVG document.
    pub fn svg(&self) -> String {
        let (top, right, bottom, left) = MARGINS;
        let mut svg = Svg::new(WIDTH, HEIGHT, self.title);
        svg.title(left, 26.0, self.title);
        svg.label(left, 45.0, Anchor::Start, 12.0, FAINT, self.subtitle);
        let count = self.values.len().min(self.dates.len());
        let Some((low, high)) = extent(self.values[..count].iter().copied()) else {
            svg.label(WIDTH / 2.0, HEIGHT / 2.0, Anchor::Middle, 14.0, FAINT, "no values");
            return svg.finish();
        };
        let high = if self.fill == Fill::FromTop { high.max(0.0) } else { high };
        let y = Scale::new((low, high), (HEIGHT - bottom, top));
        let x = Scale::new((0.0, (count - 1) as f64), (left, WIDTH - right));
        for tick in y.ticks(TICKS) {
            let at = y.at(tick);
            svg.line((left, at), (WIDTH - right, at), GRID);
            let text = if self.percent { format!("{}%", short(tick * 100.0)) } else { short(tick) };
            svg.label(left - 8.0, at + 4.0, Anchor::End, 11.0, FAINT, &text);
        }
        for index in date_ticks(count) {
            let at = x.at(index as f64);
            svg.line((at, HEIGHT - bottom), (at, HEIGHT - bottom + 5.0), FAINT);
            let date: String = self.dates[index].chars().take("2024-01-02".len()).collect();
            // The last one would stick out at the right.
            let anchor = if index + 1 == count && count > 1 { Anchor::End } else { Anchor::Middle };
            svg.label(at, HEIGHT - bottom + 20.0, anchor, 11.0, FAINT, &date);
        }
        svg.line((left, HEIGHT - bottom), (WIDTH - right, HEIGHT - bottom), FAINT);
        for piece in pieces(&self.values[..count]) {
            let points: Vec<(f64, f64)> = piece.iter().map(|(t, value)| (x.at(*t as f64), y.at(*value))).collect();
            if let (Fill::FromTop, Some(first), Some(last)) = (self.fill, points.first(), points.last()) {
                let zero = y.at(0.0);
                let mut outline = vec![(first.0, zero)];
                outline.extend(&points);
                outline.push((last.0, zero));
                svg.polygon(&outline, self.colour, 0.25);
            }
            svg.polyline(&points, self.colour);
        }
        svg.finish()
    }
}

/// How far each value is below the highest one before it, or `initial`: `value / running maximum - 1`.
pub fn drawdown(equity: &[f64], initial: f64) -> Vec<f64> {
    let mut highest = initial;
    let below = |value: &f64| {
        highest = highest.max(*value);
        if highest > 0.0 { value / highest - 1.0 } else { 0.0 }
    };
    equity.iter().map(below).collect()
}

/// Points of an axis that get a date: the first, the last, some between.
fn date_ticks(count: usize) -> Vec<usize> {
    let mut ticks: Vec<usize> = (0..TICKS).map(|tick| tick * (count - 1) / (TICKS - 1)).collect();
    ticks.dedup();
    ticks
}

/// Lines without gaps. Of many points in one column of pixels those that show: first, lowest, highest, last.
fn pieces(values: &[f64]) -> Vec<Vec<(usize, f64)>> {
    let mut pieces = vec![Vec::new()];
    let per_column = values.len().div_ceil(COLUMNS).max(1);
    for (column, chunk) in values.chunks(per_column).enumerate() {
        let start = column * per_column;
        let shown = |t: &usize| -> bool {
            let value = chunk[*t];
            if !value.is_finite() || chunk.len() <= 4 {
                return true;
            }
            let first_at = |wanted: f64| chunk.iter().position(|value| *value == wanted) == Some(*t);
            let (low, high) = extent(chunk.iter().copied()).unwrap_or((value, value));
            *t == 0 || *t + 1 == chunk.len() || first_at(low) || first_at(high)
        };
        for t in (0..chunk.len()).filter(shown) {
            match chunk[t].is_finite() {
                true => pieces.last_mut().expect("there is always one").push((start + t, chunk[t])),
                false => pieces.push(Vec::new()),
            }
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[f64]) -> String {
        let dates: Vec<String> = (0..values.len()).map(|t| format!("2024-01-{:02}", t + 1)).collect();
        let fill = Fill::FromTop;
        let (title, subtitle, colour) = ("Drawdown", "AAPL", "#c81e1e");
        LineChart { title, subtitle, dates: &dates, values, colour, fill, percent: true }.svg()
    }

    #[test]
    fn drawdowns_start_from_the_initial_cash() {
        assert_eq!(drawdown(&[75.0, 120.0, 60.0, 120.0], 100.0), [-0.25, 0.0, -0.5, 0.0]);
        assert_eq!(drawdown(&[], 100.0), [0.0; 0]);
        assert_eq!(drawdown(&[0.0], 0.0), [0.0]);
    }

    #[test]
    fn charts_show_dates_percentages_and_gaps() {
        let svg = chart(&[0.0, -0.5, f64::NAN, -0.25]);
        assert!(svg.contains(">2024-01-01</text>") && svg.contains(">2024-01-04</text>"), "{svg}");
        assert!(svg.contains(">-50%</text>"), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 2, "a gap parts the line");
        assert!(!svg.contains("NaN"), "{svg}");
        assert!(chart(&[]).contains("no values"));
        assert!(chart(&[0.0]).contains("<polyline"));
    }

    #[test]
    fn long_series_keep_their_extremes() {
        let mut values = vec![1.0; 200_000];
        values[123_456] = 9.0;
        values[150_001] = -9.0;
        let drawn: Vec<f64> = pieces(&values).concat().into_iter().map(|(_, value)| value).collect();
        assert!(drawn.len() <= 4 * COLUMNS, "{}", drawn.len());
        assert!(drawn.contains(&9.0) && drawn.contains(&-9.0));
    }
}
