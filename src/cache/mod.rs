//! Content-addressed stores under one cache folder.
//!
//! In: bytes and their SHA-256. Out: immutable files. Never returns an entry that was not verified.

pub mod bases;
pub mod digest;
pub mod files;
pub mod managers;
pub mod packages;
pub mod results;
pub mod stages;
pub mod unpacked;

pub use digest::Sha256;
pub use packages::PackageStore;
pub use stages::StageStore;
pub use unpacked::UnpackedStore;
