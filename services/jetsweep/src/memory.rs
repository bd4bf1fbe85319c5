//! How much memory processes had.

/// Largest resident memory of this process so far, in bytes; `None` where the system does not tell.
pub(crate) fn peak() -> Option<u64> {
    read("/proc/self/status")
}

/// Largest resident memory of another process so far, in bytes.
pub(crate) fn peak_of(pid: i32) -> Option<u64> {
    read(&format!("/proc/{pid}/status"))
}

fn read(file: &str) -> Option<u64> {
    let status = std::fs::read_to_string(file).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_had_some() {
        assert!(peak().unwrap() > 100_000);
        assert_eq!(peak_of(i32::MAX), None);
    }
}
