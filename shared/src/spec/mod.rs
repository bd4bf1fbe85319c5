//! Sweep specs: the document a user writes, and what it comes to once every default, template and axis is filled in.
//!
//! ```text
//! file ──read_file──> SpecDocument ──inline──> the same, self-contained ──to_json──> bytes to submit
//! flags ─ShortSpec──────┘                         │  (client side: reads files)            │
//!                                                 └──────────resolve──────────┬── read ────┘
//!                                                                      ResolvedSpec
//! ```
//!
//! [`load`] does all of the client's part. Resolving is pure, and finds all problems of a document at once.
//!
//! # The document
//!
//! TOML, or the same as JSON when its first character is `{`. Every key that is not listed here is a problem.
//!
//! | key | value | default |
//! |---|---|---|
//! | `name` | 1 to 40 letters, digits, `-`, `_`; batch ids are made from it | `sweep` |
//! | `priority` | `high`, `normal`, `low` | `normal` |
//! | `data.source` | path of a CSV file under the data folder, or its address ([`Source`]), `{symbol}` for the symbol | required |
//! | `data.from`, `data.to` | first and last date, inclusive | all bars |
//! | `universe.symbols` | list of symbols | required |
//! | `universe.symbols_file` | in place of it: a file with one a line, or a CSV with symbols first | |
//! | `universe.asset_class` | what kind of instruments they are: names MLflow experiments | `equities` there |
//! | `execution.*` | [`Execution`]: cash, commission, slippage, fill, end, ... | as there |
//! | `validation.*` | `holdout` or `walk_forward`, and `purge`: [`Validation`] | no windows |
//! | `strategy[].template` | built-in template, file ending in `.toml`, or a table with a template | required |
//! | `strategy[].name` | unique within the sweep | the template's name |
//! | `strategy[].where` | condition on parameters, beside the template's own | none |
//! | `strategy[].random`, `.seed` | sample of so many parameter sets | all of them; seed 0 |
//! | `strategy[].<parameter>` | a number, a list, or `{ from, to, step }` (step 1 for whole parameters) | its default |

mod document;
mod execution;
mod inline;
pub(crate) mod reader;
mod report;
mod resolve;
mod short;
mod source;
mod strategy;
#[cfg(test)]
mod tests;
pub(crate) mod tree;
mod validation;

use jetsweep_engine::execution::Execution;
use jetsweep_engine::grid::Grid;
use jetsweep_engine::template::Template;
use jetsweep_engine::validation::Validation;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::Symbol;

pub use document::{MAX_SPEC_BYTES, SpecDocument, SpecError, read, read_file};
pub use inline::{LoadedSpec, load};
pub(crate) use reader::quote;
pub use report::{LocatedProblem, SpecReport};
pub use short::{ShortSpec, split_source};
pub use source::{STORE_SCHEME, Source, store_name_problem, url_path_problem};

/// Where a sweep's bars come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRef {
    /// Where a symbol's bars are, with `{symbol}` in place of the symbol: a path under the worker's `data.root`, or what
    /// else a [`Source`] may be.
    pub source: String,
    /// First date used, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Date>,
    /// Last date used, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Date>,
}

impl DataRef {
    /// Where the bars of one symbol are.
    pub fn source_of(&self, symbol: &Symbol) -> String {
        source::fill(&self.source, symbol)
    }
}

/// One strategy of a sweep: a template with a grid of parameter values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategySpec {
    /// Unique within the sweep; the template's name unless the spec says otherwise.
    pub name: String,
    /// The template, in full.
    pub template: Template,
    /// An axis for every parameter of the template, in its order.
    pub grid: Grid,
}

/// A sweep spec with every default, template and axis filled in. What planners, workers and replays work from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResolvedSpec {
    /// Name of the sweep.
    pub name: String,
    /// Where the bars come from.
    pub data: DataRef,
    /// The universe, in the spec's order, without duplicates.
    pub symbols: Vec<Symbol>,
    /// What kind of instruments the symbols are, if the spec says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_class: Option<String>,
    /// The strategies, in the spec's order.
    pub strategies: Vec<StrategySpec>,
    /// Execution rules of every run.
    pub execution: Execution,
    /// Windows that each run is scored on beside the whole period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
}

impl ResolvedSpec {
    /// SHA-256, in lower-case hexadecimal, of the spec's canonical JSON.
    ///
    /// Canonical is what serde_json writes for this struct without white space: fields in the order of declaration,
    /// axes in the order of the template's parameters, each number in the fewest digits that read back as the same
    /// `f64`. A spec that went through JSON has the same digest.
    pub fn digest(&self) -> String {
        Sha256::digest(self.canonical_json()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn canonical_json(&self) -> Vec<u8> {
        // Strings, finite numbers and string keys: serde_json has nothing to refuse.
        serde_json::to_vec(self).expect("a resolved spec always serializes")
    }
}
