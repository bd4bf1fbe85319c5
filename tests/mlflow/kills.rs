//! Bridges killed twenty times, a server killed and started again, and a proxy that makes trouble all the while: at the
//! end every run is there exactly once, in full.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::proxy::Proxy;
use crate::server::{MlflowServer, batch_run, by_number, completed, has_runs};
use crate::services::{Services, assert_is_row};

/// 120 runs; a third of a second of computing, and thousands of requests.
const SPEC: &str = "name = \"killed\"\n[data]\nsource = \"data/sample/{symbol}.csv\"\n\
                    [universe]\nsymbols = [\"AAPL\", \"SPY\"]\n[execution]\ncash = 10000\n\
                    [[strategy]]\ntemplate = \"sma_cross\"\nfast = { from = 5, to = 50, step = 5 }\nslow = [60, 80, 100, 120, 150, 200]\n";
const RUNS: usize = 120;
/// The bridge's patience with a request.
const PATIENCE: Duration = Duration::from_secs(3);
const KILLS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_by_kills_and_faults() {
    let seed = std::env::var("JETSWEEP_TEST_SEED").ok().map(|seed| seed.parse().expect("JETSWEEP_TEST_SEED"));
    let seed = seed.unwrap_or_else(rand::random);
    println!("JETSWEEP_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut server, services) = tokio::join!(MlflowServer::start(), Services::start());
    let proxy = Proxy::start(server.port(), 12, PATIENCE, seed).await;
    let patience = PATIENCE.as_secs().to_string();
    // Small shards, so that kills come within and between them.
    let settings = [("JETSWEEP_MLFLOW__TIMEOUT_SECONDS", patience.as_str())];
    let spec = services.file("killed.toml", SPEC);
    let mut bridge = services.bridge(&proxy.url(), &settings);
    services.run_batch(&spec, "killed").await;
    has_runs(&server, "killed", 2).await;
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(random.random_range(50..1500))).await;
        bridge.kill().await;
        if kill == KILLS / 2 {
            server.kill();
        }
        bridge = services.bridge(&proxy.url(), &settings);
        if kill == KILLS / 2 {
            server.restart().await;
        }
    }
    let runs = completed(&server, "killed").await;
    let rows = services.rows("killed").await;
    let found = by_number(&runs);
    assert_eq!((found.len(), rows.len()), (RUNS, RUNS));
    for (number, row) in &rows {
        assert_is_row(&found[number], row);
        let artifacts = server.artifacts(&found[number].id).await;
        assert_eq!(artifacts, ["drawdown.svg", "equity.csv", "equity.svg", "row.json", "trades.csv"], "{number}");
        assert_eq!(found[number].datasets.len(), 1);
    }
    assert_eq!(batch_run(&runs).metrics["runs/succeeded"], RUNS as f64);
    assert!(proxy.faults() > 20, "{} faults", proxy.faults());
    println!("{} faults", proxy.faults());

    let status = services.ask(&["mlflow", "status"]).await;
    assert_eq!((status["lag"].as_u64(), status["batches"][0]["logged"].as_u64()), (Some(0), Some(RUNS as u64)));
    drop(bridge);
}
