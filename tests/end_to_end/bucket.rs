//! The data bucket: workers without a folder of bars, and what `jetsweep data` makes of it.

use std::path::{Path, PathBuf};

use async_nats::jetstream;
use async_nats::jetstream::stream::Stream;
use jetsweep_tests::{jetsweep, sample_data};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::cluster::Cluster;
use crate::support::{Row, SMALL_RUNS, State, example, ledger, rows, text};

/// Where the bars are for workers that have none.
const SOURCE: &str = "store://daily/{symbol}.csv";

/// What rows say that must not depend on where bars came from. The digest of the spec does: the source is part of it.
fn comparable(batch: &str) -> String {
    format!(
        "SELECT * EXCLUDE (batch_id, generation, worker, runtime_us, timestamp, spec_digest) FROM backtest_results \
         WHERE batch_id = '{batch}' ORDER BY run"
    )
}

async fn query(cluster: &Cluster, sql: &str) -> Vec<Row> {
    rows(cluster.jetsweep(&["query", sql, "--output", "json"]).done().await)
}

/// Submits the quickstart over the bars in the bucket, and waits for its end.
async fn submit(cluster: &Cluster, batch: &str) -> Value {
    let spec = example("quickstart.toml");
    let args = ["submit", text(&spec), "--data", SOURCE, "--batch", batch, "--wait", "--output", "json"];
    cluster.jetsweep(&args).done().await.json()
}

/// What `jetsweep data` answers, as JSON.
async fn data(cluster: &Cluster, args: &[&str]) -> Value {
    cluster.jetsweep(&[&["data"], args, &["--output", "json"]].concat()).done().await.json()
}

/// What became of each pushed file.
fn outcomes(pushed: &Value) -> Vec<&str> {
    let files = pushed["files"].as_array().expect("files");
    files.iter().map(|file| file["how"].as_str().expect("what became of it")).collect()
}

async fn stream(cluster: &Cluster) -> Stream {
    let context = jetstream::new(cluster.server.connect().await);
    context.get_stream("OBJ_jetsweep-data").await.expect("the bucket's stream")
}

/// The files of the workers' disk cache.
fn kept(cluster: &Cluster) -> Vec<PathBuf> {
    let folder = cluster.state.path().join("data-cache/sha256");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn digest(file: &Path) -> String {
    Sha256::digest(std::fs::read(file).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_whole(files: &[PathBuf]) {
    for file in files {
        assert_eq!(file.file_name().unwrap().to_str().unwrap(), digest(file));
    }
}

#[tokio::test]
async fn workers_without_a_folder_compute_the_same_rows() {
    let mut cluster = Cluster::new(&[]).await;
    let empty = tempfile::tempdir().unwrap();
    let variables = [("JETSWEEP_DATA__ROOT", text(empty.path()))];
    for role in ["planner", "consolidator"] {
        cluster.serve(role, role);
    }
    for name in ["worker-1", "worker-2"] {
        cluster.serve_with(name, "worker", &variables);
    }
    cluster.answers("planner").await;
    cluster.answers("consolidator").await;
    let symbols = 9;
    let sample = sample_data();
    let push = ["push", text(&sample), "--prefix", "daily"];
    assert_eq!(outcomes(&data(&cluster, &push).await), vec!["uploaded"; symbols]);
    let before = stream(&cluster).await.cached_info().state.clone();
    assert_eq!(outcomes(&data(&cluster, &push).await), vec!["unchanged"; symbols]);
    assert_eq!(stream(&cluster).await.cached_info().state.last_sequence, before.last_sequence, "nothing was uploaded");

    let report = submit(&cluster, "of-bucket").await;
    assert_eq!(ledger(&report), (SMALL_RUNS, [SMALL_RUNS, 0, 0, 0]), "{}", cluster.logs());
    let state = State::new();
    state.run(&example("quickstart.toml"), "of-folder", &[]).await.json();
    let expected = state.query(&comparable("of-folder")).await;
    assert_eq!(expected.len() as u64, SMALL_RUNS);
    assert!(query(&cluster, &comparable("of-bucket")).await == expected, "rows differ, digests of bars among them");
    assert_eq!(kept(&cluster).len(), symbols);
    assert_whole(&kept(&cluster));

    // Files that were damaged on disk are fetched again, by workers that have nothing in memory yet.
    for file in kept(&cluster) {
        let mut content = std::fs::read(&file).unwrap();
        content.truncate(1000);
        std::fs::write(&file, content).unwrap();
    }
    for name in ["worker-1", "worker-2"] {
        cluster.stop(name).await;
        cluster.serve_with(name, "worker", &variables);
    }
    let report = submit(&cluster, "repaired").await;
    assert_eq!(ledger(&report), (SMALL_RUNS, [SMALL_RUNS, 0, 0, 0]), "{}", cluster.logs());
    assert!(query(&cluster, &comparable("repaired")).await == expected, "rows differ");
    assert!(cluster.logs().contains("is damaged"), "{}", cluster.logs());
    assert_whole(&kept(&cluster));

    // A name that is not there fails its runs, and the others succeed.
    data(&cluster, &["rm", "daily/SPY.csv"]).await;
    for name in ["worker-1", "worker-2"] {
        cluster.stop(name).await;
        cluster.serve_with(name, "worker", &variables);
    }
    let spec = example("quickstart.toml");
    let submit = ["submit", text(&spec), "--data", SOURCE, "--batch", "gap", "--wait"];
    cluster.jetsweep(&submit).done().await.with_code(3);
    let failed = "SELECT DISTINCT symbol, error_code, error_message FROM backtest_results WHERE batch_id = 'gap' AND \
                  status = 'failed'";
    let failed = query(&cluster, failed).await;
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((&failed[0]["symbol"], &failed[0]["error_code"]), (&"SPY".into(), &"data_missing".into()));
    assert!(failed[0]["error_message"].as_str().unwrap().contains("store://daily/SPY.csv"), "{failed:?}");
}

#[tokio::test]
async fn names_move_and_what_nobody_refers_to_is_tidied_up() {
    let cluster = Cluster::new(&[]).await;
    let bars = std::fs::read_to_string(sample_data().join("SPY.csv")).unwrap();
    let folder = cluster.state.folder().join("bars");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("A.csv", &bars);
    write("B.csv", &bars);
    let push = ["push", text(&folder)];
    let pushed = data(&cluster, &push).await;
    let mut both = outcomes(&pushed);
    both.sort_unstable();
    // Both were on their way at once, so that either may have come first, or both of them.
    assert!(both == ["named", "uploaded"] || both == ["uploaded", "uploaded"], "{pushed}");
    let first = pushed["files"][0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(first, digest(&folder.join("A.csv")));

    // A changed file: the name moves, and the old content stays until nobody refers to it and it is old enough.
    let shorter = bars.trim_end().rsplit_once('\n').unwrap().0;
    write("A.csv", shorter);
    assert_eq!(outcomes(&data(&cluster, &push).await), ["uploaded", "unchanged"]);
    let second = digest(&folder.join("A.csv"));
    let listed = data(&cluster, &["ls"]).await;
    let listed = |index: usize, field: &str| listed[index][field].clone();
    assert_eq!([listed(0, "name"), listed(0, "digest")], ["A.csv", second.as_str()]);
    assert_eq!([listed(1, "name"), listed(1, "digest")], ["B.csv", first.as_str()]);
    assert_eq!(listed(0, "bytes"), shorter.len());
    assert_eq!(data(&cluster, &["gc", "--older-than", "0s"]).await["contents"], 0);
    data(&cluster, &["rm", "B.csv"]).await;
    assert_eq!(data(&cluster, &["gc"]).await["contents"], 0, "it is younger than an hour");
    let freed = data(&cluster, &["gc", "--older-than", "0s"]).await;
    assert_eq!(freed["contents"], 1);
    assert!(freed["freed_bytes"].as_u64().unwrap() >= bars.len() as u64, "{freed}");
    let checked = data(&cluster, &["check"]).await;
    assert_eq!((&checked["checked"], &checked["broken"]), (&1.into(), &serde_json::json!([])));

    // What a killed push leaves: chunks that belong to nothing.
    let context = jetstream::new(cluster.server.connect().await);
    context.publish("$O.jetsweep-data.C.left", bars.clone().into()).await.unwrap().await.unwrap();
    assert_eq!(data(&cluster, &["gc"]).await["remains"], 0);
    assert_eq!(data(&cluster, &["gc", "--older-than", "0s"]).await["remains"], 1);
    // And a content without a name, which the next push finds.
    data(&cluster, &["rm", "A.csv"]).await;
    assert_eq!(outcomes(&data(&cluster, &push).await), ["named", "uploaded"]);

    // Bad bars are told with file and line, and nothing of that push is there.
    write("C.csv", &bars.replacen("1998", "199x", 1));
    write("A.csv", &bars);
    let refused = cluster.jetsweep(&["data", "push", text(&folder)]).done().await.refused();
    assert!(refused.contains("C.csv:2: date") && refused.contains("nothing was uploaded"), "{refused}");
    assert_eq!(data(&cluster, &["ls", "A"]).await[0]["digest"], second.as_str());
}

#[tokio::test]
async fn what_is_broken_in_the_bucket_is_found_and_can_be_repaired() {
    let cluster = Cluster::new(&[]).await;
    let sample = sample_data();
    let files = ["AAPL.csv", "IBM.csv", "SPY.csv"].map(|name| sample.join(name));
    let push: Vec<&str> = ["push"].into_iter().chain(files.iter().map(|file| text(file))).collect();
    data(&cluster, &push).await;
    cluster.jetsweep(&["data", "check"]).done().await.with_code(0);

    // A chunk of one is lost, one of another is not what it was.
    let stream = stream(&cluster).await;
    let chunk = async |digest: &str| {
        use base64::Engine;
        let name = base64::engine::general_purpose::URL_SAFE.encode(format!("sha256/{digest}"));
        let entry = stream.get_last_raw_message_by_subject(&format!("$O.jetsweep-data.M.{name}")).await.unwrap();
        let entry: Value = serde_json::from_slice(&entry.payload).unwrap();
        let subject = format!("$O.jetsweep-data.C.{}", entry["nuid"].as_str().unwrap());
        let chunk = stream.get_last_raw_message_by_subject(&subject).await.unwrap();
        (subject, chunk)
    };
    let (_, lost) = chunk(&digest(&files[0])).await;
    stream.delete_message(lost.sequence).await.unwrap();
    let (subject, changed) = chunk(&digest(&files[1])).await;
    stream.delete_message(changed.sequence).await.unwrap();
    let mut bytes = changed.payload.to_vec();
    bytes[100] ^= 1;
    let context = jetstream::new(cluster.server.connect().await);
    context.publish(subject, bytes.into()).await.unwrap().await.unwrap();

    let done = cluster.jetsweep(&["data", "check", "--output", "json"]).done().await.with_code(1);
    let checked: Value = serde_json::from_str(&done.stdout).unwrap();
    let broken = |name: &str| {
        let all = checked["broken"].as_array().unwrap();
        let found = all.iter().find(|broken| broken["names"] == serde_json::json!([name]));
        found.map(|broken| broken["reason"].as_str().unwrap().to_owned())
    };
    assert!(broken("AAPL.csv").unwrap().contains("pieces are there"), "{checked}");
    assert!(broken("IBM.csv").unwrap().contains("what is stored has digest"), "{checked}");
    assert_eq!(broken("SPY.csv"), None);

    assert_eq!(outcomes(&data(&cluster, &push).await), ["unchanged"; 3]);
    let force: Vec<&str> = push.iter().copied().chain(["--force"]).collect();
    assert_eq!(outcomes(&data(&cluster, &force).await), ["uploaded"; 3]);
    cluster.jetsweep(&["data", "check"]).done().await.with_code(0);
}

#[tokio::test]
async fn an_entry_that_nobody_can_read_stops_nothing_but_tidying_up_and_can_be_taken_away() {
    let cluster = Cluster::new(&[]).await;
    let file = sample_data().join("SPY.csv");
    data(&cluster, &["push", text(&file)]).await;
    let context = jetstream::new(cluster.server.connect().await);
    let junk = "$O.jetsweep-data.M.junk!";
    for subject in [junk, "$O.jetsweep-data.M.QkFELmNzdg=="] {
        context.publish(subject, "junk".into()).await.unwrap().await.unwrap();
    }
    let listed = data(&cluster, &["ls"]).await;
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|name| name["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["SPY.csv", junk, "BAD.csv"]);
    assert!(listed[2]["unreadable"].as_str().unwrap().contains("none of an object"), "{listed}");
    assert_eq!(listed[0].get("unreadable"), None);
    let shown = cluster.jetsweep(&["data", "ls"]).done().await.with_code(0).stdout;
    assert!(shown.contains("unreadable: BAD.csv: ") && shown.contains("jetsweep data rm 'BAD.csv'"), "{shown}");
    let quiet = cluster.jetsweep(&["data", "ls", "--output", "quiet"]).done().await.with_code(0).stdout;
    assert_eq!(quiet, "SPY.csv\n");

    let checked = cluster.jetsweep(&["data", "check", "--output", "json"]).done().await.with_code(1).stdout;
    let checked: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!((&checked["checked"], &checked["broken"][1]["names"][0]), (&1.into(), &"BAD.csv".into()));
    let told = cluster.jetsweep(&["data", "gc"]).done().await.with_code(1).stderr;
    assert!(told.contains("jetsweep data rm '"), "{told}");
    data(&cluster, &["rm", "BAD.csv", junk]).await;
    assert_eq!(data(&cluster, &["gc"]).await, serde_json::json!({"contents": 0, "remains": 0, "freed_bytes": 0}));
    cluster.jetsweep(&["data", "check"]).done().await.with_code(0);
    let content = format!("sha256/{}", digest(&file));
    let told = cluster.jetsweep(&["data", "rm", &content]).done().await.refused();
    assert!(told.contains("is a content, not a name") && told.contains("data gc"), "{told}");
}

#[tokio::test]
async fn commands_read_the_bucket_where_there_is_one() {
    let cluster = Cluster::new(&[]).await;
    let spec = example("quickstart.toml");
    let sample = sample_data();
    data(&cluster, &["push", text(&sample), "--prefix", "daily"]).await;
    let url = cluster.server.url();
    let here = |args: &[&str]| jetsweep(args).env("JETSWEEP_STATE_DIR", cluster.state.path());

    let validate = ["validate", text(&spec), "--data", SOURCE];
    here(&validate).env("JETSWEEP_NATS__URL", &url).done().await.with_code(0);
    let backtest = ["backtest", "--symbol", "AAPL", "--strategy", "sma_cross", "--output", "quiet", "--data"];
    let of_folder = here(&[&backtest as &[&str], &["data/sample/{symbol}.csv"]].concat()).done().await.with_code(0);
    let of_bucket = here(&[&backtest as &[&str], &[SOURCE]].concat()).env("JETSWEEP_NATS__URL", &url);
    assert_eq!(of_bucket.done().await.with_code(0).stdout, of_folder.stdout);

    let told = here(&validate).done().await.refused();
    assert!(told.contains("is in the data bucket of a NATS server") && told.contains("nats.url"), "{told}");
    let told = here(&["run", text(&spec), "--data", SOURCE]).done().await.refused();
    assert!(told.contains("NATS server of its own") && told.contains("jetsweep submit"), "{told}");
}
