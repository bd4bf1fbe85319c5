//! Consolidators as processes of their own, to be killed: this test binary again, told to be one.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jetsweep_consolidator::{DatabaseError, Reader};
use jetsweep_shared::events::BatchState;
use tokio_util::sync::CancellationToken;

use crate::support::{RUNS, SHARDS, Setting, assert_row, begin, config, resources, result, rows, value};

/// Tells the process to be a consolidator on this server.
const URL: &str = "JETSWEEP_TEST_CONSOLIDATOR_URL";
/// The database of that consolidator.
const DATABASE: &str = "JETSWEEP_TEST_CONSOLIDATOR_DATABASE";

/// Does nothing, unless this process was started by [`Process::start`].
#[tokio::test]
async fn be_a_consolidator_if_told_so() {
    let (Some(url), Some(database)) = (std::env::var(URL).ok(), std::env::var_os(DATABASE)) else { return };
    let config = config(&url, Path::new(&database));
    jetsweep_consolidator::run(&config, CancellationToken::new()).await.unwrap();
}

/// A consolidator process, killed when dropped.
struct Process(Child);

impl Process {
    fn start(setting: &Setting) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::be_a_consolidator_if_told_so", "--nocapture"])
            .env(URL, setting.server.url())
            .env(DATABASE, setting.database())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn killed_at_any_moment_it_loses_and_doubles_nothing() {
    let setting = Setting::new().await;
    let batches: Vec<_> = (0..8).map(|number| begin(&format!("b{number}"), 0)).collect();
    for (number, batch) in batches.iter().enumerate() {
        let process = Process::start(&setting);
        setting.publish_whole(batch).await;
        // Killed somewhere between its start and the end of the batch, at another point each time.
        tokio::time::sleep(Duration::from_millis(number as u64 * 17)).await;
        drop(process);
    }
    let process = Process::start(&setting);
    for batch in &batches {
        let ended = setting.ended(batch.batch_id.as_str()).await;
        assert_eq!((ended.state, ended.succeeded), (BatchState::Completed, RUNS));
    }
    drop(process);
    // Killed for good: the rows are in DuckDB's log beside the file, and a reader sees them.
    let stored = rows(&setting.database(), "SELECT * FROM backtest_results ORDER BY batch_id, run");
    assert_eq!(stored.len() as u64, RUNS * batches.len() as u64);
    for (batch, stored) in batches.iter().zip(stored.chunks(RUNS as usize)) {
        let results = (0..SHARDS).map(|shard| result(batch, shard));
        let expected = results.flat_map(|result| (0..result.runs.count as usize).map(move |run| (result.clone(), run)));
        for (row, (result, index)) in stored.iter().zip(expected) {
            assert_row(row, &result, index);
        }
    }
    assert_eq!(value(&setting.database(), "SELECT count(*) FROM shards"), SHARDS * batches.len() as u32);
}

#[tokio::test]
async fn who_holds_the_file_is_named() {
    let setting = Setting::new().await;
    let process = Process::start(&setting);
    setting.publish_whole(&begin("b", 0)).await;
    setting.ended("b").await;
    let holder = format!("(process {})", process.id());
    let refused = setting.consolidator().end().await.unwrap_err().to_string();
    assert!(refused.contains(&holder) && refused.contains("stop it"), "{refused}");
    let error = Reader::open(&setting.database(), resources()).unwrap_err();
    assert!(matches!(&error, DatabaseError::Held { holder: found, .. } if found.ends_with(&holder)), "{error}");
    drop(process);
    Reader::open(&setting.database(), resources()).unwrap();
}
