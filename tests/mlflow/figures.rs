//! Figures: how fast the bridge is beside what the server can do, and what becomes of a huge batch. Not part of the
//! usual tests: `scripts/bench-mlflow` runs them and prints what they measured.

use std::time::Instant;

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::server::{MlflowServer, batch_run, by_number, completed, http_client, parquet_rows};
use crate::services::Services;

/// Requests on their way at the same time.
const CONCURRENCY: usize = 4;

/// Measurements of the bridge, each between two of the plain loop.
const PAIRS: usize = 5;

async fn post(client: &reqwest::Client, url: &str, path: &str, body: Value) -> Value {
    let request = client.post(format!("{url}/api/2.0/mlflow{path}")).header("Content-Type", "application/json");
    let text = request.body(body.to_string()).send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
}

/// The three calls of one run, with as much in them as the bridge puts in.
async fn three_calls(client: &reqwest::Client, url: &str, experiment: &str, number: usize) {
    let tags: Vec<Value> = (0..15).map(|tag| json!({ "key": format!("tag{tag}"), "value": "x".repeat(50) })).collect();
    let run = json!({ "experiment_id": experiment, "run_name": format!("plain {number}"), "start_time": 1_700_000_000_000_i64, "tags": tags });
    let run = post(client, url, "/runs/create", run).await;
    let id = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let metric = |at: usize| json!({ "key": format!("risk/m{at}"), "value": 0.1 * at as f64, "timestamp": 1_700_000_000_000_i64, "step": 0 });
    let metrics: Vec<Value> = (0..30).map(metric).collect();
    let params = json!([{ "key": "fast", "value": "5" }, { "key": "slow", "value": "50" }]);
    post(client, url, "/runs/log-batch", json!({ "run_id": id, "metrics": metrics, "params": params })).await;
    post(client, url, "/runs/update", json!({ "run_id": id, "status": "FINISHED", "end_time": 1_700_000_001_000_i64 }))
        .await;
}

/// Runs a second of a plain loop over three calls.
async fn plain_rate(url: &str, experiment: &str, runs: usize) -> f64 {
    let client = http_client(0);
    let start = Instant::now();
    stream::iter(0..runs)
        .for_each_concurrent(CONCURRENCY, |number| three_calls(&client, url, experiment, number))
        .await;
    runs as f64 / start.elapsed().as_secs_f64()
}

/// Runs a second of the bridge, from the first view of a batch with runs to that with all of them.
async fn bridge_rate(server: &MlflowServer, services: &Services, batch: &str, detail: &str) -> f64 {
    let jetstream = async_nats::jetstream::new(services.nats.connect().await);
    let bucket = jetstream.get_key_value("jetsweep-batches").await.unwrap();
    let mut views = bucket.watch(format!("{batch}.mlflow")).await.unwrap();
    let settings = [("JETSWEEP_MLFLOW__DETAIL", detail), ("JETSWEEP_MLFLOW__LOG", "all")];
    let bridge = services.bridge(&server.url(), &settings);
    let mut counts: Vec<(Instant, u64)> = Vec::new();
    loop {
        let view: Value = serde_json::from_slice(&views.next().await.unwrap().unwrap().value).unwrap();
        let logged = view["logged"].as_u64().unwrap();
        if logged > counts.last().map_or(0, |(_, logged)| *logged) {
            counts.push((Instant::now(), logged));
        }
        if view["state"] == "done" {
            break;
        }
    }
    drop(bridge);
    let (first, last) = (counts[0], counts[counts.len() - 1]);
    (last.1 - first.1) as f64 / (last.0 - first.0).as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: scripts/bench-mlflow"]
async fn throughput_is_that_of_a_plain_loop() {
    let (server, services) = tokio::join!(MlflowServer::start(), Services::start());
    let experiment = server.post("/experiments/create", json!({ "name": "plain" })).await["experiment_id"].clone();
    let experiment = experiment.as_str().unwrap().to_owned();
    let spec = |name: &str| {
        format!(
            "name = \"{name}\"\n[data]\nsource = \"data/sample/{{symbol}}.csv\"\n[universe]\nsymbols = [\"AAPL\", \"SPY\"]\n\
             [[strategy]]\ntemplate = \"sma_cross\"\nfast = {{ from = 5, to = 24, step = 1 }}\n\
             slow = {{ from = 50, to = 145, step = 5 }}\n"
        )
    };
    let runs = 400;
    plain_rate(&server.url(), &experiment, 100).await;
    let mut rates = Vec::new();
    for pair in 0..PAIRS {
        let batch = format!("rate{pair}");
        let file = services.file(&format!("{batch}.toml"), &spec(&batch));
        services.run_batch(&file, &batch).await;
        // Before and after: the machine is not equally fast all the time.
        let before = plain_rate(&server.url(), &experiment, runs).await;
        let bridge = bridge_rate(&server, &services, &batch, "metrics").await;
        let after = plain_rate(&server.url(), &experiment, runs).await;
        let plain = (before + after) / 2.0;
        println!(
            "plain loop {before:.1} and {after:.1} runs/s, bridge between {bridge:.1} runs/s, {:.0}%",
            100.0 * bridge / plain
        );
        rates.push(bridge / plain);
    }
    let batch = "full";
    let file = services.file("full.toml", &spec(batch));
    services.run_batch(&file, batch).await;
    let full = bridge_rate(&server, &services, batch, "full").await;
    println!("bridge with datasets, trades, equity and charts {full:.1} runs/s");
    rates.sort_by(f64::total_cmp);
    let median = rates[PAIRS / 2];
    println!("median of {PAIRS} pairs {:.0}%", 100.0 * median);
    assert!(median >= 0.9, "{rates:?}");
}

/// Half of the requests take at most this, in milliseconds.
async fn median_ms(client: &reqwest::Client, url: &str) -> f64 {
    let mut times = Vec::new();
    for number in 0..60 {
        let start = Instant::now();
        let body = json!({ "experiment_id": "0", "key": "k", "value": format!("{number}") });
        post(client, url, "/experiments/set-experiment-tag", body).await;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: scripts/bench-mlflow"]
async fn no_request_waits_for_a_delayed_acknowledgement() {
    let server = MlflowServer::start_with_workers(2).await;
    let kept = median_ms(&http_client(8), &server.url()).await;
    let new = median_ms(&http_client(0), &server.url()).await;
    println!("two workers: p50 {new:.1} ms with a connection a request, {kept:.1} ms with kept ones");
    assert!(new < 30.0, "{new}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: scripts/bench-mlflow"]
async fn a_huge_batch_leaves_its_best_and_its_table() {
    let (server, services) = tokio::join!(MlflowServer::start(), Services::start());
    // 8 symbols with bars and one without: 9 x 11,250 runs.
    let spec = services.file(
        "huge.toml",
        "name = \"huge\"\n[data]\nsource = \"data/sample/{symbol}.csv\"\n\
         [universe]\nsymbols = [\"AAPL\", \"AIG\", \"BAC\", \"EEM\", \"GOOG\", \"IBM\", \"IWM\", \"SPY\", \"NONE\"]\n\
         [[strategy]]\ntemplate = \"sma_cross\"\nfast = { from = 2, to = 76, step = 1 }\n\
         slow = { from = 100, to = 249, step = 1 }\n",
    );
    services.run_batch(&spec, "huge").await;
    let start = Instant::now();
    let bridge = services.bridge(&server.url(), &[]);
    let runs = completed(&server, "huge").await;
    let seconds = start.elapsed().as_secs_f64();
    let found = by_number(&runs);
    let parent = batch_run(&runs);
    let total = parent.metrics["runs/total_runs"];
    let failed = found.values().filter(|run| run.status == "FAILED").count();
    let parquet = server.artifact(&parent.id, "results.parquet").await;
    println!(
        "{total} runs: {} runs in MLflow, {failed} of these failed, {} MB of Parquet, in {seconds:.1} s",
        found.len(),
        parquet.len() / 1_000_000
    );
    assert_eq!((total, found.len() - failed, failed), (101_250.0, 100, 50));
    assert_eq!(parquet_rows(&parquet), 101_250);
    assert!(seconds < 120.0, "{seconds}");
    drop(bridge);
}
