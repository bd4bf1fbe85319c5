//! A batch in short, as people and programs read it.

use std::io::{self, Write};
use std::time::Duration;

use jetsweep_consolidator::{BatchSummary, BestRun, FailureReason, OutOfSample, StrategyMedians};
use jetsweep_engine::metrics::Metric;
use jiff::Timestamp;
use serde::Serialize;

use crate::batches::state_word;
use crate::commands::run::data;
use crate::leaderboard;
use crate::one_run::metric_text;
use crate::output::number::{counted, duration, grouped, percent};
use crate::output::{Align, Look, Table};

/// Runs that could have succeeded: neither cancelled nor without valid data.
pub(crate) fn valid_runs(summary: &BatchSummary) -> u64 {
    let of_data = summary.failures.iter().filter(|reason| data::CODES.contains(&reason.code.as_str()));
    let without_data: u64 = of_data.map(|reason| reason.runs).sum();
    (summary.succeeded + summary.failed + summary.dead).saturating_sub(without_data)
}

/// Share of the valid runs that succeeded; none without a valid run.
pub(crate) fn success_rate(summary: &BatchSummary) -> Option<f64> {
    let valid = valid_runs(summary);
    (valid > 0).then(|| summary.succeeded as f64 / valid as f64)
}

/// A summary as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    batch_id: &'a str,
    name: &'a str,
    state: &'static str,
    total: u64,
    succeeded: u64,
    failed: u64,
    dead: u64,
    cancelled: u64,
    success_rate: Option<f64>,
    created_at: Timestamp,
    completed_at: Option<Timestamp>,
    wall_seconds: Option<f64>,
    run_seconds: Option<f64>,
    workers: u64,
    failures: &'a [FailureReason],
    strategies: &'a [StrategyMedians],
    out_of_sample: &'a [OutOfSample],
    best: &'a [BestRun],
}

impl<'a> From<&'a BatchSummary> for Document<'a> {
    fn from(summary: &'a BatchSummary) -> Self {
        Self {
            batch_id: summary.batch_id.as_str(),
            name: &summary.name,
            state: state_word(summary.state),
            total: summary.total_runs,
            succeeded: summary.succeeded,
            failed: summary.failed,
            dead: summary.dead,
            cancelled: summary.cancelled,
            success_rate: success_rate(summary),
            created_at: summary.created_at,
            completed_at: summary.completed_at,
            wall_seconds: summary.wall_seconds,
            run_seconds: summary.run_seconds,
            workers: summary.workers,
            failures: &summary.failures,
            strategies: &summary.strategies,
            out_of_sample: &summary.out_of_sample,
            best: &summary.best,
        }
    }
}

/// Writes all of a summary for people.
pub(crate) fn write(summary: &BatchSummary, out: &mut dyn Write, look: Look) -> io::Result<()> {
    write_counts(summary, out, look)?;
    write_failures(&summary.failures, out, look)?;
    write_strategies(&summary.strategies, out, look)?;
    write_out_of_sample(&summary.out_of_sample, out, look)?;
    leaderboard::write(&summary.best, out, look)
}

fn write_counts(summary: &BatchSummary, out: &mut dyn Write, look: Look) -> io::Result<()> {
    let title = look.bold(summary.batch_id.as_str());
    let runs = counted(summary.total_runs, "run");
    let wall = summary.wall_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = wall.map(|time| format!(" in {}", duration(time))).unwrap_or_default();
    writeln!(out, "{title} is {}: {runs}{time}", state_word(summary.state))?;
    let counts = [
        (summary.succeeded, "succeeded"),
        (summary.failed, "failed"),
        (summary.dead, "dead"),
        (summary.cancelled, "cancelled"),
    ];
    let told: Vec<_> = counts.iter().map(|(count, word)| format!("{} {word}", grouped(*count))).collect();
    writeln!(out, "{}", told.join(", "))?;
    let valid = counted(valid_runs(summary), "valid run");
    writeln!(out, "success rate {} of {valid}", percent(success_rate(summary)))
}

/// Failures by reason, the most frequent first; nothing when there are none.
fn write_failures(failures: &[FailureReason], out: &mut dyn Write, look: Look) -> io::Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    let columns = [
        ("failed because", Align::Left),
        ("runs", Align::Right),
        ("symbols", Align::Right),
        ("for example", Align::Left),
    ];
    let mut table = Table::new(look, columns);
    for reason in failures {
        let message = reason.first_message.as_deref().unwrap_or_default();
        let example = format!("{}: {message}", reason.first_symbol);
        table.row([reason.code.clone(), grouped(reason.runs), grouped(reason.symbols), example]);
    }
    writeln!(out, "\n{table}")
}

fn write_strategies(strategies: &[StrategyMedians], out: &mut dyn Write, look: Look) -> io::Result<()> {
    if strategies.is_empty() {
        return Ok(());
    }
    let columns = [
        ("medians", Align::Left),
        ("runs", Align::Right),
        ("sharpe", Align::Right),
        ("return", Align::Right),
        ("drawdown", Align::Right),
        ("trades", Align::Right),
        ("profitable", Align::Right),
        ("buy and hold", Align::Right),
        ("beat it", Align::Right),
    ];
    let mut table = Table::new(look, columns);
    for medians in strategies {
        table.row([
            medians.strategy.clone(),
            grouped(medians.succeeded),
            metric_text(Metric::Sharpe, medians.sharpe),
            metric_text(Metric::TotalReturn, medians.total_return),
            metric_text(Metric::MaxDrawdown, medians.max_drawdown),
            // A median of counts may lie between two of them.
            medians.trade_count.map_or_else(|| "-".to_owned(), |count| format!("{count:.0}")),
            percent(medians.profitable_share),
            metric_text(Metric::TotalReturn, medians.benchmark_return),
            percent(medians.beats_benchmark_share),
        ]);
    }
    writeln!(out, "\n{table}")
}

/// What the best in train did in test; nothing when the spec has no windows.
pub(crate) fn write_out_of_sample(strategies: &[OutOfSample], out: &mut dyn Write, look: Look) -> io::Result<()> {
    if strategies.is_empty() {
        return Ok(());
    }
    let columns = [
        ("best in train", Align::Left),
        ("windows", Align::Right),
        ("train sharpe", Align::Right),
        ("test sharpe", Align::Right),
        ("test return", Align::Right),
        ("buy and hold", Align::Right),
        ("beat it", Align::Right),
    ];
    let mut table = Table::new(look, columns);
    for medians in strategies {
        table.row([
            medians.strategy.clone(),
            grouped(medians.windows),
            metric_text(Metric::Sharpe, medians.train_sharpe),
            metric_text(Metric::Sharpe, medians.test_sharpe),
            metric_text(Metric::TotalReturn, medians.test_return),
            metric_text(Metric::TotalReturn, medians.benchmark_return),
            percent(medians.beats_benchmark_share),
        ]);
    }
    writeln!(out, "\n{table}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn summary() -> BatchSummary {
        serde_json::from_value(json!({
            "batch_id": "b1", "name": "demo", "state": "completed", "generation": 0, "total_runs": 1_010,
            "succeeded": 990, "failed": 13, "dead": 2, "cancelled": 5,
            "created_at": "2024-01-31T09:30:00Z", "sealed_at": null, "completed_at": "2024-01-31T09:30:01.5Z",
            "wall_seconds": 1.5, "run_seconds": 2.5, "workers": 1,
            "failures": [
                {"status": "failed", "code": "data_missing", "runs": 10, "symbols": 1, "first_symbol": "XYZ",
                 "first_message": "there is no data file XYZ.csv"},
                {"status": "failed", "code": "bad_period", "runs": 3, "symbols": 3, "first_symbol": "AAPL",
                 "first_message": "sma(close, n): n is 0"}
            ],
            "strategies": [
                {"strategy": "sma_cross", "succeeded": 990, "sharpe": 0.41, "total_return": 1.25,
                 "max_drawdown": -0.5, "trade_count": 101.5, "profitable_share": 0.9,
                 "benchmark_return": 1.5, "beats_benchmark_share": 0.25}
            ],
            "out_of_sample": [
                {"strategy": "sma_cross", "windows": 17, "train_sharpe": 1.1, "test_sharpe": 0.3,
                 "test_return": 0.02, "benchmark_return": 0.08, "beats_benchmark_share": 0.3}
            ],
            "best": [
                {"run": 42, "symbol": "AAPL", "strategy": "sma_cross", "params": {"fast": 10, "slow": 30},
                 "sharpe": 0.768_274, "sortino_ratio": 1.151_597, "total_return": 72.13, "cagr": 0.2031,
                 "max_drawdown": -0.543, "win_rate": 0.5238, "profit_factor": null, "trade_count": 105}
            ]
        }))
        .unwrap()
    }

    #[test]
    fn runs_without_valid_data_do_not_count_against_the_rate() {
        assert_eq!(valid_runs(&summary()), 995);
        assert_eq!(success_rate(&summary()), Some(990.0 / 995.0));
        let nothing = BatchSummary { succeeded: 0, failed: 10, dead: 0, ..summary() };
        assert_eq!(success_rate(&nothing), None);
    }

    #[test]
    fn a_summary_reads_well() {
        let mut out = Vec::new();
        write(&summary(), &mut out, Look::PLAIN).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }

    #[test]
    fn the_json_of_a_summary_is_as_documented() {
        insta::assert_json_snapshot!(Document::from(&summary()));
    }
}
