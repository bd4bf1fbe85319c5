//! What workers compute is what a plain loop over the engine computes.

use std::fs::File;
use std::sync::Arc;

use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::bars::Bars;
use jetsweep_engine::columns::Columns;
use jetsweep_engine::grid::Axis;
use jetsweep_engine::metrics::Metric;
use jetsweep_shared::events::{Job, Outcome, ShardResult};
use jetsweep_shared::plan::RunRange;
use jetsweep_tests::sample_data;

use crate::support::{World, job, range, strategy, timeless};

/// Shards of a small batch: three symbols, two strategies, the second cut in the middle of its grid.
fn jobs() -> Vec<Job> {
    let rsi = [("period", range(5.0, 12.0, 1.0)), ("lower", Axis::List(vec![25.0, 30.0]))];
    let mut jobs: Vec<Job> = Vec::new();
    for symbol in ["AAPL", "SPY", "GOOGL"] {
        for (strategy, parts) in
            [(job(0).strategy, vec![(0, 24)]), (strategy("rsi_reversion", rsi.clone()), vec![(0, 7), (7, 9)])]
        {
            for (first_point, count) in parts {
                let mut job = job(jobs.len() as u32);
                job.symbol = symbol.parse().unwrap();
                job.strategy = strategy.clone();
                (job.cursor, job.first_point) = (first_point, first_point);
                let start = jobs.last().map_or(0, |last: &Job| last.runs.end());
                job.runs = RunRange { start, count };
                jobs.push(job);
            }
        }
    }
    jobs
}

fn check_against_engine(job: &Job, result: &ShardResult) {
    let name = format!("{}.csv", job.symbol);
    let bars = Arc::new(Bars::read_csv(File::open(sample_data().join(&name)).unwrap(), &name).unwrap());
    assert_eq!(result.data_digest.as_ref(), Some(&bars.digest()));
    let strategy = Strategy::new(&job.strategy.template, &job.execution).unwrap();
    let points = job.strategy.grid.points(&job.strategy.template).unwrap();
    let mut walk = points.walk(job.cursor, job.first_point);
    for row in 0..job.runs.count as usize {
        let (_, values) = walk.next_point().unwrap();
        let values = values.to_vec();
        let params: Vec<f64> = result.params.values().map(|column| column[row]).collect();
        assert_eq!(params, values);
        // Fresh columns for every run: sharing them must not change a bit.
        let metrics = strategy.run(&mut Columns::new(Arc::clone(&bars), 0), &values).unwrap();
        for metric in Metric::ALL {
            let (found, wanted) = (result.metrics[metric.name()][row], metrics.get(*metric));
            assert_eq!(found.map(f64::to_bits), wanted.map(f64::to_bits), "{} of {values:?}", metric.name());
        }
        assert_eq!(result.block_returns[row].map(f64::to_bits), metrics.block_returns.map(f64::to_bits));
        assert_eq!(result.block_squares[row].map(f64::to_bits), metrics.block_squares.map(f64::to_bits));
    }
}

async fn results_with_slots(slots: usize) -> Vec<ShardResult> {
    let mut world = World::new().await;
    world.config.worker.slots = slots;
    let worker = world.worker();
    let jobs = jobs();
    for job in &jobs {
        world.submit(job).await;
    }
    let mut results = Vec::new();
    for job in &jobs {
        let result = world.result(job).await;
        assert_eq!((&result.outcome, &result.failed), (&Outcome::Computed, &Vec::new()));
        assert_eq!((&result.worker, &result.spec_digest), (&"worker-1".to_owned(), &job.spec_digest));
        assert!(result.runtime_us.iter().all(|time| *time > 0.0));
        check_against_engine(job, &result);
        results.push(result);
    }
    world.queue_empty().await;
    let summary = worker.stop().await;
    let runs: u64 = jobs.iter().map(|job| u64::from(job.runs.count)).sum();
    assert_eq!((summary.jobs_completed, summary.runs, summary.runs_failed), (jobs.len() as u64, runs, 0));
    assert_eq!((summary.cache_misses, summary.cache_hits), (3, jobs.len() as u64 - 3));
    assert_eq!((summary.jobs_in_child, summary.jobs_dead, summary.jobs_given_back), (0, 0, 0));
    assert!(summary.compute_us > 0 && summary.publish_us > 0 && summary.load_us > 0);
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_those_of_a_plain_loop_whatever_the_slots() {
    let (one, two) = tokio::join!(results_with_slots(1), results_with_slots(2));
    for (one, two) in one.into_iter().zip(two) {
        let (one, two) =
            (serde_json::to_string(&timeless(one)).unwrap(), serde_json::to_string(&timeless(two)).unwrap());
        assert_eq!(one, two);
    }
}
