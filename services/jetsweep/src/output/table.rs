//! Tables for people.

use std::fmt;

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Width, presets};

use super::look::Look;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Characters below which a terminal has no room for blanks on both sides of a cell.
const NARROW: u16 = 100;

/// Characters of the longest word that is never broken: paths and digests go far beyond.
const LONGEST_WHOLE: usize = 24;

/// A table with a header. Cells may break over lines on a narrow terminal, between words, and are never cut elsewhere.
pub(crate) struct Table {
    table: comfy_table::Table,
    columns: Vec<Align>,
    /// Characters of the longest word of each column.
    longest: Vec<usize>,
    /// Blanks before and after the text of a cell.
    padding: (u16, u16),
    look: Look,
}

impl Table {
    /// A table of these columns.
    pub(crate) fn new<'a>(look: Look, columns: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let (names, columns): (Vec<&str>, Vec<Align>) = columns.into_iter().unzip();
        let mut table = comfy_table::Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
        // The look decides about width and colours, so that output is the same under test and in a pipe.
        table.force_no_tty();
        if let Some(width) = look.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        if look.colour {
            table.enforce_styling();
        }
        let header = names.iter().zip(&columns).map(|(name, align)| {
            let cell = cell(name, *align);
            if look.colour { cell.add_attribute(comfy_table::Attribute::Bold) } else { cell }
        });
        table.set_header(header.collect::<Vec<_>>());
        let padding = if look.width.is_some_and(|width| width < NARROW) { (0, 1) } else { (1, 1) };
        table.column_iter_mut().for_each(|column| {
            column.set_padding(padding);
        });
        let mut table = Self { table, longest: vec![0; columns.len()], padding, columns, look };
        table.keep_words_whole(&names);
        table
    }

    /// Adds a row: one text a column.
    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let texts: Vec<S> = cells.into_iter().collect();
        let cells = texts.iter().zip(&self.columns).map(|(text, align)| cell(text.as_ref(), *align));
        self.table.add_row(cells.collect::<Vec<_>>());
        self.keep_words_whole(&texts);
        self
    }

    /// Makes each column wide enough for its longest word.
    fn keep_words_whole<S: AsRef<str>>(&mut self, cells: &[S]) {
        for (index, text) in cells.iter().enumerate().take(self.columns.len()) {
            let words = text.as_ref().split_whitespace();
            let longest = words.map(|word| word.chars().count()).max().unwrap_or_default().min(LONGEST_WHOLE);
            if longest <= self.longest[index] {
                continue;
            }
            self.longest[index] = longest;
            let padding = self.padding.0 + self.padding.1;
            let width = u16::try_from(longest).unwrap_or(u16::MAX).saturating_add(padding);
            if let Some(column) = self.table.column_mut(index) {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
            }
        }
    }
}

fn cell(text: &str, align: Align) -> Cell {
    Cell::new(printable(text)).set_alignment(match align {
        Align::Left => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    })
}

/// Text without characters that could move the cursor or colour the rest of the terminal: cells may hold what others
/// wrote.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.look.width.is_some() {
            return write!(f, "{}", self.table);
        }
        f.write_str(&self.table.trim_fmt())
    }
}
