//! A server with the roles of `nats/roles.conf`, and passwords and certificates of `scripts/secrets`.

use std::path::{Path, PathBuf};
use std::process::Command;

use jetsweep_tests::{Jetsweep, NatsServer, jetsweep, repository};
use tempfile::TempDir;

/// Roles that services and people sign in as.
pub(crate) const ROLES: [&str; 5] = ["planner", "worker", "consolidator", "bridge", "client"];

/// The server, and the folder of what it was made with.
pub(crate) struct Secured {
    pub(crate) server: NatsServer,
    folder: TempDir,
}

impl Secured {
    /// A server with the file `name` of `nats/` (`secure.conf`), of which only places and ports are changed.
    pub(crate) async fn start(name: &str) -> Self {
        Self::edited(name, |text| text).await
    }

    /// The same with one more change to each of its files.
    pub(crate) async fn edited(name: &str, edit: impl Fn(String) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secrets = folder.path().join("secrets");
        let made = Command::new(repository().join("scripts/secrets")).arg(&secrets).status().unwrap();
        assert!(made.success(), "scripts/secrets ends with {made}");
        std::fs::copy(secrets.join("passwords.conf"), folder.path().join("passwords.conf")).unwrap();
        for file in ["secure.conf", "tls.conf", "roles.conf"] {
            let text = std::fs::read_to_string(repository().join("nats").join(file)).unwrap();
            let text = text
                .replace("\"/data\"", &format!("{:?}", folder.path().join("store")))
                .replace("127.0.0.1:8222", "127.0.0.1:-1")
                .replace("/etc/nats/tls", secrets.join("tls").to_str().unwrap());
            std::fs::write(folder.path().join(file), edit(text)).unwrap();
        }
        let server = NatsServer::configured(&folder.path().join(name)).await;
        Self { server, folder }
    }

    /// A file that `scripts/secrets` made.
    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.folder.path().join("secrets").join(name)
    }

    /// The password of a role.
    pub(crate) fn password(&self, role: &str) -> String {
        std::fs::read_to_string(self.secret(&format!("{role}.password"))).unwrap()
    }

    /// A command signed in as a role, at this server.
    pub(crate) fn jetsweep(&self, role: &str, args: &[&str]) -> Jetsweep {
        let command = match role {
            "operator" => jetsweep(args),
            _ => jetsweep(args).env("JETSWEEP_NATS__API_PREFIX", "jetsweep.api"),
        };
        command
            .env("JETSWEEP_NATS__URL", self.server.url())
            .env("JETSWEEP_NATS__USER", role)
            .env("JETSWEEP_NATS__PASSWORD_FILE", self.secret(&format!("{role}.password")))
            .env("JETSWEEP_STATE_DIR", self.state())
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The folder of the secrets.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
