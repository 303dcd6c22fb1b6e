//! Disk formats.
//!
//! In: a [`RawDisk`](crate::disk::RawDisk). Out: one file per format, written in one pass, same bytes for the same disk
//! whatever the number of threads. Never reads a file again to get its checksum.
