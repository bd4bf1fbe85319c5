//! The MLflow bridge's part of the configuration.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jetsweep_engine::metrics::Metric;
use jetsweep_engine::problem::did_you_mean;
use serde::{Deserialize, Serialize};

use super::secret::Secret;

/// Placeholders of an experiment's name.
pub const PLACEHOLDERS: [&str; 3] = ["{asset_class}", "{symbol}", "{strategy}"];

/// Which MLflow server runs are logged to, and which runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlflowConfig {
    /// The tracking server: `http://mlflow:5000`.
    pub url: Option<String>,
    /// User to sign in with, together with `password`.
    pub username: Option<String>,
    /// Password of `username`.
    pub password: Option<Secret>,
    /// Bearer token to sign in with, in place of a user.
    pub token: Option<Secret>,
    /// PEM file with certificates to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Pattern of the names of experiments that runs go to; see [`PLACEHOLDERS`].
    pub experiment: String,
    /// Name of the experiment that batch runs go to.
    pub batches_experiment: String,
    /// Which runs of a batch are logged: `auto`, `all`, `top:N` or `none`; see [`LogRuns`].
    pub log: String,
    /// How much of a run is logged.
    pub detail: Detail,
    /// Metric by which runs are the best, the highest first.
    pub rank_by: String,
    /// Requests on their way at the same time.
    pub concurrency: usize,
    /// Longest a request may take, in seconds; the upload of a large file may take longer.
    pub timeout_seconds: u64,
}

/// How much of a run is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Also its dataset, trades, equity and charts.
    #[default]
    Full,
    /// Its parameters, metrics and tags: three requests a run.
    Metrics,
}

/// Which runs of a batch are logged as runs of MLflow. The whole table is an artifact of the batch run all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRuns {
    /// All of a batch of up to [`LogRuns::MOST_OF_AUTO`] runs, as they come; of a larger one the best
    /// [`LogRuns::BEST_OF_AUTO`] and some that failed, once it is complete.
    Auto,
    /// All, as they come.
    All,
    /// So many of the best, and some that failed, once the batch is complete.
    Top(u32),
    /// None.
    None,
}

impl LogRuns {
    /// Largest batch of which `auto` logs every run. MLflow's pages suffer beyond a few thousand.
    pub const MOST_OF_AUTO: u64 = 2_000;
    /// How many of the best runs `auto` logs of a larger one.
    pub const BEST_OF_AUTO: u32 = 100;

    /// What it comes to for a batch of so many runs: never [`LogRuns::Auto`].
    pub fn of_batch(self, total_runs: u64) -> Self {
        match self {
            LogRuns::Auto if total_runs <= Self::MOST_OF_AUTO => LogRuns::All,
            LogRuns::Auto => LogRuns::Top(Self::BEST_OF_AUTO),
            other => other,
        }
    }
}

impl FromStr for LogRuns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("must be auto, all, top:N (N from 1) or none, is {text:?}");
        match text {
            "auto" => Ok(LogRuns::Auto),
            "all" => Ok(LogRuns::All),
            "none" => Ok(LogRuns::None),
            _ => {
                let number = text.strip_prefix("top:").and_then(|number| number.parse().ok());
                number.filter(|number| *number > 0).map(LogRuns::Top).ok_or_else(wanted)
            }
        }
    }
}

impl Default for MlflowConfig {
    fn default() -> Self {
        Self {
            url: None,
            username: None,
            password: None,
            token: None,
            ca_file: None,
            experiment: "parallel_backtest.{asset_class}.{symbol}.{strategy}".to_owned(),
            batches_experiment: "parallel_backtest.batches".to_owned(),
            log: "auto".to_owned(),
            detail: Detail::Full,
            rank_by: Metric::Sharpe.name().to_owned(),
            concurrency: 4,
            timeout_seconds: 30,
        }
    }
}

impl MlflowConfig {
    /// Which runs are logged.
    pub fn log_runs(&self) -> LogRuns {
        // Checked when the configuration was loaded.
        self.log.parse().unwrap_or(LogRuns::Auto)
    }

    /// Longest a request may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// What no key's kind can tell: each with the key.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Err(message) = self.log.parse::<LogRuns>() {
            problems.push(("mlflow.log", message));
        }
        if Metric::from_name(&self.rank_by).is_none() {
            let names = Metric::ALL.iter().map(|metric| metric.name());
            let message = format!("{:?} is not a metric{}", self.rank_by, did_you_mean(&self.rank_by, names));
            problems.push(("mlflow.rank_by", message));
        }
        let rest = PLACEHOLDERS.iter().fold(self.experiment.clone(), |rest, placeholder| rest.replace(placeholder, ""));
        if rest.contains(['{', '}']) {
            let message = format!("has a placeholder that is none of {}", PLACEHOLDERS.join(", "));
            problems.push(("mlflow.experiment", message));
        }
        match (&self.username, &self.password, &self.token) {
            (Some(_), None, _) => problems.push(("mlflow.username", "needs mlflow.password too".to_owned())),
            (None, Some(_), _) => problems.push(("mlflow.password", "needs mlflow.username too".to_owned())),
            (Some(_), _, Some(_)) => {
                let message = "mlflow.token and mlflow.username cannot both be used to sign in; set one of them";
                problems.push(("mlflow.token", message.to_owned()));
            }
            _ => {}
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_runs_are_logged_depends_on_the_size_of_the_batch() {
        assert_eq!("auto".parse::<LogRuns>().unwrap().of_batch(2000), LogRuns::All);
        assert_eq!(LogRuns::Auto.of_batch(2001), LogRuns::Top(100));
        assert_eq!("all".parse::<LogRuns>().unwrap().of_batch(1_000_000), LogRuns::All);
        assert_eq!("top:7".parse::<LogRuns>().unwrap().of_batch(10), LogRuns::Top(7));
        for bad in ["top", "top:0", "top:-1", "top:x", "best", ""] {
            assert!(bad.parse::<LogRuns>().is_err(), "{bad}");
        }
    }

    #[test]
    fn problems_name_their_key() {
        let config = MlflowConfig {
            log: "some".to_owned(),
            rank_by: "sharp".to_owned(),
            experiment: "x.{sector}".to_owned(),
            password: Some(Secret::new("p")),
            ..MlflowConfig::default()
        };
        let keys: Vec<&str> = config.problems().iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["mlflow.log", "mlflow.rank_by", "mlflow.experiment", "mlflow.password"]);
        assert!(config.problems()[1].1.contains("did you mean \"sharpe\""), "{:?}", config.problems()[1]);
        assert_eq!(MlflowConfig::default().problems(), []);
    }
}
