//! Slots: threads of their own on which shards are computed, so that the async runtime stays free for messages.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use jetsweep_shared::events::{Job, Timing};
use tokio::sync::oneshot;

use crate::failure::{Failure, code};
use crate::scheduler::Turn;
use crate::shard::{self, Computed, Ending, Input, Limits, SlotColumns};
use crate::stats::micros;

/// How a shard ended on its slot.
pub(crate) type Outcome = Result<Ending<Computed>, Failure>;

/// One shard for one slot.
pub(crate) struct Work {
    pub(crate) job: Arc<Job>,
    pub(crate) input: Input,
    pub(crate) limits: Limits,
    /// When the job was received.
    pub(crate) received: std::time::Instant,
    /// What loading its bars took, in microseconds.
    pub(crate) load_us: u64,
}

struct Order {
    work: Work,
    turn: Turn,
    answer: oneshot::Sender<Outcome>,
}

/// The threads, one a slot. Dropping this ends each after the run it is at.
#[derive(Debug)]
pub(crate) struct Slots {
    orders: Vec<mpsc::Sender<Order>>,
    threads: Vec<JoinHandle<()>>,
}

impl Slots {
    /// Starts `count` threads; `columns_bytes` bounds the indicator columns each keeps, and `worker` is named in results.
    ///
    /// # Errors
    /// When the system has no more threads to give.
    pub(crate) fn start(count: usize, columns_bytes: usize, worker: &str) -> io::Result<Self> {
        let mut slots = Self { orders: Vec::new(), threads: Vec::new() };
        for number in 0..count {
            let (sender, receiver) = mpsc::channel();
            let worker = worker.to_owned();
            let thread = std::thread::Builder::new()
                .name(format!("slot-{number}"))
                .spawn(move || serve(&receiver, columns_bytes, &worker))?;
            slots.orders.push(sender);
            slots.threads.push(thread);
        }
        Ok(slots)
    }

    /// Computes a shard on the slot of `turn`, which the slot hands on as soon as it is done computing.
    pub(crate) async fn run(&self, turn: Turn, work: Work) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        let order = Order { work, turn, answer };
        let slot = order.turn.slot();
        let lost = || Failure::retryable(format!("slot {slot} is gone"));
        self.orders[slot].send(order).map_err(|_| lost())?;
        outcome.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Ends the threads and waits for them. Blocks for as long as a run takes.
    pub(crate) fn join(self) {
        drop(self.orders);
        for thread in self.threads {
            // A slot catches every panic; one that died nevertheless has nothing left to wait for.
            let _ = thread.join();
        }
    }
}

fn serve(orders: &mpsc::Receiver<Order>, columns_bytes: usize, worker: &str) {
    let mut columns = SlotColumns::new(columns_bytes);
    while let Ok(Order { work, turn, answer }) = orders.recv() {
        let outcome = shard::catch_panic(|| compute(&work, &mut columns, worker)).unwrap_or_else(|message| {
            columns.forget();
            Err(Failure::fatal(code::PANIC, format!("the worker panicked: {message}")))
        });
        // The next job first: this one only has to be told.
        drop(turn);
        // Nobody listens when the job was handed back meanwhile.
        let _ = answer.send(outcome);
    }
}

fn compute(work: &Work, columns: &mut SlotColumns, worker: &str) -> Outcome {
    let waited = work.received.elapsed();
    Ok(match shard::compute(&work.job, &work.input, columns, &work.limits, worker)? {
        Ending::Computed(mut result) => {
            let wait_us = micros(waited).saturating_sub(work.load_us);
            result.timing = Timing { wait_us, load_us: work.load_us, ..result.timing };
            Ending::Computed(Computed::new(&result))
        }
        Ending::Cancelled => Ending::Cancelled,
        Ending::Aborted => Ending::Aborted,
    })
}
