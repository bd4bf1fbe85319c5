//! The end of a batch: what is still missing of its runs, then the batch run with everything about the whole.
//!
//! All of it can be done any number of times; doing it again completes what an earlier time left out.

use futures::{StreamExt, stream};
use jetsweep_engine::metrics::Metric as RunMetric;
use jetsweep_shared::config::LogRuns;
use jiff::Timestamp;
use serde_json::Value;

use crate::batch::{BatchLog, LogError};
use crate::ending::Ending;
use crate::row::RunRow;
use crate::source::{Row, Source};
use crate::table;

/// Rows asked for at a time.
const ROWS_AT_ONCE: usize = 500;
/// Numbers of runs asked for at a time: a query's answer has a million rows at most.
const NUMBERS_AT_ONCE: usize = 100_000;

/// What was refused for good while a batch was completed: run and words.
pub(crate) type Refusals = Vec<(u64, String)>;

/// Told after each run that is looked at.
pub(crate) type Progress<'a> = dyn Fn() + Send + Sync + 'a;

/// Completes a batch: logs what is missing of its runs, then everything about the whole. A batch that has not ended
/// gets as much as there is, and its batch run goes on. Returns when it ended, and what MLflow refused.
pub(crate) async fn finish<S: Source>(
    log: &BatchLog,
    source: &S,
    on_progress: &Progress<'_>,
) -> Result<(Option<Timestamp>, Refusals), LogError> {
    let batch = &log.begin.batch_id;
    let Some(totals) = source.rows(&table::batch_sql(batch)).await?.into_iter().next() else {
        return Err(LogError::NotNow(format!("the database does not have {batch} yet")));
    };
    log.look_again().await?;
    let refusals = log_missing(log, source, on_progress).await?;
    let ending = Ending::new(log, source, &totals, rank_by(log));
    ending.write().await?;
    Ok((ending.completed_at(), refusals))
}

fn rank_by(log: &BatchLog) -> RunMetric {
    // Checked when the configuration was loaded.
    RunMetric::from_name(&log.context().config.rank_by).unwrap_or(RunMetric::Sharpe)
}

/// Logs the runs that are wanted and not there.
async fn log_missing<S: Source>(log: &BatchLog, source: &S, on_progress: &Progress<'_>) -> Result<Refusals, LogError> {
    let batch = &log.begin.batch_id;
    match log.context().config.log_runs().of_batch(log.begin.total_runs) {
        LogRuns::None => Ok(Vec::new()),
        LogRuns::Top(count) => {
            let mut rows = source.rows(&table::best_sql(batch, rank_by(log), count)).await?;
            rows.extend(source.rows(&table::failed_samples_sql(batch)).await?);
            log_rows(log, source, rows, on_progress).await
        }
        LogRuns::All | LogRuns::Auto => {
            let mut missing = Vec::new();
            for start in (0..log.begin.total_runs).step_by(NUMBERS_AT_ONCE) {
                for row in source.rows(&table::runs_sql(batch, start..start + NUMBERS_AT_ONCE as u64)).await? {
                    let number = |name: &str| row.get(name).and_then(Value::as_u64);
                    let (Some(run), Some(generation)) = (number("run"), number("generation")) else { continue };
                    if !log.has(run, generation as u32) {
                        missing.push(run);
                    }
                }
            }
            let mut refusals = Vec::new();
            for runs in missing.chunks(ROWS_AT_ONCE) {
                let rows = source.rows(&table::rows_sql(batch, runs)).await?;
                refusals.extend(log_rows(log, source, rows, on_progress).await?);
            }
            Ok(refusals)
        }
    }
}

async fn log_rows<S: Source>(
    log: &BatchLog,
    source: &S,
    rows: Vec<Row>,
    on_progress: &Progress<'_>,
) -> Result<Refusals, LogError> {
    let log_one = |row: Row| async move {
        let row = RunRow::of_table(&row).map_err(|error| LogError::NotNow(error.to_string()))?;
        let is_told = log.is_refused(row.run);
        let refusal = match log.log_run(source, &row).await {
            Ok(()) => None,
            Err(LogError::Refused(words)) => (!is_told).then_some((row.run, words)),
            Err(error) => return Err(error),
        };
        on_progress();
        Ok(refusal)
    };
    let logging = stream::iter(rows.into_iter().map(log_one));
    let concurrency = log.context().config.concurrency;
    // All are tried, whatever becomes of one.
    let logged: Vec<Result<_, LogError>> = logging.buffer_unordered(concurrency).collect().await;
    let logged: Vec<Option<(u64, String)>> = logged.into_iter().collect::<Result<_, _>>()?;
    Ok(logged.into_iter().flatten().collect())
}
