//! Logs and traces: one subscriber a process.
//!
//! Logs are written to standard error, so that standard output carries data only. Traces, if they are asked for, are sent
//! to a receiver of OpenTelemetry's protocol: see [`traces`] for how, and [`steps`] for the spans there are.
//!
//! # Spans of logs
//!
//! Whoever works on a batch does it in a span whose fields are named alike everywhere, so that one filter finds all
//! that concerns a batch, whatever service wrote it. The attributes of traces have the same names:
//!
//! | field | what | example |
//! |---|---|---|
//! | `batch` | batch id | `momentum-7f3a` |
//! | `generation` | 0, or the number of the retry | `0` |
//! | `shard` | number of the shard within its batch and generation | `17` |
//! | `run` | number of the run within its batch | `4242` |
//!
//! ```
//! # use tracing::info_span;
//! # let (batch, shard) = ("momentum-7f3a", 17);
//! let span = info_span!("job", batch, generation = 0, shard);
//! let _entered = span.enter();
//! tracing::info!(runs = 96, "job done");
//! ```

mod outbox;
mod parent;
pub mod steps;
pub mod traces;

pub use parent::{Parent, parent_from};
pub use steps::Step;
pub use traces::Traces;

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Filter, Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::{LogConfig, LogFormat};

/// Logs or traces that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error(
        "failed to read log.filter {filter:?}: {error} (write a level like \"info\", or \"warn,jetsweep_worker=debug\")"
    )]
    Filter {
        /// As configured.
        filter: String,
        /// What is wrong with it.
        error: ParseError,
    },
    /// This process already logs.
    #[error("failed to set up logs: {0} (telemetry::init is called once a process)")]
    Twice(#[from] TryInitError),
    /// Nothing can be sent to the receiver of traces.
    #[error("failed to set up traces to {endpoint} (traces.endpoint): {reason}")]
    Traces {
        /// Where they would go, without credentials.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
}

/// A part of the subscriber, of whatever type.
type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Sends this process's logs to standard error, and traces nothing. Call it once, before anything logs.
///
/// # Errors
///
/// When the filter cannot be read, or logs were set up before.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    init_to(config, None, std::io::stderr)
}

/// Like [`init`], with traces if there are any, and with standard error as `stderr` writes it: whoever draws there too can
/// step aside for a line.
///
/// # Errors
///
/// See [`init`].
pub fn init_to<W>(config: &LogConfig, traces: Option<&Traces>, stderr: W) -> Result<(), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let to_stderr = tracing_subscriber::fmt::layer().with_writer(stderr);
    let logs: AnyLayer = match config.format {
        LogFormat::Json => to_stderr.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Human => to_stderr.with_ansi(false).with_target(false).boxed(),
        LogFormat::Auto => to_stderr.with_ansi(wants_colour()).with_target(false).boxed(),
    };
    // Each has a filter of its own: how much is logged changes nothing in the traces, nor the other way round.
    let mut layers: Vec<AnyLayer> = vec![logs.with_filter(log_filter(&config.filter)?).boxed()];
    layers.extend(traces.map(Traces::layer));
    tracing_subscriber::registry().with(layers).try_init()?;
    Ok(())
}

/// What is logged: what the filter says, without the spans that are there for traces only.
fn log_filter(text: &str) -> Result<impl Filter<Registry> + Send + Sync + 'static + use<>, TelemetryError> {
    use tracing_subscriber::filter::FilterExt;
    let of_logs = filter_fn(|metadata| metadata.target() != traces::TARGET).with_max_level_hint(LevelFilter::TRACE);
    Ok(filter(text)?.and(of_logs))
}

fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder().parse(text).map_err(|error| TelemetryError::Filter { filter: text.to_owned(), error })
}

/// Colours are for people at a terminal who have not asked for none (<https://no-color.org>).
fn wants_colour() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !no_color
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_set_up_once() {
        let config = LogConfig { format: LogFormat::Json, filter: "warn,jetsweep_worker=debug".to_owned() };
        init(&config).unwrap();
        assert!(matches!(init(&config), Err(TelemetryError::Twice(_))));
    }

    #[test]
    fn a_bad_filter_is_explained() {
        let error = filter("jetsweep_worker=loud").unwrap_err().to_string();
        assert!(error.starts_with("failed to read log.filter \"jetsweep_worker=loud\": "), "{error}");
    }
}
