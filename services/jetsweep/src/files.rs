//! Writing files so that they are there in full or not at all.

use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

/// A file beside `target` that takes its place with [`NamedTempFile::persist`], and disappears otherwise.
///
/// # Errors
///
/// When it cannot be created.
pub(crate) fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // As any file the user creates; the default of temporary files is for their owner only.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.prefix(".jetsweep-").tempfile_in(folder)
}
