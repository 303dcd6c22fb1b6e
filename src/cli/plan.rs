//! `ingot plan`: what would be done, as text or JSON on stdout.
//!
//! In: a description and choices. Out: the plan's text. Never touches anything.

use std::fmt::Write;

use super::PlanArguments;
use super::say::{print, say};
use crate::description::{Colour, Description, Problem, Problems};
use crate::error::{Error, Exit, Result, Warning};
use crate::plan::selection::Selection;
use crate::plan::together;
use crate::plan::{
    Choices, ContainerArchive, ContainerPlan, Demand, DiskPlan, DiskSize, Epoch, FilesystemKind, GrowRoot,
    LayerCompression, LayerSplit, Load, Output, Overlay, PackageDatabase, Partition, PartitionSize, PartitionTable,
    Plan, PlannedTarget, Recommends, RepositoryUse, Role, ScriptPhase, ScrubPreset, Signed, Support, UpdateStack,
};
use crate::scrub::rule;
use crate::{description, format, plan};

/// Prints the plan; warnings go to stderr.
pub fn run(arguments: &PlanArguments, colour: Colour) -> Result<u8> {
    let description = description::load(&arguments.selection.description).map_err(|found| found.into_error(colour))?;
    if arguments.resolved {
        for choices in arguments.selection.choices() {
            let found = plan::resolved::resolve(&description, &choices).map_err(|found| found.into_error(colour))?;
            print(&pretty(&found)?)?;
        }
        return Ok(0);
    }
    for plan in decide_all(&description, &arguments.selection.choices()).map_err(|found| found.into_error(colour))? {
        if arguments.json {
            print(&json(&plan)?)?;
            continue;
        }
        for warning in &plan.warnings {
            say(&warning_line(warning));
        }
        print(&text(&plan))?;
    }
    Ok(0)
}

/// The plans of outputs that are made together; the problems of all of them.
pub fn decide_all(description: &Description, choices: &[Choices]) -> std::result::Result<Vec<Plan>, Problems> {
    let mut problems = Problems::new();
    let mut plans = Vec::new();
    for choices in choices {
        match decide(description, choices) {
            Ok(plan) => plans.push(plan),
            Err(found) => problems.extend(found),
        }
    }
    let plans = problems.or(plans)?;
    together::check(&plans, description)?;
    Ok(plans)
}

/// The plan, and whether the stages that it names options and rules of know them: `plan` itself stands below them.
pub fn decide(description: &Description, choices: &Choices) -> std::result::Result<Plan, Problems> {
    let plan = plan::make(description, choices)?;
    let mut problems = Problems::new();
    if let Output::Disk(disk) = &plan.output {
        let kind = Selection::new(description, choices)?.image_type(description, choices.image_type.as_deref())?;
        let span = kind.get("formatoptions").map_or(&kind.image.span, |options| &options.span);
        for error in disk.formats.iter().filter_map(|choice| format::check(choice, &plan.description_dir).err()) {
            problems.add(problem(&error).at(span));
        }
    }
    for name in &plan.scrub.except {
        let Err(error) = rule::rule_named(name) else { continue };
        let mut written = description.extensions.iter().filter_map(|extension| extension.attributes.get("except"));
        let found = written.find(|words| words.split([',', ' ']).any(|word| word == name));
        problems.add(match found {
            Some(except) => problem(&error).at(&except.span),
            None => problem(&error),
        });
    }
    problems.or(plan)
}

fn problem(error: &Error) -> Problem {
    let what = error.what();
    let problem = if error.exit() == Exit::InputMissing { Problem::missing(what) } else { Problem::invalid(what) };
    let problem = problem.label(error.causes().join("; "));
    match error.hint_text() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// `warning: TEXT (PLACE)`.
pub(super) fn warning_line(warning: &Warning) -> String {
    match &warning.place {
        Some(place) => format!("warning: {} ({place})", warning.text),
        None => format!("warning: {}", warning.text),
    }
}

/// The plan as JSON: keys in the order of the plan's definition, one newline at the end.
pub fn json(plan: &Plan) -> Result<String> {
    pretty(plan)
}

fn pretty(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Error::cannot(Exit::Bug, "write the plan as JSON").because(error))
}

/// The plan for a person, one newline at the end.
pub fn text(plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |label: &str, body: String| {
        let _ = writeln!(text, "{label:<11}{body}");
    };
    line("image", format!("{} {}   {}", plan.image.name, plan.image.version, what(plan)));
    for (number, repository) in plan.repositories.iter().enumerate() {
        let words: Vec<&str> = std::iter::once(repository.source.as_str())
            .chain([repository.distribution.as_str()])
            .chain(repository.components.iter().map(String::as_str))
            .filter(|word| !word.is_empty())
            .collect();
        let signed = match repository.signed {
            Signed::Required => "signed",
            Signed::NotChecked => "NOT VERIFIED",
        };
        let used = match repository.used {
            RepositoryUse::Build => "",
            RepositoryUse::BuildAndImage => ", stays in the image",
            RepositoryUse::ImageOnly => ", only in the image",
        };
        line(if number == 0 { "sources" } else { "" }, format!("{} ({signed}{used})", words.join(" ")));
    }
    let packages = &plan.packages;
    let mut body = format!("bootstrap {}, image {}", packages.bootstrap.len(), packages.image.len());
    for (name, list) in [
        ("ignored", &packages.ignore),
        ("withdrawn", &packages.withdrawn),
        ("uninstalled", &packages.uninstall),
        ("deleted", &packages.delete),
    ] {
        if !list.is_empty() {
            let _ = write!(body, ", {name} {}", list.len());
        }
    }
    if packages.recommends == Recommends::Yes {
        body.push_str(", with what they recommend");
    }
    line("packages", body);
    let stack = match plan.update_stack {
        UpdateStack::Kept => "kept",
        UpdateStack::None => "none: nothing in the image can install packages",
    };
    line("updates", stack.to_string());
    let database = match plan.package_database {
        PackageDatabase::Keep => None,
        PackageDatabase::Sbom => Some("an SPDX document in the place of the package database"),
        PackageDatabase::None => Some("none: nothing in the image says what is installed"),
    };
    if let Some(database) = database {
        line("database", database.to_string());
    }
    match &plan.output {
        Output::Disk(disk) => disk_lines(plan, disk, &mut line),
        Output::Container(container) => container_lines(container, &mut line),
        Output::RootTarball => {}
    }
    root_lines(plan, &mut line);
    let preset = match plan.scrub.preset {
        ScrubPreset::Vm => "vm preset",
        ScrubPreset::Container => "container preset",
        ScrubPreset::None => "nothing is scrubbed",
    };
    let except = plan.scrub.except.iter().map(|rule| format!(", without {rule}")).collect::<String>();
    line("scrub", format!("{preset}{except}"));
    if !plan.targets.is_empty() {
        let named = |planned: &PlannedTarget| match planned.demand {
            Demand::Named => planned.target.name().to_string(),
            Demand::Implied => format!("{} (implied: only warned about)", planned.target.name()),
        };
        line("target", plan.targets.iter().map(named).collect::<Vec<_>>().join(", "));
    }
    let date = match plan.epoch {
        Epoch::Fixed(seconds) => format!("{seconds} seconds since 1970"),
        Epoch::NewestRelease => "of the newest signed Release file".to_string(),
    };
    line("date", date);
    line("outputs", format!("{}.{}, .packages, manifest.json", plan.image.stem(), extensions(&plan.output)));
    text
}

/// `oem/ext4, x86_64, profile Disk`.
pub(super) fn what(plan: &Plan) -> String {
    let kind = match &plan.output {
        Output::Disk(disk) => match disk.partitions.last().and_then(|root| root.filesystem.as_ref()) {
            Some(filesystem) => format!("oem/{}", kind_name(filesystem.kind)),
            None => "oem".to_string(),
        },
        Output::Container(container) if container.archive == ContainerArchive::Oci => "oci".to_string(),
        Output::Container(_) => "docker".to_string(),
        Output::RootTarball => "tbz".to_string(),
    };
    let profiles = match plan.profiles.as_slice() {
        [] => String::new(),
        [one] => format!(", profile {one}"),
        several => format!(", profiles {}", several.join(", ")),
    };
    format!("{kind}, {}{profiles}", plan.image.arch)
}

fn kind_name(kind: FilesystemKind) -> &'static str {
    match kind {
        FilesystemKind::Ext4 => "ext4",
        FilesystemKind::Ext3 => "ext3",
        FilesystemKind::Ext2 => "ext2",
        FilesystemKind::Vfat => "fat",
        FilesystemKind::Swap => "swap",
    }
}

fn extensions(output: &Output) -> String {
    match output {
        Output::Disk(disk) => match disk.formats.as_slice() {
            [one] => one.name.clone(),
            several => {
                let names: Vec<&str> = several.iter().map(|format| format.name.as_str()).collect();
                format!("{{{}}}", names.join(","))
            }
        },
        Output::Container(container) => match container.archive {
            ContainerArchive::Docker => "docker.tar".to_string(),
            ContainerArchive::Oci => "oci.tar".to_string(),
        },
        Output::RootTarball => "tar.xz".to_string(),
    }
}

fn disk_lines(plan: &Plan, disk: &DiskPlan, line: &mut impl FnMut(&str, String)) {
    let table = match disk.table {
        PartitionTable::Gpt => "gpt",
        PartitionTable::Msdos => "mbr",
    };
    let size = match disk.size {
        DiskSize::ToFit => "as large as its content".to_string(),
        DiskSize::Exactly(size) => size.to_string(),
        DiskSize::ContentPlus(size) => format!("as large as its content and {size}"),
    };
    let seed: String = plan.seed.to_string().chars().take(8).collect();
    line("disk", format!("{table}, {size}, sectors of 512, seed {seed}"));
    for partition in &disk.partitions {
        line("", partition_line(partition));
    }
    match disk.grow_root {
        GrowRoot::No => {}
        GrowRoot::AtFirstBoot => line("", "the root grows to the disk's size at first boot".to_string()),
        GrowRoot::UpTo(most) => line("", format!("the root grows to {most} at most at first boot")),
    }
    let mut firmware: Vec<&str> = Vec::new();
    for (support, name) in [(disk.firmware.bios, "bios"), (disk.firmware.uefi, "uefi")] {
        if support != Support::No {
            firmware.push(name);
        }
    }
    let secure = if disk.firmware.secure_boot == Support::No { "" } else { ", secure boot where its packages are" };
    let boot = &disk.boot;
    let body = format!("grub2 {}{secure}, timeout {}, \"{}\"", firmware.join("+"), boot.timeout, boot.command_line);
    line("boot", body);
}

fn partition_line(partition: &Partition) -> String {
    let role = match partition.role {
        Role::BiosBoot => "BIOS boot",
        Role::Esp => "ESP",
        Role::Boot => "boot",
        Role::Swap => "swap",
        Role::Root => "root",
    };
    let filesystem = partition.filesystem.as_ref();
    let kind = filesystem.map(|filesystem| kind_name(filesystem.kind)).filter(|kind| *kind != role).unwrap_or("");
    let what = format!("{role} {kind}");
    let size = match partition.size {
        PartitionSize::Fixed(size) => size.to_string(),
        PartitionSize::ToFit => "to fit".to_string(),
    };
    let names = filesystem.map(|filesystem| {
        let uuid: String = filesystem.uuid.to_string().chars().take(8).collect();
        format!("   label {:<5} uuid {uuid}", filesystem.label)
    });
    format!(
        "{:>3}  {:<10} {size:>8}  at {:<8}{}",
        partition.number,
        what.trim_end(),
        partition.start.to_string(),
        names.unwrap_or_default()
    )
    .trim_end()
    .to_string()
}

fn container_lines(container: &ContainerPlan, line: &mut impl FnMut(&str, String)) {
    let mut names = vec![format!("{}:{}", container.name, container.tag)];
    names.extend(container.additional_names.iter().cloned());
    line("container", names.join(", "));
    for base in &container.bases {
        let digest = match &base.digest {
            Some(digest) => format!("{digest:.19}"),
            None => "not pinned".to_string(),
        };
        line("", format!("{:<11}{} ({digest})", "built on", base.written));
    }
    let split = match container.layers {
        LayerSplit::One => "one".to_string(),
        LayerSplit::Packages { most } => format!("by packages, at most {most}"),
    };
    let compression = match container.compression {
        LayerCompression::Gzip => "gzip",
        LayerCompression::Zstd => "zstd",
        LayerCompression::None => "not compressed",
    };
    if (container.layers, container.compression) != (LayerSplit::One, LayerCompression::Gzip) {
        line("", format!("{:<11}{split}, {compression}", "layers"));
    }
    let words = |command: &Option<Vec<String>>| command.as_ref().map(|words| format!("{words:?}"));
    let settings = [
        ("entrypoint", words(&container.entrypoint)),
        ("command", words(&container.command)),
        ("user", container.user.clone()),
        ("workdir", container.working_dir.clone()),
        ("ports", Some(container.ports.join(", ")).filter(|ports| !ports.is_empty())),
        ("volumes", Some(container.volumes.join(", ")).filter(|volumes| !volumes.is_empty())),
    ];
    for (name, value) in settings {
        if let Some(value) = value {
            line("", format!("{name:<11}{value}"));
        }
    }
}

fn root_lines(plan: &Plan, line: &mut impl FnMut(&str, String)) {
    let root = &plan.root;
    let relative = |path: &std::path::Path| {
        let shared = path.ancestors().find(|above| above.file_name().is_some_and(|name| name == "rootfs-overlays"));
        let above = shared.and_then(std::path::Path::parent).unwrap_or(&plan.description_dir);
        path.strip_prefix(above).unwrap_or(path).display().to_string()
    };
    let overlays = root.overlays.iter().map(|overlay| match overlay {
        Overlay::Folder(path) => format!("{}/", relative(path)),
        Overlay::Tarball(path) => relative(path),
    });
    let archives = root.bootstrap_archives.iter().chain(&root.archives).map(|archive| relative(&archive.path));
    let scripts = root.scripts.iter().map(|script| match script.phase {
        ScriptPhase::PostBootstrap => "post_bootstrap.sh",
        ScriptPhase::Config => "config.sh",
        ScriptPhase::Images => "images.sh",
        ScriptPhase::EditBootConfig => "editbootconfig",
        ScriptPhase::PreDiskSync => "pre_disk_sync.sh",
        ScriptPhase::Disk => "disk.sh",
    });
    let trusted = root.trust.iter().flat_map(|trust| &trust.files).map(|file| relative(&file.path));
    let containers = root.containers.iter().map(|container| match container.load {
        Load::AtFirstBoot => container.written.clone(),
        Load::Never => format!("{} (not loaded)", container.written),
    });
    let lists: [(&str, Vec<String>); 7] = [
        ("overlays", overlays.collect()),
        ("users", root.users.iter().map(|user| user.name.clone()).collect()),
        ("archives", archives.collect()),
        ("files", root.files.iter().map(|file| format!("{} to {}", relative(&file.path), file.target)).collect()),
        ("trusted", trusted.collect()),
        ("containers", containers.collect()),
        ("scripts", scripts.map(str::to_string).collect()),
    ];
    for (name, list) in lists {
        if !list.is_empty() {
            line(name, list.join(", "));
        }
    }
}
