//! The examples: every run succeeds, and its row is what the engine alone computes, however it was computed.

use std::fs::File;
use std::sync::Arc;

use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::bars::Bars;
use jetsweep_engine::columns::Columns;
use jetsweep_engine::metrics::{Metric, Metrics};
use jetsweep_shared::spec::{self, ResolvedSpec};
use jetsweep_tests::repository;
use serde_json::Value;

use crate::support::{LARGE_RUNS, Row, State, example, ledger};

/// Runs of the quickstart.
const RUNS: usize = 459;

#[tokio::test]
async fn the_quickstart_is_what_the_engine_alone_computes_with_any_slots_shards_and_vector_units() {
    let state = State::new();
    let quickstart = example("quickstart.toml");
    let report = state.run(&quickstart, "quickstart", &[]).await.json();
    assert_eq!(ledger(&report), (RUNS as u64, [RUNS as u64, 0, 0, 0]));
    assert_eq!((&report["state"], &report["success_rate"]), (&"completed".into(), &1.0.into()));
    assert_eq!(report["best"].as_array().map(Vec::len), Some(10), "{report}");

    let rows = state.rows("quickstart").await;
    let resolved = spec::load(&quickstart).unwrap().resolved;
    let expected = sequential(&resolved);
    assert_eq!((rows.len(), expected.len()), (RUNS, RUNS));
    for (run, (row, expected)) in rows.iter().zip(&expected).enumerate() {
        expected.check(run, row);
    }

    // With what this machine has of the vector units named; each of them gives the same bits.
    let ways = [("1", None, "scalar"), ("2", None, "avx2"), ("1", Some("7"), "avx512"), ("2", Some("1"), "scalar")];
    for (slots, shard_runs, simd) in ways {
        let batch = format!("slots-{slots}-shards-of-{}-{simd}", shard_runs.unwrap_or("any"));
        let id = ["run", "examples/quickstart.toml", "--batch", &batch, "--slots", slots, "--output", "json"];
        let run = state.jetsweep(&id).env("JETSWEEP_SIMD", simd);
        let run = match shard_runs {
            Some(runs) => run.env("JETSWEEP_PLANNER__SHARD_RUNS", runs),
            None => run,
        };
        assert_eq!(ledger(&run.done().await.json()), (RUNS as u64, [RUNS as u64, 0, 0, 0]), "{batch}");
        let found = state.rows(&batch).await;
        let other = rows.iter().zip(&found).position(|(row, found)| bits(row) != bits(found));
        assert_eq!((found.len(), other), (RUNS, None), "{batch}: the first run that differs");
    }
    state.is_left_alone().await;
}

/// A row as text, in which two numbers are the same only if they are so bit for bit.
fn bits(row: &Row) -> String {
    Value::from(row.clone()).to_string()
}

/// One run of the engine alone.
struct Run {
    symbol: String,
    strategy: String,
    params: Vec<(String, f64)>,
    metrics: Metrics,
}

/// Every run of a spec in order, one after the other, with nothing kept from one to the next.
fn sequential(spec: &ResolvedSpec) -> Vec<Run> {
    let mut runs = Vec::new();
    for symbol in &spec.symbols {
        let name = spec.data.source.replace("{symbol}", symbol.as_str());
        let file = File::open(repository().join(&name)).unwrap();
        let bars = Arc::new(Bars::read_csv(file, &name).unwrap().between(spec.data.from, spec.data.to));
        for strategy in &spec.strategies {
            let compiled = Strategy::new(&strategy.template, &spec.execution).unwrap();
            let points = strategy.grid.points(&strategy.template).unwrap();
            let mut walk = points.walk(0, 0);
            while let Some((_, values)) = walk.next_point() {
                let mut columns = Columns::new(Arc::clone(&bars), 0);
                let names = strategy.template.params().keys().cloned();
                runs.push(Run {
                    symbol: symbol.to_string(),
                    strategy: strategy.name.clone(),
                    params: names.zip(values.iter().copied()).collect(),
                    metrics: compiled.run(&mut columns, values).unwrap(),
                });
            }
        }
    }
    runs
}

impl Run {
    /// Checks that a row says the same, bit for bit.
    fn check(&self, run: usize, row: &Row) {
        assert_eq!(row["run"], run);
        assert_eq!((&row["symbol"], &row["strategy"]), (&self.symbol.as_str().into(), &self.strategy.as_str().into()));
        assert_eq!(row["params"].as_object().map(|params| params.len()), Some(self.params.len()), "run {run}");
        for (name, value) in &self.params {
            assert_eq!(number(&row["params"][name]), Some(value.to_bits()), "{name} of run {run}");
        }
        for &metric in Metric::ALL {
            let expected = self.metrics.get(metric).map(f64::to_bits);
            assert_eq!(number(&row[metric.name()]), expected, "{} of run {run}", metric.name());
        }
        for (name, sums) in
            [("block_returns", self.metrics.block_returns), ("block_squares", self.metrics.block_squares)]
        {
            let found: Option<Vec<_>> = row[name].as_array().map(|found| found.iter().map(number).collect());
            let expected = sums.iter().map(|sum| Some(sum.to_bits())).collect();
            assert_eq!(found, Some(expected), "{name} of run {run}");
        }
    }
}

/// The bits of a number; `None` for null.
fn number(value: &Value) -> Option<u64> {
    value.as_f64().map(f64::to_bits)
}

#[tokio::test]
async fn fifty_random_runs_of_each_example_are_replayed_bit_for_bit() {
    let state = State::new();
    for (name, total) in [("quickstart", RUNS as u64), ("large", LARGE_RUNS)] {
        let report = state.run(&example(&format!("{name}.toml")), name, &[]).await.json();
        assert_eq!(ledger(&report), (total, [total, 0, 0, 0]));
        let seed = (rand::random::<u64>() >> 1).to_string();
        println!("{name}: --seed {seed}");
        let args = ["replay", name, "--sample", "50", "--seed", &seed, "--output", "json"];
        let sample = state.jetsweep(&args).done().await.json();
        let counts = ["sampled", "identical", "without_metrics"].map(|count| sample[count].as_u64());
        assert_eq!(counts, [Some(50), Some(50), Some(0)], "{sample}");
    }
}
