//! Logs: one subscriber a process, writing to standard error, so that standard output carries data only.
//!
//! # Spans
//!
//! Whoever works on a batch does it in a span whose fields are named alike everywhere, so that one filter finds all
//! that concerns a batch, whatever service wrote it:
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

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogConfig, LogFormat};

/// Logs that cannot be set up.
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
}

/// Sends this process's logs to standard error. Call it once, before anything logs.
///
/// # Errors
///
/// When the filter cannot be read, or logs were set up before.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    init_to(config, std::io::stderr)
}

/// Like [`init`], with standard error as `stderr` writes it: whoever draws there too can step aside for a line.
///
/// # Errors
///
/// See [`init`].
pub fn init_to<W>(config: &LogConfig, stderr: W) -> Result<(), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter(&config.filter)?;
    let to_stderr = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match config.format {
        LogFormat::Json => to_stderr.json().flatten_event(true).with_current_span(false).finish().try_init()?,
        LogFormat::Human => to_stderr.with_ansi(false).with_target(false).finish().try_init()?,
        LogFormat::Auto => to_stderr.with_ansi(wants_colour()).with_target(false).finish().try_init()?,
    }
    Ok(())
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
