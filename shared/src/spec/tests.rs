//! Specs that are fine come to what they should; specs that are not are told so in full.

mod files;
mod good;
mod refused;
