//! The data of a sweep, looked at before anything starts.

use futures::StreamExt;
use jetsweep_engine::problem::Problem;
use jetsweep_shared::ids::Symbol;
use jetsweep_shared::spec::{DataRef, ResolvedSpec};
use jetsweep_worker::data::{DataError, Loader};

/// Most problems that are told one by one.
const MOST_TOLD: usize = 20;

/// Codes of run failures that are the data's fault.
pub(crate) const CODES: [&str; 4] = ["data_missing", "data_invalid", "data_refused", "no_bars"];

/// A symbol without usable bars, and why.
pub(crate) type Unusable = (Symbol, String);

/// Reads the bars of every symbol, those of `at_once` symbols at the same time. Returns the symbols without usable bars, in
/// the spec's order.
///
/// # Errors
///
/// When a file or the data folder cannot be read for reasons that are not the data's.
pub(crate) async fn check(loader: &Loader, spec: &ResolvedSpec, at_once: usize) -> Result<Vec<Unusable>, DataError> {
    let checks = spec.symbols.iter().map(|symbol| {
        let (loader, data, owned) = (loader.clone(), spec.data.clone(), symbol.clone());
        // Each in a task of its own, for reading a file keeps a thread busy.
        let check = tokio::spawn(async move { check_one(&loader, &data, &owned).await });
        async move { (symbol.clone(), check.await) }
    });
    let mut checks = futures::stream::iter(checks).buffered(at_once.max(1));
    let mut found = Vec::new();
    while let Some((symbol, checked)) = checks.next().await {
        match checked {
            Ok(Ok(())) => {}
            Ok(Err(Found::Unusable(why))) => found.push((symbol, why)),
            Ok(Err(Found::Unreadable(error))) => return Err(error),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(found)
}

enum Found {
    Unusable(String),
    Unreadable(DataError),
}

async fn check_one(loader: &Loader, data: &DataRef, symbol: &Symbol) -> Result<(), Found> {
    match loader.load(data, symbol).await {
        Ok(bars) if bars.is_empty() => {
            let from = data.from.map(|date| format!(" from {date}")).unwrap_or_default();
            let to = data.to.map(|date| format!(" to {date}")).unwrap_or_default();
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
