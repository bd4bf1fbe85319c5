//! The parameter set of one run.

use indexmap::IndexMap;

/// Values by parameter name, in the order in which the template declares them.
///
/// Whole numbers and fractions are both `f64`; a template says which parameters must be whole.
pub type Params = IndexMap<String, f64>;
