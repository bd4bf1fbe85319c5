//! Computed columns, least recently used ones first out.

use std::ops::Deref;
use std::sync::Arc;

use super::node::NodeId;

/// The values of a node: one a bar, or a fixed number a bar, side by side, for the inner sums of some indicators.
///
/// They begin where a line of the cache does: a vector that is loaded across two lines takes twice as long.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// The values, with places to spare before or after them.
    places: Arc<[f64]>,
    start: usize,
    len: usize,
}

/// Bytes of a line of the cache.
const LINE: usize = 64;

impl Column {
    /// A column of `len` values, of which `write` sets those that are not to be NaN.
    pub(crate) fn written(len: usize, write: impl FnOnce(&mut [f64])) -> Self {
        let spare = LINE / size_of::<f64>() - 1;
        let mut places: Arc<[f64]> = std::iter::repeat_n(f64::NAN, len + spare).collect();
        let start = places.as_ptr().align_offset(LINE).min(spare);
        let unshared = Arc::get_mut(&mut places).expect("an Arc just made has no other owner");
        write(&mut unshared[start..start + len]);
        Self { places, start, len }
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.places[..])
    }
}

impl Deref for Column {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.places[self.start..self.start + self.len]
    }
}

/// No slot: the end of the list in either direction.
const NOWHERE: u32 = u32::MAX;

#[derive(Debug, Clone)]
struct Slot {
    column: Option<Column>,
    /// The run that last used it.
    used_by: u64,
    /// The slots used just after and just before it, if it has a column.
    newer: u32,
    older: u32,
}

const EMPTY: Slot = Slot { column: None, used_by: 0, newer: NOWHERE, older: NOWHERE };

/// Columns by node, as a list in order of use, so that every operation takes constant time.
#[derive(Debug, Clone)]
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

    /// Bytes of all columns held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the column of a node is held, which `run` now uses.
    pub(crate) fn touch(&mut self, node: NodeId, run: u64) -> bool {
        let Some(slot) = self.slots.get_mut(node.index()).filter(|slot| slot.column.is_some()) else { return false };
        slot.used_by = run;
        if self.newest as usize != node.index() {
            self.unlink(node.index());
            self.link_newest(node.index());
        }
        true
    }

    /// The column of a node, if it is held.
    pub(crate) fn get(&self, node: NodeId) -> Option<&Column> {
        self.slots.get(node.index())?.column.as_ref()
    }

    /// Holds the column of a node that has none, and drops the least recently used ones beyond the budget, though
    /// none that `run` has used: they stay until it ends, so that nothing is computed twice within a run.
    pub(crate) fn put(&mut self, node: NodeId, column: Column, run: u64) {
        let index = node.index();
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || EMPTY);
        }
        debug_assert!(self.slots[index].column.is_none(), "a node is computed only while it has no column");
        self.bytes += column.bytes();
        self.slots[index] = Slot { column: Some(column), used_by: run, ..EMPTY };
        self.link_newest(index);
        self.evict(|slot| slot.used_by != run);
    }

    /// Drops the least recently used columns beyond the budget, whichever run used them.
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
            if let Some(column) = self.slots[index].column.take() {
                self.bytes -= column.bytes();
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
