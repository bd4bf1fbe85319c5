//! The service endpoint `worker.replay`: one run in full, for whoever asks. Any worker of the queue group answers.
//!
//! Results carry metrics only. Trades and equity of a run are computed again when someone looks, beside the jobs and
//! from the same bars in memory: a run takes microseconds.

use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::service::endpoint::Endpoint;
use async_nats::service::{Request, Service, ServiceExt};
use bytes::Bytes;
use futures::StreamExt;
use indexmap::IndexMap;
use jetsweep_engine::backtest::{Replay, RunFailure, Strategy};
use jetsweep_engine::bars::Bars;
use jetsweep_engine::columns::Columns;
use jetsweep_engine::metrics::{Metric, Metrics};
use jetsweep_engine::problem::Problem;
use jetsweep_engine::simulation::Trade;
use jetsweep_engine::validation::Window;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::disguise::is_request;
use jetsweep_shared::events::{
    self, Begin, ErrorReply, ReplayInput, ReplayReply, ReplayRequest, TradeRow, WindowMetrics,
};
use jetsweep_shared::replay::{ACCEPT_ENCODING, CONTENT_ENCODING, ENDPOINT, GZIP, ROLE, pack};
use jetsweep_shared::service;
use jetsweep_shared::subjects::BatchEvent;
use tokio_util::sync::CancellationToken;

use crate::data::BarsCache;
use crate::failure::code;
use crate::shard::catch_panic;

/// Requests answered at the same time: the slots need the cores.
const AT_ONCE: usize = 2;
/// Answers above this are packed for whoever takes them packed, in bytes.
const PACKED_ABOVE: usize = 16 << 10;
/// Memory for the indicator columns of one run between runs, in bytes: it shares nothing with a next one.
const COLUMNS_BYTES: usize = 0;

/// A question that gets no answer.
#[derive(Debug, thiserror::Error)]
enum NoReplay {
    #[error("the request is no replay request: {0}")]
    Invalid(String),
    #[error("{0}")]
    UnknownRun(String),
    #[error("{message}")]
    Fails { code: String, message: String },
    #[error("{0}; ask again")]
    NotNow(String),
}

impl NoReplay {
    fn into_message(self) -> (HeaderMap, Bytes) {
        let (status, code) = match &self {
            NoReplay::Invalid(_) => (400, "invalid_request"),
            NoReplay::UnknownRun(_) => (404, "unknown_run"),
            NoReplay::Fails { code, .. } => (422, code.as_str()),
            NoReplay::NotNow(_) => (503, "unavailable"),
        };
        let reply = ErrorReply { code: code.to_owned(), message: self.to_string(), problems: Vec::new() };
        service::error_reply(status, &reply)
    }
}

impl From<RunFailure> for NoReplay {
    fn from(RunFailure { code, message }: RunFailure) -> Self {
        NoReplay::Fails { code, message }
    }
}

/// One run in full, and its metrics over each segment of the windows.
type Computed = (Replay, Vec<WindowMetrics>);

/// Computes one run over bars that are in memory.
fn compute(bars: &Arc<Bars>, input: &ReplayInput) -> Result<Computed, RunFailure> {
    let strategy = Strategy::new(&input.template, &input.execution).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
        RunFailure::new(code::INVALID_STRATEGY, problems.join("; "))
    })?;
    let mut columns = Columns::new(Arc::clone(bars), COLUMNS_BYTES);
    let replay = strategy.replay(&mut columns, &input.values)?;
    let windows = input.validation.as_ref().map_or(Ok(Vec::new()), |validation| validation.windows(bars))?;
    let scored = windows.into_iter().map(|Window { number, segment, bars }| {
        let metrics = strategy.run_window(&mut columns, &input.values, bars)?;
        Ok(WindowMetrics { window: number, segment, metrics: by_name(&metrics) })
    });
    let windows = scored.collect::<Result<_, RunFailure>>()?;
    Ok((replay, windows))
}

/// Metrics by name, undefined ones too.
fn by_name(metrics: &Metrics) -> IndexMap<String, Option<f64>> {
    Metric::ALL.iter().map(|metric| (metric.name().to_owned(), metrics.get(*metric))).collect()
}

/// Trades as they are told, in dates.
fn trade_rows(bars: &Bars, trades: &[Trade]) -> Vec<TradeRow> {
    let row = |trade: &Trade| TradeRow {
        side: trade.side,
        entry_date: bars.date_label(trade.entry_bar),
        entry_bar: trade.entry_bar,
        entry_price: trade.entry_price,
        exit_date: bars.date_label(trade.exit_bar),
        exit_bar: trade.exit_bar,
        exit_price: trade.exit_price,
        size: trade.size,
        entry_fee: trade.entry_fee,
        exit_fee: trade.exit_fee,
        borrow_cost: trade.borrow_cost,
        pnl: trade.pnl,
        return_: trade.return_,
        bars_held: trade.exit_bar - trade.entry_bar,
        exit_reason: trade.exit_reason,
        open: trade.open,
    };
    trades.iter().map(row).collect()
}

/// A run's answer: what `input` computes to over these bars.
///
/// # Errors
/// `data_changed` when the bars are not those asked for; the run's own failure, a panic among them.
pub fn reply(
    request: &ReplayRequest,
    input: &ReplayInput,
    bars: &Arc<Bars>,
    data_digest: &str,
    worker: &str,
) -> Result<ReplayReply, RunFailure> {
    if request.data_digest.as_ref().is_some_and(|wanted| wanted != data_digest) {
        let symbol = &input.symbol;
        let message =
            format!("the bars of {symbol} are not those the run was computed from: their digest is {data_digest}");
        return Err(RunFailure::new(code::DATA_CHANGED, message));
    }
    let computed = catch_panic(|| compute(bars, input));
    let (replay, windows) = computed.map_err(|message| RunFailure::new(code::PANIC, message))??;
    let Replay { metrics, trades, equity } = replay;
    let params = input.template.params().keys().cloned().zip(input.values.iter().copied());
    Ok(ReplayReply {
        version: events::VERSION,
        batch_id: request.batch_id.clone(),
        run: request.run,
        symbol: input.symbol.clone(),
        strategy: input.strategy.clone(),
        params: params.collect(),
        metrics: by_name(&metrics),
        windows,
        block_returns: metrics.block_returns,
        block_squares: metrics.block_squares,
        trades: trade_rows(bars, &trades),
        dates: (0..bars.len()).map(|t| bars.date_label(t)).collect(),
        equity,
        data_digest: data_digest.to_owned(),
        engine_version: jetsweep_engine::VERSION.to_owned(),
        worker: worker.to_owned(),
    })
}

/// The open endpoint.
pub(crate) struct Replays {
    bus: Bus,
    bars: Arc<BarsCache>,
    worker: String,
    service: Service,
    requests: Endpoint,
}

impl Replays {
    /// Registers the service. Workers share the requests.
    pub(crate) async fn open(bus: &Bus, bars: Arc<BarsCache>, worker: String) -> Result<Self, async_nats::Error> {
        let builder = bus.client.service_builder().description("Computes one run in full: metrics, trades, equity");
        let service = builder.start(ROLE, env!("CARGO_PKG_VERSION")).await?;
        let requests = service.endpoint_builder().name(ENDPOINT).add(bus.names.endpoint(ROLE, ENDPOINT)).await?;
        Ok(Self { bus: bus.clone(), bars, worker, service, requests })
    }

    /// Answers requests until the worker shuts down.
    pub(crate) async fn serve(self, shutdown: CancellationToken) {
        let Self { bus, bars, worker, service, requests } = self;
        let subject = bus.names.endpoint(ROLE, ENDPOINT);
        let answerer = Answerer { bus, bars, worker };
        requests
            .take_until(shutdown.cancelled())
            .for_each_concurrent(AT_ONCE, async |request| {
                if is_request(&request.message, &subject) {
                    answerer.answer(&request).await;
                }
            })
            .await;
        if let Err(error) = service.stop().await {
            tracing::debug!(%error, "the service was not stopped in order");
        }
    }
}

struct Answerer {
    bus: Bus,
    bars: Arc<BarsCache>,
    worker: String,
}

impl Answerer {
    async fn answer(&self, request: &Request) {
        let answered = match self.replay(&request.message.payload).await {
            Ok(json) => self.send(request, json).await,
            Err(error) => {
                tracing::debug!(%error, "a replay has no answer");
                respond(request, error.into_message()).await
            }
        };
        if let Err(error) = answered {
            tracing::debug!(error, "an answer was not sent");
        }
    }

    /// The answer, as JSON.
    async fn replay(&self, payload: &[u8]) -> Result<Bytes, NoReplay> {
        let request: ReplayRequest = events::decode(payload).map_err(|error| NoReplay::Invalid(error.to_string()))?;
        let input = match &request.input {
            Some(input) => input.clone(),
            None => self.planned(&request).await?,
        };
        let loaded = self.bars.get(&input.data, &input.symbol).await.map_err(|error| match error.is_retryable() {
            true => NoReplay::NotNow(error.to_string()),
            false => error.as_run_failure().into(),
        })?;
        let bars = loaded.bars;
        let worker = self.worker.clone();
        let compute =
            move || reply(&request, &input, &bars.bars, &bars.digest, &worker).map(|reply| events::encode(&reply));
        let computed = tokio::task::spawn_blocking(compute).await;
        Ok(computed.map_err(|error| NoReplay::NotNow(error.to_string()))??)
    }

    /// What a run of a batch is computed from, by the batch's plan in RESULTS.
    async fn planned(&self, request: &ReplayRequest) -> Result<ReplayInput, NoReplay> {
        let ReplayRequest { batch_id, run, .. } = request;
        let names = &self.bus.names;
        let begin = self.bus.last(&names.results_stream(), &names.batch_event(batch_id, BatchEvent::Begin)).await;
        let Some(begin) = begin.map_err(|error| NoReplay::NotNow(error.to_string()))? else {
            let message =
                format!("there is no batch {batch_id} in {}: send the run's input along", names.results_stream());
            return Err(NoReplay::UnknownRun(message));
        };
        let begin: Begin = events::decode(&begin).map_err(|error| NoReplay::UnknownRun(error.to_string()))?;
        let unknown = || NoReplay::UnknownRun(format!("{batch_id} has {} runs, and no run {run}", begin.total_runs));
        let shard = begin.plan.shard_of(*run).ok_or_else(unknown)?;
        ReplayInput::of(&begin.spec, shard, *run).ok_or_else(unknown)
    }

    /// Sends an answer packed if that is taken, and in parts if that is taken; else in one message if it fits.
    async fn send(&self, request: &Request, json: Bytes) -> Result<(), String> {
        let message = &request.message;
        let takes_packed = service::header(message, ACCEPT_ENCODING).is_some_and(|accepted| accepted.contains(GZIP));
        let mut extra = HeaderMap::new();
        let mut body = json;
        if takes_packed && body.len() > PACKED_ABOVE {
            let packing = tokio::task::spawn_blocking(move || pack(&body)).await;
            body = packing.map_err(|error| error.to_string())?;
            extra.insert(CONTENT_ENCODING, GZIP);
        }
        if let (true, Some(reply)) = (service::takes_parts(message), &message.reply) {
            return service::answer_in_parts(&self.bus, reply.clone(), extra, body).await;
        }
        let most = service::largest_payload(&self.bus);
        if body.len() <= most {
            return respond(request, (extra, body)).await;
        }
        let message = format!(
            "the answer has {} bytes and one message holds {most}: ask with the headers {}: 1 and {ACCEPT_ENCODING}: {GZIP}",
            body.len(),
            events::headers::STREAM,
        );
        let reply = ErrorReply { code: "too_large".to_owned(), message, problems: Vec::new() };
        respond(request, service::error_reply(413, &reply)).await
    }
}

async fn respond(request: &Request, (headers, body): (HeaderMap, Bytes)) -> Result<(), String> {
    request.respond_with_headers(Ok(body), headers).await.map_err(|error| error.to_string())
}
