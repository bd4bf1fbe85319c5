//! Commands about the data bucket.

use std::path::PathBuf;
use std::time::Duration;

use jetsweep_shared::config::Overrides;

use super::options::ServerArgs;

/// Arguments of `jetsweep data`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BucketArgs {
    #[command(subcommand)]
    pub(crate) command: BucketCommand,
}

/// What to do with the data bucket.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum BucketCommand {
    /// Put files of bars into the bucket, so that workers need no folder of them
    Push(PushArgs),
    /// List the names in the bucket
    Ls {
        /// Names that begin with this [default: all]
        #[arg(value_name = "PREFIX")]
        prefix: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Read everything in the bucket and compare it with its digest
    Check(ServerArgs),
    /// Remove contents that no name refers to any more
    Gc {
        /// Only what was stored longer ago than this: what is younger may belong to a push that is not done
        #[arg(long, value_name = "TIME", value_parser = super::manage::age, default_value = "1h")]
        older_than: Duration,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Take names away; `data gc` then removes what nobody refers to
    Rm {
        /// Names, as `data ls` shows them
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Arguments of `jetsweep data push`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    jetsweep data push --nats nats://hub:4222 bars/daily --prefix daily\n  \
    jetsweep submit --nats nats://hub:4222 sweep.toml --data 'store://daily/{symbol}.csv'\n\n\
    All files are read as bars before the first is uploaded. A content that is there already is not uploaded again.")]
pub(crate) struct PushArgs {
    /// Files, and folders of which all files ending in .csv are meant
    #[arg(value_name = "FILE|FOLDER", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// What their names begin with: daily makes AAPL.csv daily/AAPL.csv
    #[arg(long, value_name = "NAME")]
    pub(crate) prefix: Option<String>,
    /// Upload also what is there already, which repairs what `data check` found broken
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

impl BucketArgs {
    /// Sets what these options say.
    pub(crate) fn set(&self, overrides: &mut Overrides) {
        let server = match &self.command {
            BucketCommand::Push(PushArgs { server, .. }) => server,
            BucketCommand::Ls { server, .. } | BucketCommand::Gc { server, .. } => server,
            BucketCommand::Rm { server, .. } | BucketCommand::Check(server) => server,
        };
        server.set(overrides);
    }
}
