//! What is computed once over the bars of a symbol, so that a holding of any length takes a few steps.
//!
//! Within a holding of `shares` without cash beside them equity is `shares * close`. Hence its returns are those of
//! the closes, whose sums come from prefix sums ([`powers`]), and its falls are those of the closes, whose extremes
//! come from tables over blocks of bars ([`falls`]).

pub(super) mod falls;
pub(super) mod powers;

use falls::Falls;
use powers::Powers;

/// The tables of the closes of one symbol, for one risk-free return a bar.
#[derive(Debug)]
pub(crate) struct Tables {
    risk_free: f64,
    pub(super) powers: Powers,
    pub(super) falls: Falls,
}

impl Tables {
    /// The tables of `closes`, `risk_free` being the risk-free return a bar.
    pub(crate) fn new(closes: &[f64], risk_free: f64) -> Self {
        Self { risk_free, powers: Powers::new(closes, risk_free), falls: Falls::new(closes) }
    }

    /// The risk-free return a bar.
    pub(super) fn risk_free(&self) -> f64 {
        self.risk_free
    }

    /// Whether they are for this risk-free return a bar.
    pub(crate) fn fit(&self, risk_free: f64) -> bool {
        self.risk_free.to_bits() == risk_free.to_bits()
    }

    /// Bytes of memory they take.
    pub(crate) fn bytes(&self) -> usize {
        self.powers.bytes() + self.falls.bytes()
    }
}
