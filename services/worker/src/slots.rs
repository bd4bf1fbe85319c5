//! Slots: threads of their own on which shards are computed, so that the async runtime stays free for messages.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
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
    /// What happens to the job first: see [`Options::fault`](crate::Options::fault).
    pub(crate) fault: Option<Fault>,
}

/// Something that happens to a job before it is computed.
pub type Fault = fn(&Job);

struct Order {
    work: Work,
    turn: Turn,
    answer: oneshot::Sender<Outcome>,
}

/// The threads, one a slot. Dropping this ends each after the run it is at.
#[derive(Debug)]
pub(crate) struct Slots {
    columns_bytes: usize,
    worker: String,
    threads: Mutex<Vec<Thread>>,
}

#[derive(Debug)]
struct Thread {
    orders: mpsc::Sender<Order>,
    handle: JoinHandle<()>,
}

impl Slots {
    /// Starts `count` threads; `columns_bytes` bounds the indicator columns each keeps, and `worker` is named in results.
    ///
    /// # Errors
    /// When the system has no more threads to give.
    pub(crate) fn start(count: usize, columns_bytes: usize, worker: &str) -> io::Result<Self> {
        let slots = Self { columns_bytes, worker: worker.to_owned(), threads: Mutex::default() };
        for _ in 0..count {
            slots.add()?;
        }
        Ok(slots)
    }

    /// Starts one thread more. Returns the number of its slot.
    ///
    /// # Errors
    /// When the system has no more threads to give.
    pub(crate) fn add(&self) -> io::Result<usize> {
        let mut threads = self.lock();
        let number = threads.len();
        let (orders, receiver) = mpsc::channel();
        let (columns_bytes, worker) = (self.columns_bytes, self.worker.clone());
        let handle = std::thread::Builder::new()
            .name(format!("slot-{number}"))
            .spawn(move || serve(&receiver, columns_bytes, &worker))?;
        threads.push(Thread { orders, handle });
        Ok(number)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Thread>> {
        // A thread is in the list or not, whatever panicked meanwhile.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Computes a shard on the slot of `turn`, which the slot hands on as soon as it is done computing.
    pub(crate) async fn run(&self, turn: Turn, work: Work) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        let order = Order { work, turn, answer };
        let slot = order.turn.slot();
        let lost = || Failure::retryable(format!("slot {slot} is gone"));
        self.lock()[slot].orders.send(order).map_err(|_| lost())?;
        outcome.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Ends the threads and waits for them. Blocks for as long as a run takes.
    pub(crate) fn join(self) {
        let threads = self.threads.into_inner().unwrap_or_else(PoisonError::into_inner);
        // All are told before any is waited for.
        let handles: Vec<_> = threads.into_iter().map(|thread| thread.handle).collect();
        for handle in handles {
            // A slot catches every panic; one that died nevertheless has nothing left to wait for.
            let _ = handle.join();
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
    if let Some(fault) = work.fault {
        fault(&work.job);
    }
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
