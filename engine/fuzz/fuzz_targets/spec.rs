//! Any bytes as a sweep spec: it is refused with its problems, or comes to runs and survives JSON.
#![no_main]

use jetsweep_shared::spec::{self, ResolvedSpec};
use libfuzzer_sys::fuzz_target;

/// Points of each strategy that are looked at.
const POINTS: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let document = match spec::read(bytes) {
        Ok(document) => document,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let submitted = document.to_json();
    let resolved = document.resolve();
    let arrived = spec::read(&submitted).expect("a document written as JSON is read");
    assert_eq!(arrived.priority(), document.priority());
    match resolved {
        Ok(resolved) => {
            assert_eq!(arrived.resolve().as_ref(), Ok(&resolved), "what is submitted comes to the same");
            check(&resolved);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(arrived.resolve().is_err());
        }
    }
});

fn check(resolved: &ResolvedSpec) {
    let json = serde_json::to_vec(resolved).expect("a resolved spec always serializes");
    let again: ResolvedSpec = serde_json::from_slice(&json).expect("a resolved spec is read back");
    assert_eq!(&again, resolved);
    assert_eq!(again.digest(), resolved.digest());
    for strategy in &resolved.strategies {
        let points = strategy.grid.points(&strategy.template).expect("a resolved spec has valid grids");
        let mut walk = points.walk(0, 0);
        for _ in 0..POINTS {
            let Some((_, values)) = walk.next_point() else { break };
            for (value, parameter) in values.iter().zip(strategy.template.params().values()) {
                assert!((parameter.min..=parameter.max).contains(value));
                assert!(!parameter.whole || value.fract() == 0.0);
            }
        }
    }
}
