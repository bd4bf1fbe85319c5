//! What must be right on this machine.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use jetsweep_shared::config::Config;

use super::Findings;
use crate::output::number;

/// Free disk below which the state folder counts as filling up, in bytes.
const LEAST_FREE: u64 = 1 << 30;

/// Files a service should be able to open.
const LEAST_FILES: u64 = 1024;

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let root = &config.data.root;
    match fs::read_dir(root) {
        Ok(_) => findings.good("data", format!("data.root {} can be read", root.display())),
        Err(error) => findings.bad(
            "data",
            format!("data.root {} cannot be read: {error}", root.display()),
            "mount the folder of bars there, or correct data.root; only workers need it",
        ),
    }
    check_cache(&config.data_cache(), config.data.cache_bytes, findings);
    check_state(&config.state_dir, findings);
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match files {
        Some(most) if most < LEAST_FILES => {
            findings.warning(
                "files",
                format!("{most} files may be open"),
                format!("raise it to {LEAST_FILES}: ulimit -n"),
            );
        }
        _ => findings
            .good("files", files.map_or("any number may be open".to_owned(), |most| format!("{most} may be open"))),
    }
}

/// Where workers keep the bars they fetch. One that cannot write there puts off all such jobs.
fn check_cache(folder: &Path, limit: u64, findings: &mut Findings) {
    const CHECK: &str = "cache";
    let shown = folder.display();
    let folders: Vec<PathBuf> = std::iter::once(folder.to_owned()).chain(subfolders(folder)).collect();
    if let Some(error) = folders.iter().find_map(|folder| write_to(folder).err()) {
        let advice = "only workers that fetch bars need it: let the user that runs them write there, or correct \
                      data.cache_dir";
        return findings.warning(CHECK, format!("data.cache_dir {shown} cannot be written to: {error}"), advice);
    }
    let taken = folders.iter().map(|folder| taken(folder)).sum();
    match free_at(nearest(folder)) {
        Ok(free) if free.saturating_add(taken) < limit => {
            let [free, taken, limit] = [free, taken, limit].map(number::bytes);
            findings.warning(
                CHECK,
                format!(
                    "{free} are free at data.cache_dir {shown}; fetched bars may take {limit}, of which they have {taken}"
                ),
                "free some, move data.cache_dir, or lower data.cache_bytes; only workers that fetch bars need it",
            );
        }
        _ => findings.good(CHECK, format!("data.cache_dir {shown} can be written to")),
    }
}

fn check_state(folder: &Path, findings: &mut Findings) {
    let shown = folder.display();
    if !folder.exists() {
        return findings.good("state", format!("{shown} is not there yet; it is made when it is needed"));
    }
    if let Err(error) = write_to(folder) {
        let advice = "only the consolidator and `jetsweep run` need it: let the user that runs them write there";
        return findings.warning("state", format!("{shown} cannot be written to: {error}"), advice);
    }
    match free_at(folder) {
        Ok(free) if free < LEAST_FREE => {
            let mib = free / (1 << 20);
            findings.warning("state", format!("{mib} MiB are free at {shown}"), "free some, or move state_dir");
        }
        _ => findings.good("state", format!("{shown} can be written to")),
    }
}

/// Writes a file to a folder, or where the folder would be made, and removes it.
fn write_to(folder: &Path) -> io::Result<()> {
    tempfile::NamedTempFile::new_in(nearest(folder)).map(drop)
}

/// What is free on the disk of a folder, in bytes.
fn free_at(folder: &Path) -> rustix::io::Result<u64> {
    rustix::fs::statvfs(folder).map(|disk| disk.f_bavail * disk.f_frsize)
}

/// The folder, or the one above it that is there. A link that leads nowhere is there, and no folder.
fn nearest(folder: &Path) -> &Path {
    let is_there = |path: &&Path| path.symlink_metadata().is_ok();
    folder.ancestors().find(is_there).unwrap_or(Path::new("."))
}

fn entries(folder: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    entries(folder).filter(|(_, found)| found.is_dir()).map(|(path, _)| path).collect()
}

/// What files in a folder take, in bytes.
fn taken(folder: &Path) -> u64 {
    entries(folder).filter(|(_, found)| found.is_file()).map(|(_, found)| found.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn cache(folder: &Path, limit: u64) -> (Verdict, String) {
        let mut findings = Findings::default();
        check_cache(folder, limit, &mut findings);
        let found = findings.0.remove(0);
        (found.verdict, format!("{} {}", found.found, found.advice.unwrap_or_default()))
    }

    #[test]
    fn the_cache_is_a_folder_that_can_be_written_to_or_made() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("not/there/yet");
        assert_eq!(cache(&folder, 1).0, Verdict::Good);
        assert!(!above.path().join("not").exists(), "looking makes nothing");
        fs::create_dir_all(folder.join("sha256")).unwrap();
        assert_eq!(cache(&folder, 1).0, Verdict::Good);
        assert_eq!(subfolders(&folder), [folder.join("sha256")]);
        assert_eq!(entries(&folder.join("sha256")).count(), 0, "looking leaves nothing");

        // No user may write into these, whoever runs this.
        let file = above.path().join("file");
        fs::write(&file, "x").unwrap();
        let lost = above.path().join("lost");
        std::os::unix::fs::symlink("nowhere", &lost).unwrap();
        for folder in [file.clone(), file.join("below"), lost] {
            let (verdict, told) = cache(&folder, 1);
            assert_eq!(verdict, Verdict::Warning);
            assert!(told.contains(&format!("data.cache_dir {} cannot be written to", folder.display())), "{told}");
        }
    }

    #[test]
    fn the_disk_of_the_cache_has_room_for_what_it_may_take() {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("sha256");
        fs::create_dir(&files).unwrap();
        fs::write(files.join("a"), [0; 2048]).unwrap();
        let (verdict, told) = cache(folder.path(), u64::MAX);
        assert_eq!(verdict, Verdict::Warning);
        assert!(told.contains("of which they have 2.0 KiB") && told.contains("data.cache_bytes"), "{told}");
    }
}
