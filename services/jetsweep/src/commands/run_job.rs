//! `jetsweep run-job`: what a worker starts for a job that was delivered before.

use crate::commands::Answer;
use crate::failure::Failure;

pub(crate) fn execute() -> Answer {
    Err(Failure::broken("run the job", anyhow::anyhow!("not built yet")))
}
