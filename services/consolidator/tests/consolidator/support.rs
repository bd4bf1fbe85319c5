//! Batches with made-up results, and a consolidator to give them to.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use jetsweep_consolidator::store::{Applied, Source, Store};
use jetsweep_consolidator::{LogEvent, Reader, Resources, Row};
use jetsweep_engine::metrics::{BLOCKS, Kind, Metric};
use jetsweep_engine::validation::Segment;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::config::{Config, NatsConfig};
use jetsweep_shared::events::{
    self, BatchStatus, Begin, Benchmark, Cancelled, Event, Outcome, RunsFailed, Sealed, ShardResult, Timing, VERSION,
    WindowBars, Windows,
};
use jetsweep_shared::ids::{BatchId, Priority};
use jetsweep_shared::plan::{Plan, RetryPlan, RunRange, StrategyPlan};
use jetsweep_shared::spec;
use jetsweep_shared::subjects::{BatchEvent, Names, status_key};
use jetsweep_shared::topology::{self, Tuning};
use jetsweep_tests::NatsServer;
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Two strategies over a few symbols: 6 and 4 runs a symbol, in shards of at most 4 runs.
const SPEC: &str = r#"
    name = "made-up"
    [data]
    source = "{symbol}.csv"
    [universe]
    symbols = ["AAPL", "BRK.B", "SPY"]
    [[strategy]]
    template = "sma_cross"
    fast = [5, 10, 15]
    slow = [50, 100]
    [[strategy]]
    template = "rsi_reversion"
    period = [7, 14]
    lower = [25, 30]
"#;

pub(crate) const SHARD_RUNS: u32 = 4;
/// Runs of a batch.
pub(crate) const RUNS: u64 = 30;
/// Shards of a batch.
pub(crate) const SHARDS: u32 = 9;

pub(crate) fn batch_id(name: &str) -> BatchId {
    name.parse().unwrap()
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

pub(crate) fn begin(batch: &str, generation: u32) -> Begin {
    let spec = spec::read(SPEC.as_bytes()).unwrap().resolve().unwrap_or_else(|problems| panic!("{problems:?}"));
    let strategies = spec.strategies.iter().map(|strategy| {
        let points = strategy.grid.points(&strategy.template).unwrap();
        let mut walk = points.walk(0, 0);
        let mut cursors = Vec::new();
        let mut runs = 0;
        while let Some((cursor, _)) = walk.next_point() {
            if runs % u64::from(SHARD_RUNS) == 0 {
                cursors.push(cursor);
            }
            runs += 1;
        }
        StrategyPlan { runs, shard_runs: SHARD_RUNS, cursors }
    });
    let plan = Plan { strategies: strategies.collect(), symbols: spec.symbols.len() as u32 };
    // A retry of all runs, which is cut as the first plan is.
    let retry = (generation > 0).then(|| {
        let mut retry = RetryPlan::default();
        retry.push(&plan, 0, plan.total_runs(), 0).unwrap();
        retry
    });
    let begin = Begin {
        version: VERSION,
        batch_id: batch_id(batch),
        generation,
        priority: Priority::Normal,
        total_runs: plan.total_runs(),
        total_shards: plan.total_shards(),
        spec_digest: spec.digest(),
        spec,
        plan,
        retry,
        planner_version: "0.0.0-test".to_owned(),
        created_at: at(0),
    };
    assert_eq!((begin.total_runs, begin.total_shards), (RUNS, SHARDS));
    begin
}

pub(crate) fn sealed(begin: &Begin) -> Sealed {
    Sealed {
        version: VERSION,
        batch_id: begin.batch_id.clone(),
        generation: begin.generation,
        total_runs: begin.total_runs,
        total_shards: begin.total_shards,
        sealed_at: at(1),
    }
}

pub(crate) fn cancelled(begin: &Begin) -> Cancelled {
    Cancelled {
        version: VERSION,
        batch_id: begin.batch_id.clone(),
        generation: begin.generation,
        reason: Some("no longer wanted".to_owned()),
        cancelled_at: at(2),
    }
}

/// Doubles with all bits in use, the same for the same key (splitmix64).
pub(crate) fn noise(key: u64) -> f64 {
    let mut bits = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    ((bits >> 11) as f64 / (1_u64 << 53) as f64 - 0.5) * 3.0
}

/// The result of a shard, made up from its numbers. One metric in eleven is undefined.
pub(crate) fn result(begin: &Begin, shard: u32) -> ShardResult {
    let planned = begin.shard(shard).unwrap();
    let strategy = &begin.spec.strategies[planned.strategy];
    let points = strategy.grid.points(&strategy.template).unwrap();
    let mut walk = points.walk(planned.cursor, planned.first_point);
    let mut params: IndexMap<String, Vec<f64>> =
        strategy.template.params().keys().map(|name| (name.clone(), Vec::new())).collect();
    for _ in planned.runs.numbers() {
        let (_, values) = walk.next_point().unwrap();
        for (column, value) in params.values_mut().zip(values) {
            column.push(*value);
        }
    }
    let salt = u64::from(begin.generation) << 40;
    let value = |run: u64, column: usize| noise(salt + run * 1000 + column as u64);
    let metrics = Metric::ALL.iter().enumerate().map(|(column, metric)| {
        let values = planned.runs.numbers().map(|run| {
            let is_undefined = (run as usize + column).is_multiple_of(11) && *metric != Metric::Bars;
            let value = value(run, column);
            let value = match (metric, metric.kind()) {
                // Of a run that is ruined nothing is left.
                (Metric::FinalEquity, _) => value.abs() + 1.0,
                (_, Kind::Count) => (value.abs() * 1000.0).trunc(),
                _ => value,
            };
            (!is_undefined).then_some(value)
        });
        (metric.name().to_owned(), values.collect())
    });
    let blocks = |offset: usize| -> Vec<[f64; BLOCKS]> {
        planned.runs.numbers().map(|run| std::array::from_fn(|block| value(run, offset + block) * 1e-3)).collect()
    };
    ShardResult {
        version: VERSION,
        batch_id: begin.batch_id.clone(),
        generation: begin.generation,
        shard,
        symbol: begin.spec.symbols[planned.symbol].clone(),
        strategy: strategy.name.clone(),
        runs: planned.runs,
        outcome: Outcome::Computed,
        params,
        metrics: metrics.collect(),
        block_returns: blocks(100),
        block_squares: blocks(200),
        runtime_us: planned.runs.numbers().map(|run| value(run, 300).abs() * 100.0).collect(),
        failed: Vec::new(),
        windows: None,
        benchmark: None,
        data_digest: Some(format!("digest-of-{}", begin.spec.symbols[planned.symbol])),
        spec_digest: begin.spec_digest.clone(),
        engine_version: "0.0.0-test".to_owned(),
        worker: "made-up-1".to_owned(),
        finished_at: Timestamp::from_microsecond(at(10).as_microsecond() + i64::from(shard) * 1001).unwrap(),
        timing: Timing::default(),
    }
}

/// A result with one window and a benchmark, made up from its run's numbers: `sharpe` is the number of the run in train,
/// its negative in test, plus a hundredth of the generation.
pub(crate) fn with_windows(mut result: ShardResult) -> ShardResult {
    let bars = |segment, from, to| WindowBars { window: 0, segment, from: at(from), to: at(to) };
    let generation = f64::from(result.generation) / 100.0;
    let sharpes = result.runs.numbers().flat_map(|run| [Some(run as f64 + generation), Some(-(run as f64))]);
    let windows = Windows {
        windows: vec![bars(Segment::Train, 0, 1), bars(Segment::Test, 2, 3)],
        metrics: IndexMap::from([("sharpe".to_owned(), sharpes.collect())]),
    };
    result.windows = Some(windows);
    let first = Some(result.runs.start as f64 + generation);
    let metrics = IndexMap::from([("total_return".to_owned(), vec![first, Some(0.5), None])]);
    result.benchmark = Some(Benchmark { metrics });
    result
}

/// The same shard, given up on.
pub(crate) fn dead(begin: &Begin, shard: u32) -> ShardResult {
    let computed = result(begin, shard);
    ShardResult {
        outcome: Outcome::Dead { code: "killed_worker".to_owned(), message: "its child was killed twice".to_owned() },
        params: IndexMap::new(),
        metrics: IndexMap::new(),
        block_returns: Vec::new(),
        block_squares: Vec::new(),
        runtime_us: Vec::new(),
        data_digest: None,
        ..computed
    }
}

/// The same shard with its second run failed.
pub(crate) fn with_a_failure(begin: &Begin, shard: u32) -> ShardResult {
    let mut result = result(begin, shard);
    let runs = RunRange { start: result.runs.start + 1, count: 1 };
    result.failed = vec![RunsFailed { runs, code: "panic".to_owned(), message: "index 7 is out of bounds".to_owned() }];
    for values in result.metrics.values_mut() {
        values[1] = None;
    }
    result.block_returns[1] = [0.0; BLOCKS];
    result.block_squares[1] = [0.0; BLOCKS];
    result
}

/// Asserts that a row says what the result said of a run, to the bit.
pub(crate) fn assert_row(row: &Row, result: &ShardResult, index: usize) {
    let run = result.runs.start + index as u64;
    assert_eq!(row["batch_id"], result.batch_id.as_str());
    assert_eq!(row["run"], run);
    assert_eq!(row["generation"], result.generation);
    assert_eq!(row["symbol"], result.symbol.as_str());
    assert_eq!(row["strategy"], result.strategy);
    assert_eq!(row["status"], "succeeded");
    assert_eq!((&row["error_code"], &row["error_message"]), (&Value::Null, &Value::Null));
    assert_eq!(row["worker"], result.worker);
    assert_eq!(row["data_digest"].as_str(), result.data_digest.as_deref());
    assert_eq!(row["spec_digest"], result.spec_digest);
    assert_eq!(row["engine_version"], result.engine_version);
    assert_eq!(row["timestamp"].as_str().unwrap().parse::<Timestamp>().unwrap(), result.finished_at);
    for (name, values) in &result.params {
        assert_bits(&row["params"][name], Some(values[index]), name);
    }
    for (name, values) in &result.metrics {
        assert_bits(&row[name], values[index], name);
    }
    for (name, rows) in [("block_returns", &result.block_returns), ("block_squares", &result.block_squares)] {
        let stored = row[name].as_array().unwrap();
        assert_eq!(stored.len(), BLOCKS);
        for (stored, value) in stored.iter().zip(rows[index]) {
            assert_bits(stored, Some(value), name);
        }
    }
    assert_bits(&row["runtime_us"], Some(result.runtime_us[index]), "runtime_us");
}

fn assert_bits(stored: &Value, value: Option<f64>, name: &str) {
    assert_eq!(stored.as_f64().map(f64::to_bits), value.map(f64::to_bits), "{name}: {stored} for {value:?}");
}

pub(crate) fn resources() -> Resources {
    Resources { memory_bytes: 256 << 20, threads: 1 }
}

/// Applies events and commits them together, at consecutive sequences after the position.
pub(crate) fn write(store: &mut Store, events: impl IntoIterator<Item = LogEvent>) -> Vec<Applied> {
    let source = std::sync::Arc::new(Source { stream: "TEST".to_owned(), created: "then".to_owned() });
    let mut sequence = store.position("TEST").unwrap().map_or(0, |position| position.sequence);
    let mut applied = Vec::new();
    for event in events {
        sequence += 1;
        applied.push(store.apply(&event, sequence).unwrap());
        store.pass(&source, sequence);
    }
    store.commit().unwrap();
    applied
}

pub(crate) fn begin_event(begin: &Begin) -> LogEvent {
    LogEvent::Begin(Box::new(begin.clone()))
}

pub(crate) fn result_event(result: ShardResult) -> LogEvent {
    LogEvent::Result(Box::new(result))
}

/// Everything a whole batch logs, in order.
pub(crate) fn whole_batch(begin: &Begin) -> Vec<LogEvent> {
    let results = (0..begin.total_shards).map(|shard| result_event(result(begin, shard)));
    std::iter::once(begin_event(begin)).chain(results).chain([LogEvent::Sealed(sealed(begin))]).collect()
}

/// Rows of a query of the file, which nobody has open.
pub(crate) fn rows(path: &Path, sql: &str) -> Vec<Row> {
    let reader = Reader::open(path, resources()).unwrap();
    let rows = reader.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.map(Result::unwrap).collect()
}

/// The one value of a query of the file.
pub(crate) fn value(path: &Path, sql: &str) -> Value {
    let row = rows(path, sql).pop().expect("a row");
    row.into_iter().next().expect("a column").1
}

/// A server with our streams.
pub(crate) struct Setting {
    pub(crate) server: NatsServer,
    pub(crate) bus: Bus,
    folder: tempfile::TempDir,
}

impl Setting {
    pub(crate) async fn new() -> Self {
        let server = NatsServer::start().await;
        let bus = Bus::connect(&NatsConfig::at(server.url()), "test", Names::default()).await.unwrap();
        topology::ensure(&bus.jetstream, &bus.names, &Tuning::default()).await.unwrap();
        Self { server, bus, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("results.duckdb")
    }

    pub(crate) fn config(&self) -> Config {
        config(&self.server.url(), &self.database())
    }

    pub(crate) fn consolidator(&self) -> Running {
        Running::start(self.config())
    }

    pub(crate) async fn publish_begin(&self, begin: &Begin) {
        self.publish_event(&begin.batch_id, BatchEvent::Begin, begin).await;
    }

    pub(crate) async fn publish_event<E: Event>(&self, batch: &BatchId, which: BatchEvent, event: &E) {
        let generation = serde_json::to_value(event).unwrap()["generation"].as_u64().unwrap() as u32;
        let subject = match which.is_of_generation() {
            true => self.bus.names.generation_event(batch, generation, which),
            false => self.bus.names.batch_event(batch, which),
        };
        self.publish_bytes(&subject, events::encode(event)).await;
    }

    pub(crate) async fn publish_result(&self, result: &ShardResult) {
        let subject = self.bus.names.result(&result.batch_id, result.generation, result.shard);
        self.publish_bytes(&subject, events::encode(result)).await;
    }

    /// Without a message id, so that the stream stores what is published twice.
    pub(crate) async fn publish_bytes(&self, subject: &str, payload: bytes::Bytes) {
        self.bus.publish_with_headers(subject, async_nats::HeaderMap::new(), payload).await.unwrap();
    }

    pub(crate) async fn publish_whole(&self, begin: &Begin) {
        self.publish_begin(begin).await;
        for shard in 0..begin.total_shards {
            self.publish_result(&result(begin, shard)).await;
        }
        self.publish_event(&begin.batch_id, BatchEvent::Sealed, &sealed(begin)).await;
    }

    /// The view of a batch once it fits.
    pub(crate) async fn status(&self, batch: &str, mut fits: impl FnMut(&BatchStatus) -> bool) -> BatchStatus {
        let bucket = self.bus.batches().await.unwrap();
        let read = |bytes: &[u8]| events::decode::<BatchStatus>(bytes).unwrap();
        let bytes = jetsweep_tests::key_value(&bucket, &status_key(&batch_id(batch)), |bytes| fits(&read(bytes))).await;
        read(&bytes)
    }

    pub(crate) async fn ended(&self, batch: &str) -> BatchStatus {
        self.status(batch, |status| status.state.is_terminal()).await
    }

    /// The first message given up on whose reason has this code.
    pub(crate) async fn dead_letter(&self, code: &str) -> async_nats::Message {
        let subject = format!("{}.dead.>", self.bus.names.namespace());
        let has_code = |message: &async_nats::Message| header(message, events::headers::ERROR_CODE) == Some(code);
        jetsweep_tests::message(&self.bus.jetstream, &self.bus.names.dead_stream(), &subject, has_code).await
    }
}

pub(crate) fn header<'a>(message: &'a async_nats::Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(|value| value.as_str())
}

pub(crate) fn config(url: &str, database: &Path) -> Config {
    let mut config = Config::default();
    config.nats.url = url.to_owned();
    config.consolidator.database = Some(database.to_owned());
    config.consolidator.commit_interval_ms = 20;
    config.consolidator.threads = 1;
    config.consolidator.memory_limit_bytes = 256 << 20;
    // Made-up batches ended years ago.
    config.consolidator.results_retention_seconds = 10 * 365 * 24 * 3600;
    config
}

/// A consolidator that runs.
pub(crate) struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), jetsweep_consolidator::ConsolidatorError>>,
}

impl Running {
    pub(crate) fn start(config: Config) -> Self {
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let task = tokio::spawn(async move { jetsweep_consolidator::run(&config, stop).await });
        Self { shutdown, task }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.end().await.unwrap();
    }

    /// What it ends with by itself.
    pub(crate) async fn end(self) -> Result<(), jetsweep_consolidator::ConsolidatorError> {
        jetsweep_tests::within(jetsweep_tests::LIMIT, "the consolidator to end", self.task).await.unwrap()
    }
}
