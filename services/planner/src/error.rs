//! What can go wrong with a planner, and with one batch of it.

use jetsweep_shared::bus::BusError;
use jetsweep_shared::events::EventError;
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::InvalidNamespace;
use jetsweep_shared::topology::TopologyError;

/// Why a planner could not start.
#[derive(Debug, thiserror::Error)]
pub enum PlannerError {
    /// The configured namespace cannot be used.
    #[error(transparent)]
    Namespace(#[from] InvalidNamespace),
    /// No connection, or a failed request.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Streams and consumers are not as they must be.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A consumer that the topology promises cannot be used.
    #[error("failed to open consumer {name}: {reason}")]
    Consumer {
        /// Its name.
        name: String,
        /// The client's words.
        reason: String,
    },
    /// A service endpoint could not be opened.
    #[error("failed to open the service endpoints: {0}")]
    Endpoints(String),
}

/// Why one batch cannot go on now. Nothing is lost: the plan message stays, and is taken up again later.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    /// NATS does not do what it is asked.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A stored event cannot be read.
    #[error("failed to read {subject}: {source}")]
    Event { subject: String, source: EventError },
    /// The stored plan is gone right after it was found to be there.
    #[error("the begin event of batch {0} was purged while the batch was planned again: waiting until its id is free")]
    BeginGone(BatchId),
    /// Work on the batch was stopped, and now nothing asks for that any more.
    #[error("the control entry of batch {0} changed while the batch was being stopped")]
    ControlGone(BatchId),
    /// Somebody asked for the batch to wait.
    #[error("batch {0} is paused")]
    Paused(BatchId),
    /// A retry waits for the generation before it to end.
    #[error("batch {batch} has not ended generation {generation}, whose runs are to be retried")]
    NotOver { batch: BatchId, generation: u32 },
    /// The batch's jobs could not be purged.
    #[error("failed to purge the jobs of batch {batch}: {reason}")]
    Purge { batch: BatchId, reason: String },
    /// The thread that planned is gone.
    #[error("the thread that {0} ended without a result")]
    Thread(&'static str),
}
