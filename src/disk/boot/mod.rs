//! What makes a disk start.
//!
//! In: the tree before the scrub, the plan. Out: GRUB's files, initrd and fstab in the tree; later, GRUB's first stages on
//! the disk. Never touches the host's firmware or boot loader.

pub mod bios;
