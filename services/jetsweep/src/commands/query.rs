//! `jetsweep query`: asks the results in SQL.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};

use jetsweep_consolidator::Row;
use tempfile::SpooledTempFile;

use crate::app::App;
use crate::cli::QueryArgs;
use crate::commands::Answer;
use crate::failure::{Failure, OrFail};
use crate::output::number::grouped;
use crate::output::{Format, Look, Report, rows};
use crate::source::Results;

/// What names standard input instead of a statement.
const STDIN: &str = "-";

/// Longest statement, in bytes: it travels in one message.
const LONGEST_SQL: u64 = 512 * 1024;

/// Rows shown to people.
const ROWS_SHOWN: usize = 100;

/// Bytes of an answer kept in memory; more go to a temporary file.
const KEPT_IN_MEMORY: usize = 16 << 20;

pub(crate) async fn execute(args: QueryArgs, app: &App) -> Answer {
    const DOING: &str = "run the query";
    let sql = statement(args.sql)?;
    let results = Results::open(app, DOING).await?;
    if app.format == Format::Table {
        let mut answer = Shown { rows: Vec::new(), count: 0 };
        let take = |row| {
            answer.count += 1;
            if answer.rows.len() < ROWS_SHOWN {
                answer.rows.push(row);
            }
            Ok(())
        };
        results.each_row(&sql, DOING, take).await?;
        return Ok(Box::new(answer));
    }
    // All of it is there before anything is written: a query that fails half-way leaves no half answer.
    let mut spool = SpooledTempFile::new(KEPT_IN_MEMORY);
    let keep = |row: Row| {
        let kept = serde_json::to_writer(&mut spool, &row).map_err(io::Error::from);
        kept.and_then(|()| spool.write_all(b"\n")).or_broken(|| "keep the rows of the answer")
    };
    results.each_row(&sql, DOING, keep).await?;
    Ok(Box::new(All { spool: RefCell::new(spool) }))
}

fn statement(sql: String) -> Result<String, Failure> {
    if sql != STDIN {
        return Ok(sql);
    }
    let mut text = String::new();
    io::stdin().take(LONGEST_SQL).read_to_string(&mut text).or_bad_input(|| "read SQL from standard input")?;
    Ok(text)
}

/// The first rows, for people.
struct Shown {
    rows: Vec<Row>,
    count: usize,
}

impl Report for Shown {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        rows::write(&self.rows, out, look)?;
        let count = grouped(self.count as u64);
        match self.count {
            0 => writeln!(out, "no rows"),
            1 => writeln!(out, "1 row"),
            all if all == self.rows.len() => writeln!(out, "{count} rows"),
            _ => writeln!(out, "{count} rows, the first {ROWS_SHOWN} shown; --output json has them all"),
        }
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(out, &self.rows)?;
        Ok(())
    }
}

/// All rows, as one JSON object a line.
struct All {
    spool: RefCell<SpooledTempFile>,
}

impl All {
    fn each_line(&self, mut take: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let mut spool = self.spool.borrow_mut();
        spool.rewind()?;
        let mut lines = BufReader::new(&mut *spool);
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            take(line.trim_end())?;
            line.clear();
        }
        Ok(())
    }
}

impl Report for All {
    fn human(&self, out: &mut dyn Write, _look: Look) -> io::Result<()> {
        self.json(out)
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut before = "[\n";
        self.each_line(|line| {
            write!(out, "{before}{line}")?;
            before = ",\n";
            Ok(())
        })?;
        out.write_all(if before == "[\n" { b"[]" } else { b"\n]" })
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        self.each_line(|line| {
            let row: Row = serde_json::from_str(line)?;
            let values: Vec<String> = row.values().map(rows::bare).collect();
            writeln!(out, "{}", values.join("\t"))
        })
    }
}
