//! Whole builds in the tiny world, through the built binary. They need root, loop devices and apt; no network.
#![allow(clippy::disallowed_methods, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod artifacts;
mod bases;
mod bill;
mod container_disk;
mod derived;
mod disk;
mod dnf;
mod downloads;
mod embedded;
mod farm;
mod faults;
mod grow;
mod injected;
mod install;
mod installed;
mod kill;
mod layered;
mod names;
mod namespace;
mod oracle;
mod pacman;
mod pacman_derived;
mod pacman_world;
mod planted;
mod preflight;
mod reproducible;
mod rpm_hygiene;
mod rpm_world;
mod sandbox;
mod script;
mod solutions;
mod stack;
mod stages;
mod surroundings;
mod symlinks;
mod together;
mod tree;
mod trust;
mod unpack;
mod workspace;
mod world;
mod zypper;
