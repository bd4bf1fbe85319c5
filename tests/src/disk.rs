//! A small disk that can be filled.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system of its own, in memory, with a bound. Unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one of so many mebibytes; `None`, loudly, where that is not allowed.
    pub fn mount(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { folder }),
            refused => {
                // Straight to the terminal: what a passing test prints is kept from it.
                let _ = writeln!(std::io::stderr(), "SKIPPED: a small disk cannot be mounted here: {refused:?}");
                None
            }
        }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes all the room there is.
    ///
    /// # Panics
    ///
    /// If there is room without end.
    pub fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).expect("a file");
        let piece = [0; 4096];
        let full = (0..1 << 20).find_map(|_| ballast.write_all(&piece).err()).expect("the disk is small");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    }

    /// Gives the room back.
    pub fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("the ballast");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, as somebody may still have a file open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
