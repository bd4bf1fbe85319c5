//! The commands, as a shell sees them: exit codes, standard output, files.

mod backtest;
mod input;
mod local;
mod program;
mod services;
