//! Whole builds in the tiny world, through the built binary. They need root, loop devices and apt; no network.
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod namespace;
mod sandbox;
mod workspace;
mod world;
