//! A cluster of three servers: its leader killed, a node cut off, all of them restarted one by one.

use jetsweep_tests::{NODES, NatsServer, Nodes, Signal};

use crate::cluster::Cluster;
use crate::ledger::{SETTINGS, Sweep};

#[tokio::test]
#[ignore = "takes minutes: scripts/soak"]
async fn one_of_three_servers_may_be_lost() {
    let mut nodes = Nodes::start().await;
    let settings = [SETTINGS.as_slice(), &[("JETSWEEP_NATS__REPLICAS", "3")]].concat();
    let mut cluster = Cluster::at(NatsServer::elsewhere(nodes.urls()), &settings);
    for role in ["planner", "worker", "consolidator"] {
        cluster.serve(role, role);
    }
    cluster.answers("planner").await;
    cluster.answers("consolidator").await;

    println!("the leader of the jobs is killed");
    cluster.submit(Sweep::Large, "killed", &[]).await;
    cluster.reaches("killed", "have results", |status| status.done() > 0).await;
    let leader = nodes.leader("JETSWEEP_JOBS").await;
    nodes.kill(leader);
    cluster.is_whole(Sweep::Large, "killed").await;
    nodes.start_node(leader);
    nodes.are_caught_up().await;

    println!("the leader of the results is cut off, and comes back");
    let cut_off = nodes.leader("JETSWEEP_RESULTS").await;
    cluster.submit(Sweep::Small, "cut", &[]).await;
    nodes.signal(cut_off, Signal::STOP);
    cluster.is_whole(Sweep::Small, "cut").await;
    nodes.signal(cut_off, Signal::CONT);
    nodes.are_caught_up().await;

    println!("rolling restart");
    cluster.submit(Sweep::Large, "rolling", &[]).await;
    for node in 0..NODES {
        nodes.kill(node);
        nodes.start_node(node);
        // As whoever restarts a cluster does: one after the other, each caught up.
        nodes.are_caught_up().await;
    }
    cluster.is_whole(Sweep::Large, "rolling").await;
}
