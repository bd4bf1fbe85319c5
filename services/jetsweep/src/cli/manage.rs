//! Commands for batches that wait, run or have ended.

use super::options::ServerArgs;

/// Arguments of `jetsweep pause` and `jetsweep resume`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PauseArgs {
    /// Batch that is meant
    #[arg(value_name = "BATCH", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) batch: Option<String>,
    /// All work, of every batch
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `jetsweep retry`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    jetsweep retry --nats nats://hub:4222 nightly\n  \
    jetsweep retry --nats nats://hub:4222 nightly --dead --wait")]
pub(crate) struct RetryArgs {
    /// Batch whose runs are run again; it must have ended
    #[arg(value_name = "BATCH")]
    pub(crate) batch: String,
    /// Runs that failed by themselves [default: all that did not succeed]
    #[arg(long)]
    pub(crate) failed: bool,
    /// Runs whose job was given up on
    #[arg(long)]
    pub(crate) dead: bool,
    /// Runs that were cancelled
    #[arg(long)]
    pub(crate) cancelled: bool,
    /// At most so many of them, in order
    #[arg(long, value_name = "N")]
    pub(crate) first: Option<u64>,
    /// Follow the batch until it ends again
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `jetsweep delete`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DeleteArgs {
    /// Batch to delete; it must have ended
    #[arg(value_name = "BATCH")]
    pub(crate) batch: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `jetsweep prune`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example:\n  jetsweep prune --older-than 30d --dry-run")]
pub(crate) struct PruneArgs {
    /// Delete batches that ended longer ago than this, as in 30d, 12h, 90m
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub(crate) older_than: std::time::Duration,
    /// Only say which
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// A time as it is written on a command line.
pub(super) fn age(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || "a time is a whole number of days, hours, minutes or seconds, as in 30d, 12h, 90m, 10s".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        'd' => 24 * 3600,
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(std::time::Duration::from_secs).ok_or_else(wrong)
}

/// Arguments of `jetsweep dead`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DeadArgs {
    #[command(subcommand)]
    pub(crate) command: DeadCommand,
}

/// What to do with messages given up on.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum DeadCommand {
    /// List the messages given up on
    List {
        /// Of this batch only
        #[arg(value_name = "BATCH")]
        batch: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show one of them in full, with its payload
    Show {
        /// Its number, as `dead list` shows it
        #[arg(value_name = "NUMBER")]
        number: u64,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Run the dead jobs' runs again, as the next generation of their batch; what is no job is published again
    Retry {
        /// Their numbers, as `dead list` shows them
        #[arg(value_name = "NUMBER", required = true)]
        numbers: Vec<u64>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove them for good
    Drop {
        /// Their numbers, as `dead list` shows them
        #[arg(value_name = "NUMBER", required_unless_present = "all", conflicts_with = "all")]
        numbers: Vec<u64>,
        /// All of them
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
}

impl DeadCommand {
    /// Where the services are.
    pub(crate) fn server(&self) -> &ServerArgs {
        match self {
            Self::List { server, .. } | Self::Show { server, .. } => server,
            Self::Retry { server, .. } | Self::Drop { server, .. } => server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_have_a_unit() {
        assert_eq!(age("2d").unwrap().as_secs(), 172_800);
        assert_eq!(age("90m").unwrap().as_secs(), 5_400);
        for bad in ["", "d", "5", "1.5h", "-1d", "5w", "99999999999999999999d", "5\u{fc}"] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }
}
