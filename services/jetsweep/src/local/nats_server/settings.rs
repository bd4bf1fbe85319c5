//! The configuration file of the local server.

use std::fmt::Write;
use std::path::Path;

/// Largest message, in bytes. The server of a cluster has its own limit; results are far smaller than either.
const MAX_PAYLOAD: u64 = 8 << 20;

/// Limit for all streams together, in bytes: no limit in practice. The server's own, three quarters of the free disk,
/// may be less than the streams ask for although they never get that large.
const MAX_FILE_STORE: u64 = 1 << 50;

/// Limit for streams in memory, in bytes; there are none.
const MAX_MEMORY_STORE: u64 = 64 << 20;

/// Size at which the log is put aside, in bytes.
const LOG_SIZE_LIMIT: u64 = 16 << 20;

/// What the local server is told.
pub(super) struct Settings<'a> {
    /// Folder of configuration, log, ports file and store.
    pub(super) folder: &'a Path,
    /// Port on loopback; `None` for a free one.
    pub(super) port: Option<u16>,
    pub(super) user: &'a str,
    pub(super) password: &'a str,
}

impl Settings<'_> {
    /// The file's text.
    pub(super) fn text(&self) -> String {
        let port = self.port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
        let path = |name: &str| quoted(&self.folder.join(name).display().to_string());
        let mut text = String::from("# Written by `jetsweep run` at each start.\n");
        let mut line = |key: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{key}: {value}");
        };
        line("listen", &quoted(&format!("127.0.0.1:{port}")));
        line("server_name", &quoted("jetsweep-local"));
        line("ports_file_dir", &path(super::PORTS));
        line("log_file", &path(super::LOG));
        line("logfile_size_limit", &LOG_SIZE_LIMIT.to_string());
        line("max_payload", &MAX_PAYLOAD.to_string());
        let (user, password) = (quoted(self.user), quoted(self.password));
        line("authorization", &format!("{{ user: {user}, password: {password} }}"));
        // Every acknowledged write is on disk: it survives a power loss, not just a killed server.
        line(
            "jetstream",
            &format!(
                "{{ store_dir: {}, sync_interval: always, max_file_store: {MAX_FILE_STORE}, max_memory_store: {MAX_MEMORY_STORE} }}",
                path(super::STORE)
            ),
        );
        text
    }
}

/// A string as the server's configuration has it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_everything_the_server_needs() {
        let settings = Settings { folder: Path::new("/s/a \"b\""), port: Some(4333), user: "u", password: "p" };
        insta::assert_snapshot!(settings.text(), @r#"
        # Written by `jetsweep run` at each start.
        listen: "127.0.0.1:4333"
        server_name: "jetsweep-local"
        ports_file_dir: "/s/a \"b\"/ports"
        log_file: "/s/a \"b\"/server.log"
        logfile_size_limit: 16777216
        max_payload: 8388608
        authorization: { user: "u", password: "p" }
        jetstream: { store_dir: "/s/a \"b\"/store", sync_interval: always, max_file_store: 1125899906842624, max_memory_store: 67108864 }
        "#);
    }
}
