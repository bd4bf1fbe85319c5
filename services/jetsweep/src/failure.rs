//! Why a command did not do what was asked: one readable report.

use std::fmt::Display;

use jetsweep_engine::problem::Problem;
use jetsweep_shared::spec::{LocatedProblem, SpecReport};
use serde::Serialize;

use crate::exit::Exit;

/// A report for the person who typed the command. It completes "failed to ...".
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the program ends because of it.
    pub(crate) exit: Exit,
    /// What was being done: "run sweep.toml".
    doing: String,
    /// What went wrong, outermost first.
    causes: Vec<String>,
    /// Every problem of the input.
    problems: Vec<Problem>,
    /// What the reader can do about it.
    hint: Option<String>,
}

impl Failure {
    /// The infrastructure failed: exit code 1. `doing` completes "failed to ".
    pub(crate) fn broken(doing: impl Display, cause: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::Failed, doing, causes(&cause.into()))
    }

    /// The input was wrong, and nothing was started: exit code 2. `doing` completes "failed to ".
    pub(crate) fn bad_input(doing: impl Display, cause: impl Display) -> Self {
        Self::new(Exit::BadInput, doing, vec![cause.to_string()])
    }

    /// The input has these problems, and nothing was started: exit code 2.
    pub(crate) fn problems(doing: impl Display, problems: Vec<Problem>) -> Self {
        let cause = match problems.len() {
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        };
        Self { problems, ..Self::new(Exit::BadInput, doing, vec![cause]) }
    }

    /// A sweep spec has these problems, and nothing was started: exit code 2. Each is told with its file and line.
    pub(crate) fn spec(doing: impl Display, report: SpecReport) -> Self {
        let located = |problem: LocatedProblem| {
            let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
            // The place within a list of symbols is its line; an index says no more.
            let path = Some(problem.at).filter(|at| !at.is_empty() && !at.starts_with('['));
            let place = match path {
                // A flag says where it stands.
                Some(flag) if flag.starts_with('-') => flag,
                Some(path) => format!("{}{line}: {path}", problem.file),
                None => format!("{}{line}", problem.file),
            };
            Problem::new(place, problem.message)
        };
        Self::problems(doing, report.problems.into_iter().map(located).collect())
    }

    /// A signal ended it: exit code 130.
    pub(crate) fn interrupted(doing: impl Display) -> Self {
        Self::interrupted_after(doing, "interrupted")
    }

    /// A signal ended it, after something worth telling: exit code 130.
    pub(crate) fn interrupted_after(doing: impl Display, cause: impl Display) -> Self {
        Self::new(Exit::Interrupted, doing, vec![cause.to_string()])
    }

    fn new(exit: Exit, doing: impl Display, causes: Vec<String>) -> Self {
        Self { exit, doing: doing.to_string(), causes, problems: Vec::new(), hint: None }
    }

    /// The same failure, with what the reader can do about it.
    pub(crate) fn hint(self, hint: impl Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }

    /// The report as text: one line, the problems below it, then the hint.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("error: {}", self.message());
        for problem in &self.problems {
            // Rules are quoted below their message: further lines keep their distance to the first.
            text.push_str(&format!("\n  {}", problem.to_string().replace('\n', "\n  ")));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\nhint: {hint}"));
        }
        text
    }

    /// The report as one line of JSON.
    pub(crate) fn to_json(&self) -> String {
        let error = ErrorJson {
            kind: self.exit.word(),
            exit_code: self.exit.code(),
            message: self.message(),
            problems: &self.problems,
            hint: self.hint.as_deref(),
        };
        serde_json::json!({ "error": error }).to_string()
    }

    fn message(&self) -> String {
        let causes = self.causes.iter().map(|cause| format!(": {cause}"));
        std::iter::once(format!("failed to {}", self.doing)).chain(causes).collect()
    }
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    kind: &'static str,
    exit_code: u8,
    message: String,
    problems: &'a [Problem],
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// The chain of an error, without the repetitions of errors that quote their source.
fn causes(error: &anyhow::Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        let told = causes.last().is_some_and(|outer| outer.contains(&cause));
        if !told {
            causes.push(cause);
        }
    }
    causes
}

/// Turns an error into a [`Failure`] where it is known what was being done.
pub(crate) trait OrFail<T> {
    /// The infrastructure failed: exit code 1. `doing` completes "failed to ".
    fn or_broken<D: Display>(self, doing: impl FnOnce() -> D) -> Result<T, Failure>;

    /// The input was wrong: exit code 2. `doing` completes "failed to ".
    fn or_bad_input<D: Display>(self, doing: impl FnOnce() -> D) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for Result<T, E> {
    fn or_broken<D: Display>(self, doing: impl FnOnce() -> D) -> Result<T, Failure> {
        self.map_err(|error| Failure::broken(doing(), error))
    }

    fn or_bad_input<D: Display>(self, doing: impl FnOnce() -> D) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(Exit::BadInput, doing(), causes(&error.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line_then_problems_then_a_hint() {
        let problems = vec![
            Problem::new("strategy[0].fast", "must be 2 to 500, is 1"),
            Problem::new("univers", "unknown key (did you mean \"universe\"?)"),
        ];
        let failure = Failure::problems("read sweep.toml", problems).hint("see docs/sweep-spec.md");
        insta::assert_snapshot!(failure.to_text(), @r#"
        error: failed to read sweep.toml: 2 problems
          strategy[0].fast: must be 2 to 500, is 1
          univers: unknown key (did you mean "universe"?)
        hint: see docs/sweep-spec.md
        "#);
        insta::assert_snapshot!(failure.to_json(), @r#"{"error":{"kind":"bad_input","exit_code":2,"message":"failed to read sweep.toml: 2 problems","problems":[{"at":"strategy[0].fast","message":"must be 2 to 500, is 1"},{"at":"univers","message":"unknown key (did you mean \"universe\"?)"}],"hint":"see docs/sweep-spec.md"}}"#);
    }

    #[test]
    fn causes_are_told_once() {
        let inner = std::io::Error::other("disk full");
        let outer = anyhow::Error::new(inner).context("failed to write a: disk full").context("no commit");
        let failure = Failure::broken("run sweep.toml", outer);
        assert_eq!(failure.to_text(), "error: failed to run sweep.toml: no commit: failed to write a: disk full");
        assert_eq!(failure.exit, Exit::Failed);
    }
}
