//! Tests of single stages, one module each. They need no root and no network.
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod boxes;
mod catalog;
mod conformance;
mod container;
mod description;
mod disk;
mod dnf;
mod format;
mod images;
mod package;
mod packaging;
mod plan;
mod preflight;
mod publish;
mod release;
mod root;
mod samples;
mod say;
mod schema;
mod scrub;
