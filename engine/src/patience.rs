//! Runs that take too long: whoever waits for one says when it is to stop.
//!
//! The engine has no clock. It asks outside of its loops over bars, once for every few thousand bars of work, so that
//! asking costs nothing beside the work.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::Arc;

use crate::backtest::RunFailure;

/// Bars of work between two questions: some microseconds.
const BARS_BETWEEN_QUESTIONS: usize = 8192;

/// How long somebody waits for a run.
pub trait Patience: Debug + Send + Sync {
    /// Whether the run is to stop.
    fn is_over(&self) -> bool;
}

/// The work of a run so far, and whether somebody still waits for it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    patience: Option<Arc<dyn Patience>>,
    bars: Cell<usize>,
    is_over: Cell<bool>,
}

impl Pace {
    /// Of runs that somebody waits for that long.
    pub(crate) fn of(patience: Arc<dyn Patience>) -> Self {
        Self { patience: Some(patience), ..Self::default() }
    }

    /// Starts a run.
    pub(crate) fn start(&self) {
        self.bars.set(0);
        self.is_over.set(false);
    }

    /// Adds bars of work. Whether the run is to stop: what it comes to is then of no use.
    pub(crate) fn worked(&self, bars: usize) -> bool {
        let Some(patience) = &self.patience else { return false };
        let total = self.bars.get().saturating_add(bars);
        if total < BARS_BETWEEN_QUESTIONS {
            self.bars.set(total);
        } else {
            self.bars.set(0);
            self.is_over.set(self.is_over.get() || patience.is_over());
        }
        self.is_over.get()
    }

    /// Adds bars of work.
    ///
    /// # Errors
    /// `timeout` if the run is to stop.
    pub(crate) fn go_on(&self, bars: usize) -> Result<(), RunFailure> {
        match self.worked(bars) {
            true => Err(RunFailure::new(RunFailure::TIMEOUT, "stopped: it took too long")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::backtest::Strategy;
    use crate::columns::Columns;
    use crate::execution::Execution;
    use crate::template::builtin;
    use crate::test_bars::bars_of;

    /// Is over after so many questions.
    #[derive(Debug)]
    struct Questions(AtomicUsize);

    impl Patience for Questions {
        fn is_over(&self) -> bool {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
        }
    }

    const BARS: usize = 100_000;

    fn columns() -> Columns {
        let close = |bar: usize| 100.0 + (bar as f64 / 7.0).sin() * 10.0;
        let rows: Vec<_> = (0..BARS).map(|bar| (close(bar), close(bar), 1.0)).collect();
        Columns::new(bars_of(&rows), 1 << 20)
    }

    fn strategies() -> [Strategy; 2] {
        let template = builtin("sma_cross").unwrap();
        let with_stops = Execution { max_bars: Some(10), ..Execution::default() };
        [Execution::default(), with_stops].map(|execution| Strategy::new(&template, &execution).unwrap())
    }

    #[test]
    fn a_run_stops_at_whichever_question_and_the_next_one_is_as_if_nothing_had_been() {
        for strategy in strategies() {
            let expected = strategy.run(&mut columns(), &[3.0, 8.0]).unwrap();
            let mut columns = columns();
            let mut questions = 0;
            loop {
                columns.wait_with(Arc::new(Questions(questions.into())));
                match strategy.run(&mut columns, &[3.0, 8.0]) {
                    Err(failure) => assert_eq!(failure.code, RunFailure::TIMEOUT),
                    Ok(metrics) => break assert_eq!(metrics, expected),
                }
                questions += 1;
            }
            assert!(questions >= 3, "asked for columns and for the simulation, but only {questions} times");
        }
    }

    #[test]
    fn windows_are_runs_too() {
        let [strategy, _] = strategies();
        let windows: Vec<_> = (0..50).map(|window| window * 2_000..(window + 1) * 2_000).collect();
        let mut columns = columns();
        // Nothing but windows is left to work on.
        strategy.run(&mut columns, &[3.0, 8.0]).unwrap();
        columns.wait_with(Arc::new(Questions(3.into())));
        let failure = strategy.run_with_windows(&mut columns, &[3.0, 8.0], &windows).unwrap_err();
        assert_eq!(failure.code, RunFailure::TIMEOUT);
    }
}
