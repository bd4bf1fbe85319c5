//! A value over two axes: a metric over two parameters, correlations of runs.

use crate::scale::{extent, short};
use crate::svg::{Anchor, FAINT, GRID, INK, Svg};

/// Longest side of a cell, in pixels.
const LARGEST_CELL: f64 = 56.0;
/// Shortest side.
const SMALLEST_CELL: f64 = 6.0;
/// The plot aims at this width, in pixels.
const PLOT: f64 = 640.0;
/// From this side on a cell has room for its value.
const CELL_WITH_TEXT: f64 = 34.0;
/// From this side on every row and column has room for its label.
const CELL_WITH_LABEL: f64 = 12.0;
/// Steps of the legend.
const LEGEND_STEPS: usize = 64;

/// What colours say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Colours {
    /// From low to high over the values there are.
    Sequential,
    /// Red below, white at, blue above 0, up to this size.
    Around0(f64),
}

/// Values over two axes.
#[derive(Debug, Clone)]
pub struct Heatmap<'a> {
    /// Above the chart.
    pub title: &'a str,
    /// Below the title, smaller.
    pub subtitle: &'a str,
    /// Name of the axis of columns.
    pub x_name: &'a str,
    /// Name of the axis of rows.
    pub y_name: &'a str,
    /// Label of each column.
    pub x: &'a [String],
    /// Label of each row, from the top.
    pub y: &'a [String],
    /// Row after row; what is absent stays grey.
    pub values: &'a [Option<f64>],
    /// What colours say.
    pub colours: Colours,
}

impl Heatmap<'_> {
    /// The chart as an SVG document.
    pub fn svg(&self) -> String {
        let columns = self.x.len().max(1);
        let cell = (PLOT / columns as f64).clamp(SMALLEST_CELL, LARGEST_CELL);
        let widest = |labels: &[String]| labels.iter().map(|label| label.chars().count()).max().unwrap_or(0) as f64;
        let (left, bottom) = (40.0 + widest(self.y) * 6.5, 44.0 + widest(self.x) * 6.5);
        let (top, right) = (64.0, 96.0);
        let (plot_width, plot_height) = (cell * columns as f64, cell * self.y.len().max(1) as f64);
        let title_width = 8.5 * self.title.chars().count().max(self.subtitle.chars().count()) as f64 + left;
        let width = (left + plot_width + right).max(title_width).max(360.0).ceil();
        let height = (top + plot_height + bottom).ceil();
        let mut svg = Svg::new(width, height, self.title);
        svg.title(left, 26.0, self.title);
        svg.label(left, 45.0, Anchor::Start, 12.0, FAINT, self.subtitle);

        let palette = Palette::new(self.colours, self.values);
        for (row, y_label) in self.y.iter().enumerate() {
            for (column, x_label) in self.x.iter().enumerate() {
                let value = self.values.get(row * self.x.len() + column).copied().flatten().filter(|v| v.is_finite());
                let at = (left + cell * column as f64, top + cell * row as f64);
                let said = value.map_or("none".to_owned(), |value| format!("{value:.4}"));
                let tip = format!("{} {x_label}, {} {y_label}: {said}", self.x_name, self.y_name);
                let colour = value.map_or_else(|| GRID.to_owned(), |value| palette.colour(value));
                svg.cell(at, (cell - 1.0, cell - 1.0), &colour, tip.trim());
                if let (Some(value), true) = (value, cell >= CELL_WITH_TEXT) {
                    let middle = (at.0 + cell / 2.0, at.1 + cell / 2.0 + 4.0);
                    svg.label(middle.0, middle.1, Anchor::Middle, 10.5, palette.ink(value), &short(value));
                }
            }
        }
        // Labels that would overlap are left out, evenly.
        let every = (CELL_WITH_LABEL / cell).ceil().max(1.0) as usize;
        for (row, label) in self.y.iter().enumerate().step_by(every) {
            svg.label(left - 6.0, top + cell * (row as f64 + 0.5) + 4.0, Anchor::End, 11.0, FAINT, label);
        }
        for (column, label) in self.x.iter().enumerate().step_by(every) {
            let at = (left + cell * (column as f64 + 0.5) + 4.0, top + plot_height + 6.0);
            svg.upward_label(at.0, at.1, Anchor::End, 11.0, label);
        }
        svg.label(left + plot_width / 2.0, height - 10.0, Anchor::Middle, 12.0, INK, self.x_name);
        svg.upward_label(16.0, top + plot_height / 2.0, Anchor::Middle, 12.0, self.y_name);
        legend(&mut svg, &palette, (left + plot_width + 18.0, top), plot_height.clamp(60.0, 240.0));
        svg.finish()
    }
}

fn legend(svg: &mut Svg, palette: &Palette, (x, y): (f64, f64), height: f64) {
    let step = height / LEGEND_STEPS as f64;
    for index in 0..LEGEND_STEPS {
        let share = 1.0 - (index as f64 + 0.5) / LEGEND_STEPS as f64;
        let value = palette.low + share * (palette.high - palette.low);
        svg.cell((x, y + step * index as f64), (14.0, step + 0.5), &palette.colour(value), &short(value));
    }
    svg.label(x + 20.0, y + 10.0, Anchor::Start, 11.0, FAINT, &short(palette.high));
    svg.label(x + 20.0, y + height, Anchor::Start, 11.0, FAINT, &short(palette.low));
}

/// From values to colours.
struct Palette {
    stops: &'static [(u8, u8, u8)],
    low: f64,
    high: f64,
}

/// From dark to bright, told apart by the colour-blind too (viridis).
const VIRIDIS: [(u8, u8, u8); 5] = [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)];
/// Red, white, blue.
const RED_TO_BLUE: [(u8, u8, u8); 5] =
    [(178, 24, 43), (239, 138, 98), (247, 247, 247), (103, 169, 207), (33, 102, 172)];

impl Palette {
    fn new(colours: Colours, values: &[Option<f64>]) -> Self {
        match colours {
            Colours::Sequential => {
                let (low, high) = extent(values.iter().flatten().copied()).unwrap_or((0.0, 1.0));
                Self { stops: &VIRIDIS, low, high }
            }
            Colours::Around0(size) => Self { stops: &RED_TO_BLUE, low: -size, high: size },
        }
    }

    fn rgb(&self, value: f64) -> [f64; 3] {
        let span = self.high - self.low;
        let share = if span > 0.0 { ((value - self.low) / span).clamp(0.0, 1.0) } else { 0.5 };
        let place = share * (self.stops.len() - 1) as f64;
        let below = (place.floor() as usize).min(self.stops.len() - 2);
        let part = place - below as f64;
        let (from, to) = (self.stops[below], self.stops[below + 1]);
        let mix = |from: u8, to: u8| f64::from(from) + part * (f64::from(to) - f64::from(from));
        [mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2)]
    }

    fn colour(&self, value: f64) -> String {
        let [red, green, blue] = self.rgb(value).map(|part| part.round() as u8);
        format!("#{red:02x}{green:02x}{blue:02x}")
    }

    /// A colour that reads on that of the value.
    fn ink(&self, value: f64) -> &'static str {
        let [red, green, blue] = self.rgb(value);
        // Luma of Rec. 601.
        if 0.299 * red + 0.587 * green + 0.114 * blue > 140.0 { INK } else { "#ffffff" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("{}", index * 5)).collect()
    }

    fn heatmap(count: usize, values: &[Option<f64>], colours: Colours) -> String {
        let (x, y) = (labels(count), labels(count));
        let (title, subtitle) = ("sma_cross", "median sharpe");
        Heatmap { title, subtitle, x_name: "fast", y_name: "slow", x: &x, y: &y, values, colours }.svg()
    }

    #[test]
    fn cells_say_their_value_and_what_is_absent_is_grey() {
        let svg = heatmap(2, &[Some(0.5), None, Some(1.5), Some(f64::NAN)], Colours::Sequential);
        assert!(svg.contains("<title>fast 0, slow 5: 1.5000</title>"), "{svg}");
        assert_eq!(svg.matches(": none</title>").count(), 2);
        assert!(svg.contains("#440154") && svg.contains("#fde725"), "lowest and highest colours");
        assert!(!svg.contains("NaN"));
        assert!(heatmap(0, &[], Colours::Sequential).ends_with("</svg>\n"));
    }

    #[test]
    fn large_ones_stay_of_a_size_and_leave_labels_out() {
        let values = vec![Some(0.1); 100 * 100];
        let svg = heatmap(100, &values, Colours::Around0(1.0));
        let width: f64 = svg.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        assert!(width < 900.0, "{width}");
        assert!(svg.matches("text-anchor=\"end\"").count() < 120);
        let same = heatmap(1, &[Some(3.0)], Colours::Sequential);
        assert!(same.contains("<title>fast 0, slow 0: 3.0000</title>"));
    }
}
