//! The whole of jetsweep in one process: a NATS server, planner, worker, consolidator and, if asked for, MLflow bridge.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jetsweep_consolidator::{ConsolidatorError, DatabaseError};
use jetsweep_shared::bus::{Bus, BusError};
use jetsweep_shared::config::{Config, Origin, Secret};
use jetsweep_shared::subjects::{InvalidNamespace, Names};
use jetsweep_shared::topology::{self, TopologyError, Tuning};
use jetsweep_worker::{WorkerStats, WorkerSummary};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::local::nats_server::{NatsServer, ServerError};

/// Ack wait of jobs and plans: how long work that a killed process held stays away, and so how quickly resuming gets
/// to it. Everything is on one machine, so signs of life are never late.
const ACK_WAIT: Duration = Duration::from_secs(5);

/// Longest wait for a connection to a server that was named with `--nats`.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long somebody else may have the database when the consolidator starts.
const HELD_LIMIT: Duration = Duration::from_secs(10);

/// Pause before the database is tried again.
const HELD_PAUSE: Duration = Duration::from_millis(20);

/// Which server a session uses.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Server<'a> {
    /// One of its own.
    Own {
        /// The program.
        program: &'a Path,
        /// Folder of its files.
        folder: &'a Path,
    },
    /// The one the configuration names.
    Configured,
}

/// Why a session does not start or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The namespace cannot be used.
    #[error(transparent)]
    Namespace(#[from] InvalidNamespace),
    /// There is no server.
    #[error(transparent)]
    Server(Arc<ServerError>),
    /// The server does not answer.
    #[error("no answer from NATS at {url} within {} s", CONNECT_LIMIT.as_secs())]
    NoAnswer {
        /// Where it was looked for, without credentials.
        url: String,
    },
    /// No connection, or a failed request.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Streams and consumers are not as they must be.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A service ended with an error.
    #[error("the {name} stopped: {error:#}")]
    Service {
        /// Which.
        name: &'static str,
        /// Why.
        error: anyhow::Error,
    },
    /// A service ended though nobody asked it to.
    #[error("the {0} stopped for no reason")]
    Ended(&'static str),
}

/// A running session. End it with [`Session::stop`].
pub(crate) struct Session {
    /// A connection of its own, for whoever drives the session.
    pub(crate) bus: Bus,
    /// The configuration its services have: it names the server.
    pub(crate) config: Config,
    server: Option<NatsServer>,
    services: JoinSet<(&'static str, anyhow::Result<()>)>,
    worker_stats: Arc<WorkerStats>,
    /// Stops what takes work: planner and worker.
    takers: CancellationToken,
    /// Stops what stores results, once nobody makes any.
    storer: CancellationToken,
}

impl Session {
    /// Starts the server, if it is the session's own, and makes its streams. No service runs yet: [`Session::serve`].
    ///
    /// # Errors
    ///
    /// When there is no server, or it refuses the streams.
    pub(crate) async fn open(config: &Config, server: Server<'_>) -> Result<Self, SessionError> {
        let names = Names::new(&config.nats.namespace)?;
        let mut config = config.clone();
        config.worker.ack_wait_seconds = ACK_WAIT.as_secs();
        let server = match server {
            Server::Configured => None,
            Server::Own { program, folder } => {
                let server =
                    NatsServer::start(folder, program).await.map_err(|error| SessionError::Server(Arc::new(error)))?;
                config.nats.url = server.url();
                config.nats.credentials = None;
                config.nats.user = Some(server.user().to_owned());
                config.nats.password = Some(Secret::new(server.password()));
                Some(server)
            }
        };
        let streams_made = async {
            let bus = connect(&config, names, server.is_some()).await?;
            topology::ensure(&bus.jetstream, &bus.names, &Tuning::from(&config)).await?;
            Ok::<_, SessionError>(bus)
        };
        let bus = match &server {
            None => streams_made.await?,
            // They are waited for while the server is started again, but not beyond.
            Some(server) => tokio::select! {
                made = streams_made => made?,
                error = server.given_up() => return Err(SessionError::Server(error)),
            },
        };

        Ok(Self {
            bus,
            config,
            server,
            services: JoinSet::new(),
            worker_stats: Arc::default(),
            takers: CancellationToken::new(),
            storer: CancellationToken::new(),
        })
    }

    /// Starts the services. One that cannot start is told by [`Session::failed`].
    pub(crate) fn serve(&mut self) {
        let (config, shutdown) = (self.config.clone(), self.takers.clone());
        self.services.spawn(async move {
            let ended = jetsweep_planner::run(&config, shutdown).await;
            ("planner", ended.map_err(anyhow::Error::from))
        });
        let (config, shutdown, stats) = (self.config.clone(), self.takers.clone(), self.worker_stats.clone());
        self.services.spawn(async move {
            let ended = jetsweep_worker::run_with_stats(&config, shutdown, stats).await;
            ("worker", ended.map_err(anyhow::Error::from))
        });
        if logs_to_mlflow(&self.config) {
            // What it has not logged when the others end is left to a backfill, so it ends with them.
            let (config, shutdown) = (self.config.clone(), self.takers.clone());
            self.services.spawn(async move {
                let ended = jetsweep_mlflow_bridge::run(&config, shutdown).await;
                ("MLflow bridge", ended.map_err(anyhow::Error::from))
            });
        }
        let (config, shutdown) = (self.config.clone(), self.storer.clone());
        self.services.spawn(async move {
            let ended = consolidate(&config, &shutdown).await;
            ("consolidator", ended.map_err(anyhow::Error::from))
        });
    }

    /// Completes when the session cannot go on: a service ended, or the server keeps dying.
    pub(crate) async fn failed(&mut self) -> SessionError {
        let dying = async {
            match &self.server {
                Some(server) => server.given_up().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = dying => SessionError::Server(error),
            ended = self.services.join_next() => match ended {
                Some(ended) => service_error(ended).unwrap_or_else(SessionError::Ended),
                None => std::future::pending().await,
            },
        }
    }

    /// Largest memory the server had, in bytes; 0 when it is not the session's own.
    pub(crate) fn server_peak_memory(&self) -> u64 {
        self.server.as_ref().map_or(0, NatsServer::peak_memory)
    }

    /// What its worker did so far.
    pub(crate) fn worker(&self) -> WorkerSummary {
        self.worker_stats.summary()
    }

    /// Ends the services in order: planner and worker finish or hand back what they have, then the consolidator
    /// commits what it has and closes the database. Returns the session's own server, which nobody needs any more and
    /// which is still to be stopped.
    ///
    /// # Errors
    ///
    /// The first service that ends with an error. All are stopped all the same, and the server is killed.
    pub(crate) async fn stop(mut self) -> Result<Option<NatsServer>, SessionError> {
        self.takers.cancel();
        let mut first_error = None;
        // The consolidator is the last one: nothing else stops it before.
        while self.services.len() > 1 {
            let Some(ended) = self.services.join_next().await else { break };
            if let Err(error) = told(ended) {
                first_error.get_or_insert(error);
            }
        }
        self.storer.cancel();
        while let Some(ended) = self.services.join_next().await {
            if let Err(error) = told(ended) {
                first_error.get_or_insert(error);
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => Ok(self.server),
        }
    }
}

/// Whether a session logs to MLflow: when its command says so. A server that is merely configured, or named in the
/// environment for other programs, is left alone.
pub(crate) fn logs_to_mlflow(config: &Config) -> bool {
    matches!(config.origin("mlflow.url"), Origin::Flag { .. })
}

/// The consolidator, as soon as nobody reads the database: a `jetsweep status` or `query` that was faster has it for a
/// moment.
async fn consolidate(config: &Config, shutdown: &CancellationToken) -> Result<(), ConsolidatorError> {
    let deadline = Instant::now() + HELD_LIMIT;
    loop {
        match jetsweep_consolidator::run(config, shutdown.clone()).await {
            Err(ConsolidatorError::Database(DatabaseError::Held { .. })) if Instant::now() < deadline => {
                tokio::time::sleep(HELD_PAUSE).await;
            }
            ended => return ended,
        }
    }
}

type Ended = Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>;

/// The error a service ended with, or its name when it ended without one.
fn service_error(ended: Ended) -> Result<SessionError, &'static str> {
    match ended {
        Ok((name, Ok(()))) => Err(name),
        Ok((name, Err(error))) => Ok(SessionError::Service { name, error }),
        Err(error) => Ok(SessionError::Service { name: "session", error: error.into() }),
    }
}

fn told(ended: Ended) -> Result<(), SessionError> {
    service_error(ended).map_or(Ok(()), Err)
}

/// Connects to the server, which is waited for if it is the session's `own`: it is started again when it dies.
async fn connect(config: &Config, names: Names, own: bool) -> Result<Bus, SessionError> {
    const NAME: &str = "jetsweep-run";
    let connecting = async {
        match own {
            true => Bus::connect_when_there(&config.nats, NAME, names).await,
            false => Bus::connect(&config.nats, NAME, names).await,
        }
    };
    match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(bus) => Ok(bus?),
        Err(_) => Err(SessionError::NoAnswer { url: jetsweep_shared::config::redact_url(&config.nats.url) }),
    }
}
