//! What the exit code of the program says.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; runs that fail over data accepted with `--skip-invalid` do not count against it |
//! | 1 | not done: the infrastructure failed, or jetsweep has a bug |
//! | 2 | the input was wrong (arguments, configuration, sweep spec, data); nothing was started |
//! | 3 | the batch ended, but runs failed or are dead, or were cancelled |
//! | 130 | interrupted; what was done is kept and can be resumed |

use std::process::ExitCode;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done,
    /// It could not: the infrastructure failed, or there is a bug.
    Failed,
    /// What was asked makes no sense; nothing was started.
    BadInput,
    /// The batch ended without a result for each of its runs.
    RunsFailed,
    /// A signal stopped it.
    Interrupted,
}

impl Exit {
    /// The code that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::BadInput => 2,
            Exit::RunsFailed => 3,
            // 128 + SIGINT, as shells have it.
            Exit::Interrupted => 130,
        }
    }

    /// A stable word for JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Failed => "failed",
            Exit::BadInput => "bad_input",
            Exit::RunsFailed => "runs_failed",
            Exit::Interrupted => "interrupted",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
