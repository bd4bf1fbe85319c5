//! Strategies over the sample: directions, windows, the order of runs, and the machine's vector units.

use std::fs::File;
use std::process::Command;
use std::sync::{Arc, LazyLock};

use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::bars::Bars;
use jetsweep_engine::columns::Columns;
use jetsweep_engine::execution::{AtrDistance, Direction, Execution, Size};
use jetsweep_engine::metrics::{Metric, Metrics};
use jetsweep_engine::simd::Simd;
use jetsweep_engine::simulation::Side;
use jetsweep_engine::template::{Parameter, Template, builtins};
use proptest::prelude::{ProptestConfig, prop, prop_assert_eq, proptest};

const CROSS: &str = r#"
name = "cross"
[params]
fast = { default = 10, min = 2, max = 500 }
slow = { default = 30, min = 2, max = 500 }
[long]
enter = "sma(close, fast) > sma(close, slow)"
exit = "sma(close, fast) < sma(close, slow)"
[short]
enter = "sma(close, fast) < sma(close, slow)"
exit = "sma(close, fast) > sma(close, slow)"
"#;

const PAIRS: [[f64; 2]; 5] = [[5.0, 20.0], [10.0, 30.0], [20.0, 100.0], [50.0, 200.0], [3.0, 7.0]];

fn sample(symbol: &str) -> Arc<Bars> {
    let path = format!("{}/../data/sample/{symbol}.csv", env!("CARGO_MANIFEST_DIR"));
    Arc::new(Bars::read_csv(File::open(&path).unwrap(), &path).unwrap())
}

fn cross(execution: Execution) -> Strategy {
    Strategy::new(&Template::from_toml(CROSS).unwrap(), &execution).unwrap()
}

/// One of each way through a run, and one of each direction.
fn executions() -> Vec<Execution> {
    let plain = Execution { commission: 0.001, slippage: 0.0005, ..Execution::default() };
    let distance = Some(AtrDistance { period: 14, multiple: 3.0 });
    vec![
        plain.clone(),
        Execution { size: Size::Fraction(0.5), whole_shares: true, ..plain.clone() },
        Execution { stop_loss: Some(0.05), take_profit: Some(0.2), max_bars: Some(30), ..plain.clone() },
        Execution { direction: Direction::Short, borrow_rate: 0.02, trailing_stop: Some(0.1), ..plain.clone() },
        Execution { direction: Direction::Both, stop_loss_atr: distance, trailing_stop_atr: distance, ..plain },
    ]
}

fn bits_of(metrics: &Metrics) -> Vec<u64> {
    let values = Metric::ALL.iter().map(|metric| metrics.get(*metric).unwrap_or(f64::NAN));
    values.chain(metrics.block_returns).chain(metrics.block_squares).map(f64::to_bits).collect()
}

#[test]
fn directions_take_the_sides_they_name() {
    let mut columns = Columns::new(sample("SPY"), 64 << 20);
    let sides = |direction: Direction, columns: &mut Columns| {
        let strategy = cross(Execution { direction, ..Execution::default() });
        let replay = strategy.replay(columns, &[10.0, 30.0]).unwrap();
        let count = |side: Side| replay.trades.iter().filter(|trade| trade.side == side).count();
        let reversed = replay.trades.windows(2).filter(|pair| pair[0].exit_bar == pair[1].entry_bar).count();
        (count(Side::Long), count(Side::Short), reversed)
    };
    let (long, none, _) = sides(Direction::Long, &mut columns);
    let (no_long, short, _) = sides(Direction::Short, &mut columns);
    assert!(long > 50 && short > 50 && none == 0 && no_long == 0);
    // The rules are each other's opposites: after the first entry there is always a position.
    let (both_long, both_short, reversed) = sides(Direction::Both, &mut columns);
    assert_eq!((both_long, both_short), (long, short));
    assert_eq!(reversed, both_long + both_short - 1);
}

#[test]
fn a_direction_needs_its_rules() {
    let text = CROSS.split("[short]").next().unwrap();
    let template = Template::from_toml(text).unwrap();
    for direction in [Direction::Short, Direction::Both] {
        let problems = Strategy::new(&template, &Execution { direction, ..Execution::default() }).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].at, "execution.direction");
        assert_eq!(problems[0].message, "needs [short] rules, which the template cross does not have");
    }
}

#[test]
fn a_run_is_the_same_alone_among_others_and_in_any_order() {
    let bars = sample("AAPL");
    for execution in executions() {
        let strategy = cross(execution);
        let alone =
            |values: &[f64; 2]| bits_of(&strategy.run(&mut Columns::new(Arc::clone(&bars), 0), values).unwrap());
        let expected: Vec<Vec<u64>> = PAIRS.iter().map(alone).collect();
        for rotation in 0..PAIRS.len() {
            let mut columns = Columns::new(Arc::clone(&bars), 1 << 20);
            for index in (0..PAIRS.len()).map(|index| (index * 2 + rotation) % PAIRS.len()) {
                let found = bits_of(&strategy.run(&mut columns, &PAIRS[index]).unwrap());
                assert_eq!(found, expected[index], "{:?} after {rotation}", PAIRS[index]);
                let replay = strategy.replay(&mut columns, &PAIRS[index]).unwrap();
                assert_eq!(bits_of(&replay.metrics), expected[index]);
                let score = strategy.score(&mut columns, &PAIRS[index]).unwrap();
                assert_eq!(score.sharpe, replay.metrics.get(Metric::Sharpe));
                assert_eq!(Some(score.total_return), replay.metrics.get(Metric::TotalReturn));
                assert_eq!(Some(score.max_drawdown), replay.metrics.get(Metric::MaxDrawdown));
                assert_eq!(Some(score.trade_count as f64), replay.metrics.get(Metric::TradeCount));
            }
        }
    }
}

/// Every built-in template by each way through a run of long positions, with its parameters.
static STRATEGIES: LazyLock<Vec<(Strategy, Vec<Parameter>)>> = LazyLock::new(|| {
    let long = executions().into_iter().filter(|execution| execution.direction == Direction::Long);
    let of = |template: &Template, execution: &Execution| {
        (Strategy::new(template, execution).unwrap(), template.params().values().cloned().collect())
    };
    long.flat_map(|execution| builtins().iter().map(|template| of(template, &execution)).collect::<Vec<_>>()).collect()
});

/// A multiple of the default, as far as the bounds allow.
fn value(parameter: &Parameter, factor: f64) -> f64 {
    let value = (parameter.default * factor).clamp(parameter.min, parameter.max);
    if parameter.whole { value.round() } else { value }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_ran_before_and_whatever_the_budget_a_run_has_the_same_bits(
        // Often the strategy stays and one parameter changes, as in the runs of a shard.
        runs in prop::collection::vec((0..300_usize, 0..4_usize, prop::sample::select(&[0.3, 0.5, 1.0, 1.5][..])), 1..40),
        budget in prop::sample::select(&[0, 200_000, 1 << 24][..]),
    ) {
        let bars = sample("AAPL");
        let mut shared = Columns::new(Arc::clone(&bars), budget);
        let (mut strategy, mut factors) = (0, [1.0; 4]);
        for (choice, parameter, factor) in runs {
            strategy = if choice < STRATEGIES.len() { choice } else { strategy };
            factors[parameter] = factor;
            let (strategy, parameters) = &STRATEGIES[strategy];
            let values: Vec<f64> = parameters.iter().zip(factors).map(|(it, factor)| value(it, factor)).collect();
            let found = strategy.run(&mut shared, &values);
            let alone = strategy.run(&mut Columns::new(Arc::clone(&bars), usize::MAX), &values);
            prop_assert_eq!(found.map(|it| bits_of(&it)), alone.map(|it| bits_of(&it)), "{} {:?}", strategy.name(), values);
        }
    }
}

#[test]
fn a_window_is_scored_by_itself_with_indicators_that_know_what_came_before() {
    let bars = sample("SPY");
    let mut columns = Columns::new(Arc::clone(&bars), 64 << 20);
    for execution in executions() {
        let strategy = cross(execution.clone());
        let values = [20.0, 100.0];
        let whole = strategy.run(&mut columns, &values).unwrap();
        assert_eq!(bits_of(&whole), bits_of(&strategy.run_window(&mut columns, &values, 0..usize::MAX).unwrap()));

        let window = 1000..1600;
        let replay = strategy.replay_window(&mut columns, &values, window.clone()).unwrap();
        let metrics = strategy.run_window(&mut columns, &values, window.clone()).unwrap();
        assert_eq!(bits_of(&replay.metrics), bits_of(&metrics));
        assert_eq!(replay.equity.len(), window.len());
        assert_eq!(metrics.get(Metric::Bars), Some(600.0));
        assert_eq!(metrics.get(Metric::BarsPerYear), Some(bars.bars_per_year()));
        // Flat at its start, and nothing decided on its last bar fills.
        assert_eq!(replay.equity[0], execution.cash);
        assert!(replay.trades.iter().all(|trade| trade.entry_bar > window.start && trade.exit_bar < window.end));
        // The averages are known from the first bar on: an order may be decided there.
        let first = replay.trades[0].entry_bar;
        assert!(first < window.start + 100, "the first entry is at bar {first}");
        let returns: f64 = replay.equity.windows(2).map(|pair| pair[1] / pair[0] - 1.0).sum();
        let blocks: f64 = metrics.block_returns.iter().sum();
        assert!((returns - blocks).abs() < 1e-12);
    }
    let strategy = cross(Execution::default());
    let beyond = strategy.run_window(&mut columns, &[2.0, 3.0], bars.len()..bars.len() + 5).unwrap_err();
    assert_eq!(beyond.code, "no_bars");
}

/// Where a child process of [`every_set_of_instructions_gives_the_same_bits`] writes them.
const BITS_FILE: &str = "JETSWEEP_TEST_BITS_FILE";

#[test]
fn every_set_of_instructions_gives_the_same_bits() {
    if let Some(file) = std::env::var_os(BITS_FILE) {
        std::fs::write(file, all_bits()).unwrap();
        return;
    }
    let expected = all_bits();
    for simd in [Simd::Scalar, Simd::Avx2, Simd::Avx512] {
        let file = std::env::temp_dir().join(format!("jetsweep-bits-{}-{}", std::process::id(), simd.name()));
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "every_set_of_instructions_gives_the_same_bits"])
            .env("JETSWEEP_SIMD", simd.name())
            .env(BITS_FILE, &file)
            .status()
            .unwrap();
        assert!(status.success());
        let found = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(found == expected, "{} gives other bits", simd.name());
    }
}

/// The bits of many runs of every way.
fn all_bits() -> Vec<u8> {
    let mut columns = Columns::new(sample("IBM"), 64 << 20);
    let mut bits = Vec::new();
    for execution in executions() {
        let strategy = cross(execution);
        for values in &PAIRS {
            let replay = strategy.replay(&mut columns, values).unwrap();
            bits.extend(bits_of(&replay.metrics));
            bits.extend(replay.equity.iter().map(|value| value.to_bits()));
        }
    }
    bits.into_iter().flat_map(u64::to_le_bytes).collect()
}
