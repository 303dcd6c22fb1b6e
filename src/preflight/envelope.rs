//! Rules about the file around the disk: its format, its soundness, its size.
//!
//! In: a [`Form`](super::form::Form). Out: what the rules make of it. Sources: the clouds' own documentation of imports.

use super::evidence::{Evidence, no_root};
use super::form::{Format, VmdkKind};
use super::rule::Outcome;
use crate::bytes::Bytes;
use crate::plan::Target;

/// What a target makes of a format.
enum Takes {
    Yes,
    /// It does, and this is worth knowing.
    But(&'static str),
    No,
}

/// The rule `format`.
pub fn format(evidence: &Evidence, target: Target) -> Vec<Outcome> {
    use Format::*;
    use Takes::*;
    let format = evidence.form.format;
    let takes = match (target, format) {
        (Target::Registry, Container) => Yes,
        (Target::Registry, _) | (_, Container | RootTarball | Unknown | CompressedRaw) => No,
        (Target::Aws, Raw | Vhd | VhdFixed | Vhdx | Vmdk(VmdkKind::StreamOptimized)) => Yes,
        (Target::Azure, VhdFixed) => Yes,
        (Target::Gce, Gce) => Yes,
        (Target::Aws | Target::Azure | Target::Gce, _) => No,
        (Target::Openstack, Qcow2 | Raw) => Yes,
        (
            Target::Openstack,
            Vhd | VhdFixed | Vhdx | Vdi | Vmdk(VmdkKind::MonolithicSparse | VmdkKind::StreamOptimized),
        ) => But("Glance takes it, and only some hypervisors start it"),
        (Target::Vmware, Vmdk(VmdkKind::StreamOptimized) | Ova) => Yes,
        (Target::Vmware, Vmdk(VmdkKind::MonolithicSparse)) => {
            But("Workstation starts it, ESXi wants it imported (vmkfstools -i)")
        }
        (Target::Hyperv, Vhdx) => Yes,
        (Target::Hyperv, Vhd | VhdFixed) => But("machines of generation 2 take VHDX only"),
        (Target::Libvirt, Qcow2 | Raw) => Yes,
        (
            Target::Libvirt,
            Vhd | VhdFixed | Vhdx | Vdi | Vmdk(VmdkKind::MonolithicSparse | VmdkKind::StreamOptimized),
        ) => But("QEMU reads it, without snapshots and slower than qcow2"),
        (Target::Openstack | Target::Vmware | Target::Hyperv | Target::Libvirt, _) => No,
    };
    let (wanted, remedy) = wanted(target);
    match takes {
        Yes => Outcome::good(format.name()),
        But(what) => Outcome::note(format!("{}: {what}", format.name()), remedy),
        No => Outcome::bad(format!("it is {}, and {} takes {wanted}", format.name(), target.name()), remedy),
    }
}

/// What a target takes, and how to get there.
fn wanted(target: Target) -> (&'static str, &'static str) {
    match target {
        Target::Aws => ("raw, vhd, vhdx and vmdk (streamOptimized)", "ingot convert IMAGE OUT.raw"),
        Target::Azure => ("vhd-fixed", "ingot convert IMAGE OUT.vhd --format vhd-fixed --option force_size=on"),
        Target::Gce => ("a tar.gz with disk.raw", "ingot convert IMAGE OUT.tar.gz --format gce"),
        Target::Openstack => ("qcow2 and raw", "ingot convert IMAGE OUT.qcow2"),
        Target::Vmware => {
            ("vmdk (streamOptimized) and ova", "ingot convert IMAGE OUT.vmdk --option subformat=streamOptimized")
        }
        Target::Hyperv => ("vhdx", "ingot convert IMAGE OUT.vhdx"),
        Target::Libvirt => ("qcow2 and raw", "ingot convert IMAGE OUT.qcow2"),
        Target::Registry => ("docker archives and OCI layouts", "build it with image=\"docker\" or image=\"oci\""),
    }
}

/// The rule `envelope`.
pub fn sound(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let form = &evidence.form;
    if form.faults.is_empty() {
        return Outcome::good(format!("{}, {}", form.format.name(), form.length));
    }
    let bad = |fault: &String| Outcome::bad(fault, "convert the disk again, and copy the whole file");
    form.faults.iter().flat_map(bad).collect()
}

/// The rule `backing-file`.
pub fn alone(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    match &evidence.form.refers_to {
        None => Outcome::good("no other file is named"),
        Some(other) => {
            Outcome::bad(format!("it refers to {other}"), "make one file of both: qemu-img convert IMAGE OUT")
        }
    }
}

/// The rule `contents`: what cannot be read is not checked, and that is said aloud.
pub fn contents(evidence: &Evidence, _: Target) -> Vec<Outcome> {
    let remedy = "make it again; `ingot convert` reads and writes every format that ingot knows";
    match (&evidence.disk, &evidence.files) {
        (Err(why), _) | (_, Err(why)) => Outcome::bad(format!("nothing inside could be checked: {why}"), remedy),
        (Ok(_), Ok(found)) if !found.has_root => Outcome::note(
            format!("the root filesystem could not be checked: {}", no_root(&found.unread)),
            "see in an instance whether it starts and is reached",
        ),
        (Ok(disk), Ok(found)) => Outcome::good(format!("{}, {} files", disk.size, found.files.all().count())),
    }
}

/// Why a target wants whole units.
fn why_whole(target: Target) -> &'static str {
    match target {
        Target::Aws => "EBS volumes are whole GiB, and a GPT's backup belongs at their end",
        Target::Gce => "Compute Engine takes whole GiB",
        Target::Azure => "Azure takes whole MiB",
        Target::Vmware => "a VMDK's grain has 64 KiB",
        Target::Hyperv => "Hyper-V's converters take whole MiB",
        Target::Openstack | Target::Libvirt | Target::Registry => "a disk has whole sectors",
    }
}

/// The largest disk that a system may be on; the clouds' documented limits.
fn most(target: Target) -> Option<Bytes> {
    match target {
        Target::Aws => Some(Bytes::gib(16 << 10)),
        Target::Azure => Some(Bytes::gib(4095)),
        Target::Gce => Some(Bytes::gib(64 << 10)),
        _ => None,
    }
}

/// The rule `size`.
pub fn size(evidence: &Evidence, target: Target) -> Vec<Outcome> {
    let known = evidence.form.disk.or(evidence.disk.as_ref().ok().map(|disk| disk.size));
    let Some(size) = known else { return Outcome::unknown("neither its header nor its length says the disk's size") };
    let (unit, why) = (target.size_unit(), why_whole(target));
    let fitting = size.align_up(unit);
    if size == Bytes::ZERO {
        return Outcome::bad("the disk has no size", "build it again");
    }
    if let Some(most) = most(target)
        && size > most
    {
        let evidence = format!("{}, and {} takes {} at most", exactly(size), target.name(), exactly(most));
        return Outcome::bad(evidence, "build a smaller disk: it grows in the cloud");
    }
    if fitting != size {
        let evidence = format!("{} is no multiple of {}: {why}", exactly(size), exactly(unit));
        let fitting = exactly(fitting);
        return Outcome::bad(evidence, format!("--fix makes it {fitting}; a build for this target is so at once"));
    }
    Outcome::good(format!("{}, a multiple of {}", exactly(size), exactly(unit)))
}

/// A size in the largest unit that it is a whole number of.
pub(super) fn exactly(size: Bytes) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| size.0 > 0 && size.0.is_multiple_of(1 << shift)) {
        Some((shift, name)) => format!("{} {name}", size.0 >> shift),
        None => format!("{} bytes", size.0),
    }
}
