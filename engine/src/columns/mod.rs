//! All columns and conditions of one symbol, each computed once and shared by every run.

mod kernels;
mod node;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::backtest::RunFailure;
use crate::bars::Bars;
use crate::expr::{Bound, Rule};
use crate::indicators::{self, Inputs};
use crate::mask::Mask;
use crate::simulation::Tables;

pub(crate) use node::{NodeId, Nodes, Operand, Operation};
pub(crate) use store::Column;

use kernels::Source;
use store::{Store, Value};

/// What the cache of a [`Columns`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Times a sub-expression was found computed.
    pub hits: u64,
    /// Times a sub-expression was computed.
    pub misses: u64,
    /// Bytes of the columns, masks and tables held now.
    pub bytes: usize,
}

/// The bars of one symbol and every sub-expression over them that was needed so far.
///
/// Once parameters are put in, equal sub-expressions are one node, whatever rule or template they come from, and
/// its values are computed once. Memory is bounded: beyond the budget the least recently used values are dropped,
/// and computed again if they are needed again. Values are pure functions of the bars, so results do not depend on
/// the budget or on what ran before. A run needs the columns of its own rules at once, whatever the budget.
///
/// After a panic inside a run the contents may be incomplete: drop it and make a new one.
#[derive(Debug)]
pub struct Columns {
    bars: Arc<Bars>,
    nodes: Nodes,
    store: Store,
    budget: usize,
    run: u64,
    hits: u64,
    misses: u64,
    /// Tables of the simulation, for the risk-free return that was asked for last.
    tables: Option<Arc<Tables>>,
}

/// Nodes after which a [`Columns`] starts afresh. It bounds what is kept for nodes that have lost their values to
/// about 8 MB, and filling it anew costs little beside the runs which made so many nodes.
const MAX_NODES: usize = 1 << 15;

impl Columns {
    /// Nothing computed yet. Columns and masks may take `budget_bytes` of memory beside the bars between runs; 0 is
    /// correct too, only slow.
    pub fn new(bars: Arc<Bars>, budget_bytes: usize) -> Self {
        let (nodes, store) = (Nodes::default(), Store::new(budget_bytes));
        Self { bars, nodes, store, budget: budget_bytes, run: 0, hits: 0, misses: 0, tables: None }
    }

    /// The bars.
    pub fn bars(&self) -> &Arc<Bars> {
        &self.bars
    }

    /// What the cache did since the start, and what it holds.
    pub fn stats(&self) -> CacheStats {
        CacheStats { hits: self.hits, misses: self.misses, bytes: self.bytes() }
    }

    fn bytes(&self) -> usize {
        self.store.bytes() + self.tables.as_ref().map_or(0, |tables| tables.bytes())
    }

    /// The tables of the simulation for a risk-free return a bar, which all runs of a sweep have in common.
    pub(crate) fn tables(&mut self, risk_free: f64) -> Arc<Tables> {
        if let Some(tables) = self.tables.as_ref().filter(|tables| tables.fit(risk_free)) {
            return Arc::clone(tables);
        }
        let tables = Arc::new(Tables::new(self.bars.close(), risk_free));
        self.tables = Some(Arc::clone(&tables));
        tables
    }

    /// The masks of some rules, all with the same parameter values.
    pub(crate) fn masks<const N: usize>(
        &mut self,
        rules: [&Rule; N],
        values: &[f64],
    ) -> Result<[Arc<Mask>; N], RunFailure> {
        self.run += 1;
        if self.nodes.len() > MAX_NODES {
            self.nodes = Nodes::default();
            self.store = Store::new(self.budget);
        }
        // Periods are checked before anything is computed.
        let mut bound = [Bound::Everywhere(false); N];
        for (bound, rule) in bound.iter_mut().zip(rules) {
            *bound = rule.bind(&mut self.nodes, values)?;
        }
        let masks = bound.map(|bound| match bound {
            Bound::Everywhere(true) => Arc::new(Mask::from_fn(self.bars.len(), |_| true)),
            Bound::Everywhere(false) => Arc::new(Mask::none(self.bars.len())),
            Bound::Mask(node) => self.mask(node),
        });
        self.store.trim();
        Ok(masks)
    }

    /// The values of `atr(period)`: a column like those of rules, shared with them.
    pub(crate) fn average_true_range(&mut self, period: u32) -> Column {
        let node = indicators::atr(&mut self.nodes, f64::from(period));
        let column = self.column(node);
        self.store.trim();
        column
    }

    /// The values of a column expression, or of its inner sums.
    #[cfg(test)]
    pub(crate) fn evaluate(&mut self, source: &str) -> Vec<f64> {
        let rule = Rule::new("", &format!("{source} > 0"), &[]).expect("a test's expression compiles");
        let bound = rule.bind(&mut self.nodes, &[]).expect("a test's periods are valid");
        let Bound::Mask(node) = bound else { panic!("{source} is no column") };
        let Operation::Compare(_, _, Operand::Column(column)) = self.nodes.operation(node) else {
            panic!("{source} > 0 compares no column")
        };
        self.run += 1;
        let values = self.column(column).to_vec();
        self.store.trim();
        values
    }

    fn mask(&mut self, node: NodeId) -> Arc<Mask> {
        match self.value(node) {
            Value::Mask(mask) => mask,
            Value::Column(_) => unreachable!("conditions are bound to masks only"),
        }
    }

    fn column(&mut self, node: NodeId) -> Column {
        match self.value(node) {
            Value::Column(column) => column,
            Value::Mask(_) => unreachable!("values are bound to columns only"),
        }
    }

    /// The value of a node, computed now if it is not held. The recursion is a few levels for each level of a rule,
    /// which has at most [`crate::expr::MAX_NODES`].
    fn value(&mut self, node: NodeId) -> Value {
        if let Some(value) = self.store.get(node, self.run) {
            self.hits += 1;
            return value;
        }
        self.misses += 1;
        let value = self.compute(self.nodes.operation(node));
        self.store.put(node, value.clone(), self.run);
        value
    }

    fn compute(&mut self, operation: Operation) -> Value {
        let computed = |values: Arc<[f64]>| Value::Column(Column::Computed(values));
        let mask = |mask: Mask| Value::Mask(Arc::new(mask));
        match operation {
            Operation::Series(series) => Value::Column(Column::Bars(Arc::clone(&self.bars), series)),
            Operation::Unary(op, x) => computed(kernels::unary(op, &self.column(x))),
            Operation::Binary(op, a, b) => computed(self.with_sources(a, b, |a, b| kernels::binary(op, a, b))),
            Operation::Compare(comparison, a, b) => {
                mask(self.with_sources(a, b, |a, b| kernels::compare(comparison, a, b)))
            }
            Operation::And(a, b) => mask(self.mask(a).and(&self.mask(b))),
            Operation::Or(a, b) => mask(self.mask(a).or(&self.mask(b))),
            Operation::Previous(inner) => mask(kernels::previous(&self.mask(inner))),
            Operation::Kernel { kernel, inputs, numbers } => {
                let columns = inputs.map(|input| input.map(|input| self.column(input)));
                let slices = columns.each_ref().map(|column| column.as_deref().unwrap_or(&[]));
                let inputs = Inputs::new(slices, numbers.map(f64::from_bits));
                computed(kernel.run(self.bars.len(), &inputs))
            }
        }
    }

    fn with_sources<T>(&mut self, a: Operand, b: Operand, apply: impl FnOnce(Source<'_>, Source<'_>) -> T) -> T {
        let (a, b) = (self.operand(a), self.operand(b));
        apply(a.source(), b.source())
    }

    fn operand(&mut self, operand: Operand) -> Loaded {
        match operand {
            Operand::Number(bits) => Loaded::Number(f64::from_bits(bits)),
            Operand::Column(node) => Loaded::Column(self.column(node)),
        }
    }
}

/// An operand with its values at hand.
enum Loaded {
    Number(f64),
    Column(Column),
}

impl Loaded {
    fn source(&self) -> Source<'_> {
        match self {
            Loaded::Number(number) => Source::Number(*number),
            Loaded::Column(column) => Source::Column(column),
        }
    }
}
