//! From what was written to what it comes to: every default filled in, everything checked, all problems at once.

use std::collections::HashMap;

use jetsweep_engine::execution::{Direction, Execution};
use jetsweep_engine::problem::Problem;
use jiff::civil::Date;

use super::document::SpecDocument;
use super::execution;
use super::reader::{Problems, Section, quote};
use super::source::{SYMBOL, Source, climbs, store_name_problem, url_problem};
use super::strategy;
use super::tree::{Table, Value};
use super::validation;
use super::{DataRef, ResolvedSpec, StrategySpec};
use crate::ids::{Priority, Symbol};

/// Name of a sweep whose spec gives none.
const DEFAULT_NAME: &str = "sweep";

/// Longest name of a sweep, in characters: a batch id made from it has room for a suffix.
const LONGEST_SWEEP_NAME: usize = 40;

/// Most symbols of a universe.
const MOST_SYMBOLS: usize = 10_000;

/// Largest resolved spec, in bytes of JSON: it travels in the event that begins a batch.
const MAX_RESOLVED_BYTES: usize = 512 * 1024;

/// Longest `source`, in bytes.
const LONGEST_SOURCE: usize = 512;

const TOP_KEYS: [&str; 7] = ["name", "priority", "data", "universe", "execution", "validation", "strategy"];
const DATA_KEYS: [&str; 3] = ["source", "from", "to"];
const UNIVERSE_KEYS: [&str; 3] = ["symbols", "symbols_file", "asset_class"];

/// Longest asset class, in characters.
const LONGEST_ASSET_CLASS: usize = 40;

impl SpecDocument {
    /// Checks the document and fills in what it leaves open. Reads nothing but the document itself.
    ///
    /// Whether a `where` leaves any parameter set is found by walking the grid up to the first one, which takes half a
    /// minute for a grid of 10^9 points of which none is left: call it where blocking is allowed.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, up to a hundred problems; [`super::SpecReport`] makes them readable.
    pub fn resolve(&self) -> Result<ResolvedSpec, Vec<Problem>> {
        let mut problems = Problems::default();
        let top = Section { at: "", table: self.table() };
        top.only(&TOP_KEYS, &mut problems);
        let name = sweep_name(top, &mut problems);
        priority(top, &mut problems);
        let symbols = universe(top, &mut problems);
        let asset_class = asset_class(top, &mut problems);
        let data = data(top, symbols.len(), &mut problems);
        let execution = execution::read(top, &mut problems);
        let validation = validation::read(top, &mut problems);
        let strategies = strategy::read_all(top, &mut problems);

        directions(&execution, &strategies, &mut problems);

        let (Some(data), true) = (data, problems.is_empty()) else { return Err(problems.into_vec()) };
        let resolved = ResolvedSpec { name, data, symbols, asset_class, strategies, execution, validation };
        let bytes = resolved.canonical_json().len();
        if bytes > MAX_RESOLVED_BYTES {
            let message = format!(
                "the spec has {bytes} bytes with everything filled in, at most {MAX_RESOLVED_BYTES} are allowed: \
                 split it into several sweeps"
            );
            return Err(vec![Problem::new("", message)]);
        }
        Ok(resolved)
    }
}

/// Every strategy must have rules for the positions that may be taken.
fn directions(execution: &Execution, strategies: &[StrategySpec], problems: &mut Problems) {
    let wants_long = execution.direction != Direction::Short;
    let wants_short = execution.direction != Direction::Long;
    for (index, strategy) in strategies.iter().enumerate() {
        let template = &strategy.template;
        let sides = [("long", wants_long, template.long()), ("short", wants_short, template.short())];
        for (side, _, _) in sides.into_iter().filter(|(_, wanted, rules)| *wanted && rules.is_none()) {
            let message = format!(
                "needs [{side}] rules, which {} (strategy[{index}]) does not have: leave the strategy out, or give it a \
                 template that has them",
                strategy.name
            );
            problems.add("execution.direction", message);
        }
    }
}

fn sweep_name(top: Section<'_>, problems: &mut Problems) -> String {
    let Some(name) = top.text("name", "text", problems) else { return DEFAULT_NAME.to_owned() };
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > LONGEST_SWEEP_NAME || !name.chars().all(fits) {
        let rule = format!("1 to {LONGEST_SWEEP_NAME} letters, digits, '-', '_', as batch ids are made from it");
        problems.add("name", format!("{} is not a name of a sweep ({rule})", quote(name)));
    }
    name.to_owned()
}

fn priority(top: Section<'_>, problems: &mut Problems) {
    top.one_of("priority", &Priority::ALL.map(|priority| (priority.as_str(), priority)), problems);
}

fn universe(top: Section<'_>, problems: &mut Problems) -> Vec<Symbol> {
    const WANTED: &str = "[universe] with symbols = [\"AAPL\", \"SPY\"] or symbols_file = \"universe.csv\"";
    if !top.table.contains_key("universe") {
        problems.add("universe", format!("is missing: write {WANTED}"));
    }
    let Some(table) = top.table("universe", problems) else { return Vec::new() };
    let universe = Section { at: "universe", table };
    universe.only(&UNIVERSE_KEYS, problems);
    match (table.get("symbols"), table.get("symbols_file")) {
        (Some(_), Some(_)) => {
            problems.add("universe.symbols_file", "stands beside symbols: keep one of them");
        }
        (None, Some(_)) => {
            if let Some(file) = universe.text("symbols_file", "the path of a file in quotes", problems) {
                let message = format!(
                    "names the file {}, which is not part of the document: submit it with `jetsweep submit`, which \
                     puts the symbols in, or write symbols = [...]",
                    quote(file)
                );
                problems.add("universe.symbols_file", message);
            }
        }
        (None, None) => problems.add("universe.symbols", format!("is missing: write {WANTED}")),
        (Some(_), None) => {}
    }
    symbols(table, problems)
}

fn asset_class(top: Section<'_>, problems: &mut Problems) -> Option<String> {
    let Some(Value::Table(table)) = top.table.get("universe").map(|node| &node.value) else { return None };
    let universe = Section { at: "universe", table };
    let asset_class = universe.text("asset_class", "text, as in \"equities\"", problems)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if asset_class.is_empty() || asset_class.len() > LONGEST_ASSET_CLASS || !asset_class.chars().all(fits) {
        let rule = format!("1 to {LONGEST_ASSET_CLASS} letters, digits, '-', '_'");
        problems.add("universe.asset_class", format!("{} is not an asset class ({rule})", quote(asset_class)));
    }
    Some(asset_class.to_owned())
}

fn symbols(universe: &Table, problems: &mut Problems) -> Vec<Symbol> {
    const AT: &str = "universe.symbols";
    let items = match universe.get("symbols").map(|node| &node.value) {
        None => return Vec::new(),
        Some(Value::List(items)) => items,
        Some(other) => {
            problems.add(AT, format!("must be a list, as in [\"AAPL\", \"SPY\"], is {}", other.describe()));
            return Vec::new();
        }
    };
    if items.is_empty() {
        problems.add(AT, "is empty: a sweep needs at least one symbol");
    }
    if items.len() > MOST_SYMBOLS {
        let count = items.len();
        problems.add(AT, format!("has {count} symbols, at most {MOST_SYMBOLS} are allowed: split the sweep"));
        return Vec::new();
    }
    let mut symbols = Vec::with_capacity(items.len());
    let mut first_at: HashMap<Symbol, usize> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("{AT}[{index}]");
        let Value::Text(text) = &item.value else {
            problems.add(at, format!("must be a symbol in quotes, is {}", item.value.describe()));
            continue;
        };
        let symbol = match text.parse::<Symbol>() {
            Ok(symbol) => symbol,
            Err(error) => {
                problems.add(at, error.to_string());
                continue;
            }
        };
        match first_at.get(&symbol) {
            Some(first) => problems.add(at, format!("{symbol} stands here twice, first as symbols[{first}]")),
            None => {
                first_at.insert(symbol.clone(), index);
                symbols.push(symbol);
            }
        }
    }
    symbols
}

fn data(top: Section<'_>, symbols: usize, problems: &mut Problems) -> Option<DataRef> {
    const WANTED: &str = "source = \"daily/{symbol}.csv\", a path under the data folder";
    if !top.table.contains_key("data") {
        problems.add("data", format!("is missing: write [data] with {WANTED}"));
    }
    let table = top.table("data", problems)?;
    let data = Section { at: "data", table };
    data.only(&DATA_KEYS, problems);
    if !table.contains_key("source") {
        problems.add("data.source", format!("is missing: write {WANTED}"));
    }
    let source = data.text("source", "a path in quotes", problems);
    if let Some(message) = source.and_then(|source| source_problem(source, symbols)) {
        problems.add("data.source", message);
    }
    let from = date(data, "from", problems);
    let to = date(data, "to", problems);
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        problems.add("data.from", format!("{from} is after data.to, {to}: no date is left"));
    }
    Some(DataRef { source: source?.to_owned(), from, to })
}

/// What is wrong with a `source` for a universe of so many symbols.
fn source_problem(source: &str, symbols: usize) -> Option<String> {
    let quoted = quote(source);
    if source.is_empty() || source.len() > LONGEST_SOURCE || source.chars().any(char::is_control) {
        return Some(format!("{quoted} is not a path (1 to {LONGEST_SOURCE} bytes without control characters)"));
    }
    if source.to_ascii_lowercase().ends_with(".parquet") {
        return Some(format!("{quoted}: this version reads CSV files, not Parquet: convert the bars to CSV"));
    }
    let problem = match Source::of(source) {
        Ok(Source::File(path)) => path_problem(path).map(str::to_owned),
        Ok(Source::Store(name)) => {
            store_name_problem(name).map(|problem| format!("is no name of an object: {problem}"))
        }
        Ok(Source::Url(url)) => url_problem(url).map(|problem| format!("is no address that is read: {problem}")),
        Err(scheme) => Some(format!(
            "is read by nobody: bars come from paths under the data folder, store://, https://, http:// and s3://, not \
             {}://",
            quote_scheme(scheme)
        )),
    };
    if let Some(problem) = problem {
        return Some(format!("{quoted} {problem}"));
    }
    let others = source.replace(SYMBOL, "");
    if others.contains(['{', '}']) {
        return Some(format!("{quoted} has braces of which nothing is known: only {SYMBOL} is replaced"));
    }
    if symbols > 1 && !source.contains(SYMBOL) {
        return Some(format!(
            "{quoted} is one file for {symbols} symbols: put {SYMBOL} where the symbol stands, as in \
             \"daily/{SYMBOL}.csv\""
        ));
    }
    None
}

/// Why a path is refused, if it is.
fn path_problem(path: &str) -> Option<&'static str> {
    if is_absolute(path) {
        return Some(
            "is absolute: name a path under the data folder, and the folder itself with `--data` or the worker's data.root",
        );
    }
    climbs(path).then_some("leaves the data folder with \"..\": name a path under it")
}

fn quote_scheme(scheme: &str) -> &str {
    if scheme.len() <= 8 && scheme.chars().all(|c| c.is_ascii_alphanumeric()) { scheme } else { "..." }
}

fn is_absolute(path: &str) -> bool {
    let drive = path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
    path.starts_with(['/', '\\', '~']) || drive
}

fn date(data: Section<'_>, key: &str, problems: &mut Problems) -> Option<Date> {
    /// Length of `2005-01-31`: a longer text may still parse as a date, with a time that would be ignored.
    const LENGTH: usize = 10;
    const WANTED: &str = "a date, as in 2005-01-31";
    let text = data.text(key, WANTED, problems)?;
    let date = text.parse::<Date>().ok().filter(|_| text.len() == LENGTH);
    if date.is_none() {
        problems.add(data.path(key), format!("must be {WANTED}, is {}", quote(text)));
    }
    date
}
