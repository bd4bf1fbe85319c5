//! Configuration: defaults, then `jetsweep.toml`, then `JETSWEEP_*` variables, then flags; the later one wins.
//!
//! | source | example |
//! |---|---|
//! | `jetsweep.toml` in the working directory, or the file named by `--config` | `[nats]` and `url = "nats://hub:4222"` |
//! | environment: `JETSWEEP_`, then the key in upper case with `__` for each dot | `JETSWEEP_NATS__URL=nats://hub:4222` |
//! | environment: MLflow's own `MLFLOW_TRACKING_URI`, `_USERNAME`, `_PASSWORD`, `_TOKEN` and `_SERVER_CERT_PATH` | below `JETSWEEP_MLFLOW__URL` and so on |
//! | environment: OpenTelemetry's own `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, else `OTEL_EXPORTER_OTLP_ENDPOINT` | below `JETSWEEP_TRACES__ENDPOINT` |
//! | flags of the command, as [`Overrides`] | `--nats nats://hub:4222` |
//!
//! A key that is none of ours is an error wherever it comes from. Relative paths are relative to the working directory.
//! [`Config::explain`] tells each value in force and where it came from.

mod keys;
mod kind;
mod load;
mod mlflow;
mod reference;
mod secret;
mod settings;
mod traces;
mod whole;

pub use load::{ConfigError, Explained, FILE_NAME, Origin, Overrides, Sources};
pub use mlflow::{Detail, LogRuns, MlflowConfig, PLACEHOLDERS};
pub use reference::reference;
pub use secret::{Secret, redact_url};
pub use settings::{
    Config, ConsolidatorConfig, DataConfig, HttpConfig, LimitsConfig, LogConfig, LogFormat, NatsConfig, PlannerConfig,
    WorkerConfig,
};
pub use traces::TracesConfig;

#[cfg(test)]
mod tests;
