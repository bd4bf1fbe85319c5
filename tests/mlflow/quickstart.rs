//! `jetsweep run --mlflow`: the quickstart's runs, read back.

use std::collections::BTreeSet;

use jetsweep_tests::{jetsweep, repository};
use serde_json::Value;

use crate::server::{MlflowServer, Run, batch_run, by_number, parquet_rows};
use crate::services::{assert_is_row, by_run, example, text};

#[tokio::test(flavor = "multi_thread")]
async fn every_run_is_there_once_and_equal_to_its_row() {
    let server = MlflowServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (url, spec) = (server.url(), example("quickstart.toml"));
    let args = ["run", text(&spec), "--batch", "qs", "--state", text(&state), "--mlflow", &url, "--output", "json"];
    let done = jetsweep(args).done().await;
    assert!(done.stderr.contains("459 runs in MLflow"), "{}", done.stderr);
    assert_eq!(done.json()["succeeded"], 459);

    let query =
        async |sql: &str| jetsweep(["query", sql, "--state", text(&state), "--output", "json"]).done().await.json();
    let rows = by_run(query("SELECT * FROM backtest_results ORDER BY run").await);
    let runs = server.runs("qs").await;
    let found = by_number(&runs);
    assert_eq!((found.len(), rows.len()), (459, 459));
    let experiments = server.experiments().await;
    for (number, row) in &rows {
        let run = &found[number];
        assert_is_row(run, row);
        let (symbol, strategy) = (row["symbol"].as_str().unwrap(), row["strategy"].as_str().unwrap());
        assert_eq!(run.experiment_id, experiments[&format!("parallel_backtest.equities.{symbol}.{strategy}")]);
        assert!(run.name.starts_with(&format!("{symbol} {strategy} ")), "{}", run.name);
        let digest = &row["data_digest"].as_str().unwrap()[..36];
        assert_eq!(run.datasets, [(symbol.to_owned(), digest.to_owned())]);
    }
    // One experiment for each symbol and strategy, one for batches, and MLflow's own.
    assert_eq!(experiments.len(), 9 * 7 + 2, "{experiments:?}");

    let parent = batch_run(&runs);
    assert_eq!(parent.experiment_id, experiments["parallel_backtest.batches"]);
    assert!(found.values().all(|run| run.tag("mlflow.parentRunId") == parent.id));
    assert_eq!((parent.metrics["runs/succeeded"], parent.metrics["runs/success_rate"]), (459.0, 1.0));
    let summary = query("SELECT max(sharpe) AS best, quantile_cont(sharpe, 0.5) AS median FROM backtest_results").await;
    assert_eq!(parent.metrics["best/sharpe"], summary[0]["best"].as_f64().unwrap());
    assert_eq!(parent.metrics["median/sharpe"], summary[0]["median"].as_f64().unwrap());
    let note = parent.tag("mlflow.note.content");
    assert!(note.starts_with("`jetsweep replay qs ") && note.contains("(get-artifact?run_uuid="), "{note}");

    let number = rows.values().max_by_key(|row| row["trade_count"].as_u64()).unwrap()["run"].as_u64().unwrap();
    run_has_its_files(&server, &found[&number].id, &rows[&number]).await;
    batch_has_its_files(&server, &parent.id).await;

    // A backfill, from the database alone, finds nothing to do.
    let args = ["mlflow", "backfill", "qs", "--state", text(&state), "--mlflow", &url, "--output", "json"];
    let filled = jetsweep(args).done().await.json();
    assert_eq!((filled["logged"].as_u64(), filled["failed"].as_u64()), (Some(459), Some(0)));
    assert_eq!(by_number(&server.runs("qs").await).len(), 459);

    // Somebody deletes a run and an experiment by hand: a backfill brings both back, the run with files computed here.
    let deleted = &found[&number];
    server.post("/runs/delete", serde_json::json!({ "run_id": deleted.id })).await;
    let (_, other) = found.iter().find(|(_, run)| run.experiment_id != deleted.experiment_id).unwrap();
    server.post("/experiments/delete", serde_json::json!({ "experiment_id": other.experiment_id })).await;
    jetsweep(args).done().await.json();
    let again = by_number(&server.runs("qs").await);
    assert_eq!(again.len(), 459);
    for (number, row) in &rows {
        assert_is_row(&again[number], row);
    }
    let is_new = |(number, run): &(&u64, &Run)| run.id != found[number].id;
    assert_eq!(again.iter().filter(is_new).map(|(number, _)| *number).collect::<Vec<_>>(), [number]);
    run_has_its_files(&server, &again[&number].id, &rows[&number]).await;
    undefined_metrics_and_failures(&server, &state).await;
}

/// Row, trades, equity and charts of a run agree with its row.
async fn run_has_its_files(server: &MlflowServer, id: &str, row: &serde_json::Map<String, Value>) {
    let paths = server.artifacts(id).await;
    assert_eq!(paths, ["drawdown.svg", "equity.csv", "equity.svg", "row.json", "trades.csv"]);
    let file = async |path: &str| String::from_utf8(server.artifact(id, path).await).unwrap();
    let logged: serde_json::Map<String, Value> = serde_json::from_str(&file("row.json").await).unwrap();
    assert_eq!(&logged, row);
    let trades = file("trades.csv").await;
    let closed = trades.lines().skip(1).filter(|line| line.ends_with(",false")).count();
    assert_eq!(closed as u64, row["trade_count"].as_u64().unwrap());
    let equity = file("equity.csv").await;
    assert_eq!(equity.lines().count() as u64, row["bars"].as_u64().unwrap() + 1);
    let last: f64 = equity.lines().last().unwrap().split(',').nth(1).unwrap().parse().unwrap();
    let final_equity = row["final_equity"].as_f64().unwrap();
    // The replay adds bar by bar, the run holding by holding: the same but for rounding.
    assert!((last / final_equity - 1.0).abs() < 1e-9, "{last} {final_equity}");
    for chart in ["equity.svg", "drawdown.svg"] {
        let svg = file(chart).await;
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("<polyline"), "{chart}");
    }
}

async fn batch_has_its_files(server: &MlflowServer, id: &str) {
    let paths: BTreeSet<String> = server.artifacts(id).await.into_iter().collect();
    for path in [
        "correlation.csv",
        "correlation.svg",
        "heatmaps/sma_cross.svg",
        "heatmaps/universe.svg",
        "leaderboard.csv",
        "results.parquet",
        "spec.json",
        "summary.json",
    ] {
        assert!(paths.contains(path), "{path} is not among {paths:?}");
    }
    let file = async |path: &str| server.artifact(id, path).await;
    assert_eq!(parquet_rows(&file("results.parquet").await), 459);
    let summary: Value = serde_json::from_slice(&file("summary.json").await).unwrap();
    assert_eq!(summary["metrics"]["trade_count"]["count"].as_f64(), Some(459.0));
    let leaderboard = String::from_utf8(file("leaderboard.csv").await).unwrap();
    assert_eq!(leaderboard.lines().count(), 101);
    let correlation = String::from_utf8(file("correlation.csv").await).unwrap();
    assert_eq!(correlation.lines().count(), 101);
    assert!(correlation.lines().nth(1).unwrap().split(',').nth(1) == Some("1"), "a run goes with itself");
}

/// Runs without trades and runs without data: what is undefined is absent and named, and all else is there.
async fn undefined_metrics_and_failures(server: &MlflowServer, state: &std::path::Path) {
    let spec = state.join("odd.toml");
    let sample = repository().join("data/sample");
    std::fs::write(
        &spec,
        "name = \"odd\"\n[data]\nsource = \"{symbol}.csv\"\n[universe]\nsymbols = [\"AAPL\", \"NONE\"]\nasset_class = \"crypto\"\n\
         [[strategy]]\ntemplate = \"rsi_reversion\"\nperiod = 200\nlower = [1, 2, 49]\n",
    )
    .unwrap();
    let url = server.url();
    let args =
        ["run", text(&spec), "--batch", "odd", "--skip-invalid", "--data", text(&sample), "--state", text(state)];
    let done = jetsweep(args.into_iter().chain(["--mlflow", &url, "--output", "json"])).done().await.with_code(0);
    assert!(done.stderr.contains("6 runs in MLflow"), "{}", done.stderr);
    let sql = "SELECT * FROM backtest_results WHERE batch_id = 'odd' ORDER BY run";
    let rows = by_run(jetsweep(["query", sql, "--state", text(state), "--output", "json"]).done().await.json());
    let runs = server.runs("odd").await;
    let found = by_number(&runs);
    assert_eq!((found.len(), rows.len()), (6, 6));
    for (number, row) in &rows {
        assert_is_row(&found[number], row);
    }
    let undefined = found.values().filter(|run| run.tag("undefined_metrics").contains("profit_factor")).count();
    assert!(undefined > 0, "{found:?}");
    let failed: Vec<&str> =
        found.values().filter(|run| run.status == "FAILED").map(|run| run.tag("error_code")).collect();
    assert_eq!(failed, ["data_missing"; 3]);
    let experiments = server.experiments().await;
    assert!(experiments.contains_key("parallel_backtest.crypto.AAPL.rsi_reversion"), "{experiments:?}");
    assert_eq!(batch_run(&runs).metrics["runs/failed"], 3.0);
}
