//! Runs that failed, and are run again once the cause is gone.

use jetsweep_tests::{eventually, sample_data};

use crate::server::{MlflowServer, batch_run, by_number, completed};
use crate::services::{Services, assert_is_row};

const SPEC: &str = "name = \"retried\"\n[data]\nsource = \"{symbol}.csv\"\n[universe]\nsymbols = [\"AAPL\", \"SPY\"]\n\
                    [[strategy]]\ntemplate = \"sma_cross\"\nfast = [5, 10]\nslow = 50\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_takes_the_place_of_what_failed() {
    let data = tempfile::tempdir().unwrap();
    let copy = |symbol: &str| {
        let file = format!("{symbol}.csv");
        std::fs::copy(sample_data().join(&file), data.path().join(&file)).unwrap();
    };
    copy("AAPL");
    let (server, services) = tokio::join!(MlflowServer::start(), Services::start_over(data.path()));
    let bridge = services.bridge(&server.url(), &[]);
    services.run_batch(&services.file("retried.toml", SPEC), "retried").await;
    let first = completed(&server, "retried").await;
    let failed = by_number(&first).values().filter(|run| run.status == "FAILED").count();
    assert_eq!((failed, batch_run(&first).metrics["runs/failed"]), (2, 2.0));

    copy("SPY");
    services.ask(&["retry", "retried", "--wait"]).await;
    let runs = eventually("the batch run of the retry", async || {
        let runs = server.runs("retried").await;
        (batch_run(&runs).metrics["runs/succeeded"] == 4.0).then_some(runs)
    })
    .await;
    let (rows, found) = (services.rows("retried").await, by_number(&runs));
    assert_eq!((rows.len(), found.len()), (4, 4));
    for (number, row) in &rows {
        let run = &found[number];
        assert_is_row(run, row);
        assert_eq!(run.tag("generation"), row["generation"].to_string());
        for tag in ["error_code", "error_message"] {
            assert_eq!(run.tag(tag), "", "{number}: {tag}");
        }
    }
    assert_eq!(batch_run(&runs).id, batch_run(&first).id);
    drop(bridge);
}
