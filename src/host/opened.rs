//! What programs open on a filesystem, and what they write there (fanotify(7)).
//!
//! In: a folder on that filesystem. Out: the inode numbers of all files and folders that were opened, and of all files
//! that were written to, by anybody. Never leaves one out: where the kernel lost count, nothing is said.
//!
//! Each event comes with a descriptor of its file: a filesystem that lies over another one (overlayfs) has no handles that
//! name its inodes.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Exit, OrCannot, Result};

/// `struct fanotify_event_metadata` (linux/fanotify.h).
const METADATA: usize = 24;
/// So many files are open at the same time while events are read.
const AT_ONCE: usize = 64;

/// Watches from [`Watch::begin`] to [`Watch::finish`].
#[derive(Debug)]
pub struct Watch {
    events: File,
}

/// What was seen, by inode numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Files and folders that were opened.
    pub opened: BTreeSet<u64>,
    /// Files that were written to.
    pub written: BTreeSet<u64>,
}

impl Watch {
    /// Begins with the filesystem that holds `folder`. An error where the kernel or our rights do not allow it.
    pub fn begin(folder: &Path) -> Result<Watch> {
        let what = || format!("watch what is opened in {}", folder.display());
        let path = CString::new(folder.as_os_str().as_bytes())
            .map_err(|error| Error::cannot(Exit::Bug, what()).because(error))?;
        let flags = libc::FAN_CLASS_NOTIF | libc::FAN_UNLIMITED_QUEUE | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
        // What an event's file is opened with: nothing waits for a pipe's other end.
        let file_flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOATIME | libc::O_CLOEXEC;
        // SAFETY: takes and returns numbers only.
        let group = unsafe { libc::fanotify_init(flags, file_flags as u32 | linux_raw_sys::general::O_LARGEFILE) };
        if group < 0 {
            return Err(std::io::Error::last_os_error()).or_cannot(what);
        }
        // SAFETY: the descriptor was just made, and nobody else has it.
        let group = unsafe { OwnedFd::from_raw_fd(group) };
        let mark = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
        let events = libc::FAN_OPEN | libc::FAN_MODIFY | libc::FAN_ONDIR;
        // SAFETY: the path ends in a zero and lives as long as the call.
        let answer = unsafe { libc::fanotify_mark(group.as_raw_fd(), mark, events, libc::AT_FDCWD, path.as_ptr()) };
        if answer != 0 {
            return Err(std::io::Error::last_os_error()).or_cannot(what);
        }
        Ok(Watch { events: group.into() })
    }

    /// Everything since then; events are queued before a call of open(2) returns. `None` where the kernel lost some or
    /// cannot show a file any more.
    pub fn finish(mut self) -> Option<Seen> {
        let mut seen = Seen::default();
        let mut buffer = [0; METADATA * AT_ONCE];
        loop {
            match self.events.read(&mut buffer) {
                Ok(0) => return Some(seen),
                Ok(length) => events(&buffer[..length])?.iter().try_for_each(|event| seen.note(event))?,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Some(seen),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

/// What happened, and the file that it happened to; none where the kernel lost count.
struct Event {
    mask: u64,
    file: Option<OwnedFd>,
}

impl Seen {
    fn note(&mut self, event: &Event) -> Option<()> {
        let inode = rustix::fs::fstat(event.file.as_ref()?).ok()?.st_ino;
        if event.mask & libc::FAN_OPEN != 0 {
            self.opened.insert(inode);
        }
        if event.mask & libc::FAN_MODIFY != 0 {
            self.written.insert(inode);
        }
        Some(())
    }
}

/// Takes what was read from the group apart; whatever it holds is open now. `None` where it is not as expected.
fn events(mut bytes: &[u8]) -> Option<Vec<Event>> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let (event, rest) = bytes.split_at_checked(length.max(METADATA))?;
        let mask = u64::from_ne_bytes(event.get(8..16)?.try_into().ok()?);
        let number = i32::from_ne_bytes(event.get(16..20)?.try_into().ok()?);
        // SAFETY: the kernel made this descriptor for whoever reads the event, and nobody else has it.
        let file = (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number) });
        events.push(Event { mask, file });
        bytes = rest;
    }
    Some(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    fn event(mask: u64, file: Option<File>) -> Vec<u8> {
        let mut bytes = vec![0; METADATA];
        bytes[..4].copy_from_slice(&(METADATA as u32).to_ne_bytes());
        bytes[8..16].copy_from_slice(&mask.to_ne_bytes());
        let number = file.map_or(-1, IntoRawFd::into_raw_fd);
        bytes[16..20].copy_from_slice(&number.to_ne_bytes());
        bytes
    }

    #[test]
    fn events_are_taken_apart_and_lost_or_strange_ones_are_noticed() {
        let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        let [one, other] = files.each_ref().map(|file| rustix::fs::fstat(file).unwrap().st_ino);
        let [first, second] = files;
        let bytes =
            [event(libc::FAN_OPEN, Some(first)), event(libc::FAN_OPEN | libc::FAN_MODIFY, Some(second))].concat();
        let mut seen = Seen::default();
        assert!(events(&bytes).unwrap().iter().all(|event| seen.note(event).is_some()));
        assert_eq!(seen, Seen { opened: [one, other].into(), written: [other].into() });
        let lost = events(&event(libc::FAN_Q_OVERFLOW, None)).unwrap();
        assert_eq!(seen.note(&lost[0]), None);
        assert!(events(&event(libc::FAN_OPEN, None)[..20]).is_none());
    }
}
