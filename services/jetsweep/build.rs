//! Notes the commit that the program is built from: the one that `JETSWEEP_COMMIT` names, else the repository's.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=JETSWEEP_COMMIT");
    let named = std::env::var("JETSWEEP_COMMIT").ok().filter(|commit| !commit.is_empty());
    if named.is_none()
        && let Some(log) = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])
    {
        println!("cargo::rerun-if-changed={log}");
    }
    // Sources without a repository are built too.
    let commit = named.or_else(|| git(&["rev-parse", "--short", "HEAD"])).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=JETSWEEP_COMMIT={commit}");
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
