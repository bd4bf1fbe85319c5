//! One run in full, over the service endpoint: what the engine computes, packed and in parts.

use std::fs::File;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::service::NATS_SERVICE_ERROR_CODE;
use futures::StreamExt;
use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::bars::Bars;
use jetsweep_engine::columns::Columns;
use jetsweep_engine::metrics::Metric;
use jetsweep_engine::validation::{Holdout, Split, Validation};
use jetsweep_shared::events::{self, Begin, ErrorReply, ReplayInput, ReplayReply, ReplayRequest};
use jetsweep_shared::ids::Priority;
use jetsweep_shared::plan::{Plan, StrategyPlan};
use jetsweep_shared::replay::replay;
use jetsweep_shared::service::{self, PartSender, ServiceError};
use jetsweep_shared::spec::ResolvedSpec;
use jetsweep_shared::subjects::BatchEvent;
use jetsweep_tests::{LIMIT, eventually, sample_data};

use crate::support::{RUNS, World, batch, job};

/// A batch of one strategy over two symbols, as the planner begins it.
fn begin() -> Begin {
    let job = job(0);
    let spec = ResolvedSpec {
        name: "replayed".to_owned(),
        data: job.data,
        symbols: vec!["AAPL".parse().unwrap(), "SPY".parse().unwrap()],
        asset_class: None,
        strategies: vec![job.strategy],
        execution: job.execution,
        validation: None,
    };
    let strategy = StrategyPlan { runs: u64::from(RUNS), shard_runs: RUNS, cursors: vec![0] };
    let plan = Plan { strategies: vec![strategy], symbols: 2 };
    Begin {
        version: events::VERSION,
        batch_id: batch(),
        generation: 0,
        priority: Priority::Normal,
        total_runs: plan.total_runs(),
        total_shards: plan.total_shards(),
        spec_digest: spec.digest(),
        spec,
        plan,
        retry: None,
        planner_version: "0.1.0".to_owned(),
        created_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn request(run: u64) -> ReplayRequest {
    ReplayRequest { version: events::VERSION, batch_id: batch(), run, input: None, data_digest: None }
}

/// Asks until there is a worker.
async fn ask(world: &World, request: &ReplayRequest) -> Result<ReplayReply, ServiceError> {
    eventually("a worker that replays", async || match replay(&world.bus, request).await {
        Err(ServiceError::NoResponders { .. }) => None,
        answer => Some(answer),
    })
    .await
}

fn refusal(answer: Result<ReplayReply, ServiceError>) -> ErrorReply {
    match answer {
        Err(ServiceError::Refused(reply)) => reply,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_replayed_by_any_worker_that_is_asked() {
    let world = World::new().await;
    let begin = begin();
    let subject = world.bus.names.batch_event(&batch(), BatchEvent::Begin);
    world.bus.publish(&subject, "begin", events::encode(&begin)).await.unwrap();
    let worker = world.worker();

    // The last run of the second symbol, by its number alone and by its input.
    let run = u64::from(RUNS) * 2 - 1;
    let by_number = ask(&world, &request(run)).await.unwrap();
    let shard = begin.plan.shard_of(run).unwrap();
    let input = ReplayInput::of(&begin.spec, shard, run).unwrap();
    let by_input = ask(&world, &ReplayRequest { input: Some(input.clone()), ..request(run) }).await.unwrap();
    assert_eq!(by_number, by_input);

    let bars = Arc::new(Bars::read_csv(File::open(sample_data().join("SPY.csv")).unwrap(), "SPY.csv").unwrap());
    let strategy = Strategy::new(&input.template, &input.execution).unwrap();
    let computed = strategy.replay(&mut Columns::new(Arc::clone(&bars), 0), &input.values).unwrap();
    let digest = bars.digest();
    assert_eq!((by_number.symbol.as_str(), by_number.strategy.as_str()), ("SPY", "sma_cross"));
    assert_eq!(by_number.params.values().copied().collect::<Vec<_>>(), [20.0, 80.0]);
    assert_eq!((&by_number.data_digest, by_number.worker.as_str()), (&digest, "worker-1"));
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&by_number.equity), bits(&computed.equity));
    assert_eq!(by_number.dates.len(), bars.len());
    assert!(by_number.dates.last().unwrap().starts_with("20"), "{:?}", by_number.dates.last());
    assert!(by_number.trades.len() > 10);
    assert_eq!(by_number.trades.len(), computed.trades.len());
    for (told, trade) in by_number.trades.iter().zip(&computed.trades) {
        assert_eq!((told.entry_bar, told.exit_bar, told.open), (trade.entry_bar, trade.exit_bar, trade.open));
        assert_eq!(
            (&told.entry_date, &told.exit_date),
            (&bars.date_label(trade.entry_bar), &bars.date_label(trade.exit_bar))
        );
        assert_eq!(bits(&[told.pnl, told.return_, told.size]), bits(&[trade.pnl, trade.return_, trade.size]));
    }
    for (name, value) in &by_number.metrics {
        let metric = Metric::from_name(name).unwrap();
        assert_eq!(value.map(f64::to_bits), computed.metrics.get(metric).map(f64::to_bits), "{name}");
    }

    // Windows are scored by themselves.
    let validation = Validation { split: Split::Holdout(Holdout::Percent(20.0)), purge: 0 };
    let windows = validation.windows(&bars).unwrap();
    let with_windows = ReplayInput { validation: Some(validation), ..input.clone() };
    let scored = ask(&world, &ReplayRequest { input: Some(with_windows), ..request(run) }).await.unwrap();
    assert_eq!((scored.windows.len(), windows.len(), &scored.metrics), (2, 2, &by_number.metrics));
    for (scored, window) in scored.windows.iter().zip(windows) {
        let metrics = strategy.run_window(&mut Columns::new(Arc::clone(&bars), 0), &input.values, window.bars).unwrap();
        assert_eq!((scored.window, scored.segment), (window.number, window.segment));
        assert_eq!(scored.metrics["total_return"], metrics.get(Metric::TotalReturn));
    }

    let reply = refusal(ask(&world, &request(run + 1)).await);
    assert_eq!((reply.code.as_str(), reply.message.as_str()), ("unknown_run", "batch has 48 runs, and no run 48"));
    let reply = refusal(ask(&world, &ReplayRequest { batch_id: "other".parse().unwrap(), ..request(0) }).await);
    assert_eq!(reply.code, "unknown_run");
    let same = ReplayRequest { data_digest: Some(digest), ..request(run) };
    assert!(ask(&world, &same).await.is_ok());
    let reply = refusal(ask(&world, &ReplayRequest { data_digest: Some("00".to_owned()), ..same }).await);
    assert_eq!(reply.code, "data_changed");
    let nowhere = ReplayInput { symbol: "NONE".parse().unwrap(), ..input };
    let reply = refusal(ask(&world, &ReplayRequest { input: Some(nowhere), ..request(run) }).await);
    assert_eq!(reply.code, "data_missing");

    // As `nats req` asks: one message, not packed, or a word about what does not fit into one.
    let subject = world.bus.names.endpoint("worker", "replay");
    let plain = world.bus.client.request(subject.clone(), events::encode(&request(run))).await.unwrap();
    assert_eq!(events::decode::<ReplayReply>(&plain.payload).unwrap(), by_number);
    let odd = world.bus.client.request(subject, "{}".into()).await.unwrap();
    assert_eq!(odd.headers.unwrap().get(NATS_SERVICE_ERROR_CODE).unwrap().as_str(), "400");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_larger_than_a_message_comes_in_parts() {
    let mut world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    // Two years of minutes, whose equity does not compress.
    let mut csv = "date,open,high,low,close,volume\n".to_owned();
    let mut time: jiff::civil::DateTime = "2022-01-03T09:30:00".parse().unwrap();
    for t in 0..150_000_u32 {
        let price = 100.0 + f64::from(t % 977) / 7.0;
        csv += &format!("{time},{price},{price},{price},{price},100\n");
        time = time.checked_add(jiff::Span::new().minutes(1)).unwrap();
    }
    std::fs::write(folder.path().join("MIN.csv"), csv).unwrap();
    world.config.data.root = folder.path().to_owned();
    let worker = world.worker();
    let begin = begin();
    let spec = ResolvedSpec { symbols: vec!["MIN".parse().unwrap()], ..begin.spec.clone() };
    let plan = Plan { symbols: 1, ..begin.plan };
    let input = ReplayInput::of(&spec, plan.shard_of(3).unwrap(), 3).unwrap();
    let wanted = ReplayRequest { input: Some(input), ..request(3) };
    let reply = ask(&world, &wanted).await.unwrap();
    assert_eq!((reply.equity.len(), reply.dates[149_999].as_str()), (150_000, "2022-04-17T13:29:00"));

    let subject = world.bus.names.endpoint("worker", "replay");
    let plain = world.bus.client.request(subject, events::encode(&wanted)).await.unwrap();
    let refused: ErrorReply = serde_json::from_slice(&plain.payload).unwrap();
    assert_eq!(refused.code, "too_large");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_given_up_on() {
    let world = World::new().await;
    let subject = world.bus.names.endpoint("worker", "replay");
    let mut requests = world.bus.client.subscribe(subject.clone()).await.unwrap();
    world.bus.client.flush().await.unwrap();
    let bus = world.bus.clone();
    let endless = tokio::spawn(async move {
        let request = requests.next().await.unwrap();
        let mut parts = PartSender::new(&bus, request.reply.unwrap(), HeaderMap::new());
        let part = bytes::Bytes::from(vec![b'x'; parts.largest_part()]);
        while parts.send(part.clone()).await.is_ok() {}
    });
    let limit = 1 << 20;
    let asked = service::ask(&world.bus, subject, HeaderMap::new(), "".into(), LIMIT).await.unwrap();
    let error = asked.all(limit).await.unwrap_err();
    assert!(matches!(error, ServiceError::TooLarge { limit: most, .. } if most == limit), "{error}");
    assert!(!error.is_passing());
    // Nobody listens any more, which whoever answers is told.
    jetsweep_tests::within(LIMIT, "the end of the answer", endless).await.unwrap();
}
