//! Hash-consing: equal operations on equal operands are one node.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::expr::{BinaryOp, Series, UnaryOp};
use crate::indicators::{Kernel, KernelRef, MAX_INPUTS, MAX_NUMBERS};

/// A node of [`Nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(u32);

impl NodeId {
    /// Its position in the order of first appearance.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A column, or a number that stands for itself at every bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operand {
    /// The bits of an `f64`, so that operands can be compared and hashed.
    Number(u64),
    Column(NodeId),
}

impl Operand {
    pub(crate) fn number(value: f64) -> Self {
        Operand::Number(value.to_bits())
    }
}

/// What a node computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Series(Series),
    Unary(UnaryOp, NodeId),
    Binary(BinaryOp, Operand, Operand),
    Kernel { kernel: KernelRef, inputs: [Option<NodeId>; MAX_INPUTS], numbers: [u64; MAX_NUMBERS] },
}

/// All nodes so far. A node's operands always come before it.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    operations: Vec<Operation>,
    ids: HashMap<Operation, NodeId, BuildHasherDefault<NodeHasher>>,
}

impl Nodes {
    pub(crate) fn len(&self) -> usize {
        self.operations.len()
    }

    pub(crate) fn operation(&self, node: NodeId) -> Operation {
        self.operations[node.index()]
    }

    /// The node of an operation: the known one if there is one.
    pub(crate) fn intern(&mut self, operation: Operation) -> NodeId {
        let next = u32::try_from(self.operations.len()).expect("Columns starts afresh long before 2^32 nodes");
        let node = *self.ids.entry(operation).or_insert(NodeId(next));
        if node.0 == next {
            self.operations.push(operation);
        }
        node
    }

    pub(crate) fn series(&mut self, series: Series) -> NodeId {
        self.intern(Operation::Series(series))
    }

    pub(crate) fn binary(&mut self, op: BinaryOp, a: Operand, b: Operand) -> NodeId {
        self.intern(Operation::Binary(op, a, b))
    }

    /// A node of `kernel` over at most [`MAX_INPUTS`] columns and [`MAX_NUMBERS`] numbers.
    pub(crate) fn kernel(&mut self, kernel: &'static Kernel, inputs: &[NodeId], numbers: &[f64]) -> NodeId {
        let mut all_inputs = [None; MAX_INPUTS];
        for (slot, input) in all_inputs.iter_mut().zip(inputs) {
            *slot = Some(*input);
        }
        let mut all_numbers = [0; MAX_NUMBERS];
        for (slot, number) in all_numbers.iter_mut().zip(numbers) {
            *slot = number.to_bits();
        }
        self.intern(Operation::Kernel { kernel: KernelRef(kernel), inputs: all_inputs, numbers: all_numbers })
    }
}

/// A fast hash for operations, each run looking up a dozen. Nobody gains by making them collide: whoever wrote the
/// rules would only slow down their own sweep.
#[derive(Debug, Default)]
pub(super) struct NodeHasher {
    state: u64,
}

impl Hasher for NodeHasher {
    fn finish(&self) -> u64 {
        // The map takes its bucket from the low bits and a tag from the high ones; multiplying leaves the low bits
        // weak.
        self.state ^ self.state >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks();
        eights.iter().for_each(|eight| self.write_u64(u64::from_le_bytes(*eight)));
        rest.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        /// 2^64 over the golden ratio, made odd (Knuth's multiplicative hashing).
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        self.state = (self.state.rotate_left(23) ^ value).wrapping_mul(MULTIPLIER);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}
