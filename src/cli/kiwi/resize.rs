//! `kiwi image resize`.
//!
//! In: a target folder and a size. Out: nothing yet: it is refused by name, with what does the same.

use super::arguments::ResizeArguments;
use super::frame::Frame;
use crate::error::{Error, Exit, Result};

/// Refuses.
pub fn run(arguments: &ResizeArguments, _frame: &Frame<'_>) -> Result<u8> {
    let error = Error::cannot(Exit::Usage, format!("resize the disk in {}", arguments.target_dir.display()))
        .because("disks are not changed after they were built: their checksums stand in the manifest");
    Err(error
        .hint("build again with <size> in the description; a root that grows at first boot needs only truncate(1)"))
}
