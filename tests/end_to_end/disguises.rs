//! What somebody has others say: the server, by its answers, and an operator, by letters to be put back.
//!
//! Out of a role's account answers reach nobody (`security.rs`). Where all share one account, they do.

use async_nats::jetstream::{self, consumer::push};
use jetsweep_tests::{Running, eventually, message};

use crate::cluster::Cluster;
use crate::secured::Secured;
use crate::support::{example, ledger, text};

/// A connection within the account of the streams.
struct Attack {
    client: async_nats::Client,
    jetstream: jetstream::Context,
    planted: usize,
}

impl Attack {
    fn new(client: async_nats::Client) -> Self {
        Self { jetstream: jetstream::new(client.clone()), client, planted: 0 }
    }

    /// Stores a payload as workers do, and returns the key's subject.
    async fn plant(&mut self, payload: &str) -> String {
        self.planted += 1;
        let subject = format!("$KV.jetsweep-batches.x.data.N{}", self.planted);
        self.jetstream.publish(subject.clone(), payload.to_owned().into()).await.unwrap().await.unwrap();
        subject
    }

    /// Has the server answer a request for what was stored to this subject.
    async fn answer_to(&mut self, to: &str, payload: &str) {
        let planted = self.plant(payload).await;
        let request = format!("$JS.API.DIRECT.GET.KV_jetsweep-batches.{planted}");
        self.client.publish_with_reply(request, to.to_owned(), "".into()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// Has a consumer deliver what was stored to this subject.
    async fn deliver_to(&mut self, to: &str, payload: &str) {
        let planted = self.plant(payload).await;
        let stream = self.jetstream.get_stream_no_info("KV_jetsweep-batches").await.unwrap();
        let config = push::Config {
            deliver_subject: to.to_owned(),
            // That of endpoints.
            deliver_group: Some("q".to_owned()),
            filter_subject: planted,
            ..Default::default()
        };
        stream.create_consumer(config).await.unwrap();
    }

    /// The letter of a message that was given up on, with its code and its place.
    async fn letter(&self, origin: &str) -> (String, String) {
        let is_of = |message: &async_nats::Message| header(message, "Jetsweep-Origin") == origin;
        let letter = message(&self.jetstream, "JETSWEEP_DEAD", "jetsweep.dead.>", is_of).await;
        (header(&letter, "Jetsweep-Error-Code"), letter.subject.to_string())
    }

    /// Messages of RESULTS on a subject.
    async fn stored(&self, subject: &str) -> usize {
        let stream = self.jetstream.get_stream("JETSWEEP_RESULTS").await.unwrap();
        let mut subjects = stream.info_with_subjects(subject).await.unwrap();
        let mut count = 0;
        while let Some((_, messages)) = futures::TryStreamExt::try_next(&mut subjects).await.unwrap() {
            count += messages;
        }
        count
    }
}

fn header(message: &async_nats::Message, name: &str) -> String {
    let value = message.headers.as_ref().and_then(|headers| headers.get(name));
    value.map(|value| value.as_str().to_owned()).unwrap_or_default()
}

async fn connect(secured: &Secured, role: &str) -> async_nats::Client {
    let options = async_nats::ConnectOptions::with_user_and_password(role.into(), secured.password(role));
    options.custom_inbox_prefix(format!("_INBOX.{role}")).connect(secured.server.url()).await.unwrap()
}

async fn ignored(service: &Running, count: usize) {
    eventually(&format!("the service to ignore {count}: {}", service.stderr()), async || {
        (service.stderr().matches("nobody asked").count() >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_the_server_in_disguise_nothing_comes() {
    let cluster = Cluster::start().await;
    let [planner, worker, consolidator] = ["planner", "worker", "consolidator"].map(|role| cluster.service(role));
    let spec = example("quickstart.toml");
    let submit = async |batch: &str| {
        let args = ["submit", text(&spec), "--batch", batch, "--wait", "--output", "json"];
        let submitted = eventually("the batch to be taken", async || {
            let done = cluster.jetsweep(&args).done().await;
            (done.code == Some(0)).then_some(done)
        });
        assert_eq!(ledger(&submitted.await.json()), (459, [459, 0, 0, 0]));
    };
    let count = async |table: &str, batch: &str| {
        let sql = format!("SELECT count(*) FROM {table} WHERE batch_id = '{batch}'");
        let done = cluster.jetsweep(&["query", &sql, "--output", "quiet"]).done().await;
        done.with_code(0).stdout.trim().to_owned()
    };
    submit("victim").await;

    let mut attack = Attack::new(cluster.server.connect().await);
    let results = attack.jetstream.get_stream("JETSWEEP_RESULTS").await.unwrap();
    let begin = results.get_last_raw_message_by_subject("jetsweep.results.v1.victim.begin").await.unwrap();
    let begin = String::from_utf8(begin.payload.to_vec()).unwrap();

    // Into the log: an event of a batch that is not, and events of one that is.
    let forged = begin.replace("\"victim\"", "\"forged\"");
    attack.answer_to("jetsweep.results.v1.forged.begin", &forged).await;
    let deleted = r#"{"version": 1, "batch_id": "victim", "generation": 0, "deleted_at": "2026-01-01T00:00:00Z"}"#;
    attack.answer_to("jetsweep.results.v1.victim.deleted", deleted).await;
    attack.answer_to("jetsweep.results.v1.victim.begin", &begin.replace("sma_cross", "ema_cross")).await;
    // One of a later version would stop the consolidator.
    attack.answer_to("jetsweep.results.v1.victim.sealed", r#"{"version": 2}"#).await;
    for event in ["forged.begin", "victim.deleted", "victim.begin", "victim.sealed"] {
        let (code, kept_under) = attack.letter(&format!("jetsweep.results.v1.{event}")).await;
        assert_eq!(code, "malformed", "{event}");
        assert!(kept_under.starts_with("jetsweep.dead.v1.malformed.JETSWEEP_RESULTS."), "{event}: {kept_under}");
    }
    assert_eq!(
        (count("batches", "forged").await, count("backtest_results", "victim").await),
        ("0".into(), "459".into())
    );
    // Whoever reads a single event reads the one that was published: the plan is still that of the digest.
    cluster.jetsweep(&["replay", "victim", "7"]).done().await.with_code(0);

    // Into the queues: a job for a shard that is done, and a plan.
    let job = r#"{"version": 1, "batch_id": "victim"}"#;
    attack.answer_to("jetsweep.jobs.v1.native.high.victim.0.0", job).await;
    let (code, kept_under) = attack.letter("jetsweep.jobs.v1.native.high.victim.0.0").await;
    assert_eq!(code, "malformed");
    assert!(kept_under.starts_with("jetsweep.dead.v1.malformed.JETSWEEP_JOBS."), "{kept_under}");
    attack.answer_to("jetsweep.plans.v1.planned", &std::fs::read_to_string(&spec).unwrap()).await;
    assert_eq!(attack.letter("jetsweep.plans.v1.planned").await.0, "malformed");
    assert_eq!(attack.stored("jetsweep.results.v1.planned.>").await, 0);

    // To the endpoints: an answer, and what a consumer delivers.
    let delete = r#"{"batch_id": "victim"}"#;
    let before = attack.stored("jetsweep.results.v1.victim.>").await;
    attack.answer_to("jetsweep.planner.delete", delete).await;
    ignored(planner, 1).await;
    attack.deliver_to("jetsweep.planner.delete", delete).await;
    ignored(planner, 2).await;
    attack.answer_to("jetsweep.consolidator.query", "SELECT 1").await;
    attack.answer_to("jetsweep.consolidator.export", delete).await;
    ignored(consolidator, 2).await;
    attack.answer_to("jetsweep.worker.replay", delete).await;
    ignored(worker, 1).await;
    assert_eq!(attack.stored("jetsweep.results.v1.victim.>").await, before, "no event was stored");
    assert_eq!(count("backtest_results", "victim").await, "459");

    // Into the bucket: neither is the batch cancelled, nor all work paused.
    let ask = |action: &str| {
        format!(r#"{{"version": 1, "action": "{action}", "generation": 9, "requested_at": "2026-01-01T00:00:00Z"}}"#)
    };
    attack.answer_to("$KV.jetsweep-batches.forged.control", &ask("cancel")).await;
    attack.answer_to("$KV.jetsweep-batches.=all.control", &ask("pause")).await;
    eventually("the worker to ignore the pause", async || {
        worker.stderr().contains("ignored what nobody has asked").then_some(())
    })
    .await;

    // A batch of that name can be submitted all the same, and the real one be deleted.
    submit("forged").await;
    assert_eq!(count("backtest_results", "forged").await, "459");
    cluster.jetsweep(&["delete", "victim"]).done().await.with_code(0);
    eventually("the batch to be gone", async || (count("backtest_results", "victim").await == "0").then_some(())).await;
}

#[tokio::test]
async fn a_forged_letter_is_not_put_back_by_an_operator() {
    let secured = Secured::start("secure.conf").await;
    let planner = secured.jetsweep("planner", &["planner"]).start();
    let attack = Attack::new(connect(&secured, "operator").await);
    eventually("the streams", async || attack.jetstream.get_stream("JETSWEEP_DEAD").await.ok()).await;
    let worker = jetstream::new(connect(&secured, "worker").await);
    let write = async |kept_under: &str, origin: &str| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Jetsweep-Error-Code", "malformed");
        headers.insert("Jetsweep-Origin", origin);
        let written = worker.publish_with_headers(kept_under.to_owned(), headers, "{}".into()).await.unwrap();
        written.await.unwrap().sequence.to_string()
    };
    for (origin, why) in [
        ("jetsweep.results.v1.b.begin", "`begin` is an event that services alone may publish"),
        ("jetsweep.results.v1.b.deleted", "`deleted` is an event that services alone may publish"),
        ("jetsweep.plans.v1.b", "does not agree with where it is kept"),
        ("jetsweep.jobs.v1.native.high.b.0.0", "does not agree with where it is kept"),
        ("jetsweep.planner.delete", "does not agree with where it is kept"),
    ] {
        let number = write("jetsweep.dead.v1.malformed.JETSWEEP_RESULTS.1", origin).await;
        let refused = secured.jetsweep("operator", &["dead", "retry", &number]).done().await.with_code(2).stderr;
        assert!(refused.contains(why) && refused.contains("dead drop"), "{origin}: {refused}");
    }
    assert_eq!(attack.stored("jetsweep.results.>").await, 0);
    // What a worker may publish itself can be put back.
    let number = write("jetsweep.dead.v1.malformed.JETSWEEP_RESULTS.1", "jetsweep.results.v1.b.0.0").await;
    secured.jetsweep("operator", &["dead", "retry", &number]).done().await.with_code(0);
    assert_eq!(attack.stored("jetsweep.results.>").await, 1);
    drop(planner);
}
