//! Real Debian images from a real mirror, started in QEMU or run in podman. They need root, QEMU and a mirror; minutes.
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod containers;
mod descriptions;
mod farm;
mod images;
mod machine;
mod rpm;
