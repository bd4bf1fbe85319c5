//! Bars from CSV.

use std::io::{self, Read};

use ::csv::{ByteRecord, ReaderBuilder, Terminator};

use jiff::civil::Date;

use super::build::{Bar, Builder, Keep};
use super::error::{BarsError, Fault};
use super::series::Bars;
use super::{COLUMN_NAMES, DAY_MS, time};

/// Longest record, in bytes: no line of bars comes near it, and a hostile one stops here.
const LONGEST_LINE: usize = 64 * 1024;

/// Bytes the CSV reader asks for at a time.
const BUFFER: usize = 64 * 1024;

/// Least bytes to read first: a byte order mark in UTF-8 and one more. The CSV reader skips a mark only if it comes
/// whole, and takes one by itself for the end of the file.
const FIRST_BYTES: usize = 4;

/// Longest piece of a file that an error repeats, in characters.
const LONGEST_QUOTE: usize = 60;

impl Bars {
    /// Reads and validates bars from CSV; `file` is the name errors use.
    ///
    /// The header names the columns `date,open,high,low,close,volume` in any order and case; other columns are
    /// ignored. Dates are `1998-01-02`, or `1998-01-02T09:30:00` with `T` or a space, an optional fraction and an
    /// optional `Z` or offset; the clock is kept as written. Rows ascend by date. Memory is bounded whatever the
    /// reader yields: 64 KiB a line, ten million bars.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its line and column: see [`Fault`].
    pub fn read_csv(reader: impl Read, file: &str) -> Result<Self, BarsError> {
        Self::read_csv_between(reader, file, None, None, u64::MAX)
    }

    /// Like [`Bars::read_csv`] and then [`Bars::between`], without ever holding more than the bars between the dates: all
    /// others are validated and forgotten.
    ///
    /// # Errors
    ///
    /// The same; and [`Fault::TooLarge`], once all of the file is read, if the bars between the dates take more than
    /// `most_bytes`, in which case none of them is held.
    pub fn read_csv_between(
        reader: impl Read,
        file: &str,
        from: Option<Date>,
        to: Option<Date>,
        most_bytes: u64,
    ) -> Result<Self, BarsError> {
        let first = from.map_or(i64::MIN, time::start_of);
        let end = to.map_or(i64::MAX, |day| time::start_of(day) + DAY_MS);
        let most = usize::try_from(Self::most_within(most_bytes)).unwrap_or(usize::MAX);
        let mut rows = Rows::new(reader, file);
        let columns = rows.read_header()?;
        let mut builder = Builder::new(Keep { times: first..end, most });
        let mut is_empty = true;
        while rows.advance()? {
            is_empty = false;
            let bar = rows.bar(&columns)?;
            builder.push(bar).map_err(|(field, fault)| rows.refuse_field(field, fault))?;
        }
        if is_empty {
            return Err(rows.refuse_file(Fault::NoBars));
        }
        let bytes = Self::bytes_of(builder.wanted());
        if bytes > most_bytes {
            return Err(rows.refuse_file(Fault::TooLarge { bytes, limit: most_bytes }));
        }
        Ok(Self::from_valid(builder.finish()))
    }
}

/// Where each of [`COLUMN_NAMES`] is in a row, and how many fields a row has.
struct Columns {
    places: [usize; COLUMN_NAMES.len()],
    width: usize,
}

/// The rows of a file, one at a time.
struct Rows<'a, R> {
    file: &'a str,
    reader: ::csv::Reader<Bounded<R>>,
    record: ByteRecord,
}

impl<'a, R: Read> Rows<'a, R> {
    fn new(reader: R, file: &'a str) -> Self {
        let bounded =
            Bounded { inner: reader, since_record: 0, is_started: false, is_exceeded: false, is_ended: false };
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            // A carriage return before it is trimmed from the last field. With `Terminator::CRLF` a record would end
            // before its line feed, and lines would be counted one too low.
            .terminator(Terminator::Any(b'\n'))
            .buffer_capacity(BUFFER)
            .from_reader(bounded);
        Self { file, reader, record: ByteRecord::new() }
    }

    /// Reads the next row that is not blank; false at the end.
    fn advance(&mut self) -> Result<bool, BarsError> {
        loop {
            self.reader.get_mut().since_record = 0;
            match self.reader.read_byte_record(&mut self.record) {
                Ok(true) if self.is_blank() => {}
                Ok(has_row) => return Ok(has_row),
                Err(_) if self.reader.get_ref().is_exceeded => {
                    let line = self.reader.position().line();
                    return Err(self.refuse(Some(line), None, Fault::LineTooLong { limit: LONGEST_LINE }));
                }
                Err(error) => return Err(self.refuse_file(Fault::Read(error.to_string()))),
            }
        }
    }

    fn is_blank(&self) -> bool {
        self.record.len() == 1 && self.record[0].trim_ascii().is_empty()
    }

    fn read_header(&mut self) -> Result<Columns, BarsError> {
        if !self.advance()? {
            return Err(self.refuse_file(Fault::Empty));
        }
        if std::str::from_utf8(self.record.as_slice()).is_err() {
            return Err(self.refuse_line(Fault::NotUtf8));
        }
        let names: Vec<String> =
            self.record.iter().map(|name| String::from_utf8_lossy(name).trim().to_lowercase()).collect();
        let mut places = [0; COLUMN_NAMES.len()];
        let mut missing: Vec<&'static str> = Vec::new();
        for (place, column) in places.iter_mut().zip(COLUMN_NAMES) {
            let mut found = names.iter().enumerate().filter(|(_, name)| *name == column).map(|(index, _)| index);
            match (found.next(), found.next()) {
                (Some(index), None) => *place = index,
                (Some(_), Some(_)) => return Err(self.refuse_field(column, Fault::RepeatedColumn)),
                (None, _) => missing.push(column),
            }
        }
        let Some(&first_missing) = missing.first() else {
            return Ok(Columns { places, width: names.len() });
        };
        let missing = missing.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let fault = Fault::MissingColumn { missing, found: quote(&names.join(", ")) };
        Err(self.refuse_field(first_missing, fault))
    }

    /// The current row as a bar, not validated yet.
    fn bar(&self, columns: &Columns) -> Result<Bar, BarsError> {
        if self.record.len() != columns.width {
            return Err(self.refuse_line(Fault::FieldCount { found: self.record.len(), expected: columns.width }));
        }
        let date = self.text(columns, 0)?;
        let Some(timestamp) = time::parse(date) else {
            return Err(self.refuse_field(COLUMN_NAMES[0], Fault::NotADate(quote(date))));
        };
        Ok(Bar {
            timestamp,
            open: self.number(columns, 1)?,
            high: self.number(columns, 2)?,
            low: self.number(columns, 3)?,
            close: self.number(columns, 4)?,
            volume: self.number(columns, 5)?,
        })
    }

    fn number(&self, columns: &Columns, column: usize) -> Result<f64, BarsError> {
        let text = self.text(columns, column)?;
        text.parse().map_err(|_| self.refuse_field(COLUMN_NAMES[column], Fault::NotANumber(quote(text))))
    }

    fn text(&self, columns: &Columns, column: usize) -> Result<&str, BarsError> {
        let bytes = self.record[columns.places[column]].trim_ascii();
        std::str::from_utf8(bytes).map_err(|_| self.refuse_field(COLUMN_NAMES[column], Fault::NotUtf8))
    }

    fn refuse_field(&self, field: &str, fault: Fault) -> BarsError {
        self.refuse(Some(self.line()), Some(field), fault)
    }

    fn refuse_line(&self, fault: Fault) -> BarsError {
        self.refuse(Some(self.line()), None, fault)
    }

    fn refuse_file(&self, fault: Fault) -> BarsError {
        self.refuse(None, None, fault)
    }

    fn refuse(&self, line: Option<u64>, field: Option<&str>, fault: Fault) -> BarsError {
        BarsError { file: self.file.to_owned(), line, field: field.map(str::to_owned), fault }
    }

    /// The line on which the current row ends. Every row has ended with a line feed, which took the reader's own
    /// count one further; the position of the row itself would lie before the blank lines above it.
    fn line(&self) -> u64 {
        self.reader.position().line() - 1
    }
}

/// Text of a file as an error repeats it: short.
fn quote(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A reader that fails once a single record takes more than [`LONGEST_LINE`] bytes (plus what the CSV reader had
/// buffered), so that a record never grows without bound. It ends the last line if the file does not.
///
/// What it reads first has at least [`FIRST_BYTES`].
struct Bounded<R> {
    inner: R,
    since_record: usize,
    is_started: bool,
    is_exceeded: bool,
    is_ended: bool,
}

impl<R: Read> Bounded<R> {
    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_record > LONGEST_LINE {
            self.is_exceeded = true;
            return Err(io::Error::other("line too long"));
        }
        if self.is_ended {
            return Ok(0);
        }
        let mut count = self.read_some(buffer)?;
        if !self.is_started {
            self.is_started = true;
            let least = FIRST_BYTES.min(buffer.len());
            while count > 0 && count < least {
                match self.read_some(&mut buffer[count..])? {
                    0 => break,
                    more => count += more,
                }
            }
        }
        self.since_record += count;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        self.is_ended = true;
        // One more line feed does no harm where there is one already: blank lines are skipped.
        buffer[0] = b'\n';
        Ok(1)
    }
}
