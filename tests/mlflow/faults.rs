//! Servers that say no: the host check, runs refused for good, being away.

use jetsweep_tests::{NatsServer, jetsweep, message};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

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
#[ignore = "needs an MLflow server: scripts/test-mlflow"]
async fn the_host_check_is_explained_with_its_cure() {
    let url = always("403 Forbidden", "Invalid Host header - possible DNS rebinding attack detected").await;
    let error = refused(&url).await["error"]["message"].to_string();
    assert!(error.contains("--allowed-hosts '127.0.0.1:*,127.0.0.1,"), "{error}");
    assert!(error.contains("MLFLOW_SERVER_ALLOWED_HOSTS"), "{error}");
}

#[tokio::test]
#[ignore = "needs an MLflow server: scripts/test-mlflow"]
async fn a_wrong_sign_in_is_told_at_once_and_secrets_are_not() {
    let url = always("401 Unauthorized", "<html>no</html>").await;
    let with_secret = url.replace("http://", "http://me:hunter2@");
    let error = refused(&with_secret).await["error"]["message"].to_string();
    assert!(error.contains("MLFLOW_TRACKING_TOKEN") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
#[ignore = "needs an MLflow server: scripts/test-mlflow"]
async fn a_file_store_is_no_server() {
    let nats = NatsServer::start().await;
    let bridge = jetsweep(["mlflow-bridge", "--nats", &nats.url()]).env("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db");
    let done = bridge.done().await.with_code(1);
    assert!(done.stderr.contains("is no http:// or https:// address"), "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an MLflow server: scripts/test-mlflow"]
async fn what_is_refused_for_good_is_kept_with_the_servers_words() {
    use crate::server::MlflowServer;
    use crate::services::Services;

    let (server, services) = tokio::join!(MlflowServer::start(), Services::start());
    // MLflow refuses a run whose parameter was logged with another value: here by a run of the same id, made by hand.
    let spec = services.file(
        "refused.toml",
        "name = \"refused\"\n[data]\nsource = \"data/sample/{symbol}.csv\"\n[universe]\nsymbols = [\"AAPL\"]\n\
         [[strategy]]\ntemplate = \"sma_cross\"\nfast = [5, 10]\nslow = 50\n",
    );
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
    // The other run, and the batch, go on.
    let runs = crate::server::completed(&server, "refused").await;
    let finished = runs.iter().filter(|run| run.tag("run") == "0" && run.status == "FINISHED").count();
    assert_eq!(finished, 1);
    drop(bridge);
}
