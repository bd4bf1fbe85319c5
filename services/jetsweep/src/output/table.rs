//! Tables for people.

use std::fmt;

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, presets};

use super::look::Look;

/// Where a column's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table with a header. Cells may break over lines on a narrow terminal, and are never cut elsewhere.
pub(crate) struct Table {
    table: comfy_table::Table,
    columns: Vec<Align>,
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
        Self { table, columns, look }
    }

    /// Adds a row: one text a column.
    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let cells = cells.into_iter().zip(&self.columns).map(|(text, align)| cell(text.as_ref(), *align));
        self.table.add_row(cells.collect::<Vec<_>>());
        self
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
