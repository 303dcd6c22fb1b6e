//! Doing the same to many pieces on all cores, and taking the results in order.
//!
//! In: pieces and what to do to each. Out: results in the order of the pieces, so that the bytes of an artifact never
//! depend on the number of threads. Never holds more than a few pieces per core.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use crate::error::{Error, Exit, Result};

type Work<P, D> = dyn Fn(P) -> Result<D> + Send + Sync;

/// Pieces under way. Works on the rayon pool that the caller is in, else on the global one.
pub struct InOrder<P, D> {
    work: Arc<Work<P, D>>,
    waiting: VecDeque<Receiver<Result<D>>>,
    limit: usize,
}

impl<P: Send + 'static, D: Send + 'static> InOrder<P, D> {
    /// `work` is done to each piece.
    pub fn new(work: impl Fn(P) -> Result<D> + Send + Sync + 'static) -> InOrder<P, D> {
        let limit = 2 * rayon::current_num_threads() + 2;
        InOrder { work: Arc::new(work), waiting: VecDeque::with_capacity(limit), limit }
    }

    /// Starts on a piece. Returns the oldest result where enough pieces are under way (and waits for it).
    pub fn push(&mut self, piece: P) -> Result<Option<D>> {
        let (sender, receiver) = sync_channel(1);
        let work = Arc::clone(&self.work);
        rayon::spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(|| work(piece)));
            let done = done.unwrap_or_else(|_| Err(Error::cannot(Exit::Bug, "work on a piece: a thread panicked")));
            // The receiver is gone where an earlier piece failed.
            let _ = sender.send(done);
        });
        self.waiting.push_back(receiver);
        if self.waiting.len() < self.limit { Ok(None) } else { self.take() }
    }

    /// The oldest result; `None` when all were taken.
    pub fn take(&mut self) -> Result<Option<D>> {
        let Some(receiver) = self.waiting.pop_front() else { return Ok(None) };
        loop {
            match receiver.try_recv() {
                Ok(done) => return done.map(Some),
                // On a thread of the pool, waiting means working: a pool of one thread would wait forever.
                Err(TryRecvError::Empty) if rayon::yield_now() == Some(rayon::Yield::Executed) => continue,
                Err(_) => break,
            }
        }
        let lost = |_| Error::cannot(Exit::Bug, "work on a piece: its thread is gone");
        receiver.recv().map_err(lost)?.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_on_pools_of_any_size() {
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let results = pool.install(|| {
                let mut pieces = InOrder::new(|n: u64| {
                    std::thread::sleep(std::time::Duration::from_micros(n * 7 % 13));
                    Ok(n)
                });
                let mut results = Vec::new();
                for n in 0..200 {
                    results.extend(pieces.push(n).unwrap());
                }
                while let Some(n) = pieces.take().unwrap() {
                    results.push(n);
                }
                results
            });
            assert_eq!(results, (0..200).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_in_a_piece_is_a_bug_and_not_an_abort() {
        let mut pieces: InOrder<u8, u8> = InOrder::new(|_| panic!("on purpose"));
        pieces.push(1).unwrap();
        assert_eq!(pieces.take().unwrap_err().exit(), Exit::Bug);
    }
}
