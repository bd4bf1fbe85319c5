//! Reading templates, and what is said about those which cannot be read.

use indexmap::IndexMap;

use crate::grid::{Grid, Random};
use crate::problem::Problem;

use super::{Template, builtin, builtin_names, builtin_source, builtins};

const GOOD: &str = r#"
name = "dip"
description = "Buys dips."
where = "period > 5"
[params]
period = { default = 20, min = 2, max = 500 }
depth = { default = 2, min = 0.5, max = 10 }
[long]
enter = "close < bbands_lower(close, period, depth)"
exit = "close > sma(close, period)"
"#;

fn problems(text: &str) -> Vec<Problem> {
    Template::from_toml(text).expect_err(text)
}

/// The message at `at`, for the only problem there.
fn problem(text: &str, at: &str) -> String {
    let found = problems(text);
    let mut here = found.iter().filter(|problem| problem.at == at);
    let first = here.next().unwrap_or_else(|| panic!("nothing at {at}: {found:?}"));
    assert_eq!(here.next(), None);
    first.message.clone()
}

#[test]
fn parameters_are_whole_when_written_so() {
    let template = Template::from_toml(GOOD).unwrap();
    assert_eq!((template.name(), template.description(), template.where_()), ("dip", "Buys dips.", Some("period > 5")));
    assert_eq!(template.params().keys().collect::<Vec<_>>(), ["period", "depth"]);
    assert!(template.params()["period"].whole);
    assert!(!template.params()["depth"].whole, "one number with a fraction makes all of them fractions");
    assert_eq!(
        template.defaults().into_iter().collect::<Vec<_>>(),
        [("period".to_owned(), 20.0), ("depth".to_owned(), 2.0)]
    );
}

#[test]
fn templates_survive_json() {
    for template in builtins().into_iter().chain([Template::from_toml(GOOD).unwrap()]) {
        let json = serde_json::to_string(&template).unwrap();
        assert_eq!(serde_json::from_str::<Template>(&json).unwrap(), template);
        assert_eq!(Template::from_json(&json).unwrap(), template);
        // As a reader leaves it that writes 2.0 as 2.
        let shortened = json.replace(".0,", ",").replace(".0}", "}");
        assert_eq!(serde_json::from_str::<Template>(&shortened).unwrap(), template, "{shortened}");
    }
}

#[test]
fn an_invalid_template_is_refused_wherever_it_is_read() {
    let template = Template::from_toml(GOOD).unwrap();
    let json = serde_json::to_string(&template).unwrap().replace("sma(close", "smaa(close");
    let error = serde_json::from_str::<Template>(&json).unwrap_err().to_string();
    assert!(error.contains("long.exit: unknown function \"smaa\""), "{error}");
}

#[test]
fn built_in_templates_are_valid_and_named_after_their_file() {
    let names: Vec<&str> = builtin_names().collect();
    assert_eq!(names.len(), 25);
    for (name, template) in names.into_iter().zip(builtins()) {
        assert_eq!(template.name(), name);
        assert!(!template.description().is_empty());
        assert_eq!(builtin(name), Some(template));
    }
    assert_eq!(builtin("none_such"), None);
}

/// The family that the first line of a built-in template names.
fn family(name: &str) -> &'static str {
    let first = builtin_source(name).unwrap().lines().next().unwrap();
    first
        .strip_prefix("# Family: ")
        .and_then(|rest| rest.strip_suffix('.'))
        .unwrap_or_else(|| panic!("{name}: {first}"))
}

#[test]
fn built_in_templates_come_by_family() {
    let mut families: Vec<&str> = builtin_names().map(family).collect();
    families.dedup();
    assert_eq!(families, ["trend", "mean reversion", "breakout", "momentum", "volatility", "benchmark"]);
}

#[test]
fn defaults_of_built_in_templates_are_worth_a_run() {
    for template in builtins() {
        let points = Grid::new(&template, IndexMap::new()).points(&template).unwrap();
        let mut walk = points.walk(0, 0);
        let defaults: Vec<f64> = template.defaults().into_values().collect();
        assert_eq!(walk.next_point(), Some((0, &defaults[..])), "{}", template.name());
        assert_eq!(walk.next_point(), None, "{}", template.name());
    }
}

#[test]
fn a_template_without_parameters_has_a_grid_of_one_point() {
    let template = builtin("buy_and_hold").unwrap();
    assert!(template.params().is_empty() && template.where_().is_none());
    let grid = Grid::new(&template, IndexMap::new());
    assert_eq!(grid.raw_points(), 1);
    for grid in [grid.clone(), grid.with_random(Some(Random { count: 5, seed: 7 }))] {
        let points = grid.points(&template).unwrap();
        assert_eq!((points.raw_points(), points.count(), points.is_empty()), (1, 1, false));
        let mut walk = points.walk(0, 0);
        assert_eq!(walk.next_point(), Some((0, &[][..])));
        assert_eq!(walk.next_point(), None);
        assert_eq!(points.walk(1, 1).next_point(), None);
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = r#"
name = "Dip"
descripton = "typo"
where = "perod > 5"
[params]
period = { default = 1, min = 2, max = 500 }
close = { default = 1, min = 1, max = 2 }
depth = { default = 1, minn = 1, max = 2 }
[long]
enter = "close < "
exot = "close > 1"
"#;
    let found: Vec<(String, String)> =
        problems(text).into_iter().map(|problem| (problem.at, problem.message)).collect();
    let has = |at: &str, part: &str| {
        assert!(found.iter().any(|(place, message)| place == at && message.contains(part)), "{at} {part}: {found:#?}");
    };
    has("", "unknown key \"descripton\" (did you mean \"description\"?)");
    has("name", "\"Dip\" is not a name");
    has("where", "unknown name \"perod\" (did you mean \"period\"?)");
    has("params.period.default", "1 is outside 2 to 500");
    has("params.close", "\"close\" already has a meaning");
    has("params.depth", "unknown key \"minn\" (did you mean \"min\"?)");
    has("params.depth.min", "is missing");
    has("long", "unknown key \"exot\" (did you mean \"exit\"?)");
    has("long.enter", "the expression ends where a value should follow");
    has("long.exit", "is missing");
}

#[test]
fn messages_say_what_is_wrong() {
    let with = |from: &str, to: &str| {
        assert!(GOOD.contains(from));
        GOOD.replace(from, to)
    };
    let period = "period = { default = 20, min = 2, max = 500 }";
    assert!(problem("name = ", "").starts_with("not valid TOML"));
    assert!(problem("name = \"idle\"", "long").contains("is missing"));
    assert!(problem(&with("[long]", "short = 3\n[long]"), "params.short").contains("must be a table"));
    assert!(problem(&with("name = \"dip\"", ""), "name").contains("is missing"));
    assert!(problem(&with("name = \"dip\"", "name = 3"), "name").contains("must be text, is a number"));
    assert!(problem(&with(period, "period = 20"), "params.period").contains("must be a table, as in"));
    assert!(problem(&with("min = 2,", "min = \"2\","), "params.period.min").contains("must be a number, is text"));
    assert!(problem(&with("min = 2,", "min = nan,"), "params.period.min").contains("must be a finite number"));
    assert!(problem(&with("min = 2,", "min = inf,"), "params.period.min").contains("must be a finite number"));
    assert!(problem(&with("min = 2,", "min = 600,"), "params.period").contains("min 600 is above max 500"));
    assert!(problem(&with("min = 2,", "min = 2.5, whole = true,"), "params.period").contains("has a whole default"));
    assert!(
        problem(&with("min = 0.5", "min = 0.5, whole = 1"), "params.depth.whole").contains("must be true or false")
    );
    for reserved in ["random", "template", "sma", "and"] {
        let text = with("[params]", &format!("[params]\n{reserved} = {{ default = 1, min = 1, max = 2 }}"));
        assert!(problem(&text, &format!("params.{reserved}")).contains("already has a meaning"), "{reserved}");
    }
    assert!(problem(&with("exit = \"close", "exit = \"perid"), "long.exit").contains("did you mean \"period\"?"));
}

#[test]
fn a_fractional_parameter_is_no_period() {
    let text = GOOD.replace("min = 2, max = 500", "min = 2.0, max = 500");
    let found = problems(&text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].message.starts_with("bbands_lower: n must be a whole number"));
}
