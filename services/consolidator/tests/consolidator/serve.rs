//! The whole service: from the log into the file, with its views and what it cannot take.

use jetsweep_consolidator::{ConsolidatorError, DatabaseError, WriterError};
use jetsweep_shared::events::{BatchState, headers};
use jetsweep_shared::subjects::{BatchEvent, status_key};

use crate::support::{
    RUNS, SHARDS, Setting, assert_row, begin, cancelled, header, result, rows, sealed, value, with_a_failure,
};

#[tokio::test]
async fn a_batch_ends_up_in_the_file_and_in_its_view() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let begin = begin("b", 0);
    setting.publish_begin(&begin).await;
    let running = setting.status("b", |_| true).await;
    assert_eq!((running.state, running.total_runs, running.done()), (BatchState::Running, RUNS, 0));
    for shard in 0..SHARDS {
        setting.publish_result(&result(&begin, shard)).await;
    }
    let all_there = setting.status("b", |status| status.done() == RUNS).await;
    assert_eq!(all_there.state, BatchState::Running, "until it is sealed");
    setting.publish_event(&begin.batch_id, BatchEvent::Sealed, &sealed(&begin)).await;
    let ended = setting.ended("b").await;
    assert_eq!((ended.state, ended.succeeded, ended.created_at), (BatchState::Completed, RUNS, Some(begin.created_at)));
    assert!(ended.completed_at.is_some());
    consolidator.stop().await;

    let stored = rows(&setting.database(), "SELECT * FROM backtest_results ORDER BY run");
    assert_eq!(stored.len() as u64, RUNS);
    assert_row(&stored[0], &result(&begin, 0), 0);
    assert!(!setting.database().with_extension("duckdb.wal").exists(), "a clean end leaves no log beside the file");
}

#[tokio::test]
async fn each_copy_of_a_result_counts_once() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let begin = begin("b", 0);
    setting.publish_begin(&begin).await;
    setting.publish_begin(&begin).await;
    for shard in [3, 1, 3, 1, 1] {
        setting.publish_result(&result(&begin, shard)).await;
    }
    setting.publish_whole(&begin).await;
    let ended = setting.ended("b").await;
    assert_eq!((ended.succeeded, ended.done()), (RUNS, RUNS));
    consolidator.stop().await;
    assert_eq!(value(&setting.database(), "SELECT count(*) FROM backtest_results"), RUNS);
}

#[tokio::test]
async fn a_cancelled_batch_ends() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let begin = begin("b", 0);
    setting.publish_begin(&begin).await;
    setting.publish_result(&with_a_failure(&begin, 0)).await;
    setting.publish_event(&begin.batch_id, BatchEvent::Cancelled, &cancelled(&begin)).await;
    setting.publish_result(&result(&begin, 1)).await;
    let ended = setting.ended("b").await;
    assert_eq!((ended.state, ended.succeeded, ended.failed, ended.cancelled), (BatchState::Cancelled, 3, 1, RUNS - 4));
    consolidator.stop().await;
}

#[tokio::test]
async fn what_cannot_be_taken_is_kept_with_the_reason() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let begin = begin("b", 0);
    let names = setting.bus.names.clone();
    setting.publish_begin(&begin).await;
    let garbage = bytes::Bytes::from_static(b"{\"version\": 1, \"runs\": []}");
    setting.publish_bytes(&names.result(&begin.batch_id, 0, 0), garbage.clone()).await;
    setting.publish_bytes("jetsweep.results.v1.b.nonsense", "x".into()).await;
    let mut other_range = result(&begin, 2);
    other_range.runs.start += 1;
    setting.publish_result(&other_range).await;
    let stray = crate::support::begin("stray", 0);
    setting.publish_result(&result(&stray, 0)).await;
    setting.publish_whole(&begin).await;

    let ended = setting.ended("b").await;
    assert_eq!(ended.succeeded, RUNS, "what follows is taken all the same");
    let malformed = setting.dead_letter("malformed").await;
    assert_eq!(malformed.payload, garbage, "byte for byte");
    assert_eq!(malformed.subject.as_str(), names.dead_job(&begin.batch_id, 0, 0));
    assert_eq!(header(&malformed, headers::ORIGIN), Some(names.result(&begin.batch_id, 0, 0).as_str()));
    assert!(header(&malformed, headers::ERROR).unwrap().contains("does not parse"));
    let contradicting = setting.dead_letter("not_of_plan").await;
    assert!(header(&contradicting, headers::ERROR).unwrap().contains("4 runs from"), "{contradicting:?}");
    let unknown = setting.dead_letter("unknown_batch").await;
    assert!(header(&unknown, headers::ERROR).unwrap().contains("no begin event of batch stray"));
    let all = jetsweep_tests::messages(&setting.bus.jetstream, &names.dead_stream(), "jetsweep.dead.>", 4).await;
    assert!(all.iter().any(|message| message.subject.starts_with("jetsweep.dead.v1.malformed.")));
    consolidator.stop().await;
}

#[tokio::test]
async fn a_later_version_stops_it_where_it_is() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let begin = begin("b", 0);
    setting.publish_begin(&begin).await;
    setting.publish_result(&result(&begin, 0)).await;
    let subject = setting.bus.names.batch_event(&begin.batch_id, BatchEvent::Cancelled);
    setting.publish_bytes(&subject, r#"{"version": 2, "new": true}"#.into()).await;
    setting.publish_result(&result(&begin, 2)).await;
    let error = consolidator.end().await.unwrap_err();
    assert!(matches!(error, ConsolidatorError::Writer(WriterError::Later { sequence: 3, .. })), "{error}");
    assert!(error.to_string().contains("upgrade"), "{error}");
    assert_eq!(value(&setting.database(), "SELECT sequence FROM position"), 2, "what came before it is kept");
    assert_eq!(value(&setting.database(), "SELECT count(*) FROM backtest_results"), 4);
}

#[tokio::test]
async fn a_result_of_a_later_version_on_a_subject_of_this_one_stops_nobody() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let begin = begin("b", 0);
    let subject = setting.bus.names.result(&begin.batch_id, 0, 1);
    let later = r#"{"version": 2, "new": true}"#;
    setting.publish_begin(&begin).await;
    setting.publish_bytes(&subject, later.into()).await;
    setting.publish_whole(&begin).await;
    assert_eq!(setting.ended("b").await.succeeded, RUNS);
    let letter = setting.dead_letter("malformed").await;
    assert_eq!((&letter.payload[..], header(&letter, headers::ORIGIN)), (later.as_bytes(), Some(subject.as_str())));
    assert!(header(&letter, headers::ERROR).unwrap().contains("version 2"), "{letter:?}");
    consolidator.stop().await;
}

#[tokio::test]
async fn it_reads_on_where_it_stopped() {
    let setting = Setting::new().await;
    let begin = begin("b", 0);
    setting.publish_begin(&begin).await;
    for shard in 0..SHARDS {
        let consolidator = setting.consolidator();
        setting.publish_result(&result(&begin, shard)).await;
        let done = result(&begin, shard).runs.end();
        setting.status("b", |status| status.done() == done).await;
        consolidator.stop().await;
    }
    setting.publish_event(&begin.batch_id, BatchEvent::Sealed, &sealed(&begin)).await;
    let consolidator = setting.consolidator();
    setting.ended("b").await;
    consolidator.stop().await;
    assert_eq!(value(&setting.database(), "SELECT count(*) FROM backtest_results"), RUNS);
}

#[tokio::test]
async fn it_survives_the_servers_death() {
    let mut setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let begin = begin("b", 0);
    setting.publish_begin(&begin).await;
    setting.status("b", |_| true).await;
    for shard in 0..SHARDS {
        if shard % 4 == 1 {
            setting.server.restart().await;
        }
        setting.publish_result(&result(&begin, shard)).await;
    }
    setting.publish_event(&begin.batch_id, BatchEvent::Sealed, &sealed(&begin)).await;
    let ended = setting.ended("b").await;
    assert_eq!((ended.state, ended.succeeded), (BatchState::Completed, RUNS));
    consolidator.stop().await;
}

#[tokio::test]
async fn a_purged_part_of_the_log_is_a_gap_and_no_end() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let (old, new) = (begin("old", 0), begin("new", 0));
    setting.publish_whole(&old).await;
    setting.ended("old").await;
    let stream = setting.bus.jetstream.get_stream(setting.bus.names.results_stream()).await.unwrap();
    stream.purge().filter(setting.bus.names.results_of_batch(&old.batch_id)).await.unwrap();
    setting.publish_whole(&new).await;
    setting.ended("new").await;
    consolidator.stop().await;
    // The same once more from a database that has read nothing of what is gone.
    let consolidator = setting.consolidator();
    setting.publish_whole(&begin("newest", 0)).await;
    setting.ended("newest").await;
    consolidator.stop().await;
}

#[tokio::test]
async fn a_stream_created_anew_is_read_from_its_beginning() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let (old, new) = (begin("old", 0), begin("new", 0));
    setting.publish_whole(&old).await;
    setting.ended("old").await;
    let recreate = async || {
        let name = setting.bus.names.results_stream();
        setting.bus.jetstream.delete_stream(&name).await.unwrap();
        let tuning = jetsweep_shared::topology::Tuning::default();
        jetsweep_shared::topology::ensure(&setting.bus.jetstream, &setting.bus.names, &tuning).await.unwrap();
    };
    // While it runs. The new stream has the old batch's results again, and fewer messages than were read.
    recreate().await;
    setting.publish_whole(&new).await;
    setting.publish_result(&result(&old, 0)).await;
    setting.ended("new").await;
    consolidator.stop().await;
    // While it does not run; the new stream has more messages than were read of the old one.
    recreate().await;
    for number in 0..3 {
        setting.publish_whole(&begin(&format!("later{number}"), 0)).await;
    }
    let consolidator = setting.consolidator();
    for number in 0..3 {
        assert_eq!(setting.ended(&format!("later{number}")).await.succeeded, RUNS);
    }
    consolidator.stop().await;
    assert_eq!(value(&setting.database(), "SELECT count(*) FROM backtest_results"), RUNS * 5);
}

#[tokio::test]
async fn the_view_of_an_ended_batch_is_written_even_if_it_was_lost() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    setting.publish_whole(&begin("b", 0)).await;
    setting.ended("b").await;
    consolidator.stop().await;
    // As after a death between the commit and the view.
    let bucket = setting.bus.batches().await.unwrap();
    bucket.purge(status_key(&begin("b", 0).batch_id)).await.unwrap();
    let consolidator = setting.consolidator();
    let ended = setting.ended("b").await;
    assert_eq!((ended.state, ended.succeeded), (BatchState::Completed, RUNS));
    consolidator.stop().await;
}

#[tokio::test]
async fn a_second_consolidator_in_one_process_is_refused() {
    let setting = Setting::new().await;
    let first = setting.consolidator();
    setting.publish_whole(&begin("b", 0)).await;
    setting.ended("b").await;
    let error = setting.consolidator().end().await.unwrap_err();
    assert!(matches!(error, ConsolidatorError::Database(DatabaseError::HeldHere { .. })), "{error}");
    first.stop().await;
    setting.consolidator().stop().await;
}
