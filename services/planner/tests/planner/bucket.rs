//! The data bucket, which the planner makes: contents are stored once, names lead to them, and what has no name goes.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use jetsweep_shared::bucket::{DataBucket, Freed, Pushed};

use crate::support::Stage;

/// Two files with their SHA-256.
const ONE: (&str, &str) = ("one", "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
const TWO: (&str, &str) = ("two", "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3");

async fn push(bucket: &DataBucket, name: &str, (text, digest): (&'static str, &str)) -> Pushed {
    bucket.push(name, digest, &Bytes::from_static(text.as_bytes()), false).await.unwrap()
}

/// What a name leads to, read.
async fn read(bucket: &DataBucket, name: &str) -> Option<String> {
    let content = bucket.find(name).await.unwrap()?;
    let pieces: Vec<Bytes> = bucket.read(&content).try_collect().await.unwrap();
    Some(String::from_utf8(pieces.concat()).unwrap())
}

#[tokio::test]
async fn names_lead_to_contents_that_are_stored_once() {
    let stage = Stage::set(10).await;
    let bucket = DataBucket::open(&stage.bus).await.unwrap().expect("the bucket is part of the topology");
    assert_eq!(push(&bucket, "daily/A.csv", ONE).await, Pushed::Uploaded);
    assert_eq!(push(&bucket, "daily/A.csv", ONE).await, Pushed::Unchanged);
    assert_eq!(push(&bucket, "daily/B.csv", ONE).await, Pushed::Named);
    let listing = bucket.list().await.unwrap();
    let names: Vec<&str> = listing.names.iter().map(|named| named.name.as_str()).collect();
    assert_eq!((names, listing.contents.len()), (vec!["daily/A.csv", "daily/B.csv"], 1));
    assert_eq!(listing.contents[0].digest, ONE.1);

    assert_eq!(push(&bucket, "daily/A.csv", TWO).await, Pushed::Uploaded);
    assert_eq!(read(&bucket, "daily/A.csv").await.as_deref(), Some("two"));
    assert_eq!(read(&bucket, "daily/B.csv").await.as_deref(), Some("one"));
    assert_eq!(read(&bucket, "daily/C.csv").await, None);

    // What has a name stays, and so does what is young.
    assert_eq!(bucket.tidy(Duration::ZERO).await.unwrap(), Freed::default());
    assert!(bucket.remove("daily/B.csv").await.unwrap());
    assert!(!bucket.remove("daily/B.csv").await.unwrap());
    assert_eq!(bucket.tidy(Duration::from_secs(3600)).await.unwrap(), Freed::default());
    let freed = bucket.tidy(Duration::ZERO).await.unwrap();
    assert_eq!((freed.contents, freed.remains), (1, 0));
    assert_eq!(bucket.list().await.unwrap().contents.len(), 1);
    assert_eq!(read(&bucket, "daily/A.csv").await.as_deref(), Some("two"));
}
