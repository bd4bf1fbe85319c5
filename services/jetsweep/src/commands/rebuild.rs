//! `jetsweep consolidator rebuild`: a new database from the log of results.

use std::io::{self, Write};

use jetsweep_consolidator::Rebuilt;
use serde::Serialize;

use crate::app::App;
use crate::commands::Answer;
use crate::failure::OrFail;
use crate::interrupt;
use crate::output::number::counted;
use crate::output::{Look, Report};

pub(crate) async fn execute(app: &App) -> Answer {
    const DOING: &str = "rebuild the database";
    let state = &app.config.state_dir;
    std::fs::create_dir_all(state).or_broken(|| format!("make the state folder {}", state.display()))?;
    let shutdown = interrupt::listen().or_broken(|| DOING)?;
    let Rebuilt { batches, rows, kept, database, old } =
        jetsweep_consolidator::rebuild(&app.config, shutdown).await.or_broken(|| DOING)?;
    let text = |path: std::path::PathBuf| path.display().to_string();
    Ok(Box::new(Done { batches, rows, kept, database: text(database), old: old.map(text) }))
}

/// What it came to.
#[derive(Debug, Serialize)]
struct Done {
    /// Batches from the log.
    batches: u64,
    rows: u64,
    /// Batches that are no longer in the log, with the rows they had.
    kept: Vec<String>,
    database: String,
    old: Option<String>,
}

impl Report for Done {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let rows = counted(self.rows, "row");
        writeln!(out, "{}: {rows}; batches from the log: {}", look.bold(&self.database), self.batches)?;
        if !self.kept.is_empty() {
            writeln!(out, "no longer in the log, kept as they were: {}", self.kept.join(", "))?;
        }
        match &self.old {
            Some(old) => writeln!(out, "the old database is {old}"),
            None => Ok(()),
        }
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.rows)
    }
}
