//! `jetsweep summary`: what came of a batch.

use std::io::{self, Write};

use jetsweep_consolidator::{BatchSummary, summary_sql};
use serde_json::Value;

use crate::app::App;
use crate::batches;
use crate::cli::SummaryArgs;
use crate::commands::Answer;
use crate::failure::OrFail;
use crate::output::{Look, Report};
use crate::source::Results;
use crate::summary::{self, Document};

pub(crate) async fn execute(args: SummaryArgs, app: &App) -> Answer {
    let doing = format!("sum up {}", args.batch);
    let batch = batches::id(&args.batch, &doing)?;
    let results = Results::open(app, &doing).await?;
    let row = results.rows(&summary_sql(&batch), &doing).await?.into_iter().next();
    let Some(row) = row else { return Err(results.unknown(&batch, &doing).await) };
    let summary = serde_json::from_value(Value::Object(row)).or_broken(|| &doing)?;
    Ok(Box::new(Summary(summary)))
}

/// The summary, as the answer.
struct Summary(BatchSummary);

impl Report for Summary {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        summary::write(&self.0, out, look)
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, &Document::from(&self.0))?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        match summary::success_rate(&self.0) {
            Some(rate) => writeln!(out, "{rate}"),
            None => writeln!(out, "null"),
        }
    }
}
