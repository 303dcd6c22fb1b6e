//! Several outputs of one description that are made at the same time.
//!
//! In: the plan of each. Out: nothing, or why they cannot share an installed tree. Never changes a plan.

use std::collections::BTreeSet;

use super::{NetworkForScripts, Output, Plan, ScriptPhase};
use crate::description::{Description, Problem, Problems};

/// Whether the trees of all plans are the same until their packages are installed, and their files have other names.
pub fn check(plans: &[Plan], description: &Description) -> Result<(), Problems> {
    let mut problems = Problems::new();
    let Some((first, others)) = plans.split_first() else { return Ok(()) };
    let mut names = BTreeSet::from([kind(first)]);
    for plan in others {
        let title = format!("{} and {} cannot be made together", kind(first), kind(plan));
        let problem = |label: String| Problem::invalid(title.clone()).at(&description.span).label(label);
        if !names.insert(kind(plan)) {
            let title = format!("two outputs would have the same name: {}", kind(plan));
            problems.add(Problem::invalid(title).at(&description.span).label("name each image type once"));
            continue;
        }
        if let Some(why) = difference(first, plan) {
            let hint = "build them one after the other: what they share is kept in the cache";
            problems.add(problem(why).hint(hint));
        }
    }
    problems.or(())
}

/// What the names of an output's files end in.
fn kind(plan: &Plan) -> &'static str {
    use super::ContainerArchive::{Docker, Oci};
    match &plan.output {
        Output::Disk(_) => "a disk",
        Output::Container(container) if container.archive == Docker => "a docker archive",
        Output::Container(container) if container.archive == Oci => "an OCI archive",
        Output::Container(_) => "a container",
        Output::RootTarball => "a root tarball",
    }
}

fn difference(one: &Plan, other: &Plan) -> Option<String> {
    let named = |plan: &Plan| {
        let packages = &plan.packages;
        let lists = [&packages.bootstrap, &packages.image, &packages.ignore];
        lists.into_iter().flatten().map(|named| named.name.clone()).collect::<BTreeSet<String>>()
    };
    let (ours, theirs) = (named(one), named(other));
    if let Some(name) = ours.symmetric_difference(&theirs).next() {
        return Some(format!("their packages differ: {name} is asked for in one of them only"));
    }
    let settings = |plan: &Plan| {
        let packages = &plan.packages;
        (
            packages.manager,
            packages.recommends,
            packages.essential,
            plan.update_stack,
            plan.package_database,
            plan.epoch,
            plan.root.network,
        )
    };
    if settings(one) != settings(other) {
        return Some("their packages are installed with other settings".into());
    }
    let bases = |plan: &Plan| match &plan.output {
        Output::Container(container) => container.bases.clone(),
        _ => Vec::new(),
    };
    if bases(one) != bases(other) {
        return Some("they are not built on the same containers".into());
    }
    let repositories = |plan: &Plan| serde_json::to_string(&plan.repositories).unwrap_or_default();
    if repositories(one) != repositories(other) {
        return Some("their packages come from other repositories".into());
    }
    if one.root.bootstrap_archives != other.root.bootstrap_archives {
        return Some("their bootstrap archives differ".into());
    }
    let early = |plan: &Plan| plan.root.scripts.iter().any(|script| script.phase == ScriptPhase::PostBootstrap);
    if early(one) && one.root.variables != other.root.variables {
        return Some("post_bootstrap.sh sees another type in its variables".into());
    }
    if early(one) && one.root.network == NetworkForScripts::Host {
        return Some("post_bootstrap.sh reaches the network, and may do anything".into());
    }
    // A root tarball may be started, and nobody but its packages makes its initrds.
    let is_tarball = |plan: &Plan| matches!(plan.output, Output::RootTarball);
    (is_tarball(one) != is_tarball(other)).then(|| "packages make the initrds of a root tarball only".into())
}
