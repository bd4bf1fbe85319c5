//! The data of a sweep, looked at before anything starts.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use jetsweep_engine::problem::Problem;
use jetsweep_shared::ids::Symbol;
use jetsweep_shared::spec::ResolvedSpec;
use jetsweep_worker::data::{self, DataError};

/// Most problems that are told one by one.
const MOST_TOLD: usize = 20;

/// Codes of run failures that are the data's fault.
pub(crate) const CODES: [&str; 4] = ["data_missing", "data_invalid", "data_refused", "no_bars"];

/// A symbol without usable bars, and why.
pub(crate) type Unusable = (Symbol, String);

/// Reads the bars of every symbol on `threads` threads. Returns the symbols without usable bars, in the spec's order.
///
/// # Errors
///
/// When a file or the data folder cannot be read for reasons that are not the data's.
pub(crate) fn check(root: &Path, spec: &ResolvedSpec, threads: usize) -> Result<Vec<Unusable>, DataError> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let check_some = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(symbol) = spec.symbols.get(index) else { return };
            let Err(problem) = check_one(root, spec, symbol) else { continue };
            found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, problem));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(spec.symbols.len()) {
            scope.spawn(check_some);
        }
        check_some();
    });
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort_by_key(|(index, _)| *index);
    found
        .into_iter()
        .map(|(index, problem)| match problem {
            Found::Unusable(why) => Ok((spec.symbols[index].clone(), why)),
            Found::Unreadable(error) => Err(error),
        })
        .collect()
}

enum Found {
    Unusable(String),
    Unreadable(DataError),
}

fn check_one(root: &Path, spec: &ResolvedSpec, symbol: &Symbol) -> Result<(), Found> {
    match data::load(root, &spec.data, symbol) {
        Ok(bars) if bars.is_empty() => {
            let from = spec.data.from.map(|date| format!(" from {date}")).unwrap_or_default();
            let to = spec.data.to.map(|date| format!(" to {date}")).unwrap_or_default();
            Err(Found::Unusable(format!("has no bars{from}{to}")))
        }
        Ok(_) => Ok(()),
        Err(error) if error.is_retryable() => Err(Found::Unreadable(error)),
        Err(error) => Err(Found::Unusable(error.to_string())),
    }
}

/// The problems as they are told; of very many the first ones and a count.
pub(crate) fn told(mut found: Vec<Unusable>) -> Vec<Problem> {
    let more = found.len().saturating_sub(MOST_TOLD);
    found.truncate(MOST_TOLD);
    let mut problems: Vec<Problem> =
        found.into_iter().map(|(symbol, why)| Problem::new(symbol.as_str(), why)).collect();
    if more > 0 {
        problems.push(Problem::new("", format!("and {more} more symbols")));
    }
    problems
}

/// Where bars were looked for.
pub(crate) fn looked_under(root: &Path) -> String {
    format!("bars are looked for under {}; --data says where else", root.display())
}
