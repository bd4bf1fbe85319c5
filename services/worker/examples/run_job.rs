//! The child's side alone: what `jetsweep run-job` does, for the tests of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    let order = std::env::args().next_back().unwrap_or_default();
    match jetsweep_worker::run_job_child(&order, std::io::stdin(), std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
