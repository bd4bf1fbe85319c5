//! A new database from the log alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use duckdb::Connection;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::config::Config;
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::monitor::Monitor;
use jetsweep_shared::subjects::Names;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::database::{DatabaseError, Resources, WholeFile};
use crate::ingest::{self, Extent};
use crate::metrics::Metrics;
use crate::progress::Views;
use crate::retention;
use crate::schema;
use crate::service::ConsolidatorError;
use crate::store::Store;
use crate::traced::Traced;
use crate::writer::{Limits, Writer, WriterError};

/// What a rebuild came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Batches made from the log.
    pub batches: u64,
    /// Their rows.
    pub rows: u64,
    /// Batches whose results are no longer in the log, with their rows as the old database had them.
    pub kept: Vec<String>,
    /// The new database.
    pub database: PathBuf,
    /// Where the old one lies now, if there was one.
    pub old: Option<PathBuf>,
}

/// Makes a new database from what is in RESULTS now and puts it in the place of the old one, which is kept beside it.
///
/// Batches that the old database has and the log has no more, because retention purged them or the stream was made anew,
/// keep their rows.
///
/// # Errors
///
/// When a consolidator has the database, when the log cannot be read to its end, or when `shutdown` is cancelled first.
/// The old database is then as it was.
pub async fn rebuild(config: &Config, shutdown: CancellationToken) -> Result<Rebuilt, ConsolidatorError> {
    let database = config.database();
    let resources =
        Resources { memory_bytes: config.consolidator.memory_limit_bytes, threads: config.consolidator.threads };
    // Held to the end, so that no consolidator writes meanwhile.
    let old = database.exists().then(|| WholeFile::open(&database, resources)).transpose()?;
    let names = Names::new(&config.nats.namespace)?;
    let bus = Bus::connect(&config.nats, "jetsweep-rebuild", names).await?;
    let new = beside(&database, "rebuilding");
    remove(&new)?;
    read_log(config, bus.clone(), &new, resources, &shutdown).await?;
    let purged = retention::purged(&bus).await?;
    let finish = move || finish(old, &database, &new, resources, &purged);
    tokio::task::spawn_blocking(finish).await.map_err(|_| ConsolidatorError::Writer(WriterError::Gone))?
}

/// Reads the log to its end into a new database.
async fn read_log(
    config: &Config,
    bus: Bus,
    new: &Path,
    resources: Resources,
    shutdown: &CancellationToken,
) -> Result<(), ConsolidatorError> {
    let stop = shutdown.child_token();
    let metrics = Metrics::new(&Monitor::default(), new.to_owned());
    let writer = Writer {
        store: Store::open(new, resources)?,
        bus: bus.clone(),
        runtime: Handle::current(),
        views: Views::default(),
        limits: Limits::from(&config.consolidator),
        keeps_rejected: false,
        shutdown: stop.clone(),
        metrics: metrics.clone(),
        traced: Traced::default(),
    };
    let (entries, writer_ended) = writer.start().map_err(ConsolidatorError::Thread)?;
    ingest::run(bus, None, Extent::WhatIsThere, entries, metrics, stop).await;
    writer_ended.await.unwrap_or(Err(WriterError::Gone))?;
    if shutdown.is_cancelled() {
        return Err(ConsolidatorError::Interrupted);
    }
    Ok(())
}

/// Adds what only the old database has, and exchanges the two.
fn finish(
    old: Option<WholeFile>,
    database: &Path,
    new: &Path,
    resources: Resources,
    purged: &BTreeSet<BatchId>,
) -> Result<Rebuilt, ConsolidatorError> {
    let kept = match &old {
        Some(old) => {
            keep(&old.connection, new, purged).map_err(DatabaseError::sql("keep batches that left the log"))?
        }
        None => Vec::new(),
    };
    let (batches, rows) = counted(new, resources, kept.len())?;
    drop(old);
    let aside = beside(database, &format!("before-rebuild-{}", Timestamp::now().as_second()));
    let old = match database.exists() {
        true => {
            std::fs::rename(database, &aside).map_err(|source| ConsolidatorError::Exchange { source })?;
            Some(aside)
        }
        false => None,
    };
    std::fs::rename(new, database).map_err(|source| ConsolidatorError::Exchange { source })?;
    Ok(Rebuilt { batches, rows, kept, database: database.to_owned(), old })
}

/// Copies the batches that the log has no more, or not whole, from the old database into the new one.
fn keep(old: &Connection, new: &Path, purged: &BTreeSet<BatchId>) -> duckdb::Result<Vec<String>> {
    let file = new.display().to_string().replace('\'', "''");
    old.execute_batch(&format!("ATTACH '{file}' AS rebuilt"))?;
    let mut statement = old.prepare(
        "SELECT batch_id, batch_id IN (SELECT batch_id FROM rebuilt.batches) FROM batches
         WHERE batch_id NOT IN (SELECT batch_id FROM rebuilt.deleted_batches) ORDER BY created_at, batch_id",
    )?;
    let of_old = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)))?;
    let mut kept = Vec::new();
    for batch in of_old {
        let (batch, is_rebuilt) = batch?;
        if !is_rebuilt || purged.iter().any(|purged| purged.as_str() == batch) {
            kept.push(batch);
        }
    }
    for batch in &kept {
        old.execute_batch("BEGIN TRANSACTION")?;
        for table in schema::TABLES_OF_BATCHES {
            old.execute(&format!("DELETE FROM rebuilt.{table} WHERE batch_id = ?"), [batch])?;
            old.execute(
                &format!("INSERT INTO rebuilt.{table} BY NAME SELECT * FROM {table} WHERE batch_id = ?"),
                [batch],
            )?;
        }
        old.execute_batch("COMMIT")?;
    }
    old.execute_batch("DETACH rebuilt")?;
    Ok(kept)
}

/// How many batches, of those not kept, and rows a database has.
fn counted(file: &Path, resources: Resources, kept: usize) -> Result<(u64, u64), DatabaseError> {
    let file = WholeFile::open(file, resources)?;
    let sql = "SELECT (SELECT count(*) FROM batches), (SELECT count(*) FROM backtest_results)";
    let counts = file.connection.query_row(sql, [], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?)));
    let (batches, rows) = counts.map_err(DatabaseError::sql("count what was rebuilt"))?;
    // Everything is in the file itself, so that it can be moved alone.
    file.connection.execute_batch("CHECKPOINT").map_err(DatabaseError::sql("finish the new database"))?;
    Ok((batches - kept as u64, rows))
}

/// A file beside another.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{ending}"));
    file.with_file_name(name)
}

/// Removes what an earlier attempt left.
fn remove(file: &Path) -> Result<(), ConsolidatorError> {
    for file in [file.to_owned(), beside(file, "wal")] {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ConsolidatorError::Exchange { source: error });
            }
            _ => {}
        }
    }
    Ok(())
}
