//! Checking a spec without submitting it.

use async_nats::Message;
use jetsweep_shared::events::ValidateReply;
use jetsweep_shared::plan::Plan;

use super::reply::Rejection;
use crate::planner::Planner;
use crate::planning::plan;
use crate::submission::{self, Submission};

/// What the spec of a request would come to.
pub(super) async fn answer(planner: &Planner, message: &Message) -> Result<ValidateReply, Rejection> {
    let Checked { submission, plan } = check(planner, message).await?;
    Ok(ValidateReply {
        name: submission.spec.name,
        spec_digest: submission.spec_digest,
        symbols: plan.symbols,
        strategies: plan.strategies.len() as u32,
        total_runs: plan.total_runs(),
        total_shards: plan.total_shards(),
    })
}

/// A spec that can be run.
pub(super) struct Checked {
    pub(super) submission: Submission,
    pub(super) plan: Plan,
}

/// Reads and plans the spec of a request, on a thread of its own.
pub(super) async fn check(planner: &Planner, message: &Message) -> Result<Checked, Rejection> {
    let bytes = message.payload.len();
    if bytes > submission::MAX_BYTES {
        return Err(Rejection::too_large(bytes));
    }
    let (document, headers, options) = (message.payload.clone(), message.headers.clone(), planner.options.clone());
    let check = move || {
        let submission = submission::read(&document, headers.as_ref())?;
        let plan = plan(&submission.spec, &options)?;
        Ok(Checked { submission, plan })
    };
    planner.threads.run("checks", check).await?.map_err(Rejection::invalid_spec)
}
