//! The one jetsweep binary: the command line, the services as roles, and `run`, which is all of it in one process.

mod app;
mod cli;
mod commands;
mod exit;
mod failure;
mod files;
mod one_run;
mod output;

fn main() -> std::process::ExitCode {
    app::main(std::env::args_os())
}
