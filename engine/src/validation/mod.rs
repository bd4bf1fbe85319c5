//! Out-of-sample validation: which bars a run is scored on by itself, beside the whole period.
//!
//! A *window* is a pair of segments: parameters are chosen on its *train* bars, and judged on the *test* bars that
//! follow. Between the two may lie a *purge* gap, so that nothing that train decided reaches into test. Each segment is
//! scored on its own: flat at its start with the initial cash, indicators warmed up on all earlier bars
//! ([`crate::backtest::Strategy::run_with_windows`]).
//!
//! ```text
//! holdout       [ train ................. )purge[ test )
//! walk_forward  [ train )purge[ test )
//!                     step ─> [ train )purge[ test )
//!                                   step ─> [ train )purge[ test )
//! ```

mod length;
mod windows;

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

pub use length::Length;

use crate::backtest::RunFailure;
use crate::bars::Bars;
use crate::problem::Problem;

/// Most windows of one symbol: a run has a row for each segment of each, and a result must fit into a message.
pub const MOST_WINDOWS: usize = 100;

/// How the bars of each symbol are cut into windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Where windows lie.
    pub split: Split,
    /// Bars left out at the end of each train segment, before test starts.
    #[serde(default)]
    pub purge: u32,
}

/// Where windows lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// One window: the last bars are for testing, all before them for training.
    Holdout(Holdout),
    /// Windows one after another, each later by a step.
    WalkForward(WalkForward),
}

/// The bars that are held out for testing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Holdout {
    /// This many per cent of the bars, the last ones, rounded down.
    Percent(f64),
    /// The last bars, of this length.
    Last(Length),
    /// The bars from this date on.
    From(Date),
}

/// Windows one after another from the first bar on. The last one is the last whose test segment is complete, give or
/// take a week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkForward {
    /// Length of train.
    pub train: Length,
    /// Length of test.
    pub test: Length,
    /// How much later each window starts than the one before.
    pub step: Length,
    /// Whether train always starts at the first bar, so that it grows with each window.
    #[serde(default)]
    pub anchored: bool,
}

/// One of the two parts of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Segment {
    /// Where parameters are chosen.
    Train,
    /// Where the choice is judged.
    Test,
}

impl Segment {
    /// The name as it is stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// The bars of one segment of one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Number of the window, from 0, in order of time.
    pub number: u32,
    /// Which part of it.
    pub segment: Segment,
    /// Its bars, at least one.
    pub bars: std::ops::Range<usize>,
}

impl Validation {
    /// What is wrong with it, whatever the bars: paths as in a sweep spec's `[validation]` table.
    pub fn problems(&self) -> Vec<Problem> {
        match &self.split {
            Split::Holdout(Holdout::Percent(percent)) if !(*percent > 0.0 && *percent < 100.0) => {
                vec![Problem::new("holdout", format!("must be above 0% and below 100%, is {percent}%"))]
            }
            Split::Holdout(_) => Vec::new(),
            Split::WalkForward(walk) => walk.problems(self.purge),
        }
    }

    /// The windows of these bars, in order, of each first train, then test. None when the bars are too few for one.
    ///
    /// # Errors
    /// `too_many_windows` when there are more than [`MOST_WINDOWS`].
    pub fn windows(&self, bars: &Bars) -> Result<Vec<Window>, RunFailure> {
        windows::of(self, bars)
    }
}

impl WalkForward {
    fn problems(&self, purge: u32) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, length) in [("test", self.test), ("step", self.step)] {
            // A step that is left out is the length of test, and told with it.
            let is_told = key == "step" && self.step == self.test;
            if !is_told && length.is_bars() != self.train.is_bars() {
                let message = format!("is {length} while train is {}: count all in bars, or none", self.train);
                problems.push(Problem::new(format!("walk_forward.{key}"), message));
            }
        }
        if let Length::Bars(train) = self.train
            && purge >= train
        {
            problems.push(Problem::new("purge", format!("{purge} bars leave nothing of train, {}", self.train)));
        }
        problems
    }
}

impl fmt::Display for Holdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Last(length) => write!(f, "{length}"),
            Self::From(date) => write!(f, "{date}"),
        }
    }
}

impl FromStr for Holdout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("{text:?} is no share (\"20%\"), length ({}) or date (2020-01-31)", Length::EXAMPLES);
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim_end().parse().map_err(|_| wanted())?;
            return if percent.is_finite() { Ok(Self::Percent(percent)) } else { Err(wanted()) };
        }
        if let Ok(length) = text.parse() {
            return Ok(Self::Last(length));
        }
        text.parse().map(Self::From).map_err(|_| wanted())
    }
}

impl TryFrom<String> for Holdout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Holdout> for String {
    fn from(holdout: Holdout) -> Self {
        holdout.to_string()
    }
}
