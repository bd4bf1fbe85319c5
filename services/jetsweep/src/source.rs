//! Where results are read: a running consolidator, or the database it left.

use std::time::Duration;

use async_nats::service::NATS_SERVICE_ERROR;
use async_nats::{HeaderMap, Message, StatusCode};
use futures::StreamExt;
use jetsweep_consolidator::{DatabaseError, QueryError, Reader, Resources, Row};
use jetsweep_shared::bus::Bus;
use jetsweep_shared::events::{Begin, ErrorReply, QueryRequest, headers};
use jetsweep_shared::ids::BatchId;

use crate::app::App;
use crate::failure::{Failure, OrFail};
use crate::follow;
use crate::services::Services;

/// Longest silence within an answer. A consolidator gives up on a query after a minute and says so.
const SILENCE: Duration = Duration::from_secs(70);

/// Where results are read.
pub(crate) enum Results {
    /// The query endpoint of running services.
    Service(Box<Services>),
    /// The database file, which no consolidator has open.
    File(Reader),
}

impl Results {
    /// The results a command is pointed at: those of running services, else the state folder's database. `doing`
    /// completes "failed to ".
    ///
    /// # Errors
    ///
    /// When there are neither, or they cannot be reached.
    pub(crate) async fn open(app: &App, doing: &str) -> Result<Self, Failure> {
        if let Some(services) = Services::find(app).await? {
            return Ok(Self::Service(Box::new(services)));
        }
        let settings = &app.config.consolidator;
        let resources = Resources { memory_bytes: settings.memory_limit_bytes, threads: settings.threads };
        match Reader::open(&app.config.database(), resources) {
            Ok(reader) => Ok(Self::File(reader)),
            Err(error @ DatabaseError::Missing { .. }) => Err(Failure::bad_input(doing, error)
                .hint("--state names the folder of another `jetsweep run`, --nats the server of running services")),
            Err(error) => Err(Failure::broken(doing, error)),
        }
    }

    /// The results of running services.
    pub(crate) fn of(services: &Services) -> Self {
        Self::Service(Box::new(services.clone()))
    }

    /// Gives the rows of a query to `take`, one by one as they come.
    ///
    /// # Errors
    ///
    /// When the statement is refused or fails, and the first error of `take`. `doing` completes "failed to ".
    pub(crate) async fn each_row(
        &self,
        sql: &str,
        doing: &str,
        mut take: impl FnMut(Row) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self {
            Self::Service(services) => rows_of_service(&services.bus, sql, doing, take).await,
            // Blocks, which keeps nobody else waiting: a command does one thing.
            Self::File(reader) => {
                let rows = reader.query(sql).map_err(|error| query_failure(error, doing))?;
                for row in rows {
                    take(row.map_err(|error| query_failure(error, doing))?)?;
                }
                Ok(())
            }
        }
    }

    /// All rows of a query whose answer is small.
    pub(crate) async fn rows(&self, sql: &str, doing: &str) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        let keep = |row| {
            rows.push(row);
            Ok(())
        };
        self.each_row(sql, doing, keep).await?;
        Ok(rows)
    }

    /// The plan of a batch.
    ///
    /// # Errors
    ///
    /// When there is no such batch: the hint names those there are.
    pub(crate) async fn plan(&self, batch: &BatchId, doing: &str) -> Result<Begin, Failure> {
        let row = self.rows(&jetsweep_consolidator::plan_sql(batch), doing).await?.into_iter().next();
        let Some(mut row) = row else { return Err(self.unknown(batch, doing).await) };
        serde_json::from_value(row.remove("plan").unwrap_or_default()).or_broken(|| doing)
    }

    /// The failure of a command about a batch that has no results, with those that have some.
    pub(crate) async fn unknown(&self, batch: &BatchId, doing: &str) -> Failure {
        let others = self.rows("SELECT batch_id FROM batches ORDER BY created_at DESC LIMIT 20", doing).await;
        let others = others.unwrap_or_default().into_iter();
        follow::unknown(doing, batch, others.filter_map(|row| Some(row.get("batch_id")?.as_str()?.to_owned())))
    }
}

fn query_failure(error: QueryError, doing: &str) -> Failure {
    match error {
        QueryError::Unavailable(_) => Failure::broken(doing, error),
        _ => Failure::bad_input(doing, error),
    }
}

/// Asks the query endpoint, whose answer comes in parts, each an array of objects; the last one is empty.
async fn rows_of_service(
    bus: &Bus,
    sql: &str,
    doing: &str,
    mut take: impl FnMut(Row) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let inbox = bus.client.new_inbox();
    let mut parts = bus.client.subscribe(inbox.clone()).await.or_broken(|| doing)?;
    let mut asking = HeaderMap::new();
    asking.insert(headers::STREAM, "1");
    let request = serde_json::to_vec(&QueryRequest { sql: sql.to_owned() }).or_broken(|| doing)?;
    let subject = bus.names.endpoint("consolidator", "query");
    bus.client.publish_with_reply_and_headers(subject, inbox, asking, request.into()).await.or_broken(|| doing)?;
    for number in 0_usize.. {
        let part = tokio::time::timeout(SILENCE, parts.next()).await;
        let Ok(Some(part)) = part else {
            let cause = anyhow::anyhow!("the consolidator fell silent after {number} parts of its answer");
            return Err(Failure::broken(doing, cause));
        };
        check(&part, number, doing)?;
        if part.payload.is_empty() {
            return Ok(());
        }
        let rows: Vec<Row> = serde_json::from_slice(&part.payload).or_broken(|| doing)?;
        rows.into_iter().try_for_each(&mut take)?;
    }
    Ok(())
}

/// Whether a message is the part of an answer it should be, and no error.
fn check(part: &Message, number: usize, doing: &str) -> Result<(), Failure> {
    if part.status == Some(StatusCode::NO_RESPONDERS) {
        let cause = anyhow::anyhow!("no consolidator answers");
        return Err(Failure::broken(doing, cause).hint("`jetsweep consolidator` is the service that does"));
    }
    let header = |name: &str| part.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str());
    if header(NATS_SERVICE_ERROR).is_some() {
        let reply: ErrorReply = serde_json::from_slice(&part.payload).or_broken(|| doing)?;
        return Err(match reply.code.as_str() {
            "unavailable" | "timed_out" => Failure::broken(doing, anyhow::anyhow!(reply.message)),
            _ => Failure::bad_input(doing, reply.message),
        });
    }
    if header(headers::PART).and_then(|part| part.parse().ok()) == Some(number) {
        return Ok(());
    }
    let cause = anyhow::anyhow!("part {number} of the answer was lost: ask again");
    Err(Failure::broken(doing, cause))
}
