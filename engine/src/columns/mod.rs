//! All columns of one symbol, each computed once and shared by every run, and where the rules of a run are true.

mod binding;
mod kernels;
mod node;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::backtest::RunFailure;
use crate::bars::Bars;
use crate::expr::{Condition, Rules, Series};
use crate::indicators::{self, Inputs};
use crate::mask::Mask;
use crate::patience::{Pace, Patience};
use crate::simulation::Tables;

pub(crate) use node::{NodeId, Nodes, Operand, Operation};
pub(crate) use store::Column;

use binding::Binding;
use kernels::Source;
use store::Store;

/// What the cache of a [`Columns`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Times a sub-expression was found computed.
    pub hits: u64,
    /// Times a sub-expression was computed.
    pub misses: u64,
    /// Bytes of the columns and tables held now.
    pub bytes: usize,
}

/// The bars of one symbol and every sub-expression over them that was needed so far.
///
/// Once parameters are put in, equal sub-expressions are one node, whatever rule or template they come from, and
/// its column is computed once. Memory is bounded: beyond the budget the least recently used columns are dropped,
/// and computed again if they are needed again. Columns are pure functions of the bars, so results do not depend on
/// the budget or on what ran before. A run needs the columns of its own rules at once, whatever the budget.
///
/// Conditions, a bit a bar, are evaluated anew when a parameter in them changes: that takes less than to look for
/// them among others.
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
    /// The rules of the last run, unless it failed.
    binding: Option<Binding>,
    /// Tables of the simulation, for the risk-free return that was asked for last.
    tables: Option<Tables>,
    pace: Pace,
}

/// Nodes after which a [`Columns`] starts afresh. It bounds what is kept for nodes that have lost their columns to
/// about 8 MB, and filling it anew costs little beside the runs which made so many nodes.
const MAX_NODES: usize = 1 << 15;

impl Columns {
    /// Nothing computed yet. Columns may take `budget_bytes` of memory beside the bars between runs; 0 is correct too,
    /// only slow.
    pub fn new(bars: Arc<Bars>, budget_bytes: usize) -> Self {
        let (nodes, store) = (Nodes::default(), Store::new(budget_bytes));
        Self {
            bars,
            nodes,
            store,
            budget: budget_bytes,
            run: 0,
            hits: 0,
            misses: 0,
            binding: None,
            tables: None,
            pace: Pace::default(),
        }
    }

    /// Makes runs fail with `timeout` once `patience` is over. It is asked every few thousand bars of work.
    pub fn wait_with(&mut self, patience: Arc<dyn Patience>) {
        self.pace = Pace::of(patience);
    }

    /// The pace of the run.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
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
        self.store.bytes() + self.tables.as_ref().map_or(0, Tables::bytes)
    }

    /// Makes the tables of the simulation for a risk-free return a bar, which all runs of a sweep have in common.
    pub(crate) fn make_tables(&mut self, risk_free: f64) {
        if self.tables.as_ref().is_none_or(|tables| !tables.fit(risk_free)) {
            self.tables = Some(Tables::new(self.bars.close(), risk_free));
        }
    }

    /// The tables that were made last.
    pub(crate) fn tables(&self) -> Option<&Tables> {
        self.tables.as_ref()
    }

    /// Puts the parameter values of a run into its rules and evaluates them.
    ///
    /// # Errors
    /// `bad_period` if the period of an indicator comes out below its minimum or not whole; `timeout` if the run is to
    /// stop.
    pub(crate) fn bind(&mut self, rules: &Arc<Rules>, parameters: &[f64]) -> Result<(), RunFailure> {
        self.run += 1;
        // Taken out while it is incomplete: after a failure there is none.
        let mut last = self.binding.take();
        if self.nodes.len() > MAX_NODES {
            self.nodes = Nodes::default();
            self.store = Store::new(self.budget);
            last = None;
        }
        let last = last.filter(|binding| Arc::ptr_eq(&binding.rules, rules));
        let mut binding = last.unwrap_or_else(|| Binding::new(rules, self.bars.len()));
        // Periods are checked before anything is computed.
        let stale = binding.put_in(&mut self.nodes, parameters)?;
        for (index, step) in rules.conditions.iter().enumerate() {
            if stale.has(step) {
                self.evaluate_condition(&mut binding, index)?;
            }
        }
        self.store.trim();
        self.binding = Some(binding);
        Ok(())
    }

    /// Where a rule of the last run is true, by its position among the rules.
    ///
    /// # Panics
    /// If there was none or it failed.
    pub(crate) fn mask(&self, rule: usize) -> &Mask {
        self.binding.as_ref().expect("a run asks for its masks once its rules are bound").mask(rule)
    }

    /// Where a rule by itself is true.
    #[cfg(test)]
    pub(crate) fn mask_of(&mut self, rule: &crate::expr::Rule, parameters: &[f64]) -> Result<Mask, RunFailure> {
        self.bind(&Arc::new(Rules::join([rule])), parameters)?;
        Ok(self.mask(0).clone())
    }

    /// The values of `atr(period)`: a column like those of rules, shared with them.
    ///
    /// # Errors
    /// `timeout` if the run is to stop.
    pub(crate) fn average_true_range(&mut self, period: u32) -> Result<Column, RunFailure> {
        let node = indicators::atr(&mut self.nodes, f64::from(period));
        self.compute(node)?;
        let column = self.store.get(node).expect("just computed").clone();
        self.store.trim();
        Ok(column)
    }

    /// The values of a column expression.
    #[cfg(test)]
    pub(crate) fn evaluate(&mut self, source: &str) -> Vec<f64> {
        let rule = crate::expr::Rule::new("", &format!("{source} > 0"), &[]).expect("a test's expression compiles");
        let rules = Arc::new(Rules::join([&rule]));
        self.bind(&rules, &[]).expect("a test's periods are valid");
        let Condition::Compare(_, _, column) = rules.conditions[0].what else { panic!("{source} > 0 is a comparison") };
        let Operand::Column(node) = self.binding.as_ref().unwrap().operands[column] else {
            panic!("{source} is no column")
        };
        self.run += 1;
        self.compute(node).expect("nobody stops a test");
        let values = self.values(node).to_vec();
        self.store.trim();
        values
    }

    /// Evaluates a condition; those before it are evaluated.
    fn evaluate_condition(&mut self, binding: &mut Binding, index: usize) -> Result<(), RunFailure> {
        let Binding { rules, operands, masks, .. } = binding;
        let (before, from_this) = masks.split_at_mut(index);
        let (mask, after) = from_this.split_first_mut().expect("there is a mask for each condition");
        match rules.conditions[index].what {
            Condition::Compare(comparison, a, b) => {
                let operands = [operands[a], operands[b]];
                if let [Operand::Number(a), Operand::Number(b)] = operands {
                    mask.fill(comparison.holds(f64::from_bits(a), f64::from_bits(b)));
                    return Ok(());
                }
                operands.into_iter().try_for_each(|operand| self.compute_operand(operand))?;
                let [a, b] = operands.map(|operand| self.source(operand));
                match rules.twins[index] {
                    None => kernels::compare(comparison, a, b, mask),
                    Some(twin) if twin < index => {} // evaluated together with its twin
                    Some(twin) => {
                        let Condition::Compare(other, ..) = rules.conditions[twin].what else {
                            unreachable!("twins are comparisons")
                        };
                        let twin = &mut after[twin - index - 1];
                        kernels::compare_both([comparison, other], a, b, [mask, twin]);
                    }
                }
            }
            Condition::And(a, b) => mask.set_and(&before[a], &before[b]),
            Condition::Or(a, b) => mask.set_or(&before[a], &before[b]),
            Condition::Previous(inner) => mask.set_previous(&before[inner]),
        }
        Ok(())
    }

    fn compute_operand(&mut self, operand: Operand) -> Result<(), RunFailure> {
        match operand {
            Operand::Column(node) => self.compute(node),
            Operand::Number(_) => Ok(()),
        }
    }

    /// Computes the column of a node if it is not held. The recursion is a few levels for each level of a rule, which
    /// has at most [`crate::expr::MAX_NODES`].
    fn compute(&mut self, node: NodeId) -> Result<(), RunFailure> {
        if self.store.touch(node, self.run) {
            self.hits += 1;
            return Ok(());
        }
        let column = match self.nodes.operation(node) {
            Operation::Series(_) => return Ok(()),
            Operation::Unary(op, x) => {
                self.compute(x)?;
                kernels::unary(op, self.values(x))
            }
            Operation::Binary(op, a, b) => {
                [a, b].into_iter().try_for_each(|operand| self.compute_operand(operand))?;
                kernels::binary(op, self.source(a), self.source(b))
            }
            Operation::Kernel { kernel, inputs, numbers } => {
                inputs.into_iter().flatten().try_for_each(|input| self.compute(input))?;
                let columns = inputs.map(|input| input.map_or(&[][..], |input| self.values(input)));
                kernel.run(self.bars.len(), &Inputs::new(columns, numbers.map(f64::from_bits)))
            }
        };
        self.pace.go_on(self.bars.len())?;
        self.misses += 1;
        self.store.put(node, column, self.run);
        Ok(())
    }

    /// The column of a node that this run has computed.
    fn values(&self, node: NodeId) -> &[f64] {
        match self.nodes.operation(node) {
            Operation::Series(Series::Open) => self.bars.open(),
            Operation::Series(Series::High) => self.bars.high(),
            Operation::Series(Series::Low) => self.bars.low(),
            Operation::Series(Series::Close) => self.bars.close(),
            Operation::Series(Series::Volume) => self.bars.volume(),
            _ => self.store.get(node).expect("columns are computed before they are read, and stay until the run ends"),
        }
    }

    fn source(&self, operand: Operand) -> Source<'_> {
        match operand {
            Operand::Number(bits) => Source::Number(f64::from_bits(bits)),
            Operand::Column(node) => Source::Column(self.values(node)),
        }
    }
}
