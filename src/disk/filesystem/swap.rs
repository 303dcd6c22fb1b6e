//! The header of a swap partition (linux/include/linux/swap.h, `union swap_header`), pages of 4096 bytes.
//!
//! In: identity, size. Out: its first page. Never writes anything else: swap is empty.

use crate::bytes::Bytes;
use crate::error::{Error, Exit, Result};
use crate::plan::Filesystem;

const PAGE: Bytes = Bytes(4096);

/// The first page. 65 where the partition is too small or the label too long.
pub fn header(filesystem: &Filesystem, size: Bytes) -> Result<Vec<u8>> {
    let pages = size.0 / PAGE.0;
    let label = filesystem.label.as_bytes();
    if pages < 10 || label.len() > 16 || u32::try_from(pages).is_err() {
        return Err(Error::cannot(Exit::Description, "make the swap partition")
            .because(format!("it has {size}, and its label is `{}`", filesystem.label))
            .hint("swap needs 40 KiB or more and a label of at most 16 bytes"));
    }
    let mut page = vec![0; PAGE.0 as usize];
    page[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&(pages as u32 - 1).to_le_bytes());
    page[1036..1052].copy_from_slice(&filesystem.uuid.0);
    page[1052..1052 + label.len()].copy_from_slice(label);
    page[4086..].copy_from_slice(b"SWAPSPACE2");
    Ok(page)
}
