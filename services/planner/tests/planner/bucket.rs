//! The data bucket, which the planner makes: contents are stored once, names lead to them, and what has no name goes.

use std::time::Duration;

use async_nats::jetstream::object_store::{self, ObjectStore};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use futures::TryStreamExt;
use jetsweep_shared::bucket::{BucketError, Checked, DataBucket, Freed, Pushed};
use tokio::io::AsyncReadExt;

use crate::support::Stage;

/// Two files with their SHA-256.
const ONE: (&str, &str) = ("one", "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
const TWO: (&str, &str) = ("two", "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3");

/// A server with a bucket, and that as other clients see it.
async fn stage() -> (Stage, DataBucket, ObjectStore) {
    let stage = Stage::set(10).await;
    let bucket = DataBucket::open(&stage.bus).await.unwrap().expect("the bucket is part of the topology");
    let store = stage.bus.jetstream.get_object_store(stage.bus.names.data_bucket()).await.unwrap();
    (stage, bucket, store)
}

/// Where the entry of an object is.
fn entry(name: &str) -> String {
    format!("$O.jetsweep-data.M.{}", URL_SAFE.encode(name))
}

async fn publish(stage: &Stage, subject: impl Into<String>, payload: impl Into<Bytes>) {
    stage.bus.jetstream.publish(subject.into(), payload.into()).await.unwrap().await.unwrap();
}

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
    let (_stage, bucket, _) = stage().await;
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

#[tokio::test]
async fn a_name_that_another_client_gave_is_pushed_over() {
    let (_stage, bucket, store) = stage().await;
    let other = async |store: &ObjectStore, name: &str| {
        let mut content = String::new();
        store.get(name).await.unwrap().read_to_string(&mut content).await.unwrap();
        content
    };
    store.put("A.csv", &mut "of another".as_bytes()).await.unwrap();
    assert_eq!(read(&bucket, "A.csv").await.as_deref(), Some("of another"));
    assert_eq!(push(&bucket, "A.csv", ONE).await, Pushed::Uploaded);
    assert_eq!(push(&bucket, "A.csv", ONE).await, Pushed::Unchanged);
    assert_eq!(read(&bucket, "A.csv").await.as_deref(), Some("one"));
    assert_eq!(other(&store, "A.csv").await, "one");
    // What was there goes with the next tidying up.
    let freed = bucket.tidy(Duration::ZERO).await.unwrap();
    assert_eq!((freed.contents, freed.remains), (0, 1));

    // Taken away, by this client and by another.
    store.put("B.csv", &mut "of another".as_bytes()).await.unwrap();
    assert!(bucket.remove("B.csv").await.unwrap());
    assert_eq!(push(&bucket, "B.csv", ONE).await, Pushed::Named);
    store.delete("B.csv").await.unwrap();
    assert_eq!(read(&bucket, "B.csv").await, None);
    assert_eq!(push(&bucket, "B.csv", ONE).await, Pushed::Named);
    assert_eq!(other(&store, "B.csv").await, "one");
    assert_eq!(bucket.tidy(Duration::ZERO).await.unwrap(), Freed::default());
}

#[tokio::test]
async fn an_entry_that_says_nothing_of_use_is_named_and_can_be_taken_away() {
    let (stage, bucket, _) = stage().await;
    push(&bucket, "A.csv", ONE).await;
    push(&bucket, "B.csv", TWO).await;
    let content = format!("sha256/{}", TWO.1);
    let junk = "$O.jetsweep-data.M.x.y";
    let without_digest = r#"{"name":"C.csv","bucket":"jetsweep-data","nuid":"n","size":3,"chunks":1}"#;
    for (subject, payload) in [
        (entry("B.csv").as_str(), "not JSON"),
        (&entry("C.csv"), without_digest),
        (&entry("D.csv"), without_digest),
        (&entry(&content), "{}"),
        (&entry("E.csv"), r#"{"name":"E.csv","bucket":"jetsweep-data","nuid":">"}"#),
        (&entry("F.csv"), r#"{"name":"F.csv","bucket":"jetsweep-data"}"#),
        (junk, "x"),
    ] {
        publish(&stage, subject, payload.to_owned()).await;
    }
    let listing = bucket.list().await.unwrap();
    let names: Vec<&str> = listing.names.iter().map(|named| named.name.as_str()).collect();
    assert_eq!((names, listing.contents.len()), (vec!["A.csv"], 1));
    let unreadable: Vec<&str> = listing.unreadable.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(unreadable, [junk, "B.csv", "C.csv", "D.csv", "E.csv", "F.csv", &content]);
    let reasons: Vec<&str> = listing.unreadable.iter().map(|found| found.reason.as_str()).collect();
    assert!(reasons[1].contains("none of an object"), "{reasons:?}");
    assert_eq!(reasons[2], "its entry has no digest");
    assert_eq!(reasons[3], "its entry says that its name is \"C.csv\"");
    let told = bucket.find("B.csv").await.unwrap_err().to_string();
    assert!(told.contains("B.csv") && told.contains("jetsweep data rm 'B.csv'"), "{told}");

    // Nobody knows what it needs, so nothing goes.
    let told = bucket.tidy(Duration::ZERO).await.unwrap_err();
    assert!(matches!(&told, BucketError::Unreadable { what, .. } if unreadable.contains(&what.as_str())), "{told}");
    assert!(!bucket.remove("$O.jetsweep-data.M.>").await.unwrap(), "a pattern is no name");
    assert_eq!(bucket.list().await.unwrap(), listing);
    // A content that is whole has to be tidied up; one that nobody can read may be taken away, or is pushed again.
    let whole = format!("sha256/{}", ONE.1);
    assert!(matches!(bucket.remove(&whole).await, Err(BucketError::IsContent(name)) if name == whole));
    for name in [junk, "B.csv", "D.csv", "E.csv", "F.csv", &content] {
        assert!(bucket.remove(name).await.unwrap(), "{name}");
        assert!(!bucket.remove(name).await.unwrap(), "{name}");
    }
    assert_eq!(read(&bucket, "A.csv").await.as_deref(), Some("one"), "no chunks but its own go with an entry");
    publish(&stage, entry(&content), "{}").await;
    assert_eq!(push(&bucket, "C.csv", TWO).await, Pushed::Uploaded);
    assert_eq!(read(&bucket, "C.csv").await.as_deref(), Some("two"));
    let listing = bucket.list().await.unwrap();
    assert_eq!((listing.names.len(), listing.contents.len(), listing.unreadable), (2, 2, vec![]));
    // The first upload of it is nobody's.
    let freed = bucket.tidy(Duration::ZERO).await.unwrap();
    assert_eq!((freed.contents, freed.remains), (0, 1));
}

#[tokio::test]
async fn a_link_into_another_bucket_is_not_read_as_one_into_this() {
    let (stage, bucket, store) = stage().await;
    let config = object_store::Config { bucket: "elsewhere".to_owned(), ..Default::default() };
    let elsewhere = stage.bus.jetstream.create_object_store(config).await.unwrap();
    let theirs = elsewhere.put("A.csv", &mut "theirs".as_bytes()).await.unwrap();
    push(&bucket, "A.csv", ONE).await;
    store.add_link("link.csv", &theirs).await.unwrap();
    store.add_bucket_link("whole", "elsewhere").await.unwrap();
    let told = bucket.find("link.csv").await.unwrap_err().to_string();
    assert!(told.contains("link.csv") && told.contains("the bucket elsewhere"), "{told}");
    let unreadable = bucket.list().await.unwrap().unreadable;
    let names: Vec<&str> = unreadable.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["link.csv", "whole"]);
    // It needs nothing here.
    assert_eq!(bucket.tidy(Duration::ZERO).await.unwrap(), Freed::default());
    assert_eq!(push(&bucket, "link.csv", ONE).await, Pushed::Named);
    assert!(bucket.remove("whole").await.unwrap());
    assert_eq!(bucket.list().await.unwrap().unreadable, []);
}

#[tokio::test]
async fn what_others_do_while_a_content_is_checked_makes_it_no_broken_one() {
    let (stage, bucket, store) = stage().await;
    let stream = stage.bus.jetstream.get_stream(stage.bus.names.data_stream()).await.unwrap();
    push(&bucket, "A.csv", ONE).await;
    let listed = bucket.list().await.unwrap().contents.remove(0);
    assert_eq!(bucket.check(&listed).await.unwrap(), Checked::Whole);

    // Uploaded again: what the listing said is gone, and the content is there.
    let forced = bucket.push("A.csv", ONE.1, &Bytes::from_static(b"one"), true).await.unwrap();
    assert_eq!(forced, Pushed::Uploaded);
    assert_eq!(bucket.check(&listed).await.unwrap(), Checked::Whole);

    // A piece that comes late, as to a replica that lags.
    let listed = bucket.list().await.unwrap().contents.remove(0);
    let chunk = stream.get_last_raw_message_by_subject("$O.jetsweep-data.C.>").await.unwrap();
    stream.delete_message(chunk.sequence).await.unwrap();
    let late = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        publish(&stage, chunk.subject.as_str(), chunk.payload.clone()).await;
    };
    let (checked, ()) = tokio::join!(bucket.check(&listed), late);
    assert_eq!(checked.unwrap(), Checked::Whole);

    // One that does not come.
    let chunk = stream.get_last_raw_message_by_subject("$O.jetsweep-data.C.>").await.unwrap();
    stream.delete_message(chunk.sequence).await.unwrap();
    assert_eq!(bucket.check(&listed).await.unwrap(), Checked::Broken("0 of 1 pieces are there".to_owned()));

    assert!(bucket.remove("A.csv").await.unwrap());
    bucket.tidy(Duration::ZERO).await.unwrap();
    assert_eq!(bucket.check(&listed).await.unwrap(), Checked::Gone);

    // An object of another client that a push makes a name.
    store.put("B.csv", &mut "of another".as_bytes()).await.unwrap();
    let listed = bucket.list().await.unwrap().contents.remove(0);
    push(&bucket, "B.csv", ONE).await;
    bucket.tidy(Duration::ZERO).await.unwrap();
    assert_eq!(bucket.check(&listed).await.unwrap(), Checked::Gone);
}
