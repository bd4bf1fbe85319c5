//! Programs in other languages: plain NATS clients, with nothing of jetsweep on their side.

use std::process::Command;

use jetsweep_shared::events::BatchState;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::support::{Row, State, example, status, text};

/// Runs of the quickstart.
const RUNS: u64 = 459;

/// What the client asks for of each row.
const COLUMNS: [&str; 5] = ["run", "symbol", "strategy", "params", "sharpe"];

#[tokio::test]
async fn a_python_client_submits_follows_and_queries() {
    let cluster = Cluster::start().await;
    let spec = example("quickstart.toml");
    let expected = expected_rows().await;

    let answer = python(&["end_to_end/client.py", &cluster.server.url(), "from-python", text(&spec)]);

    let submitted = &answer["submitted"];
    assert_eq!((&submitted["batch_id"], &submitted["total_runs"]), (&"from-python".into(), &RUNS.into()));
    assert_eq!(submitted["known"], false);
    let again = &answer["again"];
    assert_eq!((&again["known"], &again["spec_digest"]), (&true.into(), &submitted["spec_digest"]));

    let refused = &answer["refused"];
    assert_eq!((&refused["code"], &refused["body"]["code"]), (&"400".into(), &"invalid_spec".into()));
    let problems = refused["body"]["problems"].as_array().expect("problems");
    let told = |at: &str| problems.iter().any(|problem| problem["at"] == at);
    assert!(["name", "data", "universe", "strategy"].into_iter().all(told), "{problems:?}");

    let states: Vec<(String, u64)> = serde_json::from_value(answer["states"].clone()).unwrap();
    assert!(states.is_sorted_by_key(|(_, succeeded)| *succeeded), "{states:?}");
    assert_eq!(states.last(), Some(&("completed".to_owned(), RUNS)), "{states:?}");
    let rows: Vec<Row> = serde_json::from_value(answer["rows"].clone()).unwrap();
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(COLUMNS.map(|column| &row[column]), COLUMNS.map(|column| &expected[column]));
    }
}

#[tokio::test]
async fn publishing_a_spec_is_enough() {
    let cluster = Cluster::start().await;
    let client = cluster.server.connect().await;
    // The bytes that `nats pub jetsweep.plans.v1.by-hand "$(cat spec)"` sends: no headers, no reply subject.
    let publish = async |batch: &str, spec: Vec<u8>| {
        client.publish(format!("jetsweep.plans.v1.{batch}"), spec.into()).await.unwrap();
    };
    publish("by-hand", std::fs::read(example("quickstart.toml")).unwrap()).await;
    let ended = status(&client, "by-hand", |status| status.state.is_terminal()).await;
    assert_eq!((ended.state, ended.succeeded, ended.total_runs), (BatchState::Completed, RUNS, RUNS));

    // Nobody waits for an answer here: the status has it.
    publish("nonsense", b"name = 1".to_vec()).await;
    let refused = status(&client, "nonsense", |status| status.state.is_terminal()).await;
    assert_eq!((refused.state, refused.total_runs), (BatchState::Refused, 0));
    assert!(refused.problems.iter().any(|problem| problem.at == "name"), "{:?}", refused.problems);
}

/// The rows that a local run of the quickstart has.
async fn expected_rows() -> Vec<Row> {
    let state = State::new();
    state.run(&example("quickstart.toml"), "local", &[]).await.json();
    state.rows("local").await
}

/// What a Python program of this crate prints. The interpreter is the one `JETSWEEP_PYTHON` names, else `python3`;
/// `scripts/setup` makes one that has the client, nats-py.
fn python(args: &[&str]) -> Value {
    let interpreter = std::env::var("JETSWEEP_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(&interpreter).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {interpreter}: {error} (set JETSWEEP_PYTHON)"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{interpreter} {args:?} (scripts/setup installs nats-py): {stderr}");
    serde_json::from_slice(&output.stdout).expect("the client prints JSON")
}
