//! The server and its streams: killed under load, full, without room on its disk, asked to store what it had forgotten;
//! and the order in which everybody starts.

use std::time::Duration;

use async_nats::jetstream;
use jetsweep_tests::{NatsServer, SmallDisk, eventually};
use rand::RngExt;

use crate::cluster::Cluster;
use crate::ledger::{SETTINGS, Sweep};
use crate::support::random;

#[tokio::test]
async fn ids_that_the_server_forgot_count_once() {
    let mut cluster = Cluster::with(&SETTINGS).await;
    let client = cluster.server.connect().await;
    // A worker that finds no room stores nothing: the jobs are to be seen.
    cluster.jetsweep(&["pause", "--all"]).done().await.with_code(0);
    cluster.submit(Sweep::Small, "b", &[]).await;
    let jetstream = jetstream::new(client);
    let jobs = eventually("the jobs", async || {
        let mut stream = jetstream.get_stream("JETSWEEP_JOBS").await.ok()?;
        (stream.info().await.ok()?.state.messages >= 20).then_some(stream)
    })
    .await;
    let (first, last) = (jobs.cached_info().state.first_sequence, jobs.cached_info().state.last_sequence);
    let mut copies = Vec::new();
    for sequence in first..=last {
        copies.push(jobs.get_raw_message(sequence).await.unwrap());
    }
    cluster.jetsweep(&["resume", "--all"]).done().await.with_code(0);
    cluster.is_whole(Sweep::Small, "b").await;
    cluster.server.restart().await;
    let jetstream = jetstream::new(cluster.server.connect().await);
    for copy in &copies {
        let mut stored = 0;
        eventually("the job to be taken again", async || {
            let publish =
                jetstream.publish_with_headers(copy.subject.clone(), copy.headers.clone(), copy.payload.clone());
            stored = publish.await.ok()?.await.ok()?.sequence;
            Some(())
        })
        .await;
        assert!(stored > 0);
    }
    eventually("them to be run again", async || {
        let mut stream = jetstream.get_stream("JETSWEEP_JOBS").await.ok()?;
        (stream.info().await.ok()?.state.messages == 0).then_some(())
    })
    .await;
    cluster.is_whole(Sweep::Small, "b").await;
}

#[tokio::test]
async fn full_streams_stall_and_lose_nothing() {
    let cluster = Cluster::with(&SETTINGS).await;
    let client = cluster.server.connect().await;
    let jetstream = jetstream::new(client);
    let resize = async |name: &str, bytes: i64| {
        let mut config = jetstream.get_stream(name).await.unwrap().cached_info().config.clone();
        config.max_bytes = bytes;
        jetstream.update_stream(config).await.unwrap();
    };
    // A queue for a few jobs, a log for a few results.
    resize("JETSWEEP_JOBS", 64 << 10).await;
    resize("JETSWEEP_RESULTS", 512 << 10).await;
    cluster.submit(Sweep::Large, "b", &[]).await;
    eventually("the worker to say that it waits", async || {
        cluster.service("worker").stderr().contains("cannot publish now, waiting").then_some(())
    })
    .await;
    let stalled = cluster.now("b").await;
    assert!(stalled.done() < stalled.total_runs);
    resize("JETSWEEP_RESULTS", 1 << 30).await;
    cluster.is_whole(Sweep::Large, "b").await;
}

/// Room on the small disk, in mebibytes: more than the batch needs.
const DISK_MIB: u32 = 512;

#[tokio::test]
async fn a_full_disk_of_the_server_stalls_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(DISK_MIB) else { return };
    // The streams may ask for more than there is: the bounds of a server are not what is tried here.
    let store = disk.path().join("store");
    let config = format!("jetstream {{ store_dir: {store:?}, max_file_store: 1TB }}\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.conf");
    std::fs::write(&file, config).unwrap();
    let mut cluster = Cluster::at(NatsServer::configured(&file).await, &SETTINGS);
    for role in ["planner", "worker", "consolidator"] {
        cluster.serve(role, role);
    }
    cluster.answers("planner").await;
    cluster.answers("consolidator").await;
    cluster.submit(Sweep::Large, "b", &[]).await;
    cluster.reaches("b", "have results", |status| status.done() > 0).await;
    disk.fill();
    eventually("the worker to say that it waits", async || {
        cluster.service("worker").stderr().contains("cannot publish now, waiting").then_some(())
    })
    .await;
    let stalled = cluster.rows("SELECT succeeded, total_runs FROM batches").await.remove(0);
    assert!(stalled["succeeded"].as_u64() < stalled["total_runs"].as_u64(), "{stalled:?}");
    disk.free();
    // A server that ran out of room turns its streams off until it is started again.
    cluster.server.restart().await;
    cluster.is_whole(Sweep::Large, "b").await;
}

#[tokio::test]
async fn services_start_in_any_order() {
    const ROLES: [&str; 3] = ["planner", "worker", "consolidator"];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut cluster = Cluster::new(&SETTINGS).await;
        // Submitted before anybody is there, to streams that nobody has made yet.
        cluster.submit(Sweep::Small, "b", &[]).await;
        for role in order {
            cluster.serve(ROLES[role], ROLES[role]);
        }
        cluster.is_whole(Sweep::Small, "b").await;
    }
}

/// Longest time into a service's start at which the server is killed, in milliseconds.
const LONGEST_START_MS: u64 = 60;

#[tokio::test]
async fn a_server_that_is_killed_while_services_start_is_waited_for() {
    let mut random = random();
    for _ in 0..2 {
        let mut cluster = Cluster::new(&SETTINGS).await;
        for role in ["planner", "worker", "consolidator"] {
            cluster.serve(role, role);
            tokio::time::sleep(Duration::from_millis(random.random_range(0..LONGEST_START_MS))).await;
            cluster.server.restart().await;
        }
        cluster.submit(Sweep::Small, "b", &[]).await;
        cluster.is_whole(Sweep::Small, "b").await;
    }
}

#[tokio::test]
async fn high_overtakes_and_low_still_moves() {
    let settings = [SETTINGS.as_slice(), &[("JETSWEEP_PLANNER__SHARD_RUNS", "200")]].concat();
    let cluster = Cluster::with(&settings).await;
    cluster.submit(Sweep::Large, "normal", &[]).await;
    cluster.submit(Sweep::Large, "low", &["--priority", "low"]).await;
    cluster.reaches("normal", "have results", |status| status.done() > 0).await;
    cluster.submit(Sweep::Small, "high", &["--priority", "high"]).await;
    cluster.is_whole(Sweep::Small, "high").await;
    let normal = cluster.now("normal").await;
    assert!(normal.done() < normal.total_runs, "high came after normal");
    cluster.reaches("low", "have results", |status| status.done() > 0).await;
    let normal = cluster.now("normal").await;
    assert!(normal.done() < normal.total_runs, "low waited for normal to end");
    for batch in ["normal", "low"] {
        cluster.is_whole(Sweep::Large, batch).await;
    }
}
