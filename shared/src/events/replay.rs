//! One run computed again in full, for whoever looks: trades and equity are in no result.

use indexmap::IndexMap;
use jetsweep_engine::execution::Execution;
use jetsweep_engine::metrics::BLOCKS;
use jetsweep_engine::simulation::{ExitReason, Side};
use jetsweep_engine::template::Template;
use jetsweep_engine::validation::{Segment, Validation};
use serde::{Deserialize, Serialize};

use super::Event;
use crate::ids::{BatchId, Symbol};
use crate::plan::ShardPlan;
use crate::spec::{DataRef, ResolvedSpec};

/// Request of `jetsweep.worker.replay`: `{"version": 1, "batch_id": "b1", "run": 7}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayRequest {
    /// Major version of the event.
    pub version: u32,
    /// Batch of the run.
    pub batch_id: BatchId,
    /// Its number.
    pub run: u64,
    /// What to compute, from whoever has the batch's plan. Without it the worker reads the plan in RESULTS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<ReplayInput>,
    /// Digest of the bars that the run was computed from. A worker that has others refuses with `data_changed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_digest: Option<String>,
}

/// All that one run is computed from, but the bars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayInput {
    /// Its symbol.
    pub symbol: Symbol,
    /// Name of its strategy.
    pub strategy: String,
    /// The strategy's template.
    pub template: Template,
    /// Values of its parameters, in the template's order.
    pub values: Vec<f64>,
    /// Execution rules.
    pub execution: Execution,
    /// Where the bars come from.
    pub data: DataRef,
    /// How the bars are cut into windows that the run is scored on by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
}

impl ReplayInput {
    /// The input of a run of a batch, given the shard of the plan that holds it; `None` if the grid has no such point.
    pub fn of(spec: &ResolvedSpec, shard: ShardPlan, run: u64) -> Option<Self> {
        let strategy = spec.strategies.get(shard.strategy)?;
        let points = strategy.grid.points(&strategy.template).ok()?;
        let mut walk = points.walk(shard.cursor, shard.first_point);
        for _ in shard.runs.start..run {
            walk.next_point()?;
        }
        let (_, values) = walk.next_point()?;
        Some(Self::at(spec, shard, values.to_vec()))
    }

    /// The input of a run whose parameters are known.
    ///
    /// # Panics
    ///
    /// If the shard is not of the spec's plan.
    pub fn at(spec: &ResolvedSpec, shard: ShardPlan, values: Vec<f64>) -> Self {
        let strategy = &spec.strategies[shard.strategy];
        Self {
            symbol: spec.symbols[shard.symbol].clone(),
            strategy: strategy.name.clone(),
            template: strategy.template.clone(),
            values,
            execution: spec.execution.clone(),
            data: spec.data.clone(),
            validation: spec.validation.clone(),
        }
    }
}

/// Answer of `jetsweep.worker.replay`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayReply {
    /// Major version of the event.
    pub version: u32,
    /// Batch of the run.
    pub batch_id: BatchId,
    /// Its number.
    pub run: u64,
    /// Its symbol.
    pub symbol: Symbol,
    /// Name of its strategy.
    pub strategy: String,
    /// Its parameters by name, in the template's order.
    pub params: IndexMap<String, f64>,
    /// Its metrics by name; `null` where undefined.
    pub metrics: IndexMap<String, Option<f64>>,
    /// Its metrics over each segment of the windows, in order of time; none without windows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowMetrics>,
    /// Sums of returns over 16 blocks of bars.
    pub block_returns: [f64; BLOCKS],
    /// Sums of squared returns over the same blocks.
    pub block_squares: [f64; BLOCKS],
    /// Every trade in order of entry, the open one last.
    pub trades: Vec<TradeRow>,
    /// Date of each bar, or its time when bars are shorter than a day.
    pub dates: Vec<String>,
    /// Equity at the close of each bar.
    pub equity: Vec<f64>,
    /// Digest of the bars.
    pub data_digest: String,
    /// Version of the engine.
    pub engine_version: String,
    /// Name of the worker.
    pub worker: String,
}

/// The metrics of a run over one segment of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowMetrics {
    /// Number of the window, from 0.
    pub window: u32,
    /// Which part of it.
    pub segment: Segment,
    /// Its metrics by name; `null` where undefined.
    pub metrics: IndexMap<String, Option<f64>>,
}

/// One trade, told in dates. Amounts are in the currency of the bars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TradeRow {
    /// Its side.
    pub side: Side,
    /// Date of the entry fill.
    pub entry_date: String,
    /// Its bar.
    pub entry_bar: usize,
    /// Price of the entry, slippage included.
    pub entry_price: f64,
    /// Date of the exit fill; of the last bar for a trade still open.
    pub exit_date: String,
    /// Its bar.
    pub exit_bar: usize,
    /// Price of the exit, slippage included; the last close for a trade still open.
    pub exit_price: f64,
    /// Shares, above 0 on either side.
    pub size: f64,
    /// Commission of the entry.
    pub entry_fee: f64,
    /// Commission of the exit; 0 for a trade still open.
    pub exit_fee: f64,
    /// What borrowing the shares of a short position cost.
    pub borrow_cost: f64,
    /// Profit net of commissions and borrowing.
    pub pnl: f64,
    /// Net profit over `size * entry_price`.
    #[serde(rename = "return")]
    pub return_: f64,
    /// Bars from entry to exit.
    pub bars_held: usize,
    /// What ended it.
    pub exit_reason: ExitReason,
    /// Whether the position is still open after the last bar.
    pub open: bool,
}

impl Event for ReplayRequest {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Event for ReplayReply {
    fn version(&self) -> u32 {
        self.version
    }

    fn check(&self) -> Result<(), String> {
        if self.dates.len() != self.equity.len() {
            return Err(format!("has {} dates for {} values of equity", self.dates.len(), self.equity.len()));
        }
        Ok(())
    }
}
