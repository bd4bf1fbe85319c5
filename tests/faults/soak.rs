//! A random schedule of kills and stops over services and server, for as long and with as many runs as asked.

use std::time::{Duration, Instant};

use jetsweep_tests::{Signal, processes_naming};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::cluster::Cluster;
use crate::ledger::{SETTINGS, Sweep};
use crate::support::random;

/// Services with their roles.
const SERVICES: [(&str, &str); 5] = [
    ("planner", "planner"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
    ("worker-3", "worker"),
    ("consolidator", "consolidator"),
];

/// Runs and faults of the schedule that belongs to every test run.
const RUNS: u64 = 170_000;
const FAULTS: usize = 24;

/// Longest time between two faults.
const LONGEST_PEACE_MS: u64 = 1_000;

/// Variable that asks for another number of runs; the faults are then spread over them.
const RUNS_VARIABLE: &str = "JETSWEEP_SOAK_RUNS";
/// Variable that asks for another number of faults.
const FAULTS_VARIABLE: &str = "JETSWEEP_SOAK_FAULTS";

fn asked(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().expect("a whole number"))
}

/// What happens to somebody.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    /// Asked to end, as a deployment does.
    Term,
    /// Stopped for longer than the ack wait.
    Stop,
    /// The server is killed and started again.
    Server,
}

#[tokio::test]
async fn a_random_schedule_leaves_the_ledger_exact() {
    let mut random = random();
    let runs = asked(RUNS_VARIABLE).unwrap_or(RUNS);
    let faults = asked(FAULTS_VARIABLE).map_or(FAULTS, |faults| faults as usize);
    let mut cluster = Cluster::new(&SETTINGS).await;
    for (name, role) in SERVICES {
        cluster.serve(name, role);
    }
    cluster.answers("planner").await;
    cluster.answers("consolidator").await;
    let (mut batches, mut done, mut struck, mut kills) = (0, 0, 0, 0);
    memory(&cluster, "at the start");
    while done < runs || struck < faults {
        batches += 1;
        let batch = format!("batch-{batches}");
        cluster.submit(Sweep::Large, &batch, &[]).await;
        // As many faults as bring the share of faults up to the share of runs.
        let until = ((done + Sweep::Large.runs()) as f64 / runs as f64 * faults as f64).ceil() as usize;
        while struck < until.min(faults) {
            struck += 1;
            let fault = strike(&mut cluster, &mut random, struck).await;
            kills += usize::from(matches!(fault, Fault::Kill | Fault::Server));
        }
        cluster.is_whole(Sweep::Large, &batch).await;
        done += Sweep::Large.runs();
        if batches == 1 || done >= runs || (done / Sweep::Large.runs()).is_multiple_of(4) {
            memory(&cluster, &format!("after {done} runs and {struck} faults, of which {kills} kills"));
        }
    }
    for (name, _) in SERVICES {
        cluster.stop(name).await.with_code(0);
    }
}

async fn strike(cluster: &mut Cluster, random: &mut StdRng, number: usize) -> Fault {
    let peace = Duration::from_millis(random.random_range(0..LONGEST_PEACE_MS));
    let (name, role) = *SERVICES.choose(random).expect("there are services");
    let faults = [Fault::Kill, Fault::Kill, Fault::Kill, Fault::Term, Fault::Stop, Fault::Server];
    let fault = *faults.choose(random).expect("there are faults");
    println!("{number}: after {peace:?} {fault:?} {}", if matches!(fault, Fault::Server) { "" } else { name });
    tokio::time::sleep(peace).await;
    match fault {
        Fault::Server => cluster.server.restart().await,
        Fault::Kill => {
            let killed = cluster.kill(name).await;
            assert_eq!(killed.code, None, "{name} had ended by itself: {}", killed.stderr);
            cluster.serve(name, role);
        }
        Fault::Term => {
            cluster.stop(name).await.with_code(0);
            cluster.serve(name, role);
        }
        Fault::Stop => {
            let since = Instant::now();
            cluster.service(name).signal(Signal::STOP);
            // Others go on meanwhile, if there are any of this role.
            while since.elapsed() < Duration::from_secs(3) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            cluster.service(name).signal(Signal::CONT);
        }
    }
    fault
}

/// Prints the resident memory of each process.
fn memory(cluster: &Cluster, when: &str) {
    let mut processes = processes_naming(&cluster.state.path());
    processes.extend(processes_naming(cluster.server.store()));
    let resident = |line: &String| {
        let (id, command) = line.split_once(' ')?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let kib: u64 =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().split(' ').next()?.parse().ok()?;
        let name =
            command.split(' ').find(|word| SERVICES.iter().any(|(_, role)| role == word)).unwrap_or("nats-server");
        Some(format!("{name} {} MiB", kib / 1024))
    };
    let mut told: Vec<String> = processes.iter().filter_map(resident).collect();
    told.sort();
    println!("memory {when}: {}", told.join(", "));
}
