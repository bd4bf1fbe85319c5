//! `jetsweep export`: the results of a batch as a file other programs read.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use jetsweep_consolidator::{Destination, ExportError, Format as FileFormat, Imported, Resources, Row};
use jetsweep_shared::ids::BatchId;
use serde::Serialize;
use serde_json::Value;

use crate::app::App;
use crate::batches;
use crate::cli::{ExportArgs, ExportFormat};
use crate::commands::Answer;
use crate::failure::{Failure, OrFail};
use crate::output::number::counted;
use crate::output::{Look, Report};
use crate::source::Results;

/// Runs asked for at a time: a consolidator answers a query with a million rows at most, within a minute.
const RUNS_AT_ONCE: u64 = 100_000;

pub(crate) async fn execute(args: ExportArgs, app: &App) -> Answer {
    let doing = format!("export {}", args.batch);
    let batch = batches::id(&args.batch, &doing)?;
    let format = match args.format {
        ExportFormat::Csv => FileFormat::Csv,
        ExportFormat::Json => FileFormat::JsonLines,
        ExportFormat::Parquet => FileFormat::Parquet,
    };
    if format == FileFormat::Parquet && args.file.is_none() {
        return Err(Failure::bad_input(&doing, "Parquet goes to a file only").hint("name one with -o FILE"));
    }
    let rows = match Results::open(app, &doing).await? {
        Results::File(reader) => {
            let rows = write(args.file.as_deref(), |to| reader.export(&batch, format, to));
            match rows {
                Err(ExportError::UnknownBatch(_)) => {
                    return Err(Results::File(reader).unknown(&batch, &doing).await);
                }
                other => other,
            }
        }
        results => {
            let folder = tempfile::tempdir().or_broken(|| &doing)?;
            let lines = folder.path().join("rows.json");
            fetch(&results, &batch, &lines, &doing).await?;
            let settings = &app.config.consolidator;
            let resources = Resources { memory_bytes: settings.memory_limit_bytes, threads: settings.threads };
            let imported = Imported::from_json_lines(&lines, &batch, folder.path(), resources).or_broken(|| &doing)?;
            write(args.file.as_deref(), |to| imported.export(format, to))
        }
    };
    let rows = match rows {
        // A reader who has seen enough is no error.
        Err(ExportError::Write { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => 0,
        rows => rows.or_broken(|| &doing)?,
    };
    Ok(Box::new(Exported { batch_id: batch, rows, file: args.file }))
}

/// Writes to a file, or else to standard output, as the rows come: they are too many to be kept until the end.
fn write(
    file: Option<&Path>,
    export: impl FnOnce(Destination<'_>) -> Result<u64, ExportError>,
) -> Result<u64, ExportError> {
    match file {
        Some(file) => export(Destination::File(file)),
        None => export(Destination::Writer(&mut io::stdout().lock())),
    }
}

/// Writes all rows of a batch to a file, one JSON object a line.
async fn fetch(results: &Results, batch: &BatchId, lines: &Path, doing: &str) -> Result<(), Failure> {
    let known = format!("SELECT total_runs FROM batches WHERE batch_id = '{batch}'");
    let known = results.rows(&known, doing).await?.into_iter().next();
    let Some(total) = known.and_then(|row| row.get("total_runs").and_then(Value::as_u64)) else {
        return Err(results.unknown(batch, doing).await);
    };
    let mut file = BufWriter::new(std::fs::File::create(lines).or_broken(|| doing)?);
    for start in (0..total).step_by(RUNS_AT_ONCE as usize) {
        let end = start + RUNS_AT_ONCE;
        let sql = format!(
            "SELECT * FROM backtest_results WHERE batch_id = '{batch}' AND run >= {start} AND run < {end} ORDER BY run"
        );
        let keep = |row: Row| {
            let kept = serde_json::to_writer(&mut file, &row).map_err(io::Error::from);
            kept.and_then(|()| file.write_all(b"\n")).or_broken(|| doing)
        };
        results.each_row(&sql, doing, keep).await?;
    }
    file.flush().or_broken(|| doing)
}

/// What was written. Rows on standard output speak for themselves.
#[derive(Debug, Serialize)]
struct Exported {
    batch_id: BatchId,
    rows: u64,
    file: Option<PathBuf>,
}

impl Report for Exported {
    fn human(&self, out: &mut dyn Write, _look: Look) -> io::Result<()> {
        match &self.file {
            Some(file) => writeln!(out, "{} of {} in {}", counted(self.rows, "row"), self.batch_id, file.display()),
            None => Ok(()),
        }
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.file {
            Some(_) => Ok(serde_json::to_writer_pretty(out, self)?),
            None => Ok(()),
        }
    }
}
