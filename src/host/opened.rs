//! What programs open on a filesystem, and what they write there (fanotify(7)).
//!
//! In: a folder on that filesystem. Out: the inode numbers of all files and folders that were opened, and of all files
//! that were written to, by anybody. Never leaves one out: where the kernel lost count, nothing is said.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Exit, OrCannot, Result};

/// `struct fanotify_event_metadata` and `struct fanotify_event_info_fid` up to the handle's bytes (linux/fanotify.h).
const METADATA: usize = 24;
const BEFORE_HANDLE: usize = METADATA + 4 + 8 + 8;
/// A handle that begins with the inode's number, 32 bits (linux/exportfs.h).
const FILEID_INO32_GEN: u32 = 1;

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
        let flags = libc::FAN_CLASS_NOTIF
            | libc::FAN_REPORT_FID
            | libc::FAN_UNLIMITED_QUEUE
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK;
        // SAFETY: takes and returns numbers only.
        let group = unsafe { libc::fanotify_init(flags, 0) };
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
    /// the filesystem does not name inodes as we know it.
    pub fn finish(mut self) -> Result<Option<Seen>> {
        let mut seen = Seen::default();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match self.events.read(&mut buffer) {
                Ok(0) => return Ok(Some(seen)),
                Ok(length) if note(&buffer[..length], &mut seen).is_some() => {}
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(Some(seen)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).or_cannot(|| "read what was opened"),
            }
        }
    }
}

/// Takes whole events apart. `None` where one is not as expected.
fn note(mut events: &[u8], seen: &mut Seen) -> Option<()> {
    while !events.is_empty() {
        let length = number(events, 0)? as usize;
        let (event, rest) = events.split_at_checked(length)?;
        let mask = u64::from_ne_bytes(event.get(8..16)?.try_into().ok()?);
        if mask & libc::FAN_Q_OVERFLOW != 0 || number(event, BEFORE_HANDLE - 4)? != FILEID_INO32_GEN {
            return None;
        }
        let inode = u64::from(number(event, BEFORE_HANDLE)?);
        if mask & libc::FAN_OPEN != 0 {
            seen.opened.insert(inode);
        }
        if mask & libc::FAN_MODIFY != 0 {
            seen.written.insert(inode);
        }
        events = rest;
    }
    Some(())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(mask: u64, handle: u32, inode: u32) -> Vec<u8> {
        let mut bytes = vec![0; BEFORE_HANDLE + 8];
        bytes[..4].copy_from_slice(&((BEFORE_HANDLE + 8) as u32).to_ne_bytes());
        bytes[8..16].copy_from_slice(&mask.to_ne_bytes());
        bytes[BEFORE_HANDLE - 4..BEFORE_HANDLE].copy_from_slice(&handle.to_ne_bytes());
        bytes[BEFORE_HANDLE..BEFORE_HANDLE + 4].copy_from_slice(&inode.to_ne_bytes());
        bytes
    }

    #[test]
    fn events_are_taken_apart_and_lost_or_strange_ones_are_noticed() {
        let mut seen = Seen::default();
        let events = [event(libc::FAN_OPEN, 1, 7), event(libc::FAN_OPEN | libc::FAN_MODIFY, 1, 9)].concat();
        assert_eq!(note(&events, &mut seen), Some(()));
        assert_eq!(seen, Seen { opened: [7, 9].into(), written: [9].into() });
        for wrong in [event(libc::FAN_Q_OVERFLOW, 1, 7), event(libc::FAN_OPEN, 0x81, 7), events[..70].to_vec()] {
            assert_eq!(note(&wrong, &mut seen), None);
        }
    }
}
