//! Whether the data folder is there, as the monitor tells it.
//!
//! It is looked at now and then, on a thread for what blocks: whoever asks for readiness waits for no file system, and one that
//! hangs stops nothing else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jetsweep_shared::monitor::Monitor;

/// What the monitor calls the data folder.
const PART: &str = "data";

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(10);

/// How long a look may take: a folder that takes longer is not there for jobs either.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says that the folder must be there, and was not looked at yet.
pub(crate) fn expect(monitor: &Monitor, root: &Path) {
    monitor.not_ready(PART, format!("data.root {} was not looked at yet", root.display()));
}

/// Looks at the folder from now on.
pub(crate) async fn keep_looking(monitor: Monitor, root: PathBuf) {
    loop {
        let folder = root.clone();
        look(&monitor, &root, PATIENCE, move || folder.is_dir()).await;
        tokio::time::sleep(EVERY).await;
    }
}

/// Looks once. Returns when there is an answer, and tells meanwhile that there is none if that takes long.
async fn look(monitor: &Monitor, root: &Path, patience: Duration, is_there: impl FnOnce() -> bool + Send + 'static) {
    let mut looking = tokio::task::spawn_blocking(is_there);
    let answer = match tokio::time::timeout(patience, &mut looking).await {
        Ok(answer) => answer,
        Err(_) => {
            monitor.not_ready(PART, format!("data.root {} does not answer", root.display()));
            looking.await
        }
    };
    // It fails when the runtime ends, and then nobody asks any more.
    match answer.unwrap_or(false) {
        true => monitor.ready(PART),
        false => monitor.not_ready(PART, format!("data.root {} is no folder", root.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;

    use super::*;

    /// Why the folder is not ready, if it is not.
    fn trouble(monitor: &Monitor) -> Option<String> {
        monitor.troubles().remove(PART)
    }

    #[tokio::test]
    async fn the_folder_is_ready_while_it_is_there() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("bars");
        let monitor = Monitor::default();
        expect(&monitor, &root);
        assert!(trouble(&monitor).unwrap().ends_with("was not looked at yet"));
        let look = async || {
            let folder = root.clone();
            look(&monitor, &root, PATIENCE, move || folder.is_dir()).await;
            trouble(&monitor)
        };
        assert_eq!(look().await, Some(format!("data.root {} is no folder", root.display())));
        fs::create_dir(&root).unwrap();
        assert_eq!(look().await, None);
        fs::remove_dir(&root).unwrap();
        fs::write(&root, "").unwrap();
        assert!(look().await.is_some());
    }

    #[tokio::test]
    async fn a_folder_that_hangs_is_not_ready_and_nobody_waits_for_it() {
        let monitor = Monitor::default();
        let (answer, hanging) = mpsc::channel();
        let looking = look(&monitor, Path::new("/bars"), Duration::from_millis(1), move || hanging.recv().unwrap());
        let told = async {
            while trouble(&monitor).is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let told = trouble(&monitor);
            answer.send(true).unwrap();
            told
        };
        let ((), told) = tokio::join!(looking, told);
        assert_eq!(told.unwrap(), "data.root /bars does not answer");
        assert_eq!(trouble(&monitor), None);
    }
}
