//! What is true of the tree as it ships: containers, times, and what only the audit or the writers can answer for.

use super::{Part, Presets, Rule, Spares};
use crate::error::Result;
use crate::host::rooted::Kind;
use crate::root::RootPath;
use crate::scrub::scrubber::Scrubber;

pub(super) static RULES: &[Rule] = &[
    Rule {
        name: "container",
        why: "a container gets this from its host",
        presets: Presets::Container,
        parts: &[
            Part::Remove(
                &[
                    "/dev/*",
                    "/proc/*",
                    "/sys/*",
                    "/boot/vmlinu*",
                    "/boot/initrd*",
                    "/boot/initramfs*",
                    "/boot/System.map*",
                    "/boot/config-*",
                    "/vmlinuz*",
                    "/initrd.img*",
                ],
                Spares::Nothing,
            ),
            Part::Work(mount_table),
        ],
    },
    Rule {
        name: "private-keys",
        why: "every copy of this image would share it",
        presets: Presets::VmAndContainer,
        parts: &[Part::Elsewhere(
            "the audit looks into every file; where a key is meant to ship, the description puts it there",
        )],
    },
    Rule {
        name: "build-host",
        why: "tells where the image was built",
        presets: Presets::VmAndContainer,
        parts: &[Part::Elsewhere("the audit looks for the build's folder and the host's name in every file")],
    },
    Rule {
        name: "free-space",
        why: "a filesystem that once held a deleted secret still holds it",
        presets: Presets::VmAndContainer,
        parts: &[Part::Elsewhere(
            "every artifact gets a fresh filesystem, filled from the tree; the scratch filesystem never ships",
        )],
    },
    Rule {
        name: "metadata",
        why: "tells when and by whom the image was built",
        presets: Presets::VmAndContainer,
        parts: &[
            Part::Work(times_of_the_build),
            Part::Elsewhere("the writers take every date and every id from the plan's epoch and seed"),
        ],
    },
];

/// mtab is a symlink to the kernel's table where it is right; a file is a table of the build host's mounts.
fn mount_table(rule: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    let path = RootPath::from("/etc/mtab");
    match scrubber.listing().get(&path).map(|entry| &entry.kind) {
        Some(Kind::File) => scrubber.remove(rule, &path, Spares::Owned),
        _ => Ok(()),
    }
}

/// What was written while the build ran carries the image's date, whatever the build host's clock said. Last of
/// all rules, because each of the others changes the time of a folder.
fn times_of_the_build(_: &'static str, scrubber: &mut Scrubber) -> Result<()> {
    scrubber.read_again()?;
    let late: Vec<RootPath> = scrubber
        .listing()
        .iter()
        .filter(|entry| entry.mtime != scrubber.epoch && scrubber.host.wrote_at(entry.mtime))
        .map(|entry| entry.path.clone())
        .collect();
    late.iter().try_for_each(|path| scrubber.set_time(path, scrubber.epoch))
}
