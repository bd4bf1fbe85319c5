//! Servers that say no: the host check, a wrong sign-in, certificates nobody knows, runs refused for good, being away.

use std::collections::BTreeSet;
use std::path::Path;

use jetsweep_tests::{Jetsweep, NatsServer, eventually, jetsweep, message};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::proxy::Gate;
use crate::server::{MlflowServer, PASSWORD, USER, batch_run, by_number, completed};
use crate::services::{Services, text};

/// Four runs.
const SMALL: &str = "name = \"small\"\n[data]\nsource = \"data/sample/{symbol}.csv\"\n[universe]\nsymbols = [\"AAPL\", \"SPY\"]\n\
                     [[strategy]]\ntemplate = \"sma_cross\"\nfast = [5, 10]\nslow = 50\n";

/// `jetsweep run` of the four, on its own, into MLflow.
fn run_small(folder: &Path, server: &MlflowServer, batch: &str) -> Jetsweep {
    let (spec, state) = (folder.join("small.toml"), folder.join("state"));
    std::fs::write(&spec, SMALL).unwrap();
    jetsweep(["run", text(&spec), "--batch", batch, "--state", text(&state), "--mlflow", &server.url()])
}

/// A server that gives every request the same answer.
async fn always(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let _ = client.read(&mut buffer).await;
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    url
}

/// What a bridge says that does not start.
async fn refused(url: &str) -> Value {
    let nats = NatsServer::start().await;
    let args = ["mlflow-bridge", "--nats", &nats.url(), "--mlflow", url, "--output", "json"];
    let done = jetsweep(args).done().await.with_code(1);
    let last = done.stderr.lines().last().unwrap_or_default().to_owned();
    serde_json::from_str(&last).unwrap_or_else(|error| panic!("{error}: {last}"))
}

#[tokio::test]
async fn the_host_check_is_explained_with_its_cure() {
    let url = always("403 Forbidden", "Invalid Host header - possible DNS rebinding attack detected").await;
    let error = refused(&url).await["error"]["message"].to_string();
    assert!(error.contains("--allowed-hosts '127.0.0.1:*,127.0.0.1,"), "{error}");
    assert!(error.contains("MLFLOW_SERVER_ALLOWED_HOSTS"), "{error}");
}

#[tokio::test]
async fn a_wrong_sign_in_is_told_at_once_and_secrets_are_not() {
    let url = always("401 Unauthorized", "<html>no</html>").await;
    let with_secret = url.replace("http://", "http://me:hunter2@");
    let error = refused(&with_secret).await["error"]["message"].to_string();
    assert!(error.contains("MLFLOW_TRACKING_TOKEN") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_file_store_is_no_server() {
    let nats = NatsServer::start().await;
    let bridge = jetsweep(["mlflow-bridge", "--nats", &nats.url()]).env("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db");
    let done = bridge.done().await.with_code(1);
    assert!(done.stderr.contains("is no http:// or https:// address"), "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_is_kept_with_the_servers_words() {
    let (server, services) = tokio::join!(MlflowServer::start(), Services::start());
    // MLflow refuses a run whose parameter was logged with another value: here by a run of the same id, made by hand.
    let spec = services.file("small.toml", SMALL);
    let experiment = server
        .post("/experiments/create", serde_json::json!({ "name": "parallel_backtest.equities.AAPL.sma_cross" }))
        .await;
    let batches = server.post("/experiments/create", serde_json::json!({ "name": "parallel_backtest.batches" })).await;
    let tags = |tags: &[(&str, &str)]| -> Value {
        tags.iter().map(|(key, value)| serde_json::json!({ "key": key, "value": value })).collect()
    };
    let parent = tags(&[("job_id", "refused:batch"), ("batch_id", "refused")]);
    let begun = serde_json::json!({ "experiment_id": batches["experiment_id"], "start_time": 1, "tags": parent });
    server.post("/runs/create", begun).await;
    let child = tags(&[("job_id", "refused:1"), ("batch_id", "refused"), ("run", "1")]);
    let begun = serde_json::json!({ "experiment_id": experiment["experiment_id"], "start_time": 1, "tags": child });
    let run = server.post("/runs/create", begun).await["run"]["info"]["run_id"].clone();
    let param = serde_json::json!([{ "key": "fast", "value": "77" }]);
    server.post("/runs/log-batch", serde_json::json!({ "run_id": run, "params": param })).await;

    let bridge = services.bridge(&server.url(), &[]);
    services.run_batch(&spec, "refused").await;
    let jetstream = async_nats::jetstream::new(services.nats.connect().await);
    let letter = message(&jetstream, "JETSWEEP_DEAD", "jetsweep.dead.v1.>", |_| true).await;
    let headers = letter.headers.unwrap();
    assert_eq!(headers.get("Jetsweep-Error-Code").unwrap().as_str(), "mlflow_refused");
    let words = headers.get("Jetsweep-Error").unwrap().as_str();
    assert!(words.starts_with("run 1: 400 INVALID_PARAMETER_VALUE: Changing param values is not allowed"), "{words}");
    // The other runs, and the batch, go on.
    let runs = completed(&server, "refused").await;
    let finished = runs.iter().filter(|run| run.status == "FINISHED").map(|run| run.tag("run"));
    assert_eq!(finished.collect::<BTreeSet<_>>(), BTreeSet::from(["", "0", "2", "3"]), "the batch run has no number");
    drop(bridge);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_once_and_nothing_is_missed() {
    let (server, services) = tokio::join!(MlflowServer::start(), Services::start());
    // `me:hunter2`
    let gate = Gate::start(server.port(), "Basic bWU6aHVudGVyMg==").await;
    let sign_in = [("MLFLOW_TRACKING_USERNAME", "me"), ("MLFLOW_TRACKING_PASSWORD", "hunter2")];
    let bridge = services.bridge(&gate.url(), &sign_in);
    eventually("the bridge to be up", async || bridge.stderr().contains("MLflow bridge is up").then_some(())).await;
    gate.set_open(false);
    services.run_batch(&services.file("small.toml", SMALL), "away").await;
    let status = async || services.ask(&["mlflow", "status"]).await["bridge"].clone();
    let away =
        eventually("the bridge to notice", async || Some(status().await).filter(|of| of["away_since"].is_string()));
    let away = away.await;
    assert!(away["last_error"].as_str().unwrap().starts_with("401 Unauthorized at "), "{away}");
    gate.set_open(true);
    let runs = completed(&server, "away").await;
    assert_eq!(by_number(&runs).len(), 4);
    eventually("the bridge to say so", async || status().await["away_since"].is_null().then_some(())).await;
    let log = bridge.stderr();
    assert_eq!((log.matches("MLflow is away").count(), log.matches("MLflow is back").count()), (1, 1), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_a_password_gets_it() {
    let server = MlflowServer::start_with_sign_in().await;
    let folder = tempfile::tempdir().unwrap();
    let run = |password| {
        let run = run_small(folder.path(), &server, "auth").env("MLFLOW_TRACKING_USERNAME", USER);
        run.env("MLFLOW_TRACKING_PASSWORD", password).done()
    };
    let refused = run("a wrong one").await.refused();
    assert!(refused.contains("401"), "{refused}");
    assert!(!refused.contains("a wrong one"), "{refused}");
    let done = run(PASSWORD).await.with_code(0);
    assert!(done.stderr.contains("4 runs in MLflow"), "{}", done.stderr);
    assert!(!done.stderr.contains(PASSWORD), "{}", done.stderr);
    let runs = server.runs("auth").await;
    assert_eq!((by_number(&runs).len(), batch_run(&runs).status.as_str()), (4, "FINISHED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked_against_the_authority_that_is_named() {
    let server = MlflowServer::start_with_tls().await;
    let folder = tempfile::tempdir().unwrap();
    let run = || run_small(folder.path(), &server, "tls");
    let refused = run().done().await.refused();
    assert!(refused.contains("invalid peer certificate: UnknownIssuer"), "{refused}");
    let done = run().env("MLFLOW_TRACKING_SERVER_CERT_PATH", server.authority()).done().await.with_code(0);
    assert!(done.stderr.contains("4 runs in MLflow: https://127.0.0.1:"), "{}", done.stderr);
    let runs = server.runs("tls").await;
    assert_eq!((by_number(&runs).len(), batch_run(&runs).status.as_str()), (4, "FINISHED"));
}
