//! Making a sweep spec self-contained: what it names by file is put in, on the machine that has the files.

use std::path::Path;

use jetsweep_engine::problem::Problem;

use super::document::{SpecDocument, SpecError, join, read_at_most, strategy_path};
use super::reader::{Problems, quote};
use super::report::SpecReport;
use super::strategy::is_template_path;
use super::tree::{self, Node, Table, Value};
use super::{ResolvedSpec, document};

/// Largest template file, in bytes. Templates travel in every job.
const MAX_TEMPLATE_BYTES: usize = 32 * 1024;

/// Largest file of symbols, in bytes.
const MAX_SYMBOLS_BYTES: usize = 1 << 20;

/// A sweep spec read from a file, made self-contained and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedSpec {
    /// The document to submit.
    pub document: SpecDocument,
    /// What it comes to.
    pub resolved: ResolvedSpec,
}

/// Reads a sweep spec from a file, puts in the files it names and resolves it.
///
/// # Errors
///
/// The report of everything that is wrong with it.
pub fn load(path: &Path) -> Result<LoadedSpec, SpecReport> {
    let document =
        document::read_file(path).map_err(|error| SpecReport::unreadable(&path.display().to_string(), &error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    document.load(folder)
}

impl SpecDocument {
    /// Puts in the files the document names and resolves it. Relative paths are relative to `folder`.
    ///
    /// # Errors
    ///
    /// The report of everything that is wrong with it.
    pub fn load(mut self, folder: &Path) -> Result<LoadedSpec, SpecReport> {
        let mut problems = self.inline(folder);
        // A file that cannot be read is still named in the document: that it is, is not worth a second line.
        let known = |at: &str, problems: &[Problem]| problems.iter().any(|problem| problem.at == at);
        match self.resolve() {
            Ok(resolved) if problems.is_empty() => {
                let bytes = self.to_json().len();
                if bytes <= document::MAX_SPEC_BYTES {
                    return Ok(LoadedSpec { document: self, resolved });
                }
                let error = SpecError::TooLarge { bytes: bytes as u64 };
                problems.push(Problem::new("", format!("with the files it names, it {error}")));
            }
            Ok(_) => {}
            Err(found) => {
                let new: Vec<Problem> = found.into_iter().filter(|found| !known(&found.at, &problems)).collect();
                problems.extend(new);
            }
        }
        Err(SpecReport::new(&self, problems))
    }

    /// Reads the template files and the file of symbols that the document names, relative to `folder`, and puts them
    /// in their place, so that the document needs no other file. Returns what could not be read; the document then
    /// still names it.
    pub fn inline(&mut self, folder: &Path) -> Vec<Problem> {
        let mut problems = Problems::default();
        self.inline_templates(folder, &mut problems);
        self.inline_symbols(folder, &mut problems);
        problems.into_vec()
    }

    fn inline_templates(&mut self, folder: &Path, problems: &mut Problems) {
        let mut parts = Vec::new();
        let strategies = match self.table_mut().get_mut("strategy").map(|node| &mut node.value) {
            Some(Value::List(items)) => items,
            _ => return,
        };
        for (index, strategy) in strategies.iter_mut().enumerate() {
            let Value::Table(strategy) = &mut strategy.value else { continue };
            let Some(template) = strategy.get_mut("template") else { continue };
            let Value::Text(file) = &template.value else { continue };
            if !is_template_path(file) {
                continue;
            }
            let (at, file) = (join(&strategy_path(index), "template"), file.clone());
            match read_template(&folder.join(&file)) {
                Ok(table) => {
                    template.value = Value::Table(table);
                    parts.push((at, file));
                }
                Err(message) => problems.add(at, format!("the file {} {message}", quote(&file))),
            }
        }
        self.parts.extend(parts);
    }

    fn inline_symbols(&mut self, folder: &Path, problems: &mut Problems) {
        let Some(Value::Table(universe)) = self.table_mut().get_mut("universe").map(|node| &mut node.value) else {
            return;
        };
        let Some(Value::Text(file)) = universe.get("symbols_file").map(|node| &node.value) else { return };
        if universe.contains_key("symbols") {
            return;
        }
        let file = file.clone();
        match read_symbols(&folder.join(&file)) {
            Ok(symbols) => {
                universe.shift_remove("symbols_file");
                universe.insert("symbols".to_owned(), Node::new(Value::List(symbols)));
                self.parts.insert("universe.symbols".to_owned(), file);
            }
            Err(message) => problems.add("universe.symbols_file", format!("the file {} {message}", quote(&file))),
        }
    }
}

fn read_text(path: &Path, most: usize) -> Result<String, String> {
    let bytes = read_at_most(path, most).map_err(|error| match error {
        SpecError::TooLarge { bytes } => format!("has {bytes} bytes, at most {most} are allowed"),
        other => other.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
        SpecError::NotUtf8 { offset, line }.to_string()
    })
}

fn read_template(path: &Path) -> Result<Table, String> {
    let text = read_text(path, MAX_TEMPLATE_BYTES)?;
    tree::from_toml(&text).map_err(|error| {
        let notation = "TOML";
        let tree::SyntaxError { line, column, message } = error;
        SpecError::Syntax { notation, line, column, message }.to_string()
    })
}

/// The symbols of a file: one a line, or the first column of a CSV, whose header `symbol` is optional. Empty lines and
/// what follows `#` are skipped. Whether they are symbols is checked with the document.
fn read_symbols(path: &Path) -> Result<Vec<Node>, String> {
    let text = read_text(path, MAX_SYMBOLS_BYTES)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut symbols = Vec::new();
    let mut is_first = true;
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let field = line.split(',').next().unwrap_or_default().trim().trim_matches('"');
        let is_header = is_first && field.eq_ignore_ascii_case("symbol");
        is_first = false;
        if !is_header {
            symbols.push(Node { value: Value::Text(field.to_owned()), line: Some(index + 1) });
        }
    }
    Ok(symbols)
}
