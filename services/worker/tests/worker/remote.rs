//! Bars in the data bucket, as jobs meet them.

use bytes::Bytes;
use jetsweep_shared::bucket::{DataBucket, Pushed};
use jetsweep_shared::topology::{self, Tuning};
use jetsweep_tests::sample_data;
use jetsweep_worker::data::Loader;
use sha2::{Digest, Sha256};

use crate::support::{World, counted, job, timeless};

/// A world whose workers have no folder of bars, and a disk cache of their own.
async fn world(cache: &tempfile::TempDir) -> World {
    let mut world = World::new().await;
    world.config.data.root = cache.path().to_owned();
    world.config.data.cache_dir = Some(cache.path().join("cache"));
    world
}

async fn bucket(world: &World) -> DataBucket {
    DataBucket::open(&world.bus).await.unwrap().expect("the bucket")
}

/// Pushes the bars of AAPL.
async fn push(world: &World, name: &str, force: bool) -> Pushed {
    let bytes = Bytes::from(std::fs::read(sample_data().join("AAPL.csv")).unwrap());
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    bucket(world).await.push(name, &digest, &bytes, force).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_fetch_once_and_children_read_what_was_fetched() {
    let folder = World::new().await;
    let worker = folder.worker();
    folder.submit(&job(0)).await;
    let expected = timeless(folder.result(&job(0)).await);
    worker.stop().await;

    let cache = tempfile::tempdir().unwrap();
    let world = world(&cache).await;
    assert_eq!(push(&world, "daily/AAPL.csv", false).await, Pushed::Uploaded);
    let of_bucket = |shard| {
        let mut job = job(shard);
        job.data.source = "store://daily/{symbol}.csv".to_owned();
        job
    };
    // In a child first: it must be there, delivered once, before the worker is.
    world.submit_redelivered(&of_bucket(2)).await;
    for shard in [0, 1] {
        world.submit(&of_bucket(shard)).await;
    }
    let worker = world.worker();
    assert_eq!(timeless(world.result(&of_bucket(0)).await), expected);
    for shard in [1, 2] {
        let result = world.result(&of_bucket(shard)).await;
        assert_eq!(
            (result.metrics["sharpe"].clone(), result.data_digest),
            (expected.metrics["sharpe"].clone(), expected.data_digest.clone())
        );
    }
    world.queue_empty().await;
    let summary = worker.stop().await;
    assert_eq!((summary.downloads, summary.jobs_in_child, summary.jobs_retried), (1, 1, 0));
    assert_eq!(summary.downloaded_bytes, std::fs::metadata(sample_data().join("AAPL.csv")).unwrap().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_that_is_not_whole_is_waited_for() {
    let cache = tempfile::tempdir().unwrap();
    let world = world(&cache).await;
    push(&world, "AAPL.csv", false).await;
    let stream = world.bus.jetstream.get_stream(world.bus.names.data_stream()).await.unwrap();
    stream.purge().filter("$O.jetsweep-data.C.>").await.unwrap();
    let mut of_bucket = job(0);
    of_bucket.data.source = "store://{symbol}.csv".to_owned();
    world.submit(&of_bucket).await;
    let worker = world.worker();
    counted(&worker, "the job to be put off", |summary| summary.jobs_retried > 0).await;
    let files = std::fs::read_dir(cache.path().join("cache/sha256")).unwrap();
    assert_eq!(files.count(), 0, "what is not whole is not kept");

    // Somebody pushes it again, as `jetsweep data push --force` does.
    assert_eq!(push(&world, "AAPL.csv", true).await, Pushed::Uploaded);
    assert_eq!(world.result(&of_bucket).await.failed, []);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_waited_for() {
    let cache = tempfile::tempdir().unwrap();
    let world = world(&cache).await;
    let of_bucket = |shard, source: &str| {
        let mut job = job(shard);
        job.data.source = source.to_owned();
        job
    };
    push(&world, "first/AAPL.csv", false).await;
    let worker = world.worker();
    let first = of_bucket(0, "store://first/{symbol}.csv");
    world.submit(&first).await;
    assert_eq!(world.result(&first).await.failed, []);

    // The worker has opened the one that goes.
    world.bus.jetstream.delete_stream(world.bus.names.data_stream()).await.unwrap();
    let second = of_bucket(1, "store://second/{symbol}.csv");
    world.submit(&second).await;
    counted(&worker, "the job to be put off", |summary| summary.jobs_retried > 0).await;
    let loader = Loader::new(cache.path().to_owned(), &world.config, Some(world.bus.clone()));
    let error = loader.load(&second.data, &second.symbol).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("there is no bucket jetsweep-data"), "{error}");

    world.ensure().await;
    assert_eq!(push(&world, "second/AAPL.csv", false).await, Pushed::Uploaded);
    assert_eq!(world.result(&second).await.failed, []);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_finds_its_content_keeps_it_from_being_tidied_up() {
    let world = World::new().await;
    assert_eq!(push(&world, "A.csv", false).await, Pushed::Uploaded);
    assert_eq!(push(&world, "A.csv", false).await, Pushed::Unchanged);
    let bucket = bucket(&world).await;
    assert!(bucket.remove("A.csv").await.unwrap());
    assert!(!bucket.remove("A.csv").await.unwrap());
    assert_eq!(bucket.find("A.csv").await.unwrap(), None);
    assert_eq!(push(&world, "B.csv", false).await, Pushed::Named);
    let freed = bucket.tidy(std::time::Duration::ZERO).await.unwrap();
    assert_eq!((freed.contents, freed.remains), (0, 0));
    assert!(bucket.remove("B.csv").await.unwrap());
    let freed = bucket.tidy(std::time::Duration::ZERO).await.unwrap();
    assert_eq!((freed.contents, freed.remains), (1, 0));
    assert_eq!(push(&world, "B.csv", false).await, Pushed::Uploaded);
    // The bucket is as its file says, and may be put in place any number of times.
    topology::ensure_data(&world.bus.jetstream, &world.bus.names, &Tuning::default()).await.unwrap();
}
