//! A few elements of SVG.

use std::fmt::{Display, Write};

/// Family of every text: whatever the viewer has.
const FONT: &str = "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif";

/// Colour of texts.
pub(crate) const INK: &str = "#1f2933";
/// Colour of axes and their labels.
pub(crate) const FAINT: &str = "#616e7c";
/// Colour of grid lines.
pub(crate) const GRID: &str = "#e4e7eb";

/// A document in the making.
#[derive(Debug)]
pub(crate) struct Svg {
    text: String,
}

/// Where a text lies relative to its point.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// An empty white document, in pixels.
    pub(crate) fn new(width: f64, height: f64, title: &str) -> Self {
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
             {height}\" font-family=\"{FONT}\" role=\"img\">\n"
        );
        add(&mut text, format_args!("<title>{}</title>\n", escaped(title)));
        add(&mut text, format_args!("<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"));
        Self { text }
    }

    pub(crate) fn title(&mut self, x: f64, y: f64, text: &str) {
        let text = escaped(text);
        let font = "font-size=\"16\" font-weight=\"600\"";
        add(&mut self.text, format_args!("<text x=\"{x}\" y=\"{y}\" {font} fill=\"{INK}\">{text}</text>\n"));
    }

    pub(crate) fn label(&mut self, x: f64, y: f64, anchor: Anchor, size: f64, colour: &str, text: &str) {
        let anchor = anchor.word();
        let (x, y, text) = (px(x), px(y), escaped(text));
        let element = format_args!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>\n"
        );
        add(&mut self.text, element);
    }

    /// A text that reads upwards.
    pub(crate) fn upward_label(&mut self, x: f64, y: f64, anchor: Anchor, size: f64, text: &str) {
        let anchor = anchor.word();
        let (x, y, text) = (px(x), px(y), escaped(text));
        let element = format_args!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{FAINT}\" \
             transform=\"rotate(-90 {x} {y})\">{text}</text>\n"
        );
        add(&mut self.text, element);
    }

    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        let ((x1, y1), (x2, y2)) = ((px(from.0), px(from.1)), (px(to.0), px(to.1)));
        let element = format_args!("<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"{colour}\"/>\n");
        add(&mut self.text, element);
    }

    pub(crate) fn polyline(&mut self, points: &[(f64, f64)], colour: &str) {
        let points = joined(points);
        let stroke = format_args!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\" stroke-linejoin=\"round\"");
        add(&mut self.text, format_args!("<polyline points=\"{points}\" {stroke}/>\n"));
    }

    pub(crate) fn polygon(&mut self, points: &[(f64, f64)], colour: &str, opacity: f64) {
        let points = joined(points);
        add(
            &mut self.text,
            format_args!("<polygon points=\"{points}\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>\n"),
        );
    }

    /// A filled rectangle; `tip` is what a pointer over it shows.
    pub(crate) fn cell(&mut self, at: (f64, f64), size: (f64, f64), colour: &str, tip: &str) {
        let (x, y, width, height) = (px(at.0), px(at.1), px(size.0), px(size.1));
        let place = format_args!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"");
        let tip = escaped(tip);
        add(&mut self.text, format_args!("<rect {place} fill=\"{colour}\"><title>{tip}</title></rect>\n"));
    }

    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

impl Anchor {
    fn word(self) -> &'static str {
        match self {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        }
    }
}

fn add(text: &mut String, element: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(element);
}

/// A coordinate with as many digits as can be seen.
fn px(value: f64) -> impl Display {
    (value * 100.0).round() / 100.0
}

fn joined(points: &[(f64, f64)]) -> String {
    let mut text = String::with_capacity(points.len() * 14);
    for (x, y) in points {
        let space = if text.is_empty() { "" } else { " " };
        add(&mut text, format_args!("{space}{},{}", px(*x), px(*y)));
    }
    text
}

fn escaped(text: &str) -> String {
    // Control characters are no XML, escaped or not.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_break_out() {
        let mut svg = Svg::new(10.0, 10.0, "a<b>&\"\u{7}");
        svg.label(1.0, 2.0, Anchor::End, 9.0, INK, "</text><script>");
        let text = svg.finish();
        assert!(text.contains("<title>a&lt;b&gt;&amp;&quot; </title>"), "{text}");
        assert!(!text.contains("<script"), "{text}");
    }
}
