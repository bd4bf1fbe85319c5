//! The short form: a sweep from flags instead of a file.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use jetsweep_engine::problem::{Problem, did_you_mean};

use super::document::{SpecDocument, scalar};
use super::inline::LoadedSpec;
use super::reader::{Problems, quote};
use super::report::SpecReport;
use super::source::{Source, climbs};
use super::strategy;
use super::tree::{Node, Table, Value};

/// What reports call the document made from flags.
const NAME: &str = "the command line";

/// What the flags of a command say about a sweep. It becomes the same document as a file would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShortSpec {
    /// Name of the sweep, if any.
    pub name: Option<String>,
    /// `--symbols AAPL,SPY`, taken apart.
    pub symbols: Vec<String>,
    /// `--strategies sma_cross,my.toml`, taken apart: built-in templates or files of templates.
    pub strategies: Vec<String>,
    /// `--data`, relative to the data folder: see [`split_source`].
    pub source: String,
    /// First date used.
    pub from: Option<String>,
    /// Last date used.
    pub to: Option<String>,
    /// Execution rules as text, by name: `("commission", "0.001")`.
    pub execution: Vec<(String, String)>,
    /// `-p`: `name=10`, `name=10,20,30`, `name=5:50` or `name=5:50:5`, for each strategy with that parameter.
    pub params: Vec<String>,
}

impl ShortSpec {
    /// The document these flags stand for, with the template files they name put in, resolved. Parameters that are
    /// not given keep their template's defaults. Relative paths are relative to `folder`.
    ///
    /// # Errors
    ///
    /// The report of everything that is wrong with it.
    pub fn load(&self, folder: &Path) -> Result<LoadedSpec, SpecReport> {
        let mut document = self.document();
        let mut problems = document.inline(folder);
        problems.extend(self.apply_params(&mut document));
        if !problems.is_empty() {
            return Err(self.by_flag(SpecReport::new(&document, problems)));
        }
        document.load(folder).map_err(|report| self.by_flag(report))
    }

    /// The same report with places named as they were typed: `universe.symbols` is `--symbols`.
    fn by_flag(&self, mut report: SpecReport) -> SpecReport {
        for problem in report.problems.iter_mut().filter(|problem| problem.file == NAME) {
            problem.at = flag(&problem.at);
        }
        report
    }

    fn document(&self) -> SpecDocument {
        let texts = |texts: &[String]| Value::List(texts.iter().map(Node::text).collect());
        let strategy = |template: &String| table([("template", Some(Value::Text(template.clone())))]);
        let text = |text: &Option<String>| text.clone().map(Value::Text);
        let data =
            [("source", Some(Value::Text(self.source.clone()))), ("from", text(&self.from)), ("to", text(&self.to))];
        let execution = self.execution.iter().map(|(name, text)| (name.as_str(), Some(scalar(text))));
        let strategies = self.strategies.iter().map(|template| Node::new(Value::Table(strategy(template)))).collect();
        let root = table([
            ("name", text(&self.name)),
            ("data", Some(Value::Table(table(data)))),
            ("universe", Some(Value::Table(table([("symbols", Some(texts(&self.symbols)))])))),
            ("execution", Some(Value::Table(table(execution)))),
            ("strategy", Some(Value::List(strategies))),
        ]);
        SpecDocument::new(NAME, root)
    }

    fn apply_params(&self, document: &mut SpecDocument) -> Vec<Problem> {
        let mut problems = Problems::default();
        let strategies = match document.table_mut().get_mut("strategy").map(|node| &mut node.value) {
            Some(Value::List(items)) => items,
            _ => return Vec::new(),
        };
        // Of a template that cannot be read the parameters are unknown; resolving says what is wrong with it.
        let mut known: Vec<(usize, Vec<String>)> = Vec::new();
        let mut all_known = true;
        for (index, strategy) in strategies.iter().enumerate() {
            match &strategy.value {
                Value::Table(table) => match strategy::parameters(table) {
                    Some(parameters) => known.push((index, parameters)),
                    None => all_known = false,
                },
                _ => all_known = false,
            }
        }
        for param in &self.params {
            let Some((name, text)) = param.split_once('=') else {
                let forms = "name=10, name=10,20,30 or name=5:50:5";
                problems.add("-p", format!("{} is not a parameter with its values ({forms})", quote(param)));
                continue;
            };
            let (name, axis) = (name.trim(), axis(text));
            let mut is_used = false;
            for (index, _) in known.iter().filter(|(_, parameters)| parameters.iter().any(|known| known == name)) {
                if let Value::Table(table) = &mut strategies[*index].value {
                    table.insert(name.to_owned(), Node::new(axis.clone()));
                    is_used = true;
                }
            }
            if !is_used && all_known {
                let mut names: Vec<&str> = known.iter().flat_map(|(_, names)| names).map(String::as_str).collect();
                names.sort_unstable();
                names.dedup();
                let hint = did_you_mean(name, names.iter().copied());
                let message = format!(
                    "{}: no strategy named here has a parameter {}{hint}; they have {}",
                    quote(param),
                    quote(name),
                    names.join(", ")
                );
                problems.add("-p", message);
            }
        }
        problems.into_vec()
    }
}

/// The flag that sets the value at a path; the path itself where no flag does.
fn flag(path: &str) -> String {
    if let Some(rule) = path.strip_prefix("execution.") {
        return format!("--{}", rule.replace('_', "-"));
    }
    let (first, last) = path.split_once('.').unwrap_or((path, ""));
    match (first, last) {
        ("name", _) => "--name".to_owned(),
        ("data", "source") => "--data".to_owned(),
        ("data", date) => format!("--{date}"),
        ("universe", _) => "--symbols".to_owned(),
        (strategy, "" | "template") if strategy.starts_with("strategy") => "--strategies".to_owned(),
        (strategy, parameter) if strategy.starts_with("strategy") => format!("-p {parameter}"),
        _ => path.to_owned(),
    }
}

fn table<'a>(entries: impl IntoIterator<Item = (&'a str, Option<Value>)>) -> Table {
    let given = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Node::new(value?))));
    given.collect::<IndexMap<_, _>>()
}

/// The values of a parameter as typed: `10`, `10,20,30`, `5:50` or `5:50:5`. What is no number stays text, for the
/// axis's reader to refuse.
fn axis(text: &str) -> Value {
    if text.contains(':') {
        let bounds = ["from", "to", "step"].into_iter().zip(text.split(':').map(|part| Some(scalar(part))));
        return match text.matches(':').count() {
            1 | 2 => Value::Table(table(bounds)),
            _ => Value::Text(text.to_owned()),
        };
    }
    if text.contains(',') {
        return Value::List(text.split(',').map(|item| Node::new(scalar(item))).collect());
    }
    scalar(text)
}

/// Splits what `--data` names into a data folder and a source below it: `/bars/daily/{symbol}.csv` is the folder
/// `/bars/daily` and the source `{symbol}.csv`. A relative path has no folder: it is below the data folder in force. Nor has
/// what is elsewhere.
pub fn split_source(data: &str) -> (Option<PathBuf>, String) {
    if !Source::is_file(data) || !data.starts_with('/') && !climbs(data) {
        return (None, data.to_owned());
    }
    // The folder ends before the first part that differs between symbols; without one, before the file.
    let before_symbol = &data[..data.find("{symbol}").unwrap_or(data.len())];
    match before_symbol.rsplit_once('/') {
        None => (None, data.to_owned()),
        Some((folder, _)) => {
            let source = data[folder.len() + 1..].to_owned();
            let folder = if folder.is_empty() { "/" } else { folder };
            (Some(PathBuf::from(folder)), source)
        }
    }
}
