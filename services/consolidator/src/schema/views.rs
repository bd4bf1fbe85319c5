//! Views for the questions everyone asks. A run without an `error_code` has metrics, be it `succeeded` or `ruined`.

/// The views, each replacing what was there under its name.
///
/// - `best_runs`: the best run by Sharpe for each batch, symbol and strategy; runs without a Sharpe come last.
/// - `strategy_summary`, `symbol_summary`: counts and medians for each batch and strategy, or symbol, and how many runs
///   did better than buying and holding their symbol.
/// - `failures`: runs without metrics by reason, with an example of each.
/// - `versus_benchmark`: each run's total return and Sharpe beside those of buying and holding its symbol.
/// - `walk_forward`: for each window, symbol and strategy the best run in train by Sharpe, and what it did in test.
/// - `walk_forward_summary`: that over all windows of a strategy.
/// - `batch_progress`: how far each batch is, and its rate so far.
pub(super) fn sql() -> String {
    let summary = |view: &str, by: &str| {
        format!(
            "CREATE OR REPLACE VIEW {view} AS
             SELECT batch_id, {by},
                 count(*) AS runs,
                 count(*) FILTER (WHERE error_code IS NULL) AS succeeded,
                 count(*) FILTER (WHERE status = 'ruined') AS ruined,
                 count(*) FILTER (WHERE error_code IS NOT NULL) AS without_metrics,
                 count(*) FILTER (WHERE trade_count = 0) AS without_trades,
                 median(sharpe) AS median_sharpe,
                 max(sharpe) AS best_sharpe,
                 median(total_return) AS median_total_return,
                 median(cagr) AS median_cagr,
                 median(max_drawdown) AS median_max_drawdown,
                 median(win_rate) AS median_win_rate,
                 median(trade_count) AS median_trade_count,
                 count(*) FILTER (WHERE total_return > 0) / nullif(count(total_return), 0) AS profitable_share,
                 median(benchmark_return) AS median_benchmark_return,
                 count(*) FILTER (WHERE total_return > benchmark_return)
                     / nullif(count(*) FILTER (WHERE total_return IS NOT NULL AND benchmark_return IS NOT NULL), 0)
                     AS beats_benchmark_share
             FROM backtest_results
             LEFT JOIN (SELECT batch_id, symbol, total_return AS benchmark_return FROM benchmarks WHERE segment = 'full')
                 USING (batch_id, symbol)
             GROUP BY batch_id, {by};\n"
        )
    };
    let best = "CREATE OR REPLACE VIEW best_runs AS
         SELECT * FROM backtest_results
         WHERE error_code IS NULL
         QUALIFY row_number() OVER (
             PARTITION BY batch_id, symbol, strategy ORDER BY sharpe DESC NULLS LAST, run
         ) = 1;\n";
    let failures = "CREATE OR REPLACE VIEW failures AS
         SELECT batch_id, status, error_code, count(*) AS runs, count(DISTINCT symbol) AS symbols,
             arg_min(symbol, run) AS first_symbol, arg_min(error_message, run) AS first_message
         FROM backtest_results
         WHERE error_code IS NOT NULL
         GROUP BY batch_id, status, error_code;\n";
    let versus = "CREATE OR REPLACE VIEW versus_benchmark AS
         SELECT r.batch_id, r.run, r.symbol, r.strategy, r.params,
             r.total_return, b.total_return AS benchmark_return, r.total_return - b.total_return AS excess_return,
             r.sharpe, b.sharpe AS benchmark_sharpe,
             r.max_drawdown, b.max_drawdown AS benchmark_drawdown
         FROM backtest_results r LEFT JOIN benchmarks b
             ON b.batch_id = r.batch_id AND b.symbol = r.symbol AND b.segment = 'full'
         WHERE r.error_code IS NULL;\n";
    let walk_forward = "CREATE OR REPLACE VIEW walk_forward AS
         WITH chosen AS (
             SELECT * FROM window_results WHERE segment = 'train'
             QUALIFY row_number() OVER (
                 PARTITION BY batch_id, symbol, strategy, window_number ORDER BY sharpe DESC NULLS LAST, run
             ) = 1
         )
         SELECT c.batch_id, c.symbol, c.strategy, c.window_number, c.run, r.params,
             c.segment_start AS train_start, c.segment_end AS train_end,
             t.segment_start AS test_start, t.segment_end AS test_end,
             c.sharpe AS train_sharpe, t.sharpe AS test_sharpe,
             c.total_return AS train_return, t.total_return AS test_return,
             t.max_drawdown AS test_drawdown, t.trade_count AS test_trades,
             b.total_return AS benchmark_return, b.sharpe AS benchmark_sharpe
         FROM chosen c
         JOIN window_results t ON t.batch_id = c.batch_id AND t.run = c.run
             AND t.window_number = c.window_number AND t.segment = 'test'
         JOIN backtest_results r ON r.batch_id = c.batch_id AND r.run = c.run
         LEFT JOIN benchmarks b ON b.batch_id = c.batch_id AND b.symbol = c.symbol
             AND b.window_number = c.window_number AND b.segment = 'test';\n";
    let walk_forward_summary = "CREATE OR REPLACE VIEW walk_forward_summary AS
         SELECT batch_id, strategy, count(*) AS windows,
             median(train_sharpe) AS median_train_sharpe, median(test_sharpe) AS median_test_sharpe,
             median(test_return) AS median_test_return, median(benchmark_return) AS median_benchmark_return,
             count(*) FILTER (WHERE test_return > 0) / nullif(count(test_return), 0) AS profitable_share,
             count(*) FILTER (WHERE test_return > benchmark_return) / nullif(count(*) FILTER (WHERE test_return IS NOT NULL AND benchmark_return IS NOT NULL), 0)
                 AS beats_benchmark_share
         FROM walk_forward
         GROUP BY batch_id, strategy;\n";
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
        versus,
        walk_forward,
        walk_forward_summary,
        progress,
    ]
    .concat()
}
