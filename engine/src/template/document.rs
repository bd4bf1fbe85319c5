//! Reading the document of a template and checking all of it.

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::expr::{self, Filter, Rule};
use crate::problem::{Problem, did_you_mean};

use super::{Parameter, SideRules, Template};

/// Longest name of a template or parameter, in bytes.
const LONGEST_NAME: usize = 64;

/// Longest description, in bytes. Templates travel in every job.
const LONGEST_DESCRIPTION: usize = 1000;

/// Most parameters of a template.
const MAX_PARAMETERS: usize = 32;

/// Largest size of a whole number: up to here an `f64` holds every one.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Words which mean something else beside the parameters of a strategy in a sweep spec.
const RESERVED: [&str; 8] = ["template", "name", "params", "where", "random", "seed", "label", "symbols"];

/// Reads a template.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(document: &Value) -> Result<Template, Vec<Problem>> {
    let Value::Object(fields) = document else {
        return Err(vec![Problem::new("", format!("a template is a table, this is {}", kind(document)))]);
    };
    let mut reader = Reader { problems: Vec::new() };
    reader.only(fields, "", &["name", "description", "params", "where", "long", "short"]);
    let name = reader.required_text(fields, "", "name");
    if let Some(name) = &name {
        reader.name("name", name);
    }
    let description = reader.text(fields, "", "description").unwrap_or_default();
    if description.len() > LONGEST_DESCRIPTION {
        let message = format!("at most {LONGEST_DESCRIPTION} bytes, this one has {}", description.len());
        reader.problem("description", message);
    }
    let params = reader.params(fields.get("params"));
    let known = expression_parameters(&params);
    let where_ = reader.text(fields, "", "where");
    if let Some(source) = &where_ {
        reader.collect(Filter::new("where", source, &known));
    }
    let long = reader.side(fields, "long", &known);
    let short = reader.side(fields, "short", &known);
    if !["long", "short"].iter().any(|side| fields.get(*side).is_some_and(|rules| !rules.is_null())) {
        reader.problem("long", "is missing: the rules to enter and exit, as in [long] enter = \"...\" exit = \"...\"");
    }
    match name {
        Some(name) if reader.problems.is_empty() => Ok(Template { name, description, params, where_, long, short }),
        _ => Err(reader.problems),
    }
}

/// Parameters as expressions see them.
pub(super) fn expression_parameters(params: &IndexMap<String, Parameter>) -> Vec<expr::Parameter> {
    let parameter =
        |(name, parameter): (&String, &Parameter)| expr::Parameter { name: name.clone(), whole: parameter.whole };
    params.iter().map(parameter).collect()
}

/// What a value is, in words.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn problem(&mut self, at: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::new(at, message));
    }

    fn collect<T>(&mut self, result: Result<T, Vec<Problem>>) {
        if let Err(problems) = result {
            self.problems.extend(problems);
        }
    }

    /// Reports keys other than `known`.
    fn only(&mut self, fields: &Map<String, Value>, at: &str, known: &[&str]) {
        for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
            let suggestion = did_you_mean(key, known.iter().copied());
            let message = format!("unknown key \"{key}\"{suggestion}; known here: {}", known.join(", "));
            self.problem(at, message);
        }
    }

    fn text(&mut self, fields: &Map<String, Value>, at: &str, key: &str) -> Option<String> {
        match fields.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => {
                self.problem(place(at, key), format!("must be text, is {}", kind(other)));
                None
            }
        }
    }

    fn required_text(&mut self, fields: &Map<String, Value>, at: &str, key: &str) -> Option<String> {
        if fields.get(key).is_none_or(Value::is_null) {
            self.problem(place(at, key), "is missing");
            return None;
        }
        self.text(fields, at, key)
    }

    fn name(&mut self, at: &str, name: &str) {
        let letter = |c: char| c.is_ascii_lowercase();
        let part = |c: char| letter(c) || c.is_ascii_digit() || c == '_';
        let fits = name.len() <= LONGEST_NAME && name.starts_with(letter) && name.chars().all(part);
        if !fits {
            let message = format!(
                "{name:?} is not a name: a lower-case letter, then lower-case letters, digits and \"_\", at most {LONGEST_NAME} in all"
            );
            self.problem(at, message);
        }
    }

    fn params(&mut self, value: Option<&Value>) -> IndexMap<String, Parameter> {
        let mut params = IndexMap::new();
        let fields = match value {
            None | Some(Value::Null) => return params,
            Some(Value::Object(fields)) => fields,
            Some(other) => {
                self.problem("params", format!("must be a table of parameters, is {}", kind(other)));
                return params;
            }
        };
        if fields.len() > MAX_PARAMETERS {
            self.problem("params", format!("at most {MAX_PARAMETERS} parameters, here are {}", fields.len()));
        }
        for (name, value) in fields {
            let at = place("params", name);
            self.name(&at, name);
            if expr::is_built_in(name) || RESERVED.contains(&name.as_str()) {
                self.problem(&at, format!("\"{name}\" already has a meaning: choose another name"));
            }
            // A parameter with a problem is still known to the rules, so that they are not reported for it too.
            let parameter = self.parameter(&at, value);
            params
                .insert(name.clone(), parameter.unwrap_or(Parameter { default: 1.0, min: 1.0, max: 1.0, whole: true }));
        }
        params
    }

    fn parameter(&mut self, at: &str, value: &Value) -> Option<Parameter> {
        let Value::Object(fields) = value else {
            let message = format!("must be a table, as in {{ default = 10, min = 2, max = 500 }}, is {}", kind(value));
            self.problem(at, message);
            return None;
        };
        self.only(fields, at, &["default", "min", "max", "whole"]);
        let default = self.number(fields, at, "default");
        let min = self.number(fields, at, "min");
        let max = self.number(fields, at, "max");
        let explicit = match fields.get("whole") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(whole)) => Some(*whole),
            Some(other) => {
                self.problem(place(at, "whole"), format!("must be true or false, is {}", kind(other)));
                None
            }
        };
        let ((default, default_whole), (min, min_whole), (max, max_whole)) = (default?, min?, max?);
        let whole = explicit.unwrap_or(default_whole && min_whole && max_whole);
        let representable = |x: f64| x.fract() == 0.0 && x.abs() <= LARGEST_WHOLE;
        if whole && ![default, min, max].into_iter().all(representable) {
            self.problem(at, "a whole parameter has a whole default, min and max, of at most 2^53 in size");
        }
        if min > max {
            self.problem(at, format!("min {min} is above max {max}"));
        } else if !(min..=max).contains(&default) {
            self.problem(place(at, "default"), format!("{default} is outside {min} to {max}"));
        }
        Some(Parameter { default, min, max, whole })
    }

    /// A finite number and whether it is written as a whole one.
    fn number(&mut self, fields: &Map<String, Value>, at: &str, key: &str) -> Option<(f64, bool)> {
        let at = place(at, key);
        match fields.get(key) {
            None => self.problem(at, "is missing"),
            Some(Value::Number(number)) => match number.as_f64().filter(|value| value.is_finite()) {
                Some(value) => return Some((value, !number.is_f64())),
                None => self.problem(at, format!("{number} cannot be represented")),
            },
            // JSON has no infinity and no NaN: those of a TOML document arrive as null.
            Some(Value::Null) => self.problem(at, "must be a finite number"),
            Some(other) => self.problem(at, format!("must be a number, is {}", kind(other))),
        }
        None
    }

    /// The rules of `side`, "long" or "short", if the document has them.
    fn side(&mut self, fields: &Map<String, Value>, side: &str, known: &[expr::Parameter]) -> Option<SideRules> {
        match fields.get(side)? {
            Value::Null => None,
            Value::Object(fields) => {
                self.only(fields, side, &["enter", "exit"]);
                let enter = self.rule(fields, side, "enter", known);
                let exit = self.rule(fields, side, "exit", known);
                Some(SideRules { enter: enter?, exit: exit? })
            }
            other => {
                self.problem(side, format!("must be a table with enter and exit, is {}", kind(other)));
                None
            }
        }
    }

    fn rule(
        &mut self,
        fields: &Map<String, Value>,
        side: &str,
        key: &str,
        known: &[expr::Parameter],
    ) -> Option<String> {
        let source = self.required_text(fields, side, key)?;
        self.collect(Rule::new(&place(side, key), &source, known));
        Some(source)
    }
}

fn place(outer: &str, key: &str) -> String {
    if outer.is_empty() { key.to_owned() } else { format!("{outer}.{key}") }
}
