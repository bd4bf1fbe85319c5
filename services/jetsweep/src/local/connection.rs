//! How other commands find the NATS server of a running `jetsweep run`.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use jetsweep_shared::config::{Config, Secret};
use jetsweep_shared::ids::BatchId;
use serde::{Deserialize, Serialize};

use super::StateDir;

/// Contents of `connection.json`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Connection {
    /// Server.
    pub(crate) url: String,
    /// User to sign in with; absent when the server is not the run's own.
    pub(crate) user: Option<String>,
    /// Password of the user.
    pub(crate) password: Option<String>,
    /// Process of the run.
    pub(crate) pid: u32,
    /// Batch it runs.
    pub(crate) batch_id: BatchId,
}

/// A published connection; withdrawn when dropped.
#[derive(Debug)]
pub(crate) struct Published {
    path: PathBuf,
}

impl Connection {
    /// The server of this configuration, on which this process runs a batch.
    pub(crate) fn of(config: &Config, batch: &BatchId) -> Self {
        Self {
            url: config.nats.url.clone(),
            user: config.nats.user.clone(),
            password: config.nats.password.as_ref().map(|password| password.expose().to_owned()),
            pid: std::process::id(),
            batch_id: batch.clone(),
        }
    }

    /// Lets other commands find this server until the returned value is dropped. The file is its owner's alone, from
    /// the moment it exists.
    pub(crate) fn publish(&self, state: &StateDir) -> io::Result<Published> {
        let path = state.connection();
        let draft = path.with_extension("json.new");
        remove_if_there(&draft)?;
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&draft, &path)?;
        Ok(Published { path })
    }

    /// The connection of the `run` that uses the folder now; `None` when none does.
    pub(crate) fn find(state: &StateDir) -> Option<Self> {
        let bytes = std::fs::read(state.connection()).ok()?;
        let connection: Self = serde_json::from_slice(&bytes).ok()?;
        // A run that was killed leaves its file behind.
        is_alive(connection.pid).then_some(connection)
    }

    /// The same configuration, with this server as the one to use.
    pub(crate) fn apply(&self, config: &Config) -> Config {
        let mut config = config.clone();
        config.nats.url = self.url.clone();
        config.nats.credentials = None;
        config.nats.user = self.user.clone();
        config.nats.password = self.password.clone().map(Secret::new);
        config
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("url", &self.url)
            .field("user", &self.user)
            .field("pid", &self.pid)
            .field("batch_id", &self.batch_id)
            .finish_non_exhaustive()
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        // Whoever finds a stale file notices that its process is gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn remove_if_there(path: &std::path::Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    // EPERM means that it lives and is somebody else's.
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_connection_is_found_while_its_process_lives() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let connection = Connection {
            url: "nats://127.0.0.1:4222".into(),
            user: Some("u".into()),
            password: Some("secret".into()),
            pid: std::process::id(),
            batch_id: "b1".parse().unwrap(),
        };
        let published = connection.publish(&state).unwrap();
        let mode = std::fs::metadata(state.connection()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Connection::find(&state), Some(connection.clone()));
        assert!(!format!("{connection:?}").contains("secret"));
        drop(published);
        assert_eq!(Connection::find(&state), None);

        // The first process number that Linux never gives away.
        let dead = Connection { pid: 1 << 22, ..connection };
        std::mem::forget(dead.publish(&state).unwrap());
        assert_eq!(Connection::find(&state), None);
    }
}
