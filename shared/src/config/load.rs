//! Reading the configuration from its sources, and telling which of them each value came from.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};
use jetsweep_engine::problem::Problem;
use serde::Serialize;

use super::keys::{self, KEYS};
use super::secret::redact_url;
use super::settings::Config;
use super::traces;
use crate::spec::tree::{self, Node, Table, Value};

/// The file looked for in the working directory when none is named.
pub const FILE_NAME: &str = "jetsweep.toml";

/// Variables with this prefix are configuration.
const ENV_PREFIX: &str = "JETSWEEP_";

/// Names the configuration file, as `--config` does: no key of it.
const ENV_FILE: &str = "JETSWEEP_CONFIG";

/// Chooses among the vector units, which is the engine's to read: no key of the configuration.
const ENV_SIMD: &str = "JETSWEEP_SIMD";

/// MLflow's own variables, which its users have set already, and the keys they stand for. Ours win over them.
const ENV_MLFLOW: [(&str, &str); 5] = [
    ("MLFLOW_TRACKING_URI", "mlflow.url"),
    ("MLFLOW_TRACKING_USERNAME", "mlflow.username"),
    ("MLFLOW_TRACKING_PASSWORD", "mlflow.password"),
    ("MLFLOW_TRACKING_TOKEN", "mlflow.token"),
    ("MLFLOW_TRACKING_SERVER_CERT_PATH", "mlflow.ca_file"),
];

/// OpenTelemetry's own variables for where spans go, the one that wins last. The SDK reads its others by itself.
const ENV_OTLP: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// Variables with this prefix belong to tests (fail points and the like) and are left alone.
const ENV_TEST_PREFIX: &str = "JETSWEEP_TEST_";

/// Largest configuration file, in bytes. A real one has a few hundred.
const LARGEST_FILE: u64 = 1 << 20;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration file {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no TOML document.
    #[error("{}:{line}:{column}: not TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// Keys or values that do not fit; all of them.
    #[error("the configuration has {}", list(.0))]
    Problems(Vec<Problem>),
    /// The layers do not merge into a configuration. The checks before it leave no way to get here that we know of.
    #[error("failed to put the configuration together: {0}")]
    Merge(Box<figment::Error>),
}

fn list(problems: &[Problem]) -> String {
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    problems.iter().fold(count, |list, problem| format!("{list}\n  {problem}"))
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// Nothing set it.
    Default,
    /// The configuration file.
    File {
        /// As it was named.
        path: PathBuf,
        /// From 1; 0 when it is not known.
        line: usize,
    },
    /// A variable of the environment.
    Env {
        /// Its name.
        variable: String,
    },
    /// A flag of the command.
    Flag {
        /// As it is typed: `--nats`.
        flag: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Env { variable } => f.write_str(variable),
            Origin::Flag { flag } => f.write_str(flag),
        }
    }
}

/// One value in force and where it came from: a line of `jetsweep config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// With dots: `nats.url`.
    pub key: String,
    /// As text; secrets are hidden, and a value that is not set is absent.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// What flags set, the last word of all sources.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    values: Vec<(&'static str, String, String)>,
}

impl Overrides {
    /// Nothing is overridden.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key (`nats.url`) to what the flag (`--nats`) was given, as it would be written in a variable.
    pub fn set(&mut self, key: &'static str, flag: &str, value: impl fmt::Display) -> &mut Self {
        self.values.push((key, flag.to_owned(), value.to_string()));
        self
    }

    /// Like [`Overrides::set`] when the flag was given, nothing otherwise.
    pub fn set_if_given(&mut self, key: &'static str, flag: &str, value: Option<impl fmt::Display>) -> &mut Self {
        if let Some(value) = value {
            self.set(key, flag, value);
        }
        self
    }
}

/// Where a configuration is read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// File named by `--config`, which must exist.
    pub file: Option<PathBuf>,
    /// Names and values of the environment; those that are neither prefixed `JETSWEEP_` nor one of MLflow's or
    /// OpenTelemetry's own are ignored.
    pub env: Vec<(String, String)>,
    /// What flags set.
    pub overrides: Overrides,
}

impl Sources {
    /// The process's own environment, the file named by a flag or by `JETSWEEP_CONFIG`, and what flags set.
    ///
    /// What is not UTF-8 in a value is replaced, so that it is refused or not found instead of silently left out.
    pub fn of_process(file: Option<PathBuf>, overrides: Overrides) -> Self {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .filter(|(name, _)| name.starts_with(ENV_PREFIX) || is_of_others(name))
            .collect();
        Self { file, env, overrides }
    }
}

/// One value of one source, checked.
struct Setting {
    path: &'static str,
    node: Node,
    origin: Origin,
}

impl Config {
    /// Reads the configuration: defaults, file, environment, flags.
    ///
    /// # Errors
    ///
    /// When a named file is missing, any file is unreadable or no TOML, or keys or values do not fit.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut layers = Vec::new();
        if let Some((path, table)) = read_file(sources)? {
            layers.push(file_settings(&path, &table, &mut problems));
        }
        layers.push(settings_of_others(&sources.env, &mut problems));
        layers.push(env_settings(&sources.env, &mut problems));
        layers.push(flag_settings(&sources.overrides, &mut problems));
        if !problems.is_empty() {
            return Err(ConfigError::Problems(problems));
        }

        let defaults = figment::providers::Serialized::defaults(Config::default());
        let mut config = layers
            .iter()
            .fold(Figment::from(defaults), |figment, layer| figment.merge(Layer(layer)))
            .extract::<Config>()
            .map_err(|error| ConfigError::Merge(Box::new(error)))?;
        for setting in layers.into_iter().flatten() {
            config.origins.insert(setting.path.to_owned(), setting.origin);
        }
        let mut problems = config.problems();
        config.read_secrets(&mut problems);
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Problems(problems)) }
    }

    /// Each value in force and where it came from, in a fixed order. Secrets are hidden.
    pub fn explain(&self) -> Vec<Explained> {
        // A config of plain strings and numbers always becomes JSON.
        let values = serde_json::to_value(self).unwrap_or_default();
        let explain = |key: &keys::Key| {
            let value = key.value(&values).map(|value| match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            let value = match key.path {
                "nats.url" | "mlflow.url" => value.map(|url| redact_url(&url)),
                "data.cache_dir" => Some(self.data_cache().display().to_string()),
                "consolidator.database" => Some(self.database().display().to_string()),
                _ => value,
            };
            Explained { key: key.path.to_owned(), value, origin: self.origin(key.path) }
        };
        KEYS.iter().map(explain).collect()
    }

    /// Where the value of a key (`nats.url`) came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

impl Origin {
    /// A key as a problem names it: `jetsweep.toml:3: nats.url`.
    pub(super) fn place(&self, key: &str) -> String {
        match self {
            Origin::Default => key.to_owned(),
            Origin::File { .. } => format!("{self}: {key}"),
            Origin::Env { .. } | Origin::Flag { .. } => self.to_string(),
        }
    }
}

fn read_file(sources: &Sources) -> Result<Option<(PathBuf, Table)>, ConfigError> {
    let named = sources.file.clone().or_else(|| {
        let named = sources.env.iter().find(|(name, _)| name == ENV_FILE);
        named.map(|(_, path)| PathBuf::from(path))
    });
    let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE_NAME));
    let unreadable = |error| ConfigError::Unreadable { path: path.clone(), error };
    let text = match read_text(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => return Ok(None),
        Err(error) => return Err(unreadable(error)),
        Ok(text) => text,
    };
    match tree::from_toml(&text) {
        Ok(table) => Ok(Some((path, table))),
        Err(tree::SyntaxError { line, column, message }) => Err(ConfigError::Syntax { path, line, column, message }),
    }
}

pub(super) fn read_text(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > LARGEST_FILE {
        let message = format!("it has {bytes} bytes, and no configuration has more than {LARGEST_FILE}");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    std::fs::read_to_string(path)
}

fn file_settings(path: &Path, table: &Table, problems: &mut Vec<Problem>) -> Vec<Setting> {
    let mut settings = Vec::new();
    walk("", table, &mut |key, node| {
        let origin = Origin::File { path: path.to_owned(), line: node.line.unwrap_or(0) };
        settings.extend(checked(key, node.clone(), origin, problems));
    });
    settings
}

/// Hands every value that is no table of known keys to `visit`, with its path.
fn walk(outer: &str, table: &Table, visit: &mut impl FnMut(&str, &Node)) {
    for (name, node) in table {
        let path = if outer.is_empty() { name.clone() } else { format!("{outer}.{name}") };
        match &node.value {
            Value::Table(inner) if keys::is_section(&path) => walk(&path, inner, visit),
            _ => visit(&path, node),
        }
    }
}

fn env_settings(env: &[(String, String)], problems: &mut Vec<Problem>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (variable, text) in env {
        let ours = variable.strip_prefix(ENV_PREFIX).filter(|_| ![ENV_FILE, ENV_SIMD].contains(&variable.as_str()));
        let Some(name) = ours.filter(|_| !variable.starts_with(ENV_TEST_PREFIX)) else { continue };
        let path = name.to_lowercase().replace("__", ".");
        let origin = Origin::Env { variable: variable.clone() };
        settings.extend(checked_text(&path, text, origin, problems));
    }
    settings
}

/// Whether a variable is one of those that other programs know too.
fn is_of_others(name: &str) -> bool {
    ENV_MLFLOW.iter().any(|(known, _)| *known == name) || ENV_OTLP.contains(&name)
}

/// What MLflow's and OpenTelemetry's own variables say. Those that are empty say nothing.
fn settings_of_others(env: &[(String, String)], problems: &mut Vec<Problem>) -> Vec<Setting> {
    let set = |variable: &str| {
        let set = env.iter().find(|(name, value)| name == variable && !value.trim().is_empty());
        set.map(|(_, text)| text.clone())
    };
    let [of_all_signals, of_traces] = ENV_OTLP;
    let said = ENV_MLFLOW.iter().map(|(variable, path)| (*variable, *path, set(variable))).chain([
        (of_all_signals, "traces.endpoint", set(of_all_signals).map(|endpoint| traces::with_path(&endpoint))),
        (of_traces, "traces.endpoint", set(of_traces)),
    ]);
    let mut settings = Vec::new();
    for (variable, path, text) in said {
        let Some(text) = text else { continue };
        settings.extend(checked_text(path, &text, Origin::Env { variable: variable.to_owned() }, problems));
    }
    settings
}

fn flag_settings(overrides: &Overrides, problems: &mut Vec<Problem>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (path, flag, text) in &overrides.values {
        settings.extend(checked_text(path, text, Origin::Flag { flag: flag.clone() }, problems));
    }
    settings
}

fn checked_text(path: &str, text: &str, origin: Origin, problems: &mut Vec<Problem>) -> Option<Setting> {
    let value = keys::find(path).map_or(Value::Text(text.to_owned()), |key| key.kind.parse(text));
    checked(path, Node::new(value), origin, problems)
}

/// The setting when key and value fit; a problem otherwise.
fn checked(path: &str, node: Node, origin: Origin, problems: &mut Vec<Problem>) -> Option<Setting> {
    let mut problem = |message: String| problems.push(Problem::new(origin.place(path), message));
    let key = match keys::find(path) {
        Ok(key) => key,
        Err(_) if keys::is_section(path) => {
            problem(format!("must be a table ([{path}]), is {}", node.value.describe()));
            return None;
        }
        Err(message) => {
            problem(match origin {
                // The variable's name is not the key's, so the suggestion is made as a variable, too.
                Origin::Env { .. } => as_variable(&message),
                _ => message,
            });
            return None;
        }
    };
    if let Err(message) = key.kind.check(&node) {
        problem(message);
        return None;
    }
    Some(Setting { path: key.path, node, origin })
}

/// A message whose suggested key `"nats.url"` is spelt `"JETSWEEP_NATS__URL"`.
fn as_variable(message: &str) -> String {
    let mut parts = message.splitn(3, '"');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(before), Some(key), Some(after)) => {
            format!("{before}\"{ENV_PREFIX}{}\"{after}", key.to_uppercase().replace('.', "__"))
        }
        _ => message.to_owned(),
    }
}

/// The settings of one source as figment takes them.
struct Layer<'a>(&'a [Setting]);

impl Provider for Layer<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("jetsweep's settings")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut dict = Dict::new();
        for setting in self.0 {
            let value = figment::value::Value::serialize(&setting.node)?;
            match setting.path.split_once('.') {
                None => {
                    dict.insert(setting.path.to_owned(), value);
                }
                Some((section, name)) => {
                    let section = dict.entry(section.to_owned()).or_insert_with(|| Dict::new().into());
                    if let figment::value::Value::Dict(_, inner) = section {
                        inner.insert(name.to_owned(), value);
                    }
                }
            }
        }
        Ok(Profile::Default.collect(dict))
    }
}
