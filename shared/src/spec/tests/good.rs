//! Specs that are fine.

use jetsweep_engine::execution::{EndPolicy, Fill};
use jetsweep_engine::grid::{Axis, Random};

use crate::ids::Priority;
use crate::spec::{ResolvedSpec, read};

const SPEC: &str = r#"
name = "momentum"
priority = "low"
[data]
source = "daily/{symbol}.csv"
from = 2005-01-01
[universe]
symbols = ["SPY", "AAPL", "BRK.B"]
[execution]
cash = 5_000
commission = 0.001
fill = "close"
end = "liquidate"
[[strategy]]
template = "sma_cross"
fast = { from = 5, to = 15, step = 5 }
slow = [50, 100, 200]
where = "fast * 2 <= slow"
[[strategy]]
template = "bollinger_reversion"
period = { from = 10, to = 12 }
k = { from = 1, to = 2, step = 0.5 }
random = 4
[[strategy]]
name = "mine"
template = { name = "above", params = { n = { default = 3, min = 1, max = 9 } }, long = { enter = "close > sma(close, n)", exit = "close < sma(close, n)" } }
"#;

fn resolved(text: &str) -> ResolvedSpec {
    read(text.as_bytes()).unwrap().resolve().unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[test]
fn every_default_is_filled_in() {
    let spec = resolved(SPEC);
    assert_eq!(spec.name, "momentum");
    assert_eq!(spec.symbols.iter().map(|symbol| symbol.as_str()).collect::<Vec<_>>(), ["SPY", "AAPL", "BRK.B"]);
    assert_eq!(spec.data.from.unwrap().to_string(), "2005-01-01");
    assert_eq!((spec.execution.cash, spec.execution.commission, spec.execution.slippage), (5_000.0, 0.001, 0.0));
    assert_eq!((spec.execution.fill, spec.execution.end), (Fill::Close, EndPolicy::Liquidate));

    let names: Vec<&str> = spec.strategies.iter().map(|strategy| strategy.name.as_str()).collect();
    assert_eq!(names, ["sma_cross", "bollinger_reversion", "mine"]);
    let grids: Vec<_> = spec.strategies.iter().map(|strategy| &strategy.grid).collect();
    assert_eq!(grids[0].axes["fast"], Axis::Range { from: 5.0, to: 15.0, step: 5.0 });
    assert_eq!(grids[0].axes["slow"], Axis::List(vec![50.0, 100.0, 200.0]));
    assert_eq!(grids[0].where_.as_deref(), Some("fast * 2 <= slow"));
    assert_eq!(grids[1].axes["period"], Axis::Range { from: 10.0, to: 12.0, step: 1.0 });
    assert_eq!(grids[1].random, Some(Random { count: 4, seed: 0 }));
    assert_eq!(grids[2].axes["n"], Axis::Value(3.0));
}

#[test]
fn the_least_spec_has_one_run() {
    let least = "data.source = \"x.csv\"\nuniverse.symbols = [\"X\"]\n[[strategy]]\ntemplate = \"sma_cross\"\n";
    let spec = resolved(least);
    assert_eq!(spec.name, "sweep");
    assert_eq!(spec.execution, jetsweep_engine::execution::Execution::default());
    assert_eq!(spec.strategies[0].grid.raw_points(), 1);
}

#[test]
fn json_is_the_same_spec_with_the_same_digest() {
    let document = read(SPEC.as_bytes()).unwrap();
    let json = document.to_json();
    assert_eq!(json[0], b'{');
    let again = read(&json).unwrap();
    assert_eq!((document.priority(), again.priority()), (Priority::Low, Priority::Low));
    let (spec, spec_again) = (document.resolve().unwrap(), again.resolve().unwrap());
    assert_eq!(spec, spec_again);
    assert_eq!(spec.digest(), spec_again.digest());
}

#[test]
fn the_digest_survives_json_and_tells_specs_apart() {
    let spec = resolved(SPEC);
    let json = serde_json::to_string(&spec).unwrap();
    let again: ResolvedSpec = serde_json::from_str(&json).unwrap();
    assert_eq!(spec.digest(), again.digest());
    assert_eq!(spec.digest().len(), 64);
    let other = resolved(&SPEC.replace("commission = 0.001", "commission = 0.0011"));
    assert_ne!(spec.digest(), other.digest());
    // Comments, order of keys and notation of numbers are no part of what a spec comes to.
    let same = resolved(&SPEC.replace("cash = 5_000\ncommission = 0.001", "commission = 1e-3 # 0.1%\ncash = 5000.0"));
    assert_eq!(spec.digest(), same.digest());
}

#[test]
fn flags_set_values_over_the_file() {
    let mut document = read(SPEC.as_bytes()).unwrap();
    document.set("execution.cash", "250.5");
    document.set("execution.slippage", "0");
    document.set("data.source", "other/{symbol}.csv");
    let spec = document.resolve().unwrap();
    assert_eq!((spec.execution.cash, spec.execution.slippage), (250.5, 0.0));
    assert_eq!(spec.data.source, "other/{symbol}.csv");

    let mut bare =
        read(b"data.source = \"x.csv\"\nuniverse.symbols = [\"X\"]\nstrategy = [{ template = \"sma_cross\" }]")
            .unwrap();
    bare.set("execution.cash", "7");
    assert_eq!(bare.resolve().unwrap().execution.cash, 7.0);
}
