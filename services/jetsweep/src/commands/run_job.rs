//! `jetsweep run-job`: what a worker starts for a job that was delivered before.

use std::io::{self, Write};

use crate::commands::Answer;
use crate::failure::OrFail;
use crate::output::{Look, Report};

/// Runs the job on standard input as `order` says and writes the reply to standard output.
pub(crate) fn execute(order: &str) -> Answer {
    jetsweep_worker::run_job_child(order, io::stdin(), io::stdout()).or_broken(|| "run the job")?;
    Ok(Box::new(Replied))
}

/// The reply is written; nothing may follow it.
struct Replied;

impl Report for Replied {
    fn human(&self, _out: &mut dyn Write, _look: Look) -> io::Result<()> {
        Ok(())
    }

    fn json(&self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
