//! Any text as a template, in TOML and in JSON: it is refused with its problems, or survives JSON and runs.
#![no_main]

use std::sync::{Arc, LazyLock};

use jetsweep_engine::bars::Bars;
use jetsweep_engine::grid::Grid;
use jetsweep_engine::problem::Problem;
use jetsweep_engine::template::{Parameter, Template};
use libfuzzer_sys::fuzz_target;

static BARS: LazyLock<Arc<Bars>> = LazyLock::new(|| jetsweep_fuzz::bars(24));

fuzz_target!(|text: &str| {
    for read in [Template::from_toml(text), Template::from_json(text)] {
        match read {
            Ok(template) => use_it(&template),
            Err(problems) => refused(&problems),
        }
    }
});

fn refused(problems: &[Problem]) {
    assert!(!problems.is_empty());
    assert!(problems.iter().all(|problem| !problem.message.is_empty()));
}

fn use_it(template: &Template) {
    let json = serde_json::to_string(template).expect("templates hold finite numbers and text");
    assert_eq!(Template::from_json(&json).as_ref(), Ok(template));

    let points = Grid::new(template, Default::default()).points(template).expect("defaults lie within the bounds");
    assert_eq!(points.raw_points(), 1);
    let bound = |bound: fn(&Parameter) -> f64| template.params().values().map(bound).collect::<Vec<f64>>();
    for values in [bound(|parameter| parameter.default), bound(|parameter| parameter.max)] {
        jetsweep_fuzz::run(template, &values, &BARS);
    }
}
