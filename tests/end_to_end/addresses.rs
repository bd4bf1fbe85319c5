//! Bars on a web server and in S3: fetched by workers from where they may, again when a server fails, and nowhere else.

use jetsweep_tests::{eventually, jetsweep, sample_data};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::support::{Row, State, ledger, rows, text};
use crate::web::Web;

const SPEC: &str = r#"name = "web"
[data]
source = "data/sample/{symbol}.csv"
[universe]
symbols = ["AAPL", "IBM", "SPY"]
[[strategy]]
template = "sma_cross"
fast = [5, 10, 20]
slow = [50, 100]
"#;

/// Runs of the spec, and of each symbol.
const RUNS: u64 = 18;
const RUNS_OF_SYMBOL: u64 = 6;

/// Planner and consolidator, and a worker that may read at these addresses.
async fn cluster(variables: &[(&str, &str)]) -> Cluster {
    let mut cluster = Cluster::new(&[]).await;
    for role in ["planner", "consolidator"] {
        cluster.serve(role, role);
    }
    cluster.serve_with("worker", "worker", variables);
    cluster.answers("planner").await;
    cluster.answers("consolidator").await;
    cluster
}

async fn submit(cluster: &Cluster, batch: &str, source: &str) -> jetsweep_tests::Done {
    let spec = cluster.state.file("spec.toml", SPEC);
    let args = ["submit", text(&spec), "--data", source, "--batch", batch, "--wait", "--output", "json"];
    cluster.jetsweep(&args).done().await
}

/// What rows say that must not depend on where bars came from.
fn rows_of(batch: &str) -> String {
    format!(
        "SELECT run, status, sharpe, final_equity, data_digest FROM backtest_results WHERE batch_id = '{batch}' ORDER BY run"
    )
}

async fn query(cluster: &Cluster, sql: &str) -> Vec<Row> {
    rows(cluster.jetsweep(&["query", sql, "--output", "json"]).done().await)
}

/// The rows of a run over the folder.
async fn expected() -> Vec<Row> {
    let state = State::new();
    let spec = state.file("spec.toml", SPEC);
    state.run(&spec, "of-folder", &[]).await.json();
    state.query(&rows_of("of-folder")).await
}

/// How all runs of a batch failed.
async fn failure(cluster: &Cluster, batch: &str) -> (String, String) {
    let sql = format!(
        "SELECT error_code, min(error_message) AS message FROM backtest_results WHERE batch_id = '{batch}' GROUP BY ALL"
    );
    let rows = query(cluster, &sql).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    let field = |name: &str| rows[0][name].as_str().unwrap_or_default().to_owned();
    (field("error_code"), field("message"))
}

#[tokio::test]
async fn bars_of_a_web_server_are_fetched_once_and_again_when_it_fails() {
    let web = Web::serve(&sample_data()).await;
    let allowed = format!("http://{}/bars", web.address);
    let mut cluster = cluster(&[("JETSWEEP_DATA__ALLOWED_URLS", &allowed)]).await;
    let source = format!("{allowed}/{{symbol}}.csv");
    // More than one attempt: jobs are put off, and run in a child process when they come again.
    web.fail(8, 5);
    let report = submit(&cluster, "of-web", &source).await.json();
    assert_eq!(ledger(&report), (RUNS, [RUNS, 0, 0, 0]), "{}", cluster.logs());
    assert_eq!(web.failures_left(), 0);
    let expected = expected().await;
    assert_eq!(query(&cluster, &rows_of("of-web")).await, expected);

    // What is on disk is good for another worker too, which asks only whether it is the same still.
    let contents = || web.asked().iter().filter(|asked| asked.starts_with("GET")).count();
    let before = contents();
    cluster.stop("worker").await;
    cluster.serve_with("another", "worker", &[("JETSWEEP_DATA__ALLOWED_URLS", &allowed)]);
    submit(&cluster, "of-disk", &source).await.with_code(0);
    assert_eq!(query(&cluster, &rows_of("of-disk")).await, expected);
    assert_eq!(contents(), before, "{:?}", web.asked());

    let missing = submit(&cluster, "missing", &format!("{allowed}/not/{{symbol}}.txt")).await;
    missing.with_code(3);
    assert_eq!(failure(&cluster, "missing").await.0, "data_missing");
}

#[tokio::test]
async fn a_server_that_tells_no_versions_apart_is_asked_for_the_whole_file() {
    let web = Web::serve(&sample_data()).await;
    web.say_little();
    let allowed = format!("http://{}/bars", web.address);
    let mut cluster = cluster(&[("JETSWEEP_DATA__ALLOWED_URLS", &allowed)]).await;
    let source = format!("{allowed}/{{symbol}}.csv");
    let contents = || web.asked().iter().filter(|asked| asked.starts_with("GET")).count() as u64;
    let expected = expected().await;
    for (batch, asked) in [("first", 1), ("second", 2)] {
        let report = submit(&cluster, batch, &source).await.json();
        assert_eq!(ledger(&report), (RUNS, [RUNS, 0, 0, 0]), "{}", cluster.logs());
        assert_eq!(query(&cluster, &rows_of(batch)).await, expected);
        assert_eq!(contents(), asked * RUNS / RUNS_OF_SYMBOL, "by each worker once: {:?}", web.asked());
        if asked == 1 {
            cluster.stop("worker").await;
            cluster.serve_with("another", "worker", &[("JETSWEEP_DATA__ALLOWED_URLS", &allowed)]);
        }
    }
    let links = std::fs::read_dir(cluster.state.path().join("data-cache/urls")).unwrap();
    assert_eq!(links.count(), 0, "there is no version to find a file by");
}

#[tokio::test]
async fn a_worker_that_is_stopped_in_a_fetch_leaves_nothing_of_it() {
    let web = Web::serve(&sample_data()).await;
    let allowed = format!("http://{}/bars", web.address);
    let mut cluster = cluster(&[("JETSWEEP_DATA__ALLOWED_URLS", &allowed)]).await;
    web.hang(true);
    let (spec, source) = (cluster.state.file("spec.toml", SPEC), format!("{allowed}/{{symbol}}.csv"));
    cluster.jetsweep(&["submit", text(&spec), "--data", &source, "--batch", "b"]).done().await.with_code(0);
    let folder = cluster.state.path().join("data-cache/sha256");
    let files = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    eventually("a fetch to begin", async || (files() > 0).then_some(())).await;
    let stopped = cluster.stop("worker").await;
    assert_eq!(files(), 0, "{}", stopped.stderr);

    web.hang(false);
    cluster.serve_with("another", "worker", &[("JETSWEEP_DATA__ALLOWED_URLS", &allowed)]);
    cluster.ends("b").await;
    assert_eq!(query(&cluster, &rows_of("b")).await, expected().await);
}

#[tokio::test]
async fn what_is_not_allowed_is_not_asked_for() {
    let (web, other) = (Web::serve(&sample_data()).await, Web::serve(&sample_data()).await);
    let root = format!("http://{}", web.address);
    let cluster = cluster(&[("JETSWEEP_DATA__ALLOWED_URLS", &format!("{root}/bars, {root}/moved"))]).await;
    for (batch, source) in [
        ("elsewhere", format!("http://{}/bars/{{symbol}}.csv", other.address)),
        ("beside", format!("{root}/bars-of-others/{{symbol}}.csv")),
    ] {
        submit(&cluster, batch, &source).await.with_code(3);
        let (code, message) = failure(&cluster, batch).await;
        assert_eq!(code, "data_refused", "{message}");
        assert!(message.contains("data.allowed_urls"), "{message}");
    }
    for encoded in ["%2e%2e/", "..%2f", "..;/"] {
        let source = format!("{root}/bars/{encoded}{{symbol}}.csv");
        let told = submit(&cluster, "encoded", &source).await.refused();
        assert!(told.contains("is no address that is read"), "{told}");
    }
    // Nor is it by way of somebody who is allowed.
    web.move_to(&format!("http://{}/bars", other.address));
    submit(&cluster, "redirected", &format!("{root}/moved/{{symbol}}.csv")).await.with_code(3);
    let (code, message) = failure(&cluster, "redirected").await;
    assert_eq!(code, "data_refused");
    let place = format!("redirects to http://{}/bars/", other.address);
    assert!(message.contains(&place) && message.contains("data.allowed_urls"), "{message}");
    assert_eq!(other.asked(), Vec::<String>::new());
    web.move_to(&format!("{root}/bars/..%2fothers"));
    submit(&cluster, "redirected-up", &format!("{root}/moved/{{symbol}}.csv")).await.with_code(3);
    let (code, message) = failure(&cluster, "redirected-up").await;
    assert!(code == "data_refused" && message.contains("written as %2f"), "{message}");
    assert!(!(message + &cluster.logs()).contains("X-Amz-Signature"), "signed addresses are nobody's business");

    web.move_to(&format!("{root}/bars"));
    let report = submit(&cluster, "moved", &format!("{root}/moved/{{symbol}}.csv")).await.json();
    assert_eq!(ledger(&report), (RUNS, [RUNS, 0, 0, 0]), "{}", cluster.logs());
}

#[tokio::test]
async fn bars_in_s3_are_asked_for_with_a_signature() {
    let web = Web::serve(&sample_data()).await;
    let endpoint = format!("http://{}", web.address);
    let variables = [
        ("JETSWEEP_DATA__ALLOWED_URLS", "s3://bars/daily,s3://moved"),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "the-key"),
        ("AWS_SECRET_ACCESS_KEY", "the-secret"),
        ("AWS_REGION", "eu-central-1"),
    ];
    let cluster = cluster(&variables).await;
    let report = submit(&cluster, "of-s3", "s3://bars/daily/{symbol}.csv").await.json();
    assert_eq!(ledger(&report), (RUNS, [RUNS, 0, 0, 0]), "{}", cluster.logs());
    assert_eq!(query(&cluster, &rows_of("of-s3")).await, expected().await);
    for asked in web.asked() {
        let is_signed = asked.contains("X-Amz-Signature=") && asked.contains("the-key%2F");
        assert!(is_signed && asked.contains("eu-central-1") && asked.contains(" /bars/daily/"), "{asked}");
    }
    submit(&cluster, "other", "s3://other/daily/{symbol}.csv").await.with_code(3);
    assert_eq!(failure(&cluster, "other").await.0, "data_refused");
    submit(&cluster, "empty-part", "s3://bars/daily//{symbol}.csv").await.with_code(3);
    let (code, message) = failure(&cluster, "empty-part").await;
    assert!(code == "data_refused" && message.contains("its key is none that is read"), "{message}");
    // A bucket of another region may be asked for at the right place later.
    web.move_to("http://elsewhere.example");
    let spec = cluster.state.file("spec.toml", SPEC);
    let validate = ["validate", text(&spec), "--data", "s3://moved/{symbol}.csv"];
    let validate = variables.iter().fold(jetsweep(validate), |command, (name, value)| command.env(name, value));
    let told = validate.env("JETSWEEP_STATE_DIR", cluster.state.path()).done().await.with_code(2).stderr;
    assert!(
        told.contains("failed to read") && told.contains("AWS_REGION") && told.contains("elsewhere.example"),
        "{told}"
    );
    assert!(!told.contains("X-Amz-Signature"), "{told}");
    assert!(!cluster.logs().contains("X-Amz-Signature"), "signed addresses are nobody's business");
}

#[tokio::test]
async fn commands_on_this_machine_fetch_bars_too() {
    let web = Web::serve(&sample_data()).await;
    let state = State::new();
    let allowed = format!("http://{}/", web.address);
    let command = |args: &[&str]| {
        let command = jetsweep(args).env("JETSWEEP_STATE_DIR", state.path());
        command.env("JETSWEEP_DATA__ALLOWED_URLS", &allowed)
    };
    let (spec, source) = (state.file("spec.toml", SPEC), format!("{allowed}{{symbol}}.csv"));
    let spec = text(&spec);
    command(&["validate", spec, "--data", &source]).done().await.with_code(0);
    command(&["lookahead", spec, "--data", &source, "--sample", "1"]).done().await.with_code(0);
    let report = command(&["run", spec, "--data", &source, "--batch", "b", "--output", "json"]).done().await.json();
    assert_eq!(ledger(&report), (RUNS, [RUNS, 0, 0, 0]));
    assert_eq!(state.query(&rows_of("b")).await, expected().await);
    let replayed: Value = command(&["replay", "b", "7", "--output", "json"]).done().await.json();
    assert_eq!(replayed["identical"], true);
    let contents = web.asked().iter().filter(|asked| asked.starts_with("GET")).count() as u64;
    assert_eq!(contents, RUNS / RUNS_OF_SYMBOL, "each file once: {:?}", web.asked());

    let closed = format!("{allowed}closed/{{symbol}}.csv");
    let told = command(&["validate", spec, "--data", &closed]).done().await.with_code(2).stderr;
    assert!(told.contains("403 Forbidden") && told.contains("sign in"), "{told}");
    web.move_to(&format!("{allowed}moved"));
    let circle = format!("{allowed}moved/{{symbol}}.csv");
    let told = command(&["validate", spec, "--data", &circle]).done().await.with_code(2).stderr;
    assert!(told.contains("redirects more than 5 times") && !told.contains("allowed_urls"), "{told}");
    // A folder that cannot be one.
    let folder = format!("{spec}/cache");
    let told = command(&["validate", spec, "--data", &source]).env("JETSWEEP_DATA__CACHE_DIR", &folder).done().await;
    let told = told.with_code(2).stderr;
    assert!(told.contains(&format!("failed to write to the folder {folder} (data.cache_dir)")), "{told}");
    let told = jetsweep(["validate", spec, "--data", &source]).env("JETSWEEP_STATE_DIR", state.path()).done().await;
    let told = told.refused();
    assert!(told.contains("data.allowed_urls"), "{told}");
}
