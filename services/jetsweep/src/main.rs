//! The one jetsweep binary: the command line, the services as roles, and `run`, which is all of it in one process.

mod app;
mod bars;
mod batches;
mod cli;
mod commands;
mod exit;
mod failure;
mod files;
mod follow;
mod interrupt;
mod leaderboard;
mod local;
mod memory;
mod mlflow_source;
mod one_run;
mod output;
mod progress;
mod services;
mod session;
mod source;
mod summary;
mod sweep;

fn main() -> std::process::ExitCode {
    app::main(std::env::args_os())
}
