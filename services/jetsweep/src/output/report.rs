//! The one trait that every command's answer implements.

use std::io::{self, BufWriter, Write};

use super::look::Look;
use crate::exit::Exit;

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON document. Errors are one line of JSON on standard error.
    Json,
    /// The one value a script wants, or nothing.
    Quiet,
}

/// What a command answers.
pub(crate) trait Report {
    /// For people.
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()>;

    /// One JSON document, as `docs/json.md` describes it; the newline after it is written by [`print()`].
    fn json(&self, out: &mut dyn Write) -> io::Result<()>;

    /// The one value a script wants (an id, a number); nothing unless a command says otherwise.
    fn quiet(&self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// How the program ends after this answer.
    fn exit(&self) -> Exit {
        Exit::Done
    }
}

/// Writes an answer to standard output.
///
/// # Errors
///
/// When it cannot be written. A reader who has seen enough (a closed pipe) is no error.
pub(crate) fn print(report: &dyn Report, format: Format) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(report, format, Look::of_stdout(), &mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn write(report: &dyn Report, format: Format, look: Look, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Table => report.human(out, look),
        Format::Json => {
            report.json(out)?;
            writeln!(out)
        }
        Format::Quiet => report.quiet(out),
    }
}
