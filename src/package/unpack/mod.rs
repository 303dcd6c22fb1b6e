//! The parallel unpacker: what `dpkg --unpack` does, for a whole set at once, on all cores.
//!
//! In: verified archives in installation order and a tree (empty, or one that holds packages already). Out: the same
//! tree with every package in state `unpacked`, files, dpkg's database and maintainer scripts' effects as the real
//! dpkg leaves them, so that one `dpkg --configure -a` in the sandbox finishes everything. Never configures the last
//! batch itself, never writes outside the tree whatever an archive or a symlink in it says, never syncs.
//!
//! How `package::dpkg` is to call it, in place of its own loop of `dpkg --unpack`:
//!
//! ```ignore
//! match unpacker {
//!     Unpacker::Dpkg => ...,                                        // package by package, the oracle
//!     Unpacker::Parallel => unpack::unpack(&packages, tree, sandbox, step)?,
//! }
//! sandbox.run(reporter, &["dpkg", "--configure", "-a"])?;
//! ```
//!
//! The set is complete (every dependency is in it or configured in the tree) and in an order in which `Pre-Depends`
//! come first; what must be configured before a later `preinst` runs is configured here, in batches.

use crate::error::{Error, Exit, Result};
use crate::host::rooted::Rooted;
use crate::host::sandbox::Sandbox;
use crate::package::Package;
use crate::report::Step;

/// Unpacks `set` (archives in the store, in installation order) into `tree`; `step` advances by one per package.
///
/// # Errors
///
/// 76 for an archive that is broken or hostile, 65 for packages that cannot be installed together, 74 for input and
/// output; a failed `preinst` is reported with its name and the end of what it printed.
pub fn unpack(set: &[Package], tree: &Rooted, sandbox: &Sandbox, step: &Step) -> Result<()> {
    let _ = (set, tree, sandbox, step);
    Err(Error::cannot(Exit::Bug, "unpack in parallel").hint("use --unpacker dpkg"))
}
