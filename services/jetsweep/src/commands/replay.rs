//! `jetsweep replay`: runs of a batch again, compared with their rows bit for bit.

use std::io::{self, Write};
use std::sync::Arc;

use indexmap::IndexMap;
use jetsweep_consolidator::{Row, row_sql};
use jetsweep_engine::bars::Bars;
use jetsweep_engine::metrics::Metric;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::events::{self, Begin, ReplayRequest, WindowMetrics};
use jetsweep_shared::ids::{BatchId, Symbol};
use jetsweep_shared::replay;
use jetsweep_shared::service::ServiceError;
use jetsweep_worker::data::Loader;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use serde_json::Value;

use crate::app::App;
use crate::bars;
use crate::batches;
use crate::cli::ReplayArgs;
use crate::commands::Answer;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::one_run::{self, DataPlace, Document, OneRun, RunError, Show};
use crate::output::number::{counted, grouped};
use crate::output::{Align, Look, Report, Table};
use crate::source::Results;

/// Rows read at a time for a sample.
const ROWS_AT_ONCE: usize = 500;

pub(crate) async fn execute(args: ReplayArgs, app: &App) -> Answer {
    let doing = match args.run {
        Some(run) => format!("replay run {run} of {}", args.batch),
        None => format!("replay runs of {}", args.batch),
    };
    let batch = batches::id(&args.batch, &doing)?;
    let results = Results::open(app, &doing).await?;
    let begin = results.plan(&batch, &doing).await?;
    let computer = match (&results, DataPlace::known(&args.data, app, &batch, &begin.spec.data, &doing)?) {
        // Whoever looks from afar has no bars; workers have those that the rows were computed from.
        (Results::Service(services), None) => Computer::Workers(Box::new(services.bus.clone())),
        (Results::File(_), None) => {
            Computer::here(DataPlace::find(&args.data, app, &batch, &begin.spec.data, &doing)?, app, &doing).await?
        }
        (_, Some(place)) => Computer::here(place, app, &doing).await?,
    };
    let mut replayer = Replayer { begin, computer, doing };
    match (args.run, args.sample) {
        (Some(run), _) => one(&mut replayer, &results, run).await,
        (None, Some(count)) => sample(&mut replayer, &results, count, args.seed).await,
        (None, None) => Err(Failure::bad_input(&replayer.doing, "name a run, or a number of runs with --sample")),
    }
}

async fn one(replayer: &mut Replayer, results: &Results, run: u64) -> Answer {
    let batch = replayer.begin.batch_id.clone();
    let row = results.rows(&row_sql(&batch, run), &replayer.doing).await?.into_iter().next();
    let Some(row) = row else { return Err(replayer.no_row(run)) };
    if let Some(failure) = failure_of(&row) {
        let cause = format!("it has no metrics to compare with: {failure}");
        return Err(Failure::bad_input(&replayer.doing, cause));
    }
    let windows = replayer.window_rows(results, &run.to_string()).await?;
    let again = replayer.again(run).await?;
    Ok(Box::new(Replayed { batch, run, comparison: Comparison::new(&row, &windows, &again), again }))
}

async fn sample(replayer: &mut Replayer, results: &Results, count: u64, seed: u64) -> Answer {
    let batch = replayer.begin.batch_id.clone();
    let mut report =
        Sample { batch: batch.clone(), seed, sampled: 0, identical: 0, without_metrics: 0, different: Vec::new() };
    for runs in chosen(replayer.begin.total_runs, count, seed).chunks(ROWS_AT_ONCE) {
        let numbers = runs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let sql =
            format!("SELECT * FROM backtest_results WHERE batch_id = '{batch}' AND run IN ({numbers}) ORDER BY run");
        let rows = results.rows(&sql, &replayer.doing).await?;
        let windows = replayer.window_rows(results, &numbers).await?;
        report.sampled += runs.len() as u64;
        report.without_metrics += (runs.len() - rows.len()) as u64;
        for row in rows {
            let Some(run) = row.get("run").and_then(Value::as_u64).filter(|_| failure_of(&row).is_none()) else {
                report.without_metrics += 1;
                continue;
            };
            let again = replayer.again(run).await?;
            let windows = windows.iter().filter(|row| row.get("run").and_then(Value::as_u64) == Some(run));
            let comparison = Comparison::new(&row, &windows.cloned().collect::<Vec<_>>(), &again);
            match comparison.is_identical() {
                true => report.identical += 1,
                false => report.different.push(Different { run, comparison }),
            }
        }
    }
    Ok(Box::new(report))
}

/// So many different runs of a batch, in order; all of them when there are fewer. A pure function of the seed.
fn chosen(total: u64, count: u64, seed: u64) -> Vec<u64> {
    let total = usize::try_from(total).unwrap_or(usize::MAX);
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(total);
    let mut random = StdRng::seed_from_u64(seed);
    let mut runs: Vec<u64> = rand::seq::index::sample(&mut random, total, count).iter().map(|run| run as u64).collect();
    runs.sort_unstable();
    runs
}

/// Why a run has no metrics, as its row tells it.
fn failure_of(row: &Row) -> Option<String> {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let code = row.get("error_code").and_then(Value::as_str)?;
    Some(format!("{} with {code}: {}", text("status"), text("error_message")))
}

/// Computes runs of a batch again.
struct Replayer {
    begin: Begin,
    computer: Computer,
    doing: String,
}

/// Who computes.
enum Computer {
    /// This program.
    Here {
        place: DataPlace,
        loader: Loader,
        /// The bars read last, and their digest: runs in order have the same symbol many times over.
        loaded: Option<(Symbol, Arc<Bars>, String)>,
    },
    /// Any worker that answers.
    Workers(Box<Bus>),
}

impl Computer {
    async fn here(place: DataPlace, app: &App, doing: &str) -> Result<Self, Failure> {
        let loader = bars::loader(&place.root, &place.data, app, doing).await?;
        Ok(Self::Here { place, loader, loaded: None })
    }
}

impl Replayer {
    /// Computes a run below the batch's total again.
    async fn again(&mut self, run: u64) -> Result<OneRun, Failure> {
        let Self { begin, computer, doing } = self;
        let input = one_run::planned(&begin.spec, &begin.plan, run);
        let (_, input) = input.map_err(|error| Failure::bad_input(&*doing, error))?;
        match computer {
            Computer::Here { place, loader, loaded } => {
                let loaded = match loaded.take() {
                    Some(same) if same.0 == input.symbol => Ok(loaded.insert(same)),
                    _ => loader.load(&place.data, &input.symbol).await.map(|bars| {
                        let digest = bars.digest();
                        loaded.insert((input.symbol.clone(), Arc::new(bars), digest))
                    }),
                };
                let again = loaded
                    .map_err(RunError::from)
                    .and_then(|(_, bars, digest)| OneRun::compute(bars, digest, &begin.batch_id, run, &input));
                again.map_err(|error| error.into_failure(doing, &bars::looked_under(&place.root, &place.data)))
            }
            Computer::Workers(bus) => {
                let (version, batch_id) = (events::VERSION, begin.batch_id.clone());
                let input_sent = Some(input.clone());
                let request = ReplayRequest { version, batch_id, run, input: input_sent, data_digest: None };
                match replay::replay(bus, &request).await {
                    Ok(reply) => Ok(OneRun::new(reply, &input)),
                    Err(error @ ServiceError::Refused(_)) if !error.is_passing() => {
                        Err(Failure::bad_input(&*doing, error))
                    }
                    Err(error) => {
                        Err(Failure::broken(&*doing, error)
                            .hint("with --data PATH it is computed here, without a worker"))
                    }
                }
            }
        }
    }

    /// The rows of runs over their windows, in the order in which windows are computed.
    async fn window_rows(&self, results: &Results, runs: &str) -> Result<Vec<Row>, Failure> {
        if self.begin.spec.validation.is_none() {
            return Ok(Vec::new());
        }
        // 'train' comes after 'test' in the alphabet, and before it in time.
        let batch = &self.begin.batch_id;
        let sql = format!(
            "SELECT * FROM window_results WHERE batch_id = '{batch}' AND run IN ({runs})
             ORDER BY run, window_number, segment DESC"
        );
        results.rows(&sql, &self.doing).await
    }

    fn no_row(&self, run: u64) -> Failure {
        let total = self.begin.total_runs;
        if run >= total {
            let cause = format!("the batch has {}, numbered from 0", counted(total, "run"));
            return Failure::bad_input(&self.doing, cause);
        }
        Failure::bad_input(&self.doing, "it has no row: it has not been computed, or was cancelled")
    }
}

/// A metric whose stored value is not the one computed now.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Difference {
    metric: String,
    stored: Value,
    computed: Value,
}

/// A value that a row says it was computed from or with, and what it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Identity {
    stored: Option<String>,
    computed: String,
}

impl Identity {
    fn is_same(&self) -> bool {
        self.stored.as_deref() == Some(&self.computed)
    }
}

/// A run computed again beside its row.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Comparison {
    differences: Vec<Difference>,
    engine_version: Identity,
    data_digest: Identity,
}

impl Comparison {
    fn new(row: &Row, windows: &[Row], again: &OneRun) -> Self {
        let reply = &again.reply;
        let blocks = [
            ("block_returns", Value::from(reply.block_returns.to_vec())),
            ("block_squares", Value::from(reply.block_squares.to_vec())),
        ];
        let mut differences = differences(row, values(&reply.metrics).chain(blocks), "");
        if windows.len() != reply.windows.len() {
            let (stored, computed) = (windows.len().into(), reply.windows.len().into());
            differences.push(Difference { metric: "rows of windows".to_owned(), stored, computed });
        }
        for (row, WindowMetrics { window, segment, metrics }) in windows.iter().zip(&reply.windows) {
            let segment = segment.name();
            let names = [("window_number", Value::from(*window)), ("segment", Value::from(segment))];
            let of_window = format!("window {window} {segment}: ");
            differences.extend(self::differences(row, names.into_iter().chain(values(metrics)), &of_window));
        }
        let stored = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            differences,
            engine_version: Identity { stored: stored("engine_version"), computed: reply.engine_version.clone() },
            data_digest: Identity { stored: stored("data_digest"), computed: reply.data_digest.clone() },
        }
    }

    fn is_identical(&self) -> bool {
        self.differences.is_empty()
    }

    /// What may explain differences.
    fn explanation(&self) -> Option<String> {
        let Identity { stored, computed } = &self.engine_version;
        if !self.engine_version.is_same() {
            let stored = stored.as_deref().unwrap_or("unknown");
            return Some(format!(
                "the row was computed by engine {stored}, this is {computed}: the same bits are promised for the same \
                 version only"
            ));
        }
        if !self.data_digest.is_same() {
            return Some("the bars are not those the row was computed from: --data says where those are".to_owned());
        }
        None
    }

    fn write(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let columns = [("metric", Align::Left), ("stored", Align::Right), ("computed", Align::Right)];
        let mut table = Table::new(look, columns);
        for Difference { metric, stored, computed } in &self.differences {
            let is_list = stored.is_array() || computed.is_array();
            // Every digit: the difference may be in the last one.
            match is_list {
                true => table.row([metric.as_str(), "a list", "another list"]),
                false => table.row([metric.as_str(), &stored.to_string(), &computed.to_string()]),
            };
        }
        writeln!(out, "{table}")
    }
}

/// Every metric by name, null where it is undefined.
fn values(metrics: &IndexMap<String, Option<f64>>) -> impl Iterator<Item = (&'static str, Value)> + '_ {
    Metric::ALL.iter().map(|metric| (metric.name(), Value::from(metrics.get(metric.name()).copied().flatten())))
}

/// Where a row is not what was computed; names get a prefix.
fn differences(row: &Row, computed: impl Iterator<Item = (&'static str, Value)>, prefix: &str) -> Vec<Difference> {
    let different = computed.filter_map(|(name, computed)| {
        let stored = row.get(name).cloned().unwrap_or_default();
        let differs = !is_same(&stored, &computed);
        differs.then(|| Difference { metric: format!("{prefix}{name}"), stored, computed })
    });
    different.collect()
}

/// Whether two values of a metric are the same, bit for bit. Counts are whole numbers in a row.
fn is_same(stored: &Value, computed: &Value) -> bool {
    match (stored, computed) {
        (Value::Null, Value::Null) => true,
        (Value::Array(stored), Value::Array(computed)) => {
            stored.len() == computed.len() && stored.iter().zip(computed).all(|(a, b)| is_same(a, b))
        }
        (Value::String(stored), Value::String(computed)) => stored == computed,
        (stored, computed) => match (stored.as_f64(), computed.as_f64()) {
            (Some(stored), Some(computed)) => stored.to_bits() == computed.to_bits(),
            _ => false,
        },
    }
}

/// One run computed again.
struct Replayed {
    batch: BatchId,
    run: u64,
    comparison: Comparison,
    again: OneRun,
}

#[derive(Serialize)]
struct ReplayedDocument<'a> {
    batch_id: &'a BatchId,
    run: u64,
    identical: bool,
    /// Absent when it was computed here.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
    comparison: &'a Comparison,
    result: Document<'a>,
}

impl Report for Replayed {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        Show(&self.again).write(out, look)?;
        writeln!(out)?;
        let worker = self.again.worker().map(|worker| format!(", computed by {worker}")).unwrap_or_default();
        let run = format!("run {} of {}{worker}", self.run, self.batch);
        if self.comparison.is_identical() {
            let count = Metric::ALL.len();
            let windows = match self.again.reply.windows.len() {
                0 => String::new(),
                segments => format!(" and those of its {}", counted(segments as u64, "segment")),
            };
            writeln!(out, "{} to {run}: all {count} metrics{windows}, bit for bit", look.green("identical"))?;
        } else {
            self.comparison.write(out, look)?;
            let count = counted(self.comparison.differences.len() as u64, "value");
            writeln!(out, "{} from {run} in {count}", look.red("different"))?;
        }
        // Told for identical metrics as well: they may be so by chance.
        self.comparison.explanation().map_or(Ok(()), |explanation| writeln!(out, "{explanation}"))
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        let document = ReplayedDocument {
            batch_id: &self.batch,
            run: self.run,
            identical: self.comparison.is_identical(),
            worker: self.again.worker(),
            comparison: &self.comparison,
            result: self.again.document(),
        };
        serde_json::to_writer_pretty(out, &document)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", if self.comparison.is_identical() { "identical" } else { "different" })
    }

    fn exit(&self) -> Exit {
        if self.comparison.is_identical() { Exit::Done } else { Exit::Failed }
    }
}

/// Many runs computed again.
#[derive(Serialize)]
struct Sample {
    #[serde(rename = "batch_id")]
    batch: BatchId,
    seed: u64,
    sampled: u64,
    identical: u64,
    without_metrics: u64,
    different: Vec<Different>,
}

#[derive(Serialize)]
struct Different {
    run: u64,
    comparison: Comparison,
}

impl Report for Sample {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        /// Runs shown in full when they differ.
        const SHOWN: usize = 5;
        for Different { run, comparison } in self.different.iter().take(SHOWN) {
            writeln!(out, "run {run}")?;
            comparison.write(out, look)?;
            if let Some(explanation) = comparison.explanation() {
                writeln!(out, "{explanation}")?;
            }
        }
        if self.without_metrics > 0 {
            let count = counted(self.without_metrics, "run");
            writeln!(out, "{count} of the sample without metrics to compare with")?;
        }
        let compared = self.sampled - self.without_metrics;
        let (identical, compared) = (grouped(self.identical), counted(compared, "run"));
        let verdict = format!("{identical} of {compared} of {} identical, bit for bit", self.batch);
        match self.different.is_empty() {
            true => writeln!(out, "{}", look.green(&verdict)),
            false => writeln!(out, "{}", look.red(&verdict)),
        }
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.identical)
    }

    fn exit(&self) -> Exit {
        if self.different.is_empty() { Exit::Done } else { Exit::Failed }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn samples_depend_on_the_seed_only() {
        let runs = chosen(1_000_000_000, 50, 1);
        assert_eq!(runs.len(), 50);
        assert!(runs.windows(2).all(|pair| pair[0] < pair[1]), "{runs:?}");
        assert_eq!(runs, chosen(1_000_000_000, 50, 1));
        assert_ne!(runs, chosen(1_000_000_000, 50, 2));
        assert_eq!(chosen(3, 50, 1), [0, 1, 2]);
    }

    #[test]
    fn values_are_compared_bit_for_bit() {
        assert!(is_same(&json!(105), &json!(105.0)));
        assert!(is_same(&Value::Null, &Value::Null));
        assert!(is_same(&json!([0.1, 0.2]), &json!([0.1, 0.2])));
        let next = f64::from_bits(0.1_f64.to_bits() + 1);
        for (stored, computed) in [
            (json!(0.1), json!(next)),
            (json!(0.0), json!(-0.0)),
            (Value::Null, json!(0.0)),
            (json!([0.1]), json!([0.1, 0.2])),
        ] {
            assert!(!is_same(&stored, &computed), "{stored} {computed}");
        }
    }
}
