//! Container images and root tarballs.
//!
//! In: a [`ScrubbedTree`](crate::scrub::ScrubbedTree) and a [`ContainerPlan`](crate::plan::ContainerPlan). Out: one
//! archive. Never needs a container engine.
