//! Templates: declarative strategies, with named parameters and rules as expressions.
//!
//! ```toml
//! name = "sma_cross"
//! where = "fast < slow"
//! [params]
//! fast = { default = 10, min = 2, max = 500 }
//! slow = { default = 30, min = 2, max = 500 }
//! [long]
//! enter = "sma(close, fast) > sma(close, slow)"
//! exit  = "sma(close, fast) < sma(close, slow)"
//! ```
//!
//! `[short]` holds the rules of short positions in the same way; a template has either table or both.

mod builtin;
mod document;
#[cfg(test)]
mod tests;

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::expr;
use crate::params::Params;
use crate::problem::Problem;

pub use builtin::{builtin, builtin_names, builtin_source, builtins};

/// A template that has been checked: whoever holds one knows that its rules compile.
///
/// In JSON it is the document it was read from, with `whole` written out for each parameter, so that a reader which
/// turns `10` into `10.0` changes nothing. Reading one checks it again; an unknown key is an error there too, since
/// a template half understood would be another strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub struct Template {
    name: String,
    description: String,
    params: IndexMap<String, Parameter>,
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    where_: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    long: Option<SideRules>,
    #[serde(skip_serializing_if = "Option::is_none")]
    short: Option<SideRules>,
}

/// A parameter of a template.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Parameter {
    /// Its value where a spec gives none.
    pub default: f64,
    /// The least value allowed.
    pub min: f64,
    /// The largest value allowed.
    pub max: f64,
    /// Whether values are whole numbers, as periods must be: so unless the document says otherwise when its default
    /// and bounds are all written without a fraction.
    pub whole: bool,
}

/// When a position of one side, long or short, starts and ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SideRules {
    /// While flat, enter when this is true: buy, or sell short.
    pub enter: String,
    /// While in a position of this side, close it when this is true.
    pub exit: String,
}

impl Template {
    /// Reads a template from TOML.
    ///
    /// # Errors
    /// Everything that is wrong with it; only what is no TOML at all hides what else there may be.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Problem>> {
        let document: serde_json::Value = toml::from_str(text)
            .map_err(|error| vec![Problem::new("", format!("not valid TOML: {}", error.to_string().trim_end()))])?;
        Self::from_document(&document)
    }

    /// Reads a template from JSON.
    ///
    /// # Errors
    /// Everything that is wrong with it; only what is no JSON at all hides what else there may be.
    pub fn from_json(text: &str) -> Result<Self, Vec<Problem>> {
        let document: serde_json::Value =
            serde_json::from_str(text).map_err(|error| vec![Problem::new("", format!("not valid JSON: {error}"))])?;
        Self::from_document(&document)
    }

    /// Reads a template from a document already parsed, as when it stands inline in a sweep spec.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_document(document: &serde_json::Value) -> Result<Self, Vec<Problem>> {
        document::read(document)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does, in a line or two; may be empty.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Its parameters, in the order in which the document declares them.
    pub fn params(&self) -> &IndexMap<String, Parameter> {
        &self.params
    }

    /// Which parameter sets are worth a run, if not all: a condition on parameters.
    pub fn where_(&self) -> Option<&str> {
        self.where_.as_deref()
    }

    /// Its rules of long positions.
    pub fn long(&self) -> Option<&SideRules> {
        self.long.as_ref()
    }

    /// Its rules of short positions.
    pub fn short(&self) -> Option<&SideRules> {
        self.short.as_ref()
    }

    /// The default of every parameter.
    pub fn defaults(&self) -> Params {
        self.params.iter().map(|(name, parameter)| (name.clone(), parameter.default)).collect()
    }

    /// Its parameters as expressions see them.
    pub(crate) fn expression_parameters(&self) -> Vec<expr::Parameter> {
        document::expression_parameters(&self.params)
    }
}

/// A document which is no template. Its text names every problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTemplate {
    /// Everything that is wrong with it.
    pub problems: Vec<Problem>,
}

impl fmt::Display for InvalidTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid template")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for InvalidTemplate {}

impl TryFrom<serde_json::Value> for Template {
    type Error = InvalidTemplate;

    fn try_from(document: serde_json::Value) -> Result<Self, Self::Error> {
        Self::from_document(&document).map_err(|problems| InvalidTemplate { problems })
    }
}
