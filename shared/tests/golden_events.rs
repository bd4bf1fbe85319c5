//! Each event has one golden file a version under `shared/golden/`. A change that alters or no longer reads one of
//! them breaks deployments that run two versions side by side.

use std::fmt::Debug;
use std::path::PathBuf;

use indexmap::IndexMap;
use jetsweep_engine::problem::Problem;
use jetsweep_engine::simulation::{ExitReason, Side};
use jetsweep_engine::validation::Segment;
use jetsweep_shared::events::{
    BatchState, BatchStatus, Begin, Benchmark, Cancelled, Control, ControlAction, DataPin, Deleted, Event, EventError,
    Job, MlflowBridgeStatus, MlflowState, MlflowStatus, Outcome, Purged, ReplayInput, ReplayReply, ReplayRequest,
    Retry, RunsFailed, Sealed, ShardResult, Timing, TradeRow, VERSION, WindowBars, WindowMetrics, Windows, decode,
    encode,
};
use jetsweep_shared::ids::{BatchId, Priority, Symbol};
use jetsweep_shared::plan::{Plan, RetryPlan, RunRange, StrategyPlan};
use jetsweep_shared::spec::{self, ResolvedSpec};
use jiff::Timestamp;
use serde_json::Value;

const SPEC: &str = r#"
name = "golden"
[data]
source = "daily/{symbol}.csv"
from = 2005-01-01
[universe]
symbols = ["AAPL", "BRK.B"]
[execution]
cash = 100000
commission = 0.001
[[strategy]]
fast = { from = 5, to = 15, step = 5 }
slow = [20, 50]
where = "fast * 3 <= slow"
[strategy.template]
name = "sma_cross"
description = "Long while the fast simple moving average is above the slow one."
where = "fast < slow"
params = { fast = { default = 10, min = 2, max = 500 }, slow = { default = 30, min = 2, max = 500 } }
[strategy.template.long]
enter = "sma(close, fast) > sma(close, slow)"
exit = "sma(close, fast) < sma(close, slow)"
"#;

const VALIDATION: &str = r#"
[validation]
walk_forward = { train = "3y", test = "18mo", step = "1y", anchored = true }
purge = 5
"#;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("v{VERSION}")).join(format!("{name}.json"))
}

/// The event reads from its golden file, writes to it, and reads from it with a field of a later version added.
fn agrees<E: Event + PartialEq + Debug>(name: &str, event: &E) {
    let written: Value = serde_json::from_slice(&encode(event)).unwrap();
    if std::env::var_os("JETSWEEP_WRITE_GOLDEN").is_some() {
        std::fs::write(golden(name), serde_json::to_string_pretty(&written).unwrap() + "\n").unwrap();
    }
    let text = std::fs::read(golden(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let kept: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(written, kept, "{name} is written differently from its golden file");
    assert_eq!(&decode::<E>(&text).unwrap(), event, "{name} is read differently from its golden file");

    let mut later = kept;
    later["field_of_a_later_version"] = Value::from(1);
    assert_eq!(&decode::<E>(&serde_json::to_vec(&later).unwrap()).unwrap(), event, "{name} with an unknown field");

    later["version"] = Value::from(VERSION + 1);
    let error = decode::<E>(&serde_json::to_vec(&later).unwrap()).unwrap_err();
    assert!(matches!(error, EventError::Version { found } if found == VERSION + 1), "{name}: {error}");
}

fn resolved() -> ResolvedSpec {
    spec::read(SPEC.as_bytes()).unwrap().resolve().unwrap()
}

fn batch() -> BatchId {
    "golden-1".parse().unwrap()
}

fn symbol() -> Symbol {
    "BRK.B".parse().unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn result() -> ShardResult {
    ShardResult {
        version: VERSION,
        batch_id: batch(),
        generation: 0,
        shard: 1,
        symbol: symbol(),
        strategy: "sma_cross".to_owned(),
        runs: RunRange { start: 4, count: 2 },
        outcome: Outcome::Computed,
        params: IndexMap::from([("fast".to_owned(), vec![5.0, 10.0]), ("slow".to_owned(), vec![20.0, 50.0])]),
        metrics: IndexMap::from([
            ("sharpe".to_owned(), vec![Some(0.1 + 0.2), None]),
            ("trade_count".to_owned(), vec![Some(105.0), None]),
        ]),
        block_returns: vec![[0.015625; 16], [0.0; 16]],
        block_squares: vec![[0.000244140625; 16], [0.0; 16]],
        runtime_us: vec![12.5, 0.0],
        failed: vec![RunsFailed {
            runs: RunRange { start: 5, count: 1 },
            code: "panic".to_owned(),
            message: "index out of bounds".to_owned(),
        }],
        windows: None,
        benchmark: None,
        data_digest: Some("00ff".to_owned()),
        spec_digest: "ab12".to_owned(),
        engine_version: "0.1.0".to_owned(),
        worker: "host-1".to_owned(),
        finished_at: at(3),
        timing: Timing { wait_us: 10, load_us: 2000, compute_us: 25 },
    }
}

#[test]
fn job() {
    let spec = resolved();
    agrees(
        "job",
        &Job {
            version: VERSION,
            batch_id: batch(),
            generation: 0,
            shard: 1,
            priority: Priority::Normal,
            symbol: symbol(),
            strategy: spec.strategies[0].clone(),
            cursor: 0,
            first_point: 0,
            runs: RunRange { start: 4, count: 4 },
            execution: spec.execution.clone(),
            validation: None,
            data: spec.data.clone(),
            spec_digest: "ab12".to_owned(),
        },
    );
    let windows = spec::read(format!("{SPEC}\n{VALIDATION}").as_bytes()).unwrap().resolve().unwrap();
    agrees(
        "job_validation",
        &Job { validation: windows.validation, ..decode(&std::fs::read(golden("job")).unwrap()).unwrap() },
    );
}

#[test]
fn shard_result() {
    agrees("result", &result());
    let bars = |segment, from, to| WindowBars { window: 0, segment, from: at(from), to: at(to) };
    let windows = Windows {
        windows: vec![bars(Segment::Train, 0, 1), bars(Segment::Test, 2, 3)],
        metrics: IndexMap::from([("sharpe".to_owned(), vec![Some(0.5), Some(-0.25), None, None])]),
    };
    let benchmark =
        Benchmark { metrics: IndexMap::from([("total_return".to_owned(), vec![Some(1.5), Some(0.25), None])]) };
    agrees("result_windows", &ShardResult { windows: Some(windows), benchmark: Some(benchmark), ..result() });
    let dead = Outcome::Dead { code: "child_died".to_owned(), message: "killed by signal 9".to_owned() };
    agrees(
        "result_dead",
        &ShardResult {
            outcome: dead,
            params: IndexMap::new(),
            metrics: IndexMap::new(),
            block_returns: vec![],
            block_squares: vec![],
            runtime_us: vec![],
            failed: vec![],
            data_digest: None,
            ..result()
        },
    );
}

#[test]
fn begin() {
    let spec = resolved();
    let plan = Plan { strategies: vec![StrategyPlan { runs: 4, shard_runs: 3, cursors: vec![0, 3] }], symbols: 2 };
    agrees(
        "begin",
        &Begin {
            version: VERSION,
            batch_id: batch(),
            generation: 0,
            priority: Priority::High,
            total_runs: plan.total_runs(),
            total_shards: plan.total_shards(),
            spec,
            spec_digest: "ab12".to_owned(),
            plan,
            retry: None,
            planner_version: "0.1.0".to_owned(),
            created_at: at(0),
        },
    );
}

#[test]
fn replay() {
    let spec = resolved();
    let plan = Plan { strategies: vec![StrategyPlan { runs: 4, shard_runs: 3, cursors: vec![0, 4] }], symbols: 2 };
    let shard = plan.shard_of(7).unwrap();
    let input = ReplayInput::of(&spec, shard, 7).unwrap();
    assert_eq!((input.symbol.as_str(), &input.values), ("BRK.B", &vec![15.0, 50.0]));
    assert_eq!(ReplayInput::at(&spec, shard, input.values.clone()), input);
    agrees(
        "replay_request",
        &ReplayRequest {
            version: VERSION,
            batch_id: batch(),
            run: 7,
            input: Some(input),
            data_digest: Some("00ff".to_owned()),
        },
    );
    let trade = TradeRow {
        side: Side::Long,
        entry_date: "2024-01-03".to_owned(),
        entry_bar: 1,
        entry_price: 10.0,
        exit_date: "2024-01-04".to_owned(),
        exit_bar: 2,
        exit_price: 11.0,
        size: 99.9,
        entry_fee: 1.0,
        exit_fee: 1.1,
        borrow_cost: 0.0,
        pnl: 97.8,
        return_: 0.0978,
        bars_held: 1,
        exit_reason: ExitReason::Rule,
        open: false,
    };
    let reply = ReplayReply {
        version: VERSION,
        batch_id: batch(),
        run: 7,
        symbol: symbol(),
        strategy: "sma_cross".to_owned(),
        params: IndexMap::from([("fast".to_owned(), 15.0), ("slow".to_owned(), 50.0)]),
        metrics: IndexMap::from([("sharpe".to_owned(), Some(0.1 + 0.2)), ("profit_factor".to_owned(), None)]),
        windows: Vec::new(),
        block_returns: [0.015625; 16],
        block_squares: [0.000244140625; 16],
        trades: vec![trade],
        dates: ["2024-01-02", "2024-01-03", "2024-01-04"].map(str::to_owned).to_vec(),
        equity: vec![1000.0, 999.0, 1097.8],
        data_digest: "00ff".to_owned(),
        engine_version: "0.1.0".to_owned(),
        worker: "host-1".to_owned(),
    };
    agrees("replay_reply", &reply);
    let metrics = IndexMap::from([("sharpe".to_owned(), Some(-1.5))]);
    let windows = vec![WindowMetrics { window: 0, segment: Segment::Test, metrics }];
    agrees("replay_reply_with_windows", &ReplayReply { windows, ..reply.clone() });
    let short = ReplayReply { equity: vec![], ..reply };
    assert!(matches!(decode::<ReplayReply>(&encode(&short)), Err(EventError::Inconsistent(_))));
}

#[test]
fn sealed_and_cancelled() {
    let (version, batch_id, generation) = (VERSION, batch(), 0);
    agrees(
        "sealed",
        &Sealed { version, batch_id: batch_id.clone(), generation, total_runs: 8, total_shards: 4, sealed_at: at(1) },
    );
    let reason = Some("wrong dates".to_owned());
    agrees("cancelled", &Cancelled { version, batch_id, generation, reason, cancelled_at: at(2) });
}

#[test]
fn what_a_retry_adds() {
    let plan = Plan { strategies: vec![StrategyPlan { runs: 4, shard_runs: 3, cursors: vec![0, 3] }], symbols: 2 };
    let mut retry = RetryPlan::default();
    retry.push(&plan, 1, 1, 1).unwrap();
    retry.push(&plan, 3, 3, 3).unwrap();
    let begin = Begin {
        version: VERSION,
        batch_id: batch(),
        generation: 2,
        priority: Priority::High,
        total_runs: plan.total_runs(),
        total_shards: retry.check(&plan).unwrap(),
        spec: resolved(),
        spec_digest: "ab12".to_owned(),
        plan,
        retry: Some(retry),
        planner_version: "0.1.0".to_owned(),
        created_at: at(0),
    };
    agrees("begin_retry", &begin);
    let first_plan = Begin { generation: 0, ..begin.clone() };
    assert!(matches!(decode::<Begin>(&encode(&first_plan)), Err(EventError::Inconsistent(_))));
    let all = Begin { retry: None, ..begin };
    assert!(matches!(decode::<Begin>(&encode(&all)), Err(EventError::Inconsistent(_))));

    let runs = vec![RunRange { start: 1, count: 1 }, RunRange { start: 3, count: 3 }];
    let retry = Retry { version: VERSION, batch_id: batch(), generation: 2, runs, requested_at: at(1) };
    agrees("retry", &retry);
    let odd = [(0, retry.runs.clone()), (2, vec![]), (2, vec![retry.runs[1], retry.runs[0]])];
    for (generation, runs) in odd {
        let odd = Retry { generation, runs, ..retry.clone() };
        assert!(matches!(decode::<Retry>(&encode(&odd)), Err(EventError::Inconsistent(_))));
    }
}

#[test]
fn deleted_and_purged() {
    let (version, batch_id, generation) = (VERSION, batch(), 1);
    agrees("deleted", &Deleted { version, batch_id: batch_id.clone(), generation, deleted_at: at(1) });
    let spec_digest = "ab12".to_owned();
    agrees("purged", &Purged { version, batch_id, generation, total_runs: 8, spec_digest, purged_at: at(1) });
}

#[test]
fn control_data_and_status() {
    let reason = Some("wrong dates".to_owned());
    let cancel =
        Control { version: VERSION, action: ControlAction::Cancel, generation: 0, reason, requested_at: at(1) };
    agrees("control", &cancel);
    agrees("control_cancel_retry", &Control { generation: 2, ..cancel.clone() });
    agrees("control_pause", &Control { action: ControlAction::Pause, reason: None, ..cancel.clone() });
    agrees("control_resume", &Control { action: ControlAction::Resume, reason: None, ..cancel });
    agrees("data", &DataPin { version: VERSION, digest: "00ff".to_owned(), worker: "host-1".to_owned() });
    agrees(
        "status",
        &BatchStatus {
            version: VERSION,
            batch_id: batch(),
            state: BatchState::Refused,
            generation: 0,
            total_runs: 0,
            succeeded: 0,
            failed: 0,
            dead: 0,
            cancelled: 0,
            created_at: None,
            completed_at: None,
            updated_at: at(1),
            problems: vec![Problem::new("strategy[0].template", "there is no template \"smacross\"")],
        },
    );
}

#[test]
fn mlflow_views() {
    agrees(
        "mlflow_status",
        &MlflowStatus {
            version: VERSION,
            batch_id: batch(),
            state: MlflowState::Finishing,
            logged: 459,
            failed: 2,
            refused: 1,
            batch_run: Some("a63c9d45".to_owned()),
            url: Some("http://mlflow:5000/#/experiments/1/runs/a63c9d45".to_owned()),
            completed_at: Some(at(5)),
            problem: Some("not now: no worker answers".to_owned()),
            updated_at: at(6),
        },
    );
    agrees(
        "mlflow_bridge",
        &MlflowBridgeStatus {
            version: VERSION,
            server: "http://mlflow:5000".to_owned(),
            away_since: Some(at(7)),
            last_error: Some("connection refused".to_owned()),
            last_error_at: Some(at(8)),
            updated_at: at(9),
        },
    );
}

#[test]
fn contradictions_are_refused() {
    let mut short = result();
    short.runtime_us.pop();
    assert!(matches!(decode::<ShardResult>(&encode(&short)), Err(EventError::Inconsistent(_))));

    let mut outside = result();
    outside.failed[0].runs.start = 6;
    assert!(matches!(decode::<ShardResult>(&encode(&outside)), Err(EventError::Inconsistent(_))));

    assert!(matches!(decode::<ShardResult>(b"{\"version\":1"), Err(EventError::Malformed(_))));
}

#[test]
fn floats_survive_to_the_bit() {
    let mut event = result();
    let odd = [f64::MIN_POSITIVE, 5e-324, 0.1 + 0.2, -1.0 / 3.0, 1.7976931348623157e308];
    for value in odd {
        event.metrics["sharpe"][0] = Some(value);
        let back: ShardResult = decode(&encode(&event)).unwrap();
        assert_eq!(back.metrics["sharpe"][0].map(f64::to_bits), Some(value.to_bits()));
    }
}
