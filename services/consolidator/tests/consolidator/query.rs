//! The query endpoint, asked with nothing but a NATS client.

use async_nats::{HeaderMap, Message};
use futures::StreamExt;
use jetsweep_shared::events::{ErrorReply, headers};
use jetsweep_shared::service::{self, ServiceError};
use serde_json::{Value, json};

use crate::support::{RUNS, Running, Setting, begin, header};

const SUBJECT: &str = "jetsweep.consolidator.query";

/// A consolidator with one finished batch.
async fn with_a_batch() -> (Setting, Running) {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    setting.publish_whole(&begin("b", 0)).await;
    setting.ended("b").await;
    (setting, consolidator)
}

async fn ask(setting: &Setting, payload: &str) -> Message {
    setting.bus.client.request(SUBJECT, payload.to_owned().into()).await.unwrap()
}

pub(crate) async fn answer(setting: &Setting, sql: &str) -> Value {
    let reply = ask(setting, sql).await;
    assert_eq!(header(&reply, "Nats-Service-Error"), None, "{sql}: {:?}", reply.payload);
    serde_json::from_slice(&reply.payload).unwrap()
}

async fn refusal(setting: &Setting, sql: &str) -> ErrorReply {
    let reply = ask(setting, sql).await;
    let body: ErrorReply = serde_json::from_slice(&reply.payload).unwrap_or_else(|_| panic!("{sql}: {reply:?}"));
    assert!(header(&reply, "Nats-Service-Error").is_some() && header(&reply, "Nats-Service-Error-Code").is_some());
    body
}

#[tokio::test]
async fn rows_come_as_objects() {
    let (setting, consolidator) = with_a_batch().await;
    let best =
        answer(&setting, "SELECT symbol, run FROM backtest_results ORDER BY sharpe DESC NULLS LAST LIMIT 2").await;
    assert_eq!(best.as_array().unwrap().len(), 2);
    assert!(best[0]["symbol"].is_string() && best[0]["run"].is_u64());
    let counted = answer(&setting, r#"{"sql": "FROM batches SELECT count(*) AS n;"}"#).await;
    assert_eq!(counted, json!([{"n": 1}]));
    assert_eq!(answer(&setting, "FROM backtest_results WHERE run < 0").await, json!([]));
    for view in ["best_runs", "strategy_summary", "symbol_summary", "symbol_strategy_summary", "batch_progress"] {
        let rows = answer(&setting, &format!("FROM {view}")).await;
        assert!(!rows.as_array().unwrap().is_empty(), "{view}");
    }
    for sql in ["DESCRIBE backtest_results", "SHOW TABLES", "SUMMARIZE SELECT run, sharpe FROM backtest_results"] {
        assert!(!answer(&setting, sql).await.as_array().unwrap().is_empty(), "{sql}");
    }
    consolidator.stop().await;
}

#[tokio::test]
async fn every_type_has_its_json() {
    let (setting, consolidator) = with_a_batch().await;
    let row = answer(
        &setting,
        "SELECT 9007199254740993::BIGINT AS big, 18446744073709551615::UBIGINT AS unsigned, sum(x) AS huge,
             0.1::DOUBLE + 0.2 AS double, 0.1::FLOAT AS float, 'nan'::DOUBLE AS nan, 1.50::DECIMAL(10, 2) AS decimal,
             TRUE AS yes, NULL AS nothing, 'x\"y' AS text, 'a'::ENUM('a', 'b') AS enum, uuid() IS NOT NULL AS id,
             TIMESTAMP '2024-05-06 07:08:09.000001' AS at, DATE '2024-02-29' AS day, TIME '07:08:09.5' AS clock,
             [1, NULL, 3] AS list, [0.5, 0.25]::DOUBLE[2] AS pair, {'a': 1, 'b': [DATE '2024-01-01']} AS struct,
             MAP {'k': 7} AS map, '{\"fast\": 10, \"deep\": [1.5]}'::JSON AS json, '\\xAB\\x01'::BLOB AS blob,
             1 AS twice, 2 AS twice
         FROM range(3) t(x)",
    )
    .await;
    let expected = json!({
        "big": 9_007_199_254_740_993_i64, "unsigned": u64::MAX, "huge": 3,
        "double": 0.1 + 0.2, "float": 0.1, "nan": null, "decimal": 1.5,
        "yes": true, "nothing": null, "text": "x\"y", "enum": "a", "id": true,
        "at": "2024-05-06T07:08:09.000001Z", "day": "2024-02-29", "clock": "07:08:09.5",
        "list": [1, null, 3], "pair": [0.5, 0.25], "struct": {"a": 1, "b": ["2024-01-01"]},
        "map": [{"key": "k", "value": 7}], "json": {"fast": 10, "deep": [1.5]}, "blob": "ab01",
        "twice": 1, "twice_1": 2,
    });
    assert_eq!(row, json!([expected]));
    consolidator.stop().await;
}

#[tokio::test]
async fn whatever_does_more_than_read_is_refused() {
    let (setting, consolidator) = with_a_batch().await;
    let file = setting.database();
    let outside = setting.database().with_file_name("outside.csv");
    std::fs::write(&outside, "a\n1\n").unwrap();
    let (file, outside) = (file.display(), outside.display());
    let other = setting.database().with_file_name("other.duckdb");
    let other = other.display();
    let attempts = [
        "DELETE FROM backtest_results".to_owned(),
        "INSERT INTO position VALUES ('x', 'y', 1)".to_owned(),
        "UPDATE batches SET state = 'running'".to_owned(),
        "DROP TABLE shards".to_owned(),
        "CREATE TABLE t (a INT)".to_owned(),
        "CREATE TEMP TABLE t AS SELECT 1".to_owned(),
        "SELECT 1; DROP TABLE shards".to_owned(),
        "SELECT 1; SELECT 2".to_owned(),
        "SELECT 1) ; DROP TABLE shards; SELECT (1".to_owned(),
        "/* SELECT */ DROP VIEW failures".to_owned(),
        "WITH gone AS (DELETE FROM shards RETURNING *) SELECT * FROM gone".to_owned(),
        "BEGIN".to_owned(),
        "COMMIT".to_owned(),
        "ROLLBACK; DELETE FROM shards".to_owned(),
        "CHECKPOINT".to_owned(),
        "FORCE CHECKPOINT".to_owned(),
        "FROM checkpoint()".to_owned(),
        "FROM force_checkpoint()".to_owned(),
        "SELECT * FROM batches, LATERAL (FROM checkpoint())".to_owned(),
        "SELECT (SELECT count(*) FROM enable_logging())".to_owned(),
        "FROM enable_profiling()".to_owned(),
        "FROM truncate_duckdb_logs()".to_owned(),
        "SELECT write_log('x')".to_owned(),
        "SELECT nextval('s')".to_owned(),
        "PRAGMA enable_profiling".to_owned(),
        "CALL pragma_version()".to_owned(),
        "SET threads = 1".to_owned(),
        "SET enable_external_access = true".to_owned(),
        "RESET lock_configuration".to_owned(),
        "INSTALL httpfs".to_owned(),
        "LOAD httpfs".to_owned(),
        "EXPLAIN ANALYZE SELECT 1".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "EXECUTE p".to_owned(),
        format!("ATTACH '{other}' AS other"),
        "DETACH results".to_owned(),
        format!("COPY batches TO '{outside}'"),
        format!("COPY position FROM '{outside}'"),
        "EXPORT DATABASE '/tmp/x'".to_owned(),
        format!("FROM read_csv('{outside}')"),
        format!("FROM read_text('{outside}')"),
        format!("FROM read_blob('{file}')"),
        format!("FROM read_json('{outside}')"),
        format!("FROM read_parquet('{outside}')"),
        format!("FROM parquet_metadata('{outside}')"),
        format!("FROM sniff_csv('{outside}')"),
        format!("FROM '{outside}'"),
        format!("FROM \"{outside}\""),
        format!("FROM '{file}'"),
        format!("FROM read_duckdb('{file}', table_name = 'shards')"),
        format!("SELECT * FROM (DESCRIBE '{outside}')"),
        "FROM glob('/*')".to_owned(),
        "FROM query('SELECT 1')".to_owned(),
        "FROM query_table('shards')".to_owned(),
        "FROM duckdb_secrets()".to_owned(),
        "FROM json_execute_serialized_sql('{}')".to_owned(),
        "SELECT getenv('HOME')".to_owned(),
        String::new(),
        ";".to_owned(),
        "-- nothing".to_owned(),
        "SELEC 1".to_owned(),
        "SELECT nothing FROM nowhere".to_owned(),
        "SELECT ?".to_owned(),
        "SELECT 1 /*".to_owned(),
        "{\"no\": \"sql\"}".to_owned(),
        "SELECT 1\0; DROP TABLE shards".to_owned(),
    ];
    for sql in &attempts {
        let refused = refusal(&setting, sql).await;
        assert_eq!(refused.code, "invalid_query", "{sql}: {}", refused.message);
        assert!(!refused.message.is_empty(), "{sql}");
    }
    assert!(!setting.database().with_file_name("other.duckdb").exists());
    assert_eq!(answer(&setting, "SELECT count(*) AS n FROM backtest_results").await, json!([{"n": RUNS}]));
    assert!(refusal(&setting, "DROP TABLE shards").await.message.contains("one SELECT"));
    // The writer goes on.
    setting.publish_whole(&begin("after", 0)).await;
    setting.ended("after").await;
    consolidator.stop().await;
}

#[tokio::test]
async fn large_answers_come_in_parts() {
    let (setting, consolidator) = with_a_batch().await;
    let sql = "SELECT i, repeat('x', 1000) AS filler FROM range(5000) t(i)";
    let refused = refusal(&setting, sql).await;
    assert_eq!(refused.code, "too_large");
    assert!(refused.message.contains("Jetsweep-Stream: 1"), "{}", refused.message);

    let parts = in_parts(&setting, sql).await;
    let max_payload = setting.server.connect().await.server_info().max_payload;
    assert!(parts.len() > 10 && parts.iter().all(|part| part.payload.len() < max_payload));
    let (last, parts) = parts.split_last().unwrap();
    assert!(last.payload.is_empty() && header(last, "Nats-Service-Error").is_none());
    let mut next = 0;
    for (number, part) in parts.iter().enumerate() {
        assert_eq!(header(part, headers::PART), Some(number.to_string().as_str()));
        for row in serde_json::from_slice::<Vec<Value>>(&part.payload).unwrap() {
            assert_eq!(row["i"], next);
            next += 1;
        }
    }
    assert_eq!(next, 5000);
    assert_eq!(header(last, headers::PART), Some(parts.len().to_string().as_str()));

    let empty = in_parts(&setting, "SELECT 1 WHERE false").await;
    assert_eq!(empty.len(), 1, "an answer without rows is its end");
    let broken =
        in_parts(&setting, "SELECT CASE WHEN i = 900000 THEN error('late') ELSE i END FROM range(1000000) t(i)").await;
    let error: ErrorReply = serde_json::from_slice(&broken.last().unwrap().payload).unwrap();
    assert_eq!(error.code, "invalid_query");
    let endless = in_parts(&setting, "SELECT 1 AS one FROM range(100000000)").await;
    let error: ErrorReply = serde_json::from_slice(&endless.last().unwrap().payload).unwrap();
    assert_eq!(error.code, "too_large");
    consolidator.stop().await;
}

/// All messages of an answer, up to an empty one or an error.
async fn in_parts(setting: &Setting, sql: &str) -> Vec<Message> {
    let inbox = setting.bus.client.new_inbox();
    let mut replies = setting.bus.client.subscribe(inbox.clone()).await.unwrap();
    let mut map = HeaderMap::new();
    map.insert(headers::STREAM, "1");
    let client = &setting.bus.client;
    client.publish_with_reply_and_headers(SUBJECT, inbox, map, sql.to_owned().into()).await.unwrap();
    let mut parts = Vec::new();
    loop {
        let part = jetsweep_tests::within(jetsweep_tests::LIMIT, "a part", replies.next()).await.unwrap();
        let is_last = part.payload.is_empty() || header(&part, "Nats-Service-Error").is_some();
        parts.push(part);
        if is_last {
            return parts;
        }
    }
}

#[tokio::test]
async fn a_long_query_holds_nobody_up_and_ends_with_the_service() {
    let (setting, consolidator) = with_a_batch().await;
    let forever = "SELECT count(*) FROM backtest_results r, range(10000000) a, range(10000000) b \
                   WHERE r.run + a.range + b.range = 7";
    let client = setting.bus.client.clone();
    let waiting = tokio::spawn(async move {
        let request = async_nats::Request::new().payload(forever.into()).timeout(Some(jetsweep_tests::LIMIT));
        client.send_request(SUBJECT, request).await.unwrap()
    });
    // Results and other queries go on while it runs.
    setting.publish_whole(&begin("meanwhile", 0)).await;
    setting.ended("meanwhile").await;
    assert_eq!(answer(&setting, "SELECT count(*) AS n FROM batches").await, json!([{"n": 2}]));
    assert!(!waiting.is_finished());
    consolidator.stop().await;
    let stopped: ErrorReply = serde_json::from_slice(&waiting.await.unwrap().payload).unwrap();
    assert_eq!(stopped.code, "unavailable");
}

#[tokio::test]
async fn a_query_that_wants_too_much_memory_leaves_the_writer_alone() {
    let (setting, consolidator) = with_a_batch().await;
    // More than the 256 MiB of these tests, and nothing that could be put on disk meanwhile.
    let hungry = "SELECT length(string_agg(repeat('x', 100000), '')) AS n FROM range(100000)";
    let refused = refusal(&setting, hungry).await;
    assert_eq!(refused.code, "unavailable", "{}", refused.message);
    setting.publish_whole(&begin("after", 0)).await;
    setting.ended("after").await;
    consolidator.stop().await;
}

/// All parts of an exported file, or the refusal.
async fn exported(setting: &Setting, request: Value) -> Result<Vec<u8>, ErrorReply> {
    let subject = setting.bus.names.endpoint("consolidator", "export");
    let silence = jetsweep_tests::LIMIT;
    let parts =
        service::ask(&setting.bus, subject, HeaderMap::new(), request.to_string().into(), silence).await.unwrap();
    match parts.all(1 << 20).await {
        Ok((_, bytes)) => Ok(bytes),
        Err(ServiceError::Refused(reply)) => Err(reply),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_exported_as_a_file() {
    let (setting, consolidator) = with_a_batch().await;
    let parquet = exported(&setting, json!({ "batch_id": "b" })).await.unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let csv = exported(&setting, json!({ "batch_id": "b", "format": "csv" })).await.unwrap();
    assert_eq!(String::from_utf8(csv).unwrap().lines().count() as u64, RUNS + 1);
    let lines = exported(&setting, json!({ "batch_id": "b", "format": "json" })).await.unwrap();
    let rows: Vec<Value> = lines.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(json!(rows[0]["run"]), json!(0));
    assert_eq!(rows.len() as u64, RUNS);

    assert_eq!(exported(&setting, json!({ "batch_id": "other" })).await.unwrap_err().code, "unknown_batch");
    assert_eq!(exported(&setting, json!({ "batch": 1 })).await.unwrap_err().code, "invalid_request");
    consolidator.stop().await;
}
