//! What the roles of `nats/roles.conf` can do, and that it is enough; TLS; secrets in what is printed.

use std::time::Duration;

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
    ("$JS.API.STREAM.MSG.GET.OBJ_jetsweep-data", &["worker"]),
    ("$JS.API.DIRECT.GET.OBJ_jetsweep-data", &["worker"]),
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
            assert_eq!(wire.may_publish(subject).await, roles.contains(&role), "{role} publishing to {subject}");
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
    let options = async_nats::ConnectOptions::with_user_and_password("operator".into(), secured.password("operator"));
    let client = options.connect(secured.server.url()).await.unwrap();
    eventually(&format!("the {role} to answer"), async || {
        client.request(format!("$SRV.PING.{role}"), Default::default()).await.ok()
    })
    .await;
}

/// Asks a service to end; what it logged.
async fn ended(service: Running) -> String {
    service.signal(jetsweep_tests::Signal::TERM);
    service.ended().await.with_code(0).stderr
}
