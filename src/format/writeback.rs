//! Writing a file to its disk while it grows, so that syncing it in the end has little left to wait for.
//!
//! In: how far a file is written. Out: nothing; a thread asks the kernel to begin (sync_file_range(2)). Never waits for the
//! disk before it is dropped, never says that anything is safe: that is what fsync is for.

use std::fs::File;
use std::ops::Range;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use crate::host;

/// So many new bytes are worth a call.
const STEP: u64 = 16 << 20;

/// See the module. What shrinks or moves back must not be told.
#[derive(Default)]
pub struct WriteBack {
    begun: u64,
    thread: Option<(Sender<Range<u64>>, JoinHandle<()>)>,
}

impl WriteBack {
    /// Everything of `file` in front of `end` is written.
    pub fn reached(&mut self, file: &File, end: u64) {
        if end >= self.begun + STEP {
            self.begin(file, end);
        }
    }

    /// Nothing follows behind `end`.
    pub fn last(&mut self, file: &File, end: u64) {
        // A small file is synced as fast as this is begun.
        if self.thread.is_some() && end > self.begun {
            self.begin(file, end);
        }
    }

    fn begin(&mut self, file: &File, end: u64) {
        if self.thread.is_none() {
            let Ok(file) = file.try_clone() else { return };
            let (sender, ranges) = channel::<Range<u64>>();
            let work = move || ranges.into_iter().for_each(|range| host::file::begin_to_sync_range(&file, range));
            self.thread = Some((sender, std::thread::spawn(work)));
        }
        if let Some((sender, _)) = &self.thread {
            // It fails only where the thread panicked; then fsync does all of it.
            let _ = sender.send(self.begun..end);
            self.begun = end;
        }
    }
}

impl Drop for WriteBack {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.thread.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}
