//! **ingot** casts golden images: from a KIWI XML description to disks that boot and containers that run.
//!
//! # The journey of the data
//!
//! ```text
//! description  XML text            -> Description   what the author wrote, with source positions
//! plan         Description+choices -> Plan          every default filled in; pure; printable as JSON
//! package      Plan                -> PackageSet    resolved, pinned, fetched and verified packages
//! root         PackageSet+Plan     -> RootTree      bootstrap, install, overlay, configure, scripts
//! scrub        RootTree            -> ScrubbedTree  only an audit that finds nothing makes one
//! disk         ScrubbedTree        -> RawDisk       filesystems in their byte ranges, boot loader, GPT or MBR
//! container    ScrubbedTree        -> docker archive, OCI layout, root tarball
//! format       RawDisk             -> raw, qcow2, vhd, vhd-fixed, vhdx, vmdk, vdi, gce
//! release      artifacts           -> a result folder that appears whole or not at all
//! publish      a release           -> clouds and registries, through their own command lines
//!
//! audit        a packed artifact   -> what a golden image must not carry
//! preflight    a packed artifact   -> what its target would refuse
//! boot         a disk              -> what its serial console says in QEMU
//! catalog      publications        -> what is where, and which of it is current
//! ```
//!
//! Each stage takes a typed value and returns the next one. `disk` and `container` take nothing but a
//! [`ScrubbedTree`](scrub::ScrubbedTree), so that shipping an unscrubbed image does not compile.
//!
//! # Invariants
//!
//! 1. Only [`host`] starts programs, mounts, attaches loop devices or uses `unsafe` (clippy's `disallowed-methods`).
//! 2. [`description`] and [`plan`] do no I/O except loading the files of the description.
//! 3. Which module may use which is a table, held by `tests/layering.rs`.
//! 4. Time, randomness and environment enter at the command line and travel in the [`Plan`](plan::Plan):
//!    same input, same bytes.
//! 5. What appears on the user's path appears by rename, finished and synced.
//! 6. [`RootPath`](root::RootPath) (inside the image) and `Path` (host) never mix: the tree is opened with
//!    `openat2(RESOLVE_IN_ROOT)`.
//! 7. Guards: `close() -> Result` on the good path, `Drop` as the fallback; no lazy unmount of anything written.
//! 8. A build runs in its own mount and PID namespace, loop devices are autoclear: `kill -9` at any moment leaves the
//!    host without a mount, a loop device or a process of the build. The next run sweeps unlocked work folders.
//! 9. An attribute or element that is not honoured is an error or a named warning, never silence.
//! 10. Output that cannot be written is an error or nothing, never a panic (clippy's `print_stdout`).

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod audit;
pub mod boot;
pub mod bytes;
pub mod cache;
pub mod catalog;
pub mod cli;
pub mod container;
pub mod description;
pub mod disk;
pub mod error;
pub mod format;
pub mod host;
pub mod package;
pub mod parallel;
pub mod pieces;
pub mod pipeline;
pub mod plan;
pub mod preflight;
pub mod publish;
pub mod release;
pub mod report;
pub mod root;
pub mod scrub;
