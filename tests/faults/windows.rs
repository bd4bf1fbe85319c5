//! kill -9 in the windows around each publish and acknowledgement, found on the wire.

use std::sync::atomic::{AtomicUsize, Ordering};

use jetsweep_tests::{Cut, Direction, Passing, Wire};

use crate::cluster::Cluster;
use crate::ledger::{SETTINGS, Sweep};

/// A window in words, and the message that opens it.
type Window = (&'static str, Cut, Box<dyn FnMut(&Passing) -> bool + Send>);

fn published(subject: &'static str) -> impl FnMut(&Passing) -> bool + Send + 'static {
    move |message| message.direction == Direction::ToServer && message.subject.starts_with(subject)
}

/// The acknowledgement of a message of this stream; not a sign of life.
fn acknowledged(stream: &'static str) -> impl FnMut(&Passing) -> bool + Send + 'static {
    let prefix = format!("$JS.ACK.{stream}.");
    move |message| {
        message.direction == Direction::ToServer
            && message.subject.starts_with(&prefix)
            && message.content.ends_with(b"+ACK")
    }
}

/// The one that fits for the n-th time.
fn nth(
    n: usize,
    mut fits: impl FnMut(&Passing) -> bool + Send + 'static,
) -> impl FnMut(&Passing) -> bool + Send + 'static {
    let seen = AtomicUsize::new(0);
    move |message| fits(message) && seen.fetch_add(1, Ordering::Relaxed) + 1 == n
}

/// Starts a service at a wire of its own that is cut at a message, kills it there, and starts it again.
async fn kill_at(
    cluster: &mut Cluster,
    role: &str,
    cut: Cut,
    fits: impl FnMut(&Passing) -> bool + Send + 'static,
    busy: impl AsyncFnOnce(&Cluster),
) {
    let wire = Wire::to(cluster.server.port()).await;
    wire.cut_at(cut, fits);
    cluster.serve_at(role, role, &wire.url());
    busy(cluster).await;
    wire.is_cut().await;
    let killed = cluster.kill(role).await;
    assert_eq!(killed.code, None, "{role} had ended by itself: {}", killed.stderr);
    cluster.serve(role, role);
}

#[tokio::test]
async fn of_a_worker() {
    let mut cluster = Cluster::with(&SETTINGS).await;
    let windows: [Window; 5] = [
        ("before the result", Cut::Before, Box::new(nth(3, published("jetsweep.results.")))),
        ("after the result, unknown to the worker", Cut::After, Box::new(nth(5, published("jetsweep.results.")))),
        ("between result and ack", Cut::Before, Box::new(nth(2, acknowledged("JETSWEEP_JOBS")))),
        ("during the ack", Cut::After, Box::new(nth(4, acknowledged("JETSWEEP_JOBS")))),
        ("before data is pinned", Cut::Before, Box::new(published("$KV.jetsweep-batches."))),
    ];
    for (number, (window, cut, fits)) in windows.into_iter().enumerate() {
        println!("{window}");
        cluster.stop("worker").await.with_code(0);
        let batch = format!("w{number}");
        let submit = async |cluster: &Cluster| cluster.submit(Sweep::Small, &batch, &[]).await;
        kill_at(&mut cluster, "worker", cut, fits, submit).await;
        cluster.is_whole(Sweep::Small, &batch).await;
    }
}

#[tokio::test]
async fn of_a_planner() {
    let mut cluster = Cluster::with(&SETTINGS).await;
    let event = |batch: &str, event: &str| {
        let subject = format!("jetsweep.results.v1.{batch}.{event}");
        move |message: &Passing| message.direction == Direction::ToServer && message.subject == subject
    };
    let windows: [Window; 8] = [
        ("before begin", Cut::Before, Box::new(event("p0", "begin"))),
        ("after begin", Cut::After, Box::new(event("p1", "begin"))),
        ("before the first job", Cut::Before, Box::new(published("jetsweep.jobs."))),
        ("amid the jobs", Cut::After, Box::new(nth(11, published("jetsweep.jobs.")))),
        ("before sealed", Cut::Before, Box::new(event("p4", "sealed"))),
        ("after sealed", Cut::After, Box::new(event("p5", "sealed"))),
        ("before its ack", Cut::Before, Box::new(acknowledged("JETSWEEP_PLANS"))),
        ("after its ack", Cut::After, Box::new(acknowledged("JETSWEEP_PLANS"))),
    ];
    for (number, (window, cut, fits)) in windows.into_iter().enumerate() {
        println!("{window}");
        cluster.stop("planner").await.with_code(0);
        let batch = format!("p{number}");
        // While no planner runs: one that is cut off could not answer.
        cluster.submit(Sweep::Small, &batch, &[]).await;
        kill_at(&mut cluster, "planner", cut, fits, async |_: &Cluster| {}).await;
        cluster.is_whole(Sweep::Small, &batch).await;
    }
}

#[tokio::test]
async fn of_a_consolidator() {
    let mut cluster = Cluster::with(&SETTINGS).await;
    let delivered = |message: &Passing| {
        message.direction == Direction::FromServer && message.subject.starts_with("jetsweep.results.")
    };
    let windows: [Window; 4] = [
        ("with results in hand, before the commit", Cut::After, Box::new(nth(7, delivered))),
        ("amid the results", Cut::Before, Box::new(nth(15, delivered))),
        ("after a commit, before its view", Cut::Before, Box::new(published("$KV.jetsweep-batches."))),
        (
            "after the last view",
            Cut::After,
            Box::new(|message: &Passing| {
                let text = String::from_utf8_lossy(&message.content);
                message.direction == Direction::ToServer && text.contains("\"state\":\"completed\"")
            }),
        ),
    ];
    for (number, (window, cut, fits)) in windows.into_iter().enumerate() {
        println!("{window}");
        cluster.stop("consolidator").await.with_code(0);
        let batch = format!("c{number}");
        let submit = async |cluster: &Cluster| cluster.submit(Sweep::Small, &batch, &[]).await;
        kill_at(&mut cluster, "consolidator", cut, fits, submit).await;
        cluster.is_whole(Sweep::Small, &batch).await;
    }
}
