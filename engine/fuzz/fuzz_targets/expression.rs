//! Any text as a rule and as a `where`: it is refused with a place in it, or runs.
#![no_main]

use std::sync::{Arc, LazyLock};

use jetsweep_engine::bars::Bars;
use jetsweep_engine::expr::{Filter, Parameter, Rule};
use jetsweep_engine::template::Template;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

/// Values of the parameters `n`, `m` and `x`.
const VALUES: [f64; 3] = [3.0, 7.0, 1.5];

/// More than the periods, fewer than a word of a mask and one bar: checking all futures of each takes its time.
static BARS: LazyLock<Arc<Bars>> = LazyLock::new(|| jetsweep_fuzz::bars(24));

static PARAMETERS: LazyLock<Vec<Parameter>> = LazyLock::new(|| {
    let parameter = |(name, whole): (&str, bool)| Parameter { name: name.to_owned(), whole };
    [("n", true), ("m", true), ("x", false)].map(parameter).to_vec()
});

fuzz_target!(|text: &str| {
    if let Ok(mut filter) = Filter::new("where", text, &PARAMETERS) {
        let holds = filter.holds(&VALUES);
        assert_eq!(holds, filter.holds(&VALUES));
        let mut negated = Filter::new("where", &format!("not ({text})"), &PARAMETERS);
        // One level deeper and one operator longer may be too much.
        if let Ok(negated) = &mut negated {
            assert!(!(holds && negated.holds(&VALUES)), "true together with its negation");
        }
    }
    match Rule::new("long.enter", text, &PARAMETERS) {
        Ok(_) => jetsweep_fuzz::run(&template(text), &VALUES, &BARS),
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| problem.at == "long.enter" && problem.message.contains('^')));
        }
    }
});

/// A template that enters by a rule which has been checked already.
fn template(rule: &str) -> Template {
    let document = json!({
        "name": "fuzz",
        "params": {
            "n": { "default": VALUES[0], "min": 1, "max": 10, "whole": true },
            "m": { "default": VALUES[1], "min": 1, "max": 10, "whole": true },
            "x": { "default": VALUES[2], "min": 0, "max": 10, "whole": false },
        },
        "long": { "enter": rule, "exit": "close < open" },
    });
    Template::from_document(&document).expect("the template's rules have been checked")
}
