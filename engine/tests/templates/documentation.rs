//! The documentation lists every indicator, built-in template and metric as it is in the code.

use std::fs;
use std::path::Path;

use jetsweep_engine::indicators;
use jetsweep_engine::metrics::Metric;
use jetsweep_engine::template::{Template, builtin_source, builtins};

const ENGINE: &str = env!("CARGO_MANIFEST_DIR");

/// Rows of the tables below a heading, up to the next heading of the same level or above; each as its cells. Headers
/// and rules of tables are left out.
fn rows(document: &str, heading: &str) -> Vec<Vec<String>> {
    let path = format!("{ENGINE}/../docs/{document}");
    let text = fs::read_to_string(&path).unwrap();
    let level = |line: &str| line.find(' ').filter(|&hashes| hashes > 0 && line[..hashes].chars().all(|c| c == '#'));
    let mut lines = text.lines().skip_while(|line| *line != heading);
    let own_level = level(lines.next().unwrap_or_else(|| panic!("{path} has no heading {heading:?}"))).unwrap();
    let section = lines.take_while(|line| level(line).is_none_or(|level| level > own_level));
    let cells = |line: &str| {
        let row = line.strip_prefix("| `")?.strip_suffix(" |")?;
        Some(format!("`{row}").split(" | ").map(str::to_owned).collect())
    };
    section.filter_map(cells).collect()
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

#[test]
fn every_indicator_is_documented() {
    let documented: Vec<String> =
        rows("templates.md", "### Indicators").into_iter().map(|mut cells| cells.swap_remove(0)).collect();
    let mut known: Vec<String> = indicators::ALL.iter().map(|indicator| code(&indicator.signature())).collect();
    let mut sorted = documented.clone();
    sorted.sort_unstable();
    known.sort_unstable();
    assert_eq!(sorted, known);
}

#[test]
fn every_built_in_template_is_documented_with_its_rules() {
    let documented: Vec<Vec<String>> = rows("templates.md", "## Built-in templates");
    let expected: Vec<Vec<String>> = builtins().iter().map(row_of).collect();
    let without_source = |mut cells: Vec<String>| {
        assert_eq!(cells.len(), 5, "{cells:?}");
        assert!(!cells[4].is_empty(), "{cells:?}");
        cells.truncate(4);
        cells
    };
    assert_eq!(documented.into_iter().map(without_source).collect::<Vec<_>>(), expected);
}

#[test]
fn built_in_templates_with_short_rules_are_named() {
    let text = std::fs::read_to_string(Path::new(ENGINE).join("../docs/templates.md")).unwrap();
    let (_, sentence) = text.split_once("These also have rules for short positions").expect("the sentence");
    let sentence = sentence.split_once("\n\n").unwrap().0;
    for template in builtins() {
        let is_named = sentence.contains(&code(template.name()));
        assert_eq!(is_named, template.short().is_some(), "{}", template.name());
    }
}

/// Name, rule to enter, rule to exit and defaults.
fn row_of(template: &Template) -> Vec<String> {
    let rules = template.long().unwrap();
    let defaults: Vec<String> =
        template.defaults().iter().map(|(name, value)| format!("{} {value}", code(name))).collect();
    let defaults = if defaults.is_empty() { "none".to_owned() } else { defaults.join(", ") };
    vec![code(template.name()), code(&rules.enter), code(&rules.exit), defaults]
}

#[test]
fn built_in_templates_are_documented_under_their_family() {
    for template in builtins() {
        let source = builtin_source(template.name()).unwrap();
        let family = source.lines().next().unwrap().trim_start_matches("# Family: ").trim_end_matches('.');
        let heading = format!("### {}{}", family[..1].to_uppercase(), &family[1..]);
        let name = code(template.name());
        assert!(rows("templates.md", &heading).iter().any(|cells| cells[0] == name), "{name} is not under {heading:?}");
    }
}

#[test]
fn every_metric_is_documented_with_its_reference_and_test() {
    let tests = tests_below(&Path::new(ENGINE).join("src")) + &tests_below(&Path::new(ENGINE).join("tests"));
    let documented = rows("metrics.md", "## Metrics");
    for cells in &documented {
        let [_, definition, reference, shown_by] = &cells[..] else { panic!("{cells:?}") };
        assert!(!definition.is_empty() && !reference.is_empty(), "{cells:?}");
        let names: Vec<&str> = shown_by.split(", ").map(|name| name.trim_matches('`')).collect();
        assert!(names.iter().all(|name| tests.contains(&format!("fn {name}("))), "no such test: {shown_by}");
    }
    let mut names: Vec<&str> = documented.iter().map(|cells| cells[0].as_str()).collect();
    let mut known: Vec<String> = Metric::ALL.iter().map(|metric| code(metric.name())).collect();
    names.sort_unstable();
    known.sort_unstable();
    assert_eq!(names, known);
}

/// All Rust code below a folder.
fn tests_below(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| match path.extension() {
            _ if path.is_dir() => tests_below(&path),
            Some(extension) if extension == "rs" => fs::read_to_string(&path).unwrap(),
            _ => String::new(),
        })
        .collect()
}
