//! What the pages of runs say about them, as Markdown. A page shows the first lines, and the rest when asked: the command
//! that computes a run again is first, then its chart.

use std::fmt::Write;

use jetsweep_engine::metrics::Metric;
use jetsweep_shared::ids::BatchId;

use crate::client::run_route;
use crate::names;
use crate::row::{End, RunRow};

/// Metrics told of a run, in this order.
const TOLD: [Metric; 8] = [
    Metric::Sharpe,
    Metric::SortinoRatio,
    Metric::TotalReturn,
    Metric::Cagr,
    Metric::MaxDrawdown,
    Metric::WinRate,
    Metric::ProfitFactor,
    Metric::TradeCount,
];

/// An artifact of a run, as an image on its page.
pub(crate) fn image(run_id: &str, path: &str) -> String {
    format!("![{path}](get-artifact?run_uuid={run_id}&path={path})")
}

fn value(row: &RunRow, metric: Metric) -> String {
    row.get(metric).map_or("undefined".to_owned(), |value| format!("{value:.4}"))
}

/// The note of a run. `chart` is an image, if there is one.
pub(crate) fn run(row: &RunRow, chart: Option<String>) -> String {
    let (batch, run) = (&row.batch_id, row.run);
    let mut note =
        format!("`jetsweep replay {batch} {run}` computes run {run} of batch `{batch}` again, bit for bit.\n");
    // Writing to a string cannot fail.
    if let Some(chart) = chart {
        let _ = writeln!(note, "\n{chart}");
    }
    match &row.end {
        End::Succeeded | End::Ruined => {
            if row.end == End::Ruined {
                let _ = writeln!(note, "\nIt lost everything: it is `ruined`.");
            }
            let _ = writeln!(note, "\n| metric | value |\n|---|---|");
            for metric in TOLD {
                let _ = writeln!(note, "| {} | {} |", metric.name(), value(row, metric));
            }
        }
        End::Failed { status, code, message } => {
            let _ = writeln!(note, "\nIt is {status}, `{code}`: {}", message.replace('`', "'"));
        }
    }
    let _ = write!(note, "\nEngine {}, spec `{}`", row.engine_version, row.spec_digest);
    if let Some(digest) = &row.data_digest {
        let _ = write!(note, ", data `{digest}`");
    }
    note
}

/// One of the best runs of a batch.
pub(crate) struct Best<'a> {
    pub(crate) row: &'a RunRow,
    /// Ids of its experiment and of the run, if it is in MLflow.
    pub(crate) page: Option<(String, String)>,
}

/// What the note of a batch run tells.
pub(crate) struct BatchNote<'a> {
    pub(crate) batch: &'a BatchId,
    pub(crate) sweep: &'a str,
    pub(crate) state: &'a str,
    /// Names and values of counts.
    pub(crate) counts: &'a [(&'static str, u64)],
    /// Seconds, and runs a second.
    pub(crate) speed: Option<(f64, f64)>,
    pub(crate) images: &'a [String],
    pub(crate) rank_by: Metric,
    /// The best runs, the best first.
    pub(crate) best: &'a [Best<'a>],
    /// The commonest reason of failures: code and message.
    pub(crate) failure: Option<(String, String)>,
}

impl BatchNote<'_> {
    /// The note.
    pub(crate) fn text(&self) -> String {
        let Self { batch, rank_by, .. } = self;
        let mut note = String::new();
        // Writing to a string cannot fail.
        if let Some(Best { row, .. }) = self.best.first() {
            let _ = writeln!(note, "`jetsweep replay {batch} {}` computes the best run again, bit for bit.\n", row.run);
        }
        for image in self.images {
            let _ = writeln!(note, "{image}\n");
        }
        let _ = writeln!(note, "Batch `{batch}` of the sweep **{}** is {}.\n", self.sweep, self.state);
        let names: Vec<&str> = self.counts.iter().map(|(name, _)| *name).collect();
        let counts: Vec<String> = self.counts.iter().map(|(_, count)| count.to_string()).collect();
        let _ = writeln!(note, "| {} |\n|{}", names.join(" | "), "---|".repeat(names.len()));
        let _ = writeln!(note, "| {} |", counts.join(" | "));
        if let Some((seconds, throughput)) = self.speed {
            let _ = writeln!(note, "\n{seconds:.1} s, {throughput:.0} runs a second.");
        }
        if !self.best.is_empty() {
            let name = rank_by.name();
            let _ = writeln!(note, "\nThe best by `{name}` (every run: artifact `results.parquet`):\n");
            let _ = writeln!(note, "| run | symbol | strategy | parameters | {name} | total_return | max_drawdown |");
            let _ = writeln!(note, "|---|---|---|---|---|---|---|");
        }
        for Best { row, page } in self.best {
            let run = match page {
                Some((experiment, id)) => format!("[{}]({})", row.run, run_route(experiment, id)),
                None => row.run.to_string(),
            };
            let params = row.params.iter().map(|(name, value)| format!("{name}={}", names::number(*value)));
            let params = params.collect::<Vec<_>>().join(" ");
            let [ranked, total_return, drawdown] =
                [*rank_by, Metric::TotalReturn, Metric::MaxDrawdown].map(|metric| value(row, metric));
            let (symbol, strategy) = (&row.symbol, &row.strategy);
            let _ =
                writeln!(note, "| {run} | {symbol} | {strategy} | {params} | {ranked} | {total_return} | {drawdown} |");
        }
        if let Some((code, message)) = &self.failure {
            let plain = |text: &str| text.replace(['|', '`'], " ");
            let _ = writeln!(note, "\nMost failures: `{}`, {}", plain(code), plain(message));
        }
        note
    }
}
