//! Two versions side by side: services of the program under test and of another version's.

use std::path::PathBuf;

use jetsweep_tests::{Jetsweep, NatsServer, Running, answers, program};

use crate::support::{State, example, fingerprint, ledger, rows, text, undisturbed_small};

const ROLES: [&str; 3] = ["planner", "worker", "consolidator"];

/// The program of the other version.
fn other() -> PathBuf {
    std::env::var_os("OTHER_PROGRAM").expect("OTHER_PROGRAM, the program of another version").into()
}

/// Whatever the other version serves as, and whichever of the two asks, a sweep comes to the same rows.
#[tokio::test]
#[ignore = "needs the program of another version, which the variable OTHER_PROGRAM names"]
async fn services_of_two_versions_work_together() {
    for others in [&["planner"] as &[&str], &["worker"], &["consolidator"], &ROLES[..2], &["worker", "consolidator"]] {
        let (server, state) = (NatsServer::start().await, State::new());
        let folder = state.path();
        let command = |program: &PathBuf, args: &[&str]| {
            let (url, state) = (server.url(), text(&folder).to_owned());
            Jetsweep::of(program, args.iter().copied().chain(["--nats", &url, "--state", &state]))
        };
        let by = |role: &str| if others.contains(&role) { other() } else { program() };
        let services: Vec<Running> = ROLES.iter().map(|role| command(&by(role), &[role]).start()).collect();
        let client = server.connect().await;
        for role in ROLES {
            answers(&client, role).await;
        }
        for (batch, asking) in [("new", program()), ("old", other())] {
            let spec = example("quickstart.toml");
            let submit = ["submit", text(&spec), "--batch", batch, "--wait", "--output", "json"];
            let report = command(&asking, &submit).done().await.json();
            assert_eq!(ledger(&report), (459, [459, 0, 0, 0]), "{others:?} of the other version");
            let query = ["query", &fingerprint(batch), "--output", "json"];
            let found = rows(command(&asking, &query).done().await).remove(0);
            assert_eq!(&found, undisturbed_small().await, "{others:?} of the other version");
        }
        drop(services);
    }
}
