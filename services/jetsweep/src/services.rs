//! The running services that a command talks to.

use std::time::Duration;

use async_nats::service::NATS_SERVICE_ERROR;
use async_nats::{HeaderMap, Request, RequestErrorKind};
use bytes::Bytes;
use futures::StreamExt;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::config::{Config, Origin};
use jetsweep_shared::events::{self, BatchStatus, Control, ErrorReply};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{Names, control_key, status_key};

use crate::app::App;
use crate::failure::{Failure, OrFail};
use crate::local::{Connection, StateDir};

/// Longest wait for a connection. A server that is there answers in milliseconds.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Longest wait for a planner's answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// What ends the key of a status.
const STATUS_SUFFIX: &str = ".status";

/// Running services: a connection to their server.
#[derive(Clone)]
pub(crate) struct Services {
    /// The connection.
    pub(crate) bus: Bus,
}

impl Services {
    /// The services a command is pointed at: those of the configured server, else those of the `jetsweep run` that
    /// uses the state folder; `None` without either.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached.
    pub(crate) async fn find(app: &App) -> Result<Option<Self>, Failure> {
        if app.config.origin("nats.url") != Origin::Default {
            return connect(&app.config).await.map(Some);
        }
        match Connection::find(&StateDir::at(&app.config.state_dir)) {
            Some(connection) => connect(&connection.apply(&app.config)).await.map(Some),
            None => Ok(None),
        }
    }

    /// Like [`Services::find`], for commands that can do nothing alone. `doing` completes "failed to ".
    ///
    /// # Errors
    ///
    /// When there are none.
    pub(crate) async fn need(app: &App, doing: &str) -> Result<Self, Failure> {
        Self::find(app).await?.ok_or_else(|| Self::none(app, doing))
    }

    /// The failure of a command that finds no services.
    pub(crate) fn none(app: &App, doing: &str) -> Failure {
        let state = app.config.state_dir.display();
        let cause = format!("no server is configured, and no `jetsweep run` is using {state}");
        Failure::bad_input(doing, cause).hint("name the NATS server with --nats nats://host:4222")
    }

    /// The status of a batch, if anybody knows it.
    pub(crate) async fn status(&self, batch: &BatchId) -> Result<Option<BatchStatus>, Failure> {
        let doing = || format!("read the status of {batch}");
        let bucket = self.bus.batches().await.or_broken(doing)?;
        let value = bucket.get(status_key(batch)).await.or_broken(doing)?;
        value.map(|value| events::decode(&value)).transpose().or_broken(doing)
    }

    /// What is asked of a batch, if anything.
    pub(crate) async fn asked(&self, batch: &BatchId) -> Result<Option<Control>, Failure> {
        let doing = || format!("read what is asked of {batch}");
        let bucket = self.bus.batches().await.or_broken(doing)?;
        let value = bucket.get(control_key(batch)).await.or_broken(doing)?;
        value.map(|value| events::decode(&value)).transpose().or_broken(doing)
    }

    /// Asks a planner, with `headers`. `doing` completes "failed to ".
    ///
    /// # Errors
    ///
    /// When none answers, or it refuses.
    pub(crate) async fn ask_planner(
        &self,
        endpoint: &str,
        headers: HeaderMap,
        request: Bytes,
        doing: &str,
    ) -> Result<Bytes, Failure> {
        let subject = self.bus.names.endpoint("planner", endpoint);
        let request = Request::new().headers(headers).payload(request).timeout(Some(ANSWER_TIME));
        let message = match self.bus.client.send_request(subject, request).await {
            Ok(message) => message,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                let cause = anyhow::anyhow!("no planner answers");
                return Err(Failure::broken(doing, cause).hint("`jetsweep planner` is the service that does"));
            }
            Err(error) => return Err(Failure::broken(doing, error)),
        };
        let is_refused = message.headers.as_ref().is_some_and(|headers| headers.get(NATS_SERVICE_ERROR).is_some());
        if !is_refused {
            return Ok(message.payload);
        }
        let reply: ErrorReply = serde_json::from_slice(&message.payload).or_broken(|| doing)?;
        Err(match reply.code.as_str() {
            "unavailable" => Failure::broken(doing, anyhow::anyhow!(reply.message)),
            _ => Failure::bad_input(doing, reply.message),
        })
    }

    /// The status of every batch the bucket knows, in no order.
    pub(crate) async fn statuses(&self) -> Result<Vec<BatchStatus>, Failure> {
        let doing = || "read the status of all batches";
        let bucket = self.bus.batches().await.or_broken(doing)?;
        let mut keys = bucket.keys().await.or_broken(doing)?;
        let mut statuses = Vec::new();
        while let Some(key) = keys.next().await {
            let key = key.or_broken(doing)?;
            let Some(batch) = key.strip_suffix(STATUS_SUFFIX).and_then(|batch| batch.parse().ok()) else { continue };
            statuses.extend(self.status(&batch).await?);
        }
        Ok(statuses)
    }
}

async fn connect(config: &Config) -> Result<Services, Failure> {
    let names = Names::new(&config.nats.namespace).or_bad_input(|| "read the configuration")?;
    let connecting = Bus::connect(&config.nats, "jetsweep", names);
    match tokio::time::timeout(CONNECT_TIME, connecting).await {
        Ok(bus) => Ok(Services { bus: bus.or_broken(|| "reach the services")? }),
        Err(_) => {
            let cause = anyhow::anyhow!("no answer within {CONNECT_TIME:?}");
            Err(Failure::broken("connect to NATS", cause))
        }
    }
}
