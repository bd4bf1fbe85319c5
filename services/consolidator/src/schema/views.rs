//! Views for the questions everyone asks.

/// The views, each replacing what was there under its name.
///
/// - `best_runs`: the best run by Sharpe for each batch, symbol and strategy; runs without a Sharpe come last.
/// - `strategy_summary`, `symbol_summary`: counts and medians for each batch and strategy, or symbol.
/// - `failures`: runs without metrics by reason, with an example of each.
/// - `batch_progress`: how far each batch is, and its rate so far.
pub(super) fn sql() -> String {
    let summary = |view: &str, by: &str| {
        format!(
            "CREATE OR REPLACE VIEW {view} AS
             SELECT batch_id, {by},
                 count(*) AS runs,
                 count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
                 count(*) FILTER (WHERE status <> 'succeeded') AS without_metrics,
                 count(*) FILTER (WHERE trade_count = 0) AS without_trades,
                 median(sharpe) AS median_sharpe,
                 max(sharpe) AS best_sharpe,
                 median(total_return) AS median_total_return,
                 median(cagr) AS median_cagr,
                 median(max_drawdown) AS median_max_drawdown,
                 median(win_rate) AS median_win_rate,
                 median(trade_count) AS median_trade_count,
                 count(*) FILTER (WHERE total_return > 0) / nullif(count(total_return), 0) AS profitable_share
             FROM backtest_results
             GROUP BY batch_id, {by};\n"
        )
    };
    let best = "CREATE OR REPLACE VIEW best_runs AS
         SELECT * FROM backtest_results
         WHERE status = 'succeeded'
         QUALIFY row_number() OVER (
             PARTITION BY batch_id, symbol, strategy ORDER BY sharpe DESC NULLS LAST, run
         ) = 1;\n";
    let failures = "CREATE OR REPLACE VIEW failures AS
         SELECT batch_id, status, error_code, count(*) AS runs, count(DISTINCT symbol) AS symbols,
             arg_min(symbol, run) AS first_symbol, arg_min(error_message, run) AS first_message
         FROM backtest_results
         WHERE status <> 'succeeded'
         GROUP BY batch_id, status, error_code;\n";
    let progress = "CREATE OR REPLACE VIEW batch_progress AS
         SELECT batch_id, name, state, generation, priority, total_runs,
             succeeded + failed + dead + cancelled AS done,
             succeeded, failed, dead, cancelled,
             (succeeded + failed + dead + cancelled) / nullif(total_runs, 0) AS done_share,
             created_at, sealed_at, cancelled_at, completed_at,
             epoch(completed_at - created_at) AS wall_seconds
         FROM batches;\n";
    [
        best,
        &summary("strategy_summary", "strategy"),
        &summary("symbol_summary", "symbol"),
        &summary("symbol_strategy_summary", "symbol, strategy"),
        failures,
        progress,
    ]
    .concat()
}
