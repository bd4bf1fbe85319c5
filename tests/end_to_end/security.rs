//! What the roles of `nats/roles.conf` can do, and that it is enough; TLS; secrets in what is printed.

use std::time::Duration;

use futures::TryStreamExt;
use jetsweep_tests::{Running, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::secured::{ROLES, Secured};
use crate::support::{example, ledger, text};

/// A client that speaks the protocol itself and hears the answer to each line.
struct Wire {
    lines: tokio::io::Lines<BufReader<tokio::net::tcp::OwnedReadHalf>>,
    writer: tokio::net::tcp::OwnedWriteHalf,
}

impl Wire {
    /// Connects; the answer to signing in is `+OK` or an error.
    async fn connect(port: u16, sign_in: &str) -> (Self, String) {
        let (reader, writer) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
        let mut wire = Self { lines: BufReader::new(reader).lines(), writer };
        assert!(wire.hear().await.starts_with("INFO "));
        let said =
            wire.say(&format!("CONNECT {{\"verbose\":true,\"pedantic\":false,\"protocol\":1{sign_in}}}\r\n")).await;
        (wire, said)
    }

    async fn say(&mut self, line: &str) -> String {
        self.writer.write_all(line.as_bytes()).await.unwrap();
        self.hear().await
    }

    /// The next line that is no ping.
    async fn hear(&mut self) -> String {
        loop {
            let line = self.lines.next_line();
            let line = tokio::time::timeout(Duration::from_secs(10), line).await.expect("an answer").unwrap();
            let line = line.unwrap_or_else(|| "(closed)".to_owned());
            if line != "PING" {
                return line;
            }
            self.writer.write_all(b"PONG\r\n").await.unwrap();
        }
    }

    async fn may_publish(&mut self, subject: &str) -> bool {
        allowed(&self.say(&format!("PUB {subject} 0\r\n\r\n")).await, subject)
    }

    async fn may_subscribe(&mut self, subject: &str) -> bool {
        allowed(&self.say(&format!("SUB {subject} 1\r\n")).await, subject)
    }
}

fn allowed(answer: &str, subject: &str) -> bool {
    assert!(answer == "+OK" || answer.contains("Permissions Violation"), "{subject}: {answer}");
    answer == "+OK"
}

async fn signed_in(secured: &Secured, role: &str) -> Wire {
    let sign_in = format!(",\"user\":\"{role}\",\"pass\":\"{}\"", secured.password(role));
    let (wire, said) = Wire::connect(secured.server.port(), &sign_in).await;
    assert_eq!(said, "+OK", "{role}");
    wire
}

/// Subjects, and the one role, or the few, that may publish there; nobody else but an operator.
const PUBLISHERS: &[(&str, &[&str])] = &[
    ("jetsweep.plans.v1.b", &["planner", "client"]),
    ("jetsweep.plans.v1.b.1", &["planner"]),
    ("jetsweep.jobs.v1.native.high.b.0.1", &["planner"]),
    ("jetsweep.results.v1.b.begin", &["planner"]),
    ("jetsweep.results.v1.b.1.begin", &["planner"]),
    ("jetsweep.results.v1.b.sealed", &["planner"]),
    ("jetsweep.results.v1.b.1.sealed", &["planner"]),
    ("jetsweep.results.v1.b.cancelled", &["planner"]),
    ("jetsweep.results.v1.b.1.cancelled", &["planner"]),
    ("jetsweep.results.v1.b.deleted", &["planner"]),
    ("jetsweep.results.v1.b.purged", &["consolidator"]),
    ("jetsweep.results.v1.b.0.1", &["worker"]),
    ("jetsweep.results.v2.b.0.1", &[]),
    ("jetsweep.dead.v1.b.0.1", &["planner", "worker", "consolidator"]),
    ("jetsweep.dead.v1.b.plan", &["planner", "consolidator"]),
    ("jetsweep.dead.v1.malformed.JETSWEEP_RESULTS.7", &["planner", "worker", "consolidator", "bridge"]),
    ("jetsweep.planner.submit", &["client"]),
    ("jetsweep.planner.delete", &["client"]),
    ("jetsweep.consolidator.query", &["bridge", "client"]),
    ("jetsweep.worker.replay", &["bridge", "client"]),
    ("$KV.jetsweep-batches.b.status", &["planner", "consolidator"]),
    ("$KV.jetsweep-batches.b.control", &["consolidator", "client"]),
    ("$KV.jetsweep-batches.=all.control", &["consolidator", "client"]),
    ("$KV.jetsweep-batches.b.data.AAPL", &["worker"]),
    ("$KV.jetsweep-batches.b.mlflow", &["bridge"]),
    ("$KV.jetsweep-batches.mlflow-bridge", &["bridge"]),
    ("$JS.ACK.JETSWEEP_JOBS.native-high.1.1.1.1.1", &["worker"]),
    ("$JS.ACK.JETSWEEP_PLANS.planner.1.1.1.1.1", &["planner"]),
    ("$JS.ACK.JETSWEEP_RESULTS.mlflow-bridge.1.1.1.1.1", &["bridge"]),
    ("$JS.API.CONSUMER.MSG.NEXT.JETSWEEP_JOBS.native-high", &["worker"]),
    ("$JS.API.CONSUMER.MSG.NEXT.JETSWEEP_PLANS.planner", &["planner"]),
    ("$JS.API.CONSUMER.MSG.NEXT.JETSWEEP_RESULTS.x", &["consolidator"]),
    ("$JS.API.CONSUMER.MSG.NEXT.JETSWEEP_RESULTS.mlflow-bridge", &["bridge"]),
    ("$JS.API.CONSUMER.CREATE.JETSWEEP_JOBS.x", &["planner"]),
    ("$JS.API.CONSUMER.CREATE.JETSWEEP_RESULTS.x", &["consolidator"]),
    ("$JS.API.CONSUMER.CREATE.JETSWEEP_DEAD.x", &["client"]),
    ("$JS.API.CONSUMER.CREATE.JETSWEEP_RESULTS.mlflow-bridge.jetsweep.results.v1.>", &["bridge"]),
    (
        "$JS.API.CONSUMER.CREATE.KV_jetsweep-batches.x.$KV.jetsweep-batches.*.control",
        &["planner", "worker", "bridge", "client"],
    ),
    ("$JS.API.CONSUMER.DELETE.JETSWEEP_JOBS.native-high", &[]),
    ("$JS.API.CONSUMER.DELETE.JETSWEEP_PLANS.planner", &[]),
    ("$JS.API.CONSUMER.DELETE.JETSWEEP_RESULTS.mlflow-bridge", &[]),
    ("$JS.API.CONSUMER.PAUSE.JETSWEEP_JOBS.native-high", &[]),
    ("$JS.API.STREAM.CREATE.JETSWEEP_JOBS", &["planner"]),
    ("$JS.API.STREAM.UPDATE.JETSWEEP_RESULTS", &["planner"]),
    ("$JS.API.STREAM.PURGE.JETSWEEP_JOBS", &["planner"]),
    ("$JS.API.STREAM.PURGE.JETSWEEP_PLANS", &[]),
    ("$JS.API.STREAM.PURGE.JETSWEEP_RESULTS", &["consolidator"]),
    ("$JS.API.STREAM.PURGE.JETSWEEP_DEAD", &["consolidator"]),
    ("$JS.API.STREAM.DELETE.JETSWEEP_PLANS", &[]),
    ("$JS.API.STREAM.DELETE.JETSWEEP_JOBS", &[]),
    ("$JS.API.STREAM.DELETE.JETSWEEP_RESULTS", &[]),
    ("$JS.API.STREAM.DELETE.JETSWEEP_DEAD", &[]),
    ("$JS.API.STREAM.DELETE.KV_jetsweep-batches", &[]),
    ("$JS.API.STREAM.MSG.DELETE.JETSWEEP_RESULTS", &[]),
    ("$JS.API.STREAM.MSG.DELETE.JETSWEEP_DEAD", &[]),
    ("$JS.API.STREAM.SNAPSHOT.JETSWEEP_RESULTS", &[]),
    ("$JS.API.STREAM.RESTORE.JETSWEEP_RESULTS", &[]),
    ("$O.jetsweep-data.C.x", &[]),
    ("$O.jetsweep-data.M.x", &[]),
    ("$JS.API.STREAM.MSG.GET.OBJ_jetsweep-data", &["worker", "client"]),
    ("$JS.API.DIRECT.GET.OBJ_jetsweep-data", &["worker", "client"]),
    ("$JS.API.DIRECT.GET.OBJ_jetsweep-data.$O.jetsweep-data.M.x", &[]),
    ("$JS.API.CONSUMER.CREATE.OBJ_jetsweep-data", &[]),
    ("$JS.API.CONSUMER.CREATE.OBJ_jetsweep-data.x.$O.jetsweep-data.M.>", &[]),
    ("$JS.API.STREAM.PURGE.OBJ_jetsweep-data", &[]),
    ("$JS.API.STREAM.DELETE.OBJ_jetsweep-data", &[]),
    ("$JS.API.STREAM.MSG.DELETE.OBJ_jetsweep-data", &[]),
    ("$SYS.REQ.SERVER.PING", &[]),
    ("anything.else", &[]),
];

/// Subjects and who may listen there.
const LISTENERS: &[(&str, &[&str])] = &[
    (">", &[]),
    ("jetsweep.>", &[]),
    ("jetsweep.jobs.>", &[]),
    ("jetsweep.results.>", &[]),
    ("jetsweep.planner.submit", &["planner"]),
    ("jetsweep.worker.replay", &["worker"]),
    ("jetsweep.consolidator.query", &["consolidator"]),
    ("jetsweep.dead.>", &[]),
    ("_INBOX.>", &[]),
    ("_INBOX.planner.x", &["planner"]),
    ("_INBOX.worker.x", &["worker"]),
    ("_INBOX.client.x", &["client"]),
    ("$JS.EVENT.>", &[]),
    ("$KV.>", &[]),
    ("$O.>", &[]),
];

#[tokio::test]
async fn each_role_can_do_its_work_and_no_more() {
    let secured = Secured::start("secure.conf").await;
    for role in ROLES {
        let mut wire = signed_in(&secured, role).await;
        for (subject, roles) in PUBLISHERS {
            let may = roles.contains(&role);
            // Roles know JetStream's API by another name, and by no other.
            if let Some(request) = subject.strip_prefix("$JS.API") {
                let imported = format!("jetsweep.api{request}");
                assert_eq!(wire.may_publish(&imported).await, may, "{role} publishing to {imported}");
            }
            let may = may && !subject.starts_with("$JS.API");
            assert_eq!(wire.may_publish(subject).await, may, "{role} publishing to {subject}");
        }
        for (subject, roles) in LISTENERS {
            assert_eq!(wire.may_subscribe(subject).await, roles.contains(&role), "{role} listening to {subject}");
        }
    }
    let mut operator = signed_in(&secured, "operator").await;
    for subject in ["$JS.API.STREAM.DELETE.JETSWEEP_JOBS", "$O.jetsweep-data.C.x", "$O.jetsweep-data.M.x"] {
        assert!(operator.may_publish(subject).await, "{subject}");
    }
}

/// Whoever asks the server something says where the answer goes, and no permission looks at that: an empty answer at
/// `$JS.API.STREAM.DELETE.*` would be a request, and a key read at an event's subject an event.
#[tokio::test]
async fn no_answer_of_the_server_does_what_a_role_may_not() {
    let secured = Secured::start("secure.conf").await;
    let services = ["planner", "worker", "consolidator"].map(|role| secured.jetsweep(role, &[role]).start());
    answers(&secured, "consolidator").await;
    answers(&secured, "planner").await;
    let spec = example("quickstart.toml");
    let submit = ["submit", text(&spec), "--batch", "b", "--wait", "--output", "json"];
    assert_eq!(ledger(&secured.jetsweep("client", &submit).done().await.json()), (459, [459, 0, 0, 0]));
    let jetstream = async_nats::jetstream::new(operator(&secured).await);
    let stored = async || -> Vec<(String, u64)> {
        let streams = jetstream.streams().map_ok(|info| (info.config.name, info.state.messages));
        let mut streams: Vec<_> = streams.try_collect().await.unwrap();
        // Keys are what the roles write below.
        streams.retain(|(name, _)| !name.starts_with("KV_"));
        streams.sort();
        streams
    };
    let before = stored().await;
    assert_eq!(before.len(), 5, "{before:?}");
    let begin = jetstream.get_stream("JETSWEEP_RESULTS").await.unwrap();
    let begin = begin.get_last_raw_message_by_subject("jetsweep.results.v1.b.begin").await.unwrap().payload;

    for role in ROLES {
        let mut wire = signed_in(&secured, role).await;
        let may = |subject: &str| PUBLISHERS.iter().any(|(known, roles)| *known == subject && roles.contains(&role));
        let key = ["status", "control", "data.AAPL", "mlflow"].map(|key| format!("$KV.jetsweep-batches.b.{key}"));
        let key = key.into_iter().find(|key| may(key)).unwrap();
        let asks = [
            // What is there, with contents of its own choice; what is not; and a queue with nothing in it.
            format!("jetsweep.api.DIRECT.GET.KV_jetsweep-batches.{}", key.replace(".b.", ".forged.")),
            "jetsweep.api.DIRECT.GET.KV_jetsweep-batches.$KV.jetsweep-batches.nobody.status".to_owned(),
            "jetsweep.api.STREAM.INFO.JETSWEEP_JOBS".to_owned(),
            "jetsweep.api.STREAM.MSG.GET.JETSWEEP_RESULTS".to_owned(),
            "jetsweep.api.CONSUMER.MSG.NEXT.JETSWEEP_JOBS.native-high".to_owned(),
            "jetsweep.api.CONSUMER.MSG.NEXT.JETSWEEP_PLANS.planner".to_owned(),
            "jetsweep.api.CONSUMER.MSG.NEXT.JETSWEEP_RESULTS.mlflow-bridge".to_owned(),
        ];
        let answer_at = [
            "STREAM.DELETE.JETSWEEP_PLANS",
            "STREAM.PURGE.JETSWEEP_RESULTS",
            "STREAM.PURGE.JETSWEEP_PLANS",
            "CONSUMER.DELETE.JETSWEEP_JOBS.native-high",
        ];
        let answer_at = ["$JS.API", "jetsweep.api"].iter().flat_map(|api| answer_at.map(|of| format!("{api}.{of}")));
        let events = ["jetsweep.results.v1.forged.begin", "jetsweep.results.v1.b.1.begin", "jetsweep.planner.delete"];
        let answer_at = answer_at.chain(events.map(str::to_owned));
        for reply in answer_at.filter(|reply| !may(&reply.replace("jetsweep.api", "$JS.API"))) {
            for contents in [&begin[..], br#"{"batch_id":"b"}"#, b"b", b""] {
                let key = key.replace(".b.", ".forged.");
                let write = [format!("PUB {key} {}\r\n", contents.len()).as_bytes(), contents, b"\r\n"].concat();
                wire.writer.write_all(&write).await.unwrap();
                assert_eq!(wire.hear().await, "+OK", "{role} writing {key}");
                for ask in &asks {
                    for payload in [r#"{"no_wait":true}"#, ""] {
                        wire.say(&format!("PUB {ask} {reply} {}\r\n{payload}\r\n", payload.len())).await;
                    }
                }
            }
        }
        assert_eq!(stored().await, before, "after what the {role} did");
    }
    let count = ["query", "SELECT count(*) FROM backtest_results WHERE batch_id = 'b'", "--output", "quiet"];
    assert_eq!(secured.jetsweep("client", &count).done().await.with_code(0).stdout.trim(), "459");
    // That it would do so within one account is why roles have their own.
    let mut operator = signed_in(&secured, "operator").await;
    let ask = "$JS.API.DIRECT.GET.KV_jetsweep-batches.$KV.jetsweep-batches.nobody.status";
    operator.say(&format!("PUB {ask} $JS.API.STREAM.DELETE.JETSWEEP_PLANS 0\r\n\r\n")).await;
    eventually("an answer to delete a stream", async || (stored().await.len() < before.len()).then_some(())).await;
    drop(services);
}

#[tokio::test]
async fn nobody_gets_in_without_the_right_password() {
    let secured = Secured::start("secure.conf").await;
    for sign_in in
        ["", ",\"user\":\"worker\"", ",\"user\":\"worker\",\"pass\":\"guess\"", ",\"user\":\"root\",\"pass\":\"\""]
    {
        let (_, said) = Wire::connect(secured.server.port(), sign_in).await;
        assert!(said.contains("Authorization Violation"), "{sign_in}: {said}");
    }
    let refused = secured.jetsweep("worker", &["status"]).without_env("JETSWEEP_NATS__PASSWORD_FILE");
    let told = refused.env("JETSWEEP_NATS__PASSWORD", "a-wrong-guess").done().await.with_code(1).stderr;
    assert!(told.contains("authorization violation") && !told.contains("a-wrong-guess"), "{told}");
}

#[tokio::test]
async fn the_permissions_of_the_roles_are_enough_for_all_that_they_do() {
    let mut secured = Secured::start("secure.conf").await;
    let serve = |role: &str| secured.jetsweep(role, &[role]).start();
    // It may not create the streams.
    let early = serve("worker");
    eventually("the worker to wait for a planner", async || {
        early.stderr().contains("waiting for a planner").then_some(())
    })
    .await;
    let planner = serve("planner");
    answers(&secured, "planner").await;
    let services = [planner, serve("worker"), serve("consolidator")];
    answers(&secured, "worker").await;
    answers(&secured, "consolidator").await;

    let spec = example("quickstart.toml");
    let submit = ["submit", text(&spec), "--batch", "b", "--wait", "--output", "json"];
    let report = secured.jetsweep("client", &submit).done().await.json();
    assert_eq!(ledger(&report), (459, [459, 0, 0, 0]));
    // The same bars out of the bucket: an operator puts them there, and a worker may read them.
    for command in [
        &["data", "push", "data/sample", "--prefix", "daily"] as &[&str],
        &["data", "ls"],
        &["data", "check"],
        &["data", "gc"],
    ] {
        let said = secured.jetsweep("operator", command).done().await.with_code(0).stderr;
        assert!(!said.contains("ermissions"), "{command:?}: {said}");
    }
    let of_bucket = ["--data", "store://daily/{symbol}.csv", "--batch", "of-bucket", "--wait", "--output", "json"];
    let submit = [&["submit", text(&spec)] as &[&str], &of_bucket].concat();
    let report = secured.jetsweep("client", &submit).done().await.json();
    assert_eq!(ledger(&report), (459, [459, 0, 0, 0]));
    let count = ["query", "SELECT count(*) FROM backtest_results WHERE batch_id = 'b'", "--output", "quiet"];
    assert_eq!(secured.jetsweep("client", &count).done().await.with_code(0).stdout.trim(), "459");
    // What watched and pulled before does so again, by other requests than the first ones.
    secured.server.restart().await;
    for role in ["planner", "worker", "consolidator"] {
        answers(&secured, role).await;
    }
    let large = example("large.toml");
    let file = secured.folder().join("b.csv");
    for command in [
        &["status"] as &[&str],
        &["summary", "b"],
        &["watch", "b"],
        &["replay", "b", "7"],
        &["export", "b", "-o", text(&file)],
        &["validate", text(&spec)],
        &["validate", text(&spec), "--data", "store://daily/{symbol}.csv"],
        &["backtest", "--symbol", "AAPL", "--strategy", "sma_cross", "--data", "store://daily/{symbol}.csv"],
        &["pause", "--all"],
        &["submit", text(&large), "--batch", "c"],
        &["pause", "c"],
        &["resume", "c"],
        &["cancel", "c"],
        &["resume", "--all"],
        &["retry", "c", "--first", "100"],
        &["delete", "b"],
        &["dead", "list"],
        &["doctor"],
    ] {
        let said = secured.jetsweep("client", command).done().await.with_code(0).stderr;
        assert!(!said.contains("ermissions"), "{command:?}: {said}");
    }
    for service in services {
        let log = ended(service).await;
        assert!(!log.contains("ermissions"), "a service did what its role may not:\n{log}");
        for role in ROLES {
            assert!(!log.contains(&secured.password(role)), "a password in a log");
        }
    }
}

#[tokio::test]
async fn with_tls_plain_text_is_refused_and_so_is_a_server_of_another_authority() {
    let secured = Secured::start("tls.conf").await;
    let (_, said) = Wire::connect(secured.server.port(), ",\"user\":\"client\"").await;
    assert!(said.contains("Secure Connection - TLS Required") || said == "(closed)", "{said}");
    let ca = secured.secret("tls/ca.pem");
    let serve = |role: &str| secured.jetsweep(role, &[role]).env("JETSWEEP_NATS__TLS_CA", &ca).start();
    let services = [serve("planner"), serve("consolidator")];
    let status = || secured.jetsweep("client", &["status"]);
    eventually("the services to answer over TLS", async || {
        let done = status().env("JETSWEEP_NATS__TLS_CA", &ca).done().await;
        (done.code == Some(0)).then_some(())
    })
    .await;
    drop(services);
    // Without the authority, and with another one.
    let told = status().done().await.with_code(1).stderr;
    assert!(told.contains("certificate"), "{told}");
    let other = Secured::start("secure.conf").await;
    let told = status().env("JETSWEEP_NATS__TLS_CA", other.secret("tls/ca.pem")).done().await.with_code(1).stderr;
    assert!(told.contains("certificate"), "{told}");
    // Whoever asks for TLS does not speak in plain text with a server that has none.
    let plain = other.jetsweep("client", &["status"]).env("JETSWEEP_NATS__TLS_CA", &ca);
    let told = plain.done().await.with_code(1).stderr;
    assert!(!told.contains(&other.password("client")), "{told}");
}

#[tokio::test]
async fn the_configuration_shows_no_secret() {
    let secured = Secured::start("secure.conf").await;
    let url = format!("nats://user:url-secret@127.0.0.1:{}", secured.server.port());
    for format in ["table", "json"] {
        let shown = secured
            .jetsweep("client", &["config", "--output", format])
            .env("JETSWEEP_NATS__URL", &url)
            .env("JETSWEEP_HTTP__TOKEN_FILE", secured.secret("http.token"))
            .done()
            .await
            .with_code(0)
            .stdout;
        let token = std::fs::read_to_string(secured.secret("http.token")).unwrap();
        for secret in [secured.password("client"), token, "url-secret".to_owned()] {
            assert!(!shown.contains(&secret), "{secret} in {shown}");
        }
        assert!(shown.contains("(hidden)") && shown.contains(text(secured.folder())), "{shown}");
    }
}

/// Waits until a service of this role answers.
async fn answers(secured: &Secured, role: &str) {
    jetsweep_tests::answers(&operator(secured).await, role).await;
}

async fn operator(secured: &Secured) -> async_nats::Client {
    let options = async_nats::ConnectOptions::with_user_and_password("operator".into(), secured.password("operator"));
    options.connect(secured.server.url()).await.unwrap()
}

/// Asks a service to end; what it logged.
async fn ended(service: Running) -> String {
    service.signal(jetsweep_tests::Signal::TERM);
    service.ended().await.with_code(0).stderr
}
