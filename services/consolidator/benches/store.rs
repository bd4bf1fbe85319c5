//! Rows a second into the store, from results as JSON to committed rows, and what an index on symbol, strategy and
//! time costs and saves. Run it alone on the machine:
//!
//! ```text
//! cargo bench -p jetsweep-consolidator --bench store -- [runs]       (1,000,000 by default)
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use jetsweep_consolidator::store::{Applied, Source, Store};
use jetsweep_consolidator::{LogEvent, Resources};
use jetsweep_engine::metrics::{BLOCKS, Kind, Metric};
use jetsweep_shared::events::{self, Begin, Outcome, ShardResult, Timing, VERSION};
use jetsweep_shared::ids::Priority;
use jetsweep_shared::plan::{Plan, StrategyPlan};
use jetsweep_shared::spec;
use jiff::Timestamp;

const RUNS_BY_DEFAULT: u64 = 1_000_000;
/// Runs of one strategy over one symbol.
const POINTS: u64 = 2_000;
/// Runs of a shard: about 512 KiB of JSON.
const SHARD_RUNS: u32 = 400;
/// Rows of a transaction, as configured by default.
const COMMIT_ROWS: usize = 50_000;
/// Different results that take turns; more than that would measure memory.
const DISTINCT_RESULTS: u32 = 50;
/// Times a question is asked.
const TIMES: u32 = 20;

const CREATE_INDEX: &str = "CREATE INDEX by_symbol_strategy_time ON backtest_results (symbol, strategy, timestamp)";

fn main() {
    // `cargo bench` adds an argument of its own.
    let runs = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(RUNS_BY_DEFAULT);
    let begin = begin(runs);
    let results: Vec<ShardResult> = (0..DISTINCT_RESULTS).map(|shard| result(&begin, shard)).collect();
    println!("{} runs in {} shards", begin.total_runs, begin.total_shards);
    decode(&results);
    write("no index", &begin, &results, |_| {});
    write("index kept up to date", &begin, &results, |connection| {
        connection.execute_batch(CREATE_INDEX).expect("an index");
    });
}

fn decode(results: &[ShardResult]) {
    let encoded: Vec<_> = results.iter().map(events::encode).collect();
    let bytes: usize = encoded.iter().map(|payload| payload.len()).sum();
    let start = Instant::now();
    let mut rows = 0;
    for payload in &encoded {
        let result: ShardResult = events::decode(payload).expect("a result");
        rows += u64::from(result.runs.count);
    }
    let size = bytes as f64 / rows as f64;
    println!("decode: {} rows/s on one thread, {size:.0} bytes of JSON a row", rate(rows, start.elapsed()));
}

fn write(what: &str, begin: &Begin, results: &[ShardResult], prepare: impl Fn(&duckdb::Connection)) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("results.duckdb");
    drop(Store::open(&path, resources()).expect("a store"));
    prepare(&duckdb::Connection::open(&path).expect("the database"));

    let mut store = Store::open(&path, resources()).expect("a store");
    let source = Arc::new(Source { stream: "BENCH".to_owned(), created: "now".to_owned() });
    let cpu_before = cpu_seconds();
    let (mut applying, mut committing, mut slowest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    store.apply(&LogEvent::Begin(Box::new(begin.clone())), 1).expect("a batch");
    for shard in 0..begin.total_shards {
        let event = LogEvent::Result(Box::new(moved(begin, &results[(shard % DISTINCT_RESULTS) as usize], shard)));
        let sequence = u64::from(shard) + 2;
        let start = Instant::now();
        assert_eq!(store.apply(&event, sequence).expect("a result"), Applied::Changed);
        store.pass(&source, sequence);
        applying += start.elapsed();
        if store.pending_rows() >= COMMIT_ROWS || shard + 1 == begin.total_shards {
            let start = Instant::now();
            store.commit().expect("a commit");
            committing += start.elapsed();
            slowest = slowest.max(start.elapsed());
        }
    }
    let start = Instant::now();
    store.checkpoint();
    let last = start.elapsed();
    let cpu = cpu_seconds() - cpu_before;
    drop(store);
    let total = applying + committing + last;
    let size = std::fs::metadata(&path).expect("the file").len() as f64 / begin.total_runs as f64;
    println!("  peak memory {} MiB", peak_mebibytes());
    println!(
        "{what}: {} rows/s committed, {:.1} us of CPU a row (columns {:.1} s, commits {:.1} s, slowest {:.2} s, last checkpoint {:.1} s), \
         {size:.0} bytes a row in the file",
        rate(begin.total_runs, total),
        cpu * 1e6 / begin.total_runs as f64,
        applying.as_secs_f64(),
        committing.as_secs_f64(),
        slowest.as_secs_f64(),
        last.as_secs_f64()
    );
    ask(&path);
    build_index(&path);
}

/// How long the index takes that is built once all rows are there.
fn build_index(path: &Path) {
    let connection = duckdb::Connection::open(path).expect("the database");
    connection.execute_batch("SET threads = 2; DROP INDEX IF EXISTS by_symbol_strategy_time").expect("a setting");
    let start = Instant::now();
    connection.execute_batch(CREATE_INDEX).expect("an index");
    println!("index built afterwards: {:.2} s", start.elapsed().as_secs_f64());
    connection.execute_batch("DROP INDEX by_symbol_strategy_time").expect("no index");
}

/// What a reader waits for.
fn ask(path: &Path) {
    let start = Instant::now();
    let connection = duckdb::Connection::open(path).expect("the database");
    connection.execute_batch("SET threads = 2").expect("a setting");
    println!("  open: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let one_key = "symbol = 'S77' AND strategy = 'b' AND timestamp = (SELECT max(timestamp) FROM backtest_results \
                   WHERE symbol = 'S77' AND strategy = 'b')";
    let range = "symbol = 'S77' AND strategy = 'b' AND timestamp > TIMESTAMP '2000-01-01'";
    for (name, condition) in [("one key", one_key), ("symbol, strategy, times from", range), ("all rows", "true")] {
        let sql = format!("SELECT count(*), max(sharpe) FROM backtest_results WHERE {condition}");
        let ask = || connection.query_row(&sql, [], |row| row.get::<_, u64>(0)).expect("an answer");
        let start = Instant::now();
        let rows = ask();
        let first = start.elapsed();
        let start = Instant::now();
        (0..TIMES).for_each(|_| assert_eq!(ask(), rows));
        let again = start.elapsed() / TIMES;
        let plan: String = connection.query_row(&format!("EXPLAIN {sql}"), [], |row| row.get(1)).expect("a plan");
        let uses_index = if plan.contains("Index Scan") { ", through the index" } else { "" };
        println!(
            "  {name}: {rows} rows{uses_index}, first {:.1} ms, then {:.1} ms",
            first.as_secs_f64() * 1e3,
            again.as_secs_f64() * 1e3
        );
    }
}

/// CPU time of this process so far, all threads, which a busy machine changes less than the clock's.
fn cpu_seconds() -> f64 {
    /// Clock ticks a second in `/proc`, the same on every Linux.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields after the program's name in brackets: user and system time are the 12th and 13th.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// Most memory this process ever had.
fn peak_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or_default() / 1024
}

fn rate(rows: u64, time: Duration) -> u64 {
    (rows as f64 / time.as_secs_f64()) as u64
}

fn resources() -> Resources {
    Resources { memory_bytes: 256 << 20, threads: 2 }
}

fn begin(runs: u64) -> Begin {
    let symbols = runs.div_ceil(2 * POINTS);
    let names: Vec<_> = (0..symbols).map(|number| format!("\"S{number}\"")).collect();
    let strategy = |name: &str| {
        format!(
            "[[strategy]]\nname = \"{name}\"\ntemplate = \"sma_cross\"\n\
             fast = {{ from = 2, to = 41 }}\nslow = {{ from = 50, to = 99 }}\n"
        )
    };
    let text = format!(
        "name = \"bench\"\n[data]\nsource = \"{{symbol}}.csv\"\n[universe]\nsymbols = [{}]\n{}{}",
        names.join(", "),
        strategy("a"),
        strategy("b")
    );
    let spec = spec::read(text.as_bytes()).expect("a document").resolve().expect("a spec");
    let cursors: Vec<u64> = (0..POINTS).step_by(SHARD_RUNS as usize).collect();
    let strategy = StrategyPlan { runs: POINTS, shard_runs: SHARD_RUNS, cursors };
    let plan = Plan { strategies: vec![strategy.clone(), strategy], symbols: symbols as u32 };
    Begin {
        version: VERSION,
        batch_id: "bench".parse().expect("a batch id"),
        generation: 0,
        priority: Priority::Normal,
        total_runs: plan.total_runs(),
        total_shards: plan.total_shards(),
        spec_digest: spec.digest(),
        spec,
        plan,
        retry: None,
        planner_version: "bench".to_owned(),
        created_at: Timestamp::UNIX_EPOCH,
    }
}

/// Doubles with all bits in use, as metrics have them (splitmix64).
fn noise(key: u64) -> f64 {
    let mut bits = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    (bits >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
}

fn result(begin: &Begin, shard: u32) -> ShardResult {
    let planned = begin.plan.shard(shard).expect("a shard");
    let value = |run: u64, column: u64| noise(run * 1000 + column);
    let column = |metric: &Metric| -> Vec<Option<f64>> {
        let values = planned.runs.numbers().map(|run| value(run, *metric as u64));
        match metric.kind() {
            Kind::Count => values.map(|value| Some((value.abs() * 200.0).trunc())).collect(),
            Kind::Ratio | Kind::Money => values.map(Some).collect(),
        }
    };
    let blocks = |offset: u64| -> Vec<[f64; BLOCKS]> {
        planned.runs.numbers().map(|run| std::array::from_fn(|block| value(run, offset + block as u64))).collect()
    };
    let params = ["fast", "slow"].map(|name| {
        let values = planned.runs.numbers().map(|run| (2 + run % 50) as f64);
        (name.to_owned(), values.collect())
    });
    ShardResult {
        version: VERSION,
        batch_id: begin.batch_id.clone(),
        generation: 0,
        shard,
        symbol: begin.spec.symbols[planned.symbol].clone(),
        strategy: begin.spec.strategies[planned.strategy].name.clone(),
        runs: planned.runs,
        outcome: Outcome::Computed,
        params: IndexMap::from(params),
        metrics: Metric::ALL.iter().map(|metric| (metric.name().to_owned(), column(metric))).collect(),
        block_returns: blocks(100),
        block_squares: blocks(200),
        runtime_us: planned.runs.numbers().map(|run| value(run, 300).abs() * 100.0).collect(),
        failed: Vec::new(),
        windows: None,
        benchmark: None,
        data_digest: Some("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".to_owned()),
        spec_digest: begin.spec_digest.clone(),
        engine_version: "bench".to_owned(),
        worker: "bench-1".to_owned(),
        finished_at: Timestamp::UNIX_EPOCH,
        timing: Timing::default(),
    }
}

/// The same numbers as the result of another shard.
fn moved(begin: &Begin, result: &ShardResult, shard: u32) -> ShardResult {
    let planned = begin.plan.shard(shard).expect("a shard");
    let finished_at = 1_700_000_000 + i64::from(shard);
    ShardResult {
        shard,
        symbol: begin.spec.symbols[planned.symbol].clone(),
        strategy: begin.spec.strategies[planned.strategy].name.clone(),
        runs: planned.runs,
        finished_at: Timestamp::from_second(finished_at).expect("a time of this century"),
        ..result.clone()
    }
}
