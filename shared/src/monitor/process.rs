//! What the system says about this process, under the names that Prometheus' own clients use for it
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>). Nothing where there is no `/proc`.

use super::Numbers;

/// What `/proc/self/stat` says (proc_pid_stat(5)), in seconds and bytes.
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    /// Since the machine started.
    started_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the program's name in parentheses, with whatever in it; fields are numbered from 1.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<f64>().ok();
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks_per_second,
            threads: field(20)?,
            started_seconds: field(22)? / ticks_per_second,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * rustix::param::page_size() as f64,
        })
    }
}

/// CPU time of this process so far, user's and system's, in seconds; `None` where the system does not say.
pub fn cpu_seconds() -> Option<f64> {
    Stat::read().map(|stat| stat.cpu_seconds)
}

/// When the machine started, in seconds since 1970.
fn boot_time_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_files() -> Option<f64> {
    // One of them is the folder being read.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn most_open_files() -> Option<f64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.map(|most| most as f64)
}

/// This process's metrics.
pub(super) fn numbers() -> Vec<Numbers> {
    let Some(stat) = Stat::read() else { return Vec::new() };
    let started = boot_time_seconds().map(|boot| boot + stat.started_seconds);
    let gauge = |name, help, value: Option<f64>| value.map(|value| Numbers::gauge(name, help).is(value));
    let cpu = Numbers::counter("process_cpu_seconds", "User and system CPU time of this process").is(stat.cpu_seconds);
    let gauges = [
        gauge("process_resident_memory_bytes", "Memory of this process that is in RAM", Some(stat.resident_bytes)),
        gauge("process_virtual_memory_bytes", "Address space of this process", Some(stat.virtual_bytes)),
        gauge("process_threads", "Threads of this process", Some(stat.threads)),
        gauge("process_open_fds", "Files and sockets this process has open", open_files()),
        gauge("process_max_fds", "Files and sockets this process may have open", most_open_files()),
        gauge("process_start_time_seconds", "When this process started, in seconds since 1970", started),
    ];
    std::iter::once(cpu).chain(gauges.into_iter().flatten()).collect()
}
