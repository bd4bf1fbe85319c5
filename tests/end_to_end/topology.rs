//! The files under `nats/` are what the server's API takes, as they are.

use std::path::{Path, PathBuf};

use async_nats::jetstream;
use jetsweep_shared::subjects::Names;
use jetsweep_shared::topology::{self, Tuning};
use jetsweep_tests::{NatsServer, repository};
use serde_json::{Value, json};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = repository().join("nats").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

async fn request(client: &async_nats::Client, subject: String, payload: String) -> Value {
    let reply = client.request(subject, payload.into()).await.unwrap();
    serde_json::from_slice(&reply.payload).unwrap()
}

/// Every setting of `file` is in force in `config`. The server may add settings of its own.
fn assert_in_force(file: &Path, config: &Value) {
    let wanted: Value = serde_json::from_str(&text(file)).unwrap();
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(&config[key], value, "{} of {}", key, file.display());
    }
}

#[tokio::test]
async fn the_server_takes_each_file_unchanged() {
    let server = NatsServer::start().await;
    let client = server.connect().await;

    for file in files("streams") {
        let stream: Value = serde_json::from_str(&text(&file)).unwrap();
        let subject = format!("$JS.API.STREAM.CREATE.{}", stream["name"].as_str().unwrap());
        let reply = request(&client, subject, text(&file)).await;
        assert_eq!(reply.get("error"), None, "{}", file.display());
        assert_in_force(&file, &reply["config"]);
    }
    for file in files("consumers") {
        let consumer: Value = serde_json::from_str(&text(&file)).unwrap();
        let name = consumer["durable_name"].as_str().unwrap();
        let stream = match name {
            "planner" => "JETSWEEP_PLANS",
            "mlflow-bridge" => "JETSWEEP_RESULTS",
            _ => "JETSWEEP_JOBS",
        };
        let payload = format!("{{\"stream_name\":\"{stream}\",\"config\":{}}}", text(&file));
        let reply = request(&client, format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}"), payload).await;
        assert_eq!(reply.get("error"), None, "{}", file.display());
        assert_in_force(&file, &reply["config"]);
    }

    // What jetsweep makes of the files is what is there already.
    let context = jetstream::new(client.clone());
    topology::ensure(&context, &Names::default(), &Tuning::default()).await.unwrap();
    for file in files("streams") {
        let stream: Value = serde_json::from_str(&text(&file)).unwrap();
        let subject = format!("$JS.API.STREAM.INFO.{}", stream["name"].as_str().unwrap());
        assert_in_force(&file, &request(&client, subject, json!({}).to_string()).await["config"]);
    }
}

#[tokio::test]
async fn a_namespace_has_streams_of_its_own_beside_another() {
    let server = NatsServer::start().await;
    let context = jetstream::new(server.connect().await);
    for namespace in ["jetsweep", "team-a"] {
        let names = Names::new(namespace).unwrap();
        topology::ensure(&context, &names, &Tuning::default()).await.unwrap();
        topology::ensure(&context, &names, &Tuning::default()).await.unwrap();
        for stream in [names.plans_stream(), names.jobs_stream(), names.results_stream(), names.dead_stream()] {
            context.get_stream(&stream).await.unwrap();
        }
        context.get_key_value(names.batches_bucket()).await.unwrap();
    }
}
