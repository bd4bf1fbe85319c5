//! The strategies of a sweep spec: template, axes, condition, sample.

use std::collections::HashMap;

use indexmap::IndexMap;
use jetsweep_engine::grid::{Axis, Grid, Points, Random};
use jetsweep_engine::problem::{Problem, did_you_mean};
use jetsweep_engine::template::{self, Parameter, Template};

use super::StrategySpec;
use super::document::strategy_path;
use super::reader::{Problems, Section, number, quote, quote_key};
use super::tree::{Node, Table, Value};

/// Keys of a strategy beside the parameters of its template, which may not use them.
pub(super) const STRATEGY_KEYS: [&str; 5] = ["template", "name", "where", "random", "seed"];

/// Keys of an axis written as a range.
const RANGE_KEYS: [&str; 3] = ["from", "to", "step"];

/// What an axis may look like.
const AXIS_FORMS: &str = "a number, a list of numbers or a range { from = 5, to = 50, step = 5 }";

/// Longest name of a strategy, in characters.
const LONGEST_NAME: usize = 64;

/// Largest strategy, in bytes of JSON: a job of 64 KiB carries it beside all else it needs.
const MAX_STRATEGY_BYTES: usize = 48 * 1024;

/// Reads all strategies. What cannot be read is left out, and a problem.
pub(super) fn read_all(top: Section<'_>, problems: &mut Problems) -> Vec<StrategySpec> {
    const WANTED: &str = "[[strategy]] with template = \"sma_cross\"";
    let items = match top.table.get("strategy").map(|node| &node.value) {
        None => {
            problems.add("strategy", format!("is missing: a sweep needs at least one {WANTED}"));
            return Vec::new();
        }
        Some(Value::List(items)) => items,
        Some(Value::Table(table)) => {
            problems.add("strategy", "is a table, must be a list of tables: write [[strategy]], with two brackets");
            // Read all the same, so that its other problems are told in the same round.
            read_one(Section { at: "strategy", table }, problems);
            return Vec::new();
        }
        Some(other) => {
            problems.add("strategy", format!("must be a list of tables, {WANTED}, is {}", other.describe()));
            return Vec::new();
        }
    };
    if items.is_empty() {
        problems.add("strategy", format!("is empty: a sweep needs at least one {WANTED}"));
    }
    let mut strategies: Vec<StrategySpec> = Vec::new();
    let mut taken: HashMap<String, String> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        let at = strategy_path(index);
        let Value::Table(table) = &item.value else {
            problems.add(at, format!("must be a table, {WANTED}, is {}", item.value.describe()));
            continue;
        };
        let Some(strategy) = read_one(Section { at: &at, table }, problems) else { continue };
        match taken.get(&strategy.name) {
            Some(first) => {
                let name = &strategy.name;
                problems.add(at, format!("is called \"{name}\" as {first} is: give one of them a name = \"...\""));
            }
            None => {
                taken.insert(strategy.name.clone(), at);
                strategies.push(strategy);
            }
        }
    }
    strategies
}

fn read_one(section: Section<'_>, problems: &mut Problems) -> Option<StrategySpec> {
    let before = problems.len();
    let name = name(section, problems);
    let where_ = section.text("where", "a condition in quotes, as in \"fast < slow\"", problems);
    let random = random(section, problems);
    let template = read_template(section, problems)?;
    only_parameters(section, &template, problems);
    let axes = axes(section, &template, problems);
    if problems.len() > before {
        return None;
    }
    let name = name.unwrap_or_else(|| template.name()).to_owned();
    let grid = Grid::new(&template, axes).with_where(where_.map(str::to_owned)).with_random(random);
    match grid.points(&template) {
        Err(found) => {
            problems.extend_within(section.at, found);
            return None;
        }
        Ok(points) if points.is_empty() => {
            problems.push(empty_grid(&template, &grid, &points).within(section.at));
            return None;
        }
        Ok(_) => {}
    }
    let strategy = StrategySpec { name, template, grid };
    let bytes = serde_json::to_vec(&strategy).map_or(0, |json| json.len());
    if bytes > MAX_STRATEGY_BYTES {
        let message = format!(
            "has {bytes} bytes with its template and axes, at most {MAX_STRATEGY_BYTES} fit into a job: write long \
             lists of values as ranges, or split the strategy"
        );
        problems.add(section.at, message);
        return None;
    }
    Some(strategy)
}

fn empty_grid(template: &Template, grid: &Grid, points: &Points) -> Problem {
    let raw = points.raw_points();
    let conditions: Vec<String> = [("the template's ", template.where_()), ("", grid.where_.as_deref())]
        .into_iter()
        .filter_map(|(whose, condition)| Some(format!("{whose}{}", quote(condition?))))
        .collect();
    let at = if grid.where_.is_some() { "where" } else { "" };
    let conditions = conditions.join(" and ");
    Problem::new(at, format!("no parameter set is left: of {raw}, none satisfies {conditions}; widen the axes"))
}

fn name<'a>(section: Section<'a>, problems: &mut Problems) -> Option<&'a str> {
    let name = section.text("name", "text", problems)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fits) {
        let rule = format!("1 to {LONGEST_NAME} letters, digits, '-', '_', '.'");
        problems.add(section.path("name"), format!("{} is not a name of a strategy ({rule})", quote(name)));
    }
    Some(name)
}

fn random(section: Section<'_>, problems: &mut Problems) -> Option<Random> {
    let count = whole(section, "random", 1, problems);
    let seed = whole(section, "seed", 0, problems);
    if section.table.contains_key("seed") && !section.table.contains_key("random") {
        problems.add(section.path("seed"), "does nothing without random = N, which takes a sample of N parameter sets");
    }
    Some(Random { count: count?, seed: seed.unwrap_or(0) })
}

fn whole(section: Section<'_>, key: &str, least: u64, problems: &mut Problems) -> Option<u64> {
    let node = section.table.get(key)?;
    let number = match node.value {
        Value::Whole(number) => u64::try_from(number).ok().filter(|number| *number >= least),
        _ => None,
    };
    if number.is_none() {
        let message = format!("must be a whole number of at least {least}, is {}", node.value.describe());
        problems.add(section.path(key), message);
    }
    number
}

fn read_template(section: Section<'_>, problems: &mut Problems) -> Option<Template> {
    let at = section.path("template");
    let Some(node) = section.table.get("template") else {
        problems.add(at, format!("is missing: name a built-in template ({})", builtin_list()));
        return None;
    };
    match &node.value {
        Value::Text(name) => {
            let template = template::builtin(name);
            if template.is_none() {
                problems.add(at, unknown_template(name));
            }
            template
        }
        Value::Table(_) => {
            let document = serde_json::to_value(node).unwrap_or_default();
            let found = Template::from_document(&document);
            found.map_err(|found| problems.extend_within(&at, found)).ok()
        }
        other => {
            problems.add(at, format!("must be the name of a template or a table with one, is {}", other.describe()));
            None
        }
    }
}

fn unknown_template(name: &str) -> String {
    if is_template_path(name) {
        return format!(
            "names the file {}, which is not part of the document: submit it with `jetsweep submit`, which puts the \
             template in, or write it as [strategy.template]",
            quote(name)
        );
    }
    let hint = did_you_mean(name, template::builtin_names());
    format!(
        "{} is not a built-in template{hint}: those are {}; one of your own is named by its file, as in \"my.toml\"",
        quote(name),
        builtin_list()
    )
}

/// Whether the value of `template` means a file rather than a built-in template.
pub(super) fn is_template_path(name: &str) -> bool {
    name.contains(['/', '\\']) || name.ends_with(".toml")
}

fn builtin_list() -> String {
    template::builtin_names().collect::<Vec<_>>().join(", ")
}

/// Makes a problem of every key that is neither a key of a strategy nor a parameter of its template.
fn only_parameters(section: Section<'_>, template: &Template, problems: &mut Problems) {
    let parameters = || template.params().keys().map(String::as_str);
    for key in section.table.keys() {
        if STRATEGY_KEYS.contains(&key.as_str()) || template.params().contains_key(key) {
            continue;
        }
        let name = template.name();
        let hint = did_you_mean(key, parameters().chain(STRATEGY_KEYS));
        let known = parameters().collect::<Vec<_>>().join(", ");
        let message = format!("unknown key{hint}; the parameters of {name} are {known}");
        problems.add(section.path(&quote_key(key)), message);
    }
}

fn axes(section: Section<'_>, template: &Template, problems: &mut Problems) -> IndexMap<String, Axis> {
    let mut axes = IndexMap::new();
    for (name, parameter) in template.params() {
        let Some(node) = section.table.get(name) else { continue };
        if let Some(axis) = axis(node, &section.path(name), parameter, problems) {
            axes.insert(name.clone(), axis);
        }
    }
    axes
}

/// Reads an axis. Only its form is checked: its values are checked with the grid.
fn axis(node: &Node, at: &str, parameter: &Parameter, problems: &mut Problems) -> Option<Axis> {
    match &node.value {
        Value::List(items) => {
            let mut values = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                values.push(number(item, &format!("{at}[{index}]"), "a number", problems));
            }
            values.into_iter().collect::<Option<Vec<f64>>>().map(Axis::List)
        }
        Value::Table(table) => range(Section { at, table }, parameter, problems),
        _ => number(node, at, AXIS_FORMS, problems).map(Axis::Value),
    }
}

fn range(section: Section<'_>, parameter: &Parameter, problems: &mut Problems) -> Option<Axis> {
    section.only(&RANGE_KEYS, problems);
    let missing: Vec<&str> = ["from", "to"].into_iter().filter(|key| !section.table.contains_key(*key)).collect();
    if !missing.is_empty() {
        problems.add(
            section.at,
            format!("the range lacks {}: write {{ from = 5, to = 50, step = 5 }}", missing.join(" and ")),
        );
    }
    let from = section.number("from", "a number", problems);
    let to = section.number("to", "a number", problems);
    let step = match section.table.contains_key("step") {
        true => section.number("step", "a number", problems),
        // Whole numbers have a next one; other parameters have not.
        false if parameter.whole => Some(1.0),
        false => {
            problems.add(section.at, "the range needs a step, as the parameter takes more than whole numbers");
            None
        }
    };
    Some(Axis::Range { from: from?, to: to?, step: step? })
}

/// The parameters of the template a strategy names, when it can be read.
pub(super) fn parameters(strategy: &Table) -> Option<Vec<String>> {
    let template = read_template(Section { at: "", table: strategy }, &mut Problems::default())?;
    Some(template.params().keys().cloned().collect())
}
