//! The result folder, which appears whole or not at all.
//!
//! In: artifacts and what is known of them. Out: files in the target folder with checksums and a manifest. Never leaves
//! a half-written file there, never touches an earlier result before the new one is complete.

pub mod artifact;
pub mod bundle;
pub mod bundle_rpm;
pub mod changes;
pub mod hash;
pub mod kiwi_result;
pub mod licence;
pub mod manifest;
pub mod released;
mod staging;
pub mod verified;
pub mod xz;

pub use artifact::{Artifact, ArtifactWriter};
pub use manifest::Manifest;
pub use released::Released;
pub use staging::Staging;
