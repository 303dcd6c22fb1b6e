//! Doing the same to many pieces on all cores, and taking the results in order.
//!
//! In: pieces and what to do to each. Out: results in the order of the pieces, so that the bytes of an artifact never
//! depend on the number of threads. Never holds more than a few pieces per core.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Exit, Result};

type Work<P, D> = dyn Fn(P) -> Result<D> + Send + Sync;

/// Pieces under way. Works on the rayon pool that the caller is in, else on the global one.
pub struct InOrder<P, D> {
    work: Arc<Work<P, D>>,
    waiting: VecDeque<Receiver<Result<D>>>,
    limit: usize,
}

impl<P, D> InOrder<P, D> {
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
}

/// What is under way ends before whoever asked for it goes on: it may hold what others need back.
impl<P, D> Drop for InOrder<P, D> {
    fn drop(&mut self) {
        while !self.waiting.is_empty() {
            let _ = self.take();
        }
    }
}

type Make<T> = dyn Fn() -> Result<T> + Send + Sync;

/// What is costly to make (buffers, encoders), used again by whichever thread needs one next.
pub struct Spare<T> {
    idle: Mutex<Vec<T>>,
    make: Box<Make<T>>,
}

impl<T> Spare<T> {
    /// `make` makes one more.
    pub fn new(make: impl Fn() -> Result<T> + Send + Sync + 'static) -> Spare<T> {
        Spare { idle: Mutex::default(), make: Box::new(make) }
    }

    /// Lends one. It does not come back after an error or a panic.
    pub fn lend<R>(&self, work: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let mut one = idle.map_or_else(|| (self.make)(), Ok)?;
        let done = work(&mut one)?;
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(one);
        }
        Ok(done)
    }
}

/// What another thread sends piece by piece, as one stream. It ends where nobody sends any more; an error ends it, too.
pub struct Sent {
    receiver: Receiver<io::Result<Arc<Vec<u8>>>>,
    piece: Arc<Vec<u8>>,
    next: usize,
}

impl Sent {
    /// What comes through `receiver`.
    pub fn new(receiver: Receiver<io::Result<Arc<Vec<u8>>>>) -> Sent {
        Sent { receiver, piece: Arc::default(), next: 0 }
    }
}

impl Read for Sent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.next == self.piece.len() {
            match self.receiver.recv() {
                Ok(piece) => (self.piece, self.next) = (piece?, 0),
                // The thread is done.
                Err(_) => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len() - self.next);
        buffer[..length].copy_from_slice(&self.piece[self.next..self.next + length]);
        self.next += length;
        Ok(length)
    }
}

/// Reads `source` on a thread of its own, a little ahead of `work`, which gets the same bytes: decompressing and looking at
/// what comes out go on at the same time.
pub fn ahead<T>(source: impl Read + Send, work: impl FnOnce(&mut dyn Read) -> T) -> T {
    const PIECE: usize = 256 << 10;
    const PIECES: usize = 4;
    let (sender, receiver) = sync_channel(PIECES);
    std::thread::scope(|scope| {
        scope.spawn(move || send_all(source, PIECE, &sender));
        // Dropping it ends the thread, where not everything was read.
        work(&mut Sent::new(receiver))
    })
}

fn send_all(mut source: impl Read, size: usize, sender: &SyncSender<io::Result<Arc<Vec<u8>>>>) {
    loop {
        let mut piece = Vec::with_capacity(size);
        let read = source.by_ref().take(size as u64).read_to_end(&mut piece);
        // What was read before an error comes before it.
        let at_end = read.as_ref().map_or(true, |read| *read < size);
        let sent = (piece.is_empty() || sender.send(Ok(Arc::new(piece))).is_ok())
            && read.map_or_else(|error| sender.send(Err(error)).is_ok(), |_| true);
        if at_end || !sent {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_ahead_is_the_same_up_to_an_error_and_need_not_be_read() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let mut back = Vec::new();
        ahead(bytes.as_slice(), |source| source.read_to_end(&mut back)).unwrap();
        assert!(back == bytes);
        let mut ten = [0; 10];
        ahead(bytes.as_slice(), |source| source.read_exact(&mut ten)).unwrap();
        assert_eq!(ten, bytes[..10]);
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        back.clear();
        let error = ahead(bytes.as_slice().chain(Broken), |source| source.read_to_end(&mut back)).unwrap_err();
        assert_eq!(error.to_string(), "broken");
        assert!(back == bytes);
        assert_eq!(ahead(io::empty(), |source| source.read_to_end(&mut back)).unwrap(), 0);
    }

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
    fn what_is_spare_is_used_again_unless_its_user_failed() {
        let made = Arc::new(Mutex::new(0));
        let count = Arc::clone(&made);
        let spare = Spare::new(move || {
            *count.lock().unwrap() += 1;
            Ok(Vec::new())
        });
        for length in 1..4 {
            let seen = spare.lend(|one: &mut Vec<u8>| {
                one.push(0);
                Ok(one.len())
            });
            assert_eq!(seen.unwrap(), length);
        }
        assert_eq!(*made.lock().unwrap(), 1);
        spare.lend(|_| Err::<(), _>(Error::cannot(Exit::Bug, "work"))).unwrap_err();
        assert_eq!(spare.lend(|one| Ok(one.len())).unwrap(), 0);
        assert_eq!(*made.lock().unwrap(), 2);
    }

    #[test]
    fn a_panic_in_a_piece_is_a_bug_and_not_an_abort() {
        let mut pieces: InOrder<u8, u8> = InOrder::new(|_| panic!("on purpose"));
        pieces.push(1).unwrap();
        assert_eq!(pieces.take().unwrap_err().exit(), Exit::Bug);
    }
}
