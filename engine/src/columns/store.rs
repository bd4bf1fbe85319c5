//! Values of nodes, least recently used ones first out.

use std::ops::Deref;
use std::sync::Arc;

use crate::bars::Bars;
use crate::expr::Series;
use crate::mask::Mask;

use super::node::NodeId;

/// A column of numbers, one a bar (or a fixed number a bar, side by side, for the inner sums of some indicators).
#[derive(Debug, Clone)]
pub(crate) enum Column {
    /// A column of the bars themselves, which is not copied.
    Bars(Arc<Bars>, Series),
    Computed(Arc<[f64]>),
}

impl Deref for Column {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        match self {
            Column::Bars(bars, Series::Open) => bars.open(),
            Column::Bars(bars, Series::High) => bars.high(),
            Column::Bars(bars, Series::Low) => bars.low(),
            Column::Bars(bars, Series::Close) => bars.close(),
            Column::Bars(bars, Series::Volume) => bars.volume(),
            Column::Computed(values) => values,
        }
    }
}

/// What a node comes to.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Column(Column),
    Mask(Arc<Mask>),
}

impl Value {
    /// Bytes of memory it owns.
    fn bytes(&self) -> usize {
        match self {
            Value::Column(Column::Bars(..)) => 0,
            Value::Column(Column::Computed(values)) => size_of_val(&values[..]),
            Value::Mask(mask) => size_of_val(mask.words()),
        }
    }
}

/// No slot: the end of the list in either direction.
const NOWHERE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot {
    value: Option<Value>,
    /// The run that last used it.
    used_by: u64,
    /// The slots used just after and just before it, if it has a value.
    newer: u32,
    older: u32,
}

const EMPTY: Slot = Slot { value: None, used_by: 0, newer: NOWHERE, older: NOWHERE };

/// Values by node, as a list in order of use, so that every operation takes constant time.
#[derive(Debug)]
pub(crate) struct Store {
    slots: Vec<Slot>,
    newest: u32,
    oldest: u32,
    bytes: usize,
    budget: usize,
}

impl Store {
    pub(crate) fn new(budget: usize) -> Self {
        Self { slots: Vec::new(), newest: NOWHERE, oldest: NOWHERE, bytes: 0, budget }
    }

    /// Bytes of all values held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The value of a node if it is held, which `run` now has used.
    pub(crate) fn get(&mut self, node: NodeId, run: u64) -> Option<Value> {
        let slot = self.slots.get_mut(node.index())?;
        let value = slot.value.clone()?;
        slot.used_by = run;
        self.unlink(node.index());
        self.link_newest(node.index());
        Some(value)
    }

    /// Holds the value of a node that has none, and drops the least recently used ones beyond the budget, though
    /// none that `run` has used: they stay until it ends, so that nothing is computed twice within a run.
    pub(crate) fn put(&mut self, node: NodeId, value: Value, run: u64) {
        let index = node.index();
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || EMPTY);
        }
        debug_assert!(self.slots[index].value.is_none(), "a node is computed only while it has no value");
        self.bytes += value.bytes();
        self.slots[index] = Slot { value: Some(value), used_by: run, ..EMPTY };
        self.link_newest(index);
        self.evict(|slot| slot.used_by != run);
    }

    /// Drops the least recently used values beyond the budget, whichever run used them.
    pub(crate) fn trim(&mut self) {
        self.evict(|_| true);
    }

    fn evict(&mut self, may_go: impl Fn(&Slot) -> bool) {
        while self.bytes > self.budget && self.oldest != NOWHERE {
            let index = self.oldest as usize;
            if !may_go(&self.slots[index]) {
                return;
            }
            self.unlink(index);
            if let Some(value) = self.slots[index].value.take() {
                self.bytes -= value.bytes();
            }
        }
    }

    fn unlink(&mut self, index: usize) {
        let (newer, older) = (self.slots[index].newer, self.slots[index].older);
        match newer {
            NOWHERE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NOWHERE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
    }

    fn link_newest(&mut self, index: usize) {
        let this = u32::try_from(index).expect("Columns starts afresh long before 2^32 nodes");
        let second = self.newest;
        self.slots[index].newer = NOWHERE;
        self.slots[index].older = second;
        match second {
            NOWHERE => self.oldest = this,
            second => self.slots[second as usize].newer = this,
        }
        self.newest = this;
    }
}
