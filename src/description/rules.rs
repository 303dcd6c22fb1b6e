//! Rules between elements that the table of the schema cannot say (KIWI's Schematron).
//!
//! In: the root [`Node`]. Out: [`Problems`]. Never looks at which sections count.

use super::problem::{Problem, Problems, closest, shown};
use super::validate::misspelt;
use super::xml::Node;
use super::{schema, truth};

/// An attribute or element that has a meaning only where an attribute around it has one of a few values.
struct Meaning {
    element: &'static str,
    /// Empty: the element itself.
    attribute: &'static str,
    /// Whose attribute decides: 0 the element's own, 1 its parent's, 2 the one above.
    above: usize,
    /// The attribute that decides.
    key: &'static str,
    words: &'static [&'static str],
    /// What is said of the value: "an image of type". Empty: the value is not said.
    of: &'static str,
}

const fn meaning(
    element: &'static str,
    attribute: &'static str,
    above: usize,
    key: &'static str,
    words: &'static [&'static str],
    of: &'static str,
) -> Meaning {
    Meaning { element, attribute, above, key, words, of }
}

const IMAGE: &str = "an image of type";
const LOADER: &str = "the boot loader";
const GRUB: &[&str] = &["grub2", "grub2_s390x_emu"];
const WITH_CONTAINER: &[&str] = &["oem", "docker", "oci"];

/// Beside what `schema` says of the attributes of `<type>`.
const MEANINGS: &[Meaning] = &[
    meaning("bootloader", "", 1, "image", &["oem", "iso"], IMAGE),
    meaning("bootloader", "bls", 0, "name", &["grub2"], LOADER),
    meaning("bootloader", "output_console", 0, "name", GRUB, LOADER),
    meaning("bootloader", "input_console", 0, "name", GRUB, LOADER),
    meaning("bootloader", "serial_line", 0, "name", GRUB, LOADER),
    meaning("bootloader", "video_mode", 0, "name", GRUB, LOADER),
    meaning("bootloader", "timeout", 0, "name", &["grub2", "grub2_s390x_emu", "systemd_boot", "zipl"], LOADER),
    meaning("bootloader", "timeout_style", 0, "name", GRUB, LOADER),
    meaning("bootloader", "targettype", 0, "name", &["grub2_s390x_emu", "zipl"], LOADER),
    meaning("securelinux", "", 1, "name", &["zipl"], LOADER),
    meaning("containerconfig", "", 1, "image", &["oem", "docker", "oci", "appx"], IMAGE),
    meaning("containerconfig", "tag", 1, "image", WITH_CONTAINER, IMAGE),
    meaning("containerconfig", "additionalnames", 1, "image", WITH_CONTAINER, IMAGE),
    meaning("containerconfig", "maintainer", 1, "image", WITH_CONTAINER, IMAGE),
    meaning("containerconfig", "user", 1, "image", WITH_CONTAINER, IMAGE),
    meaning("containerconfig", "workingdir", 1, "image", WITH_CONTAINER, IMAGE),
    meaning("vagrantconfig", "virtualbox_guest_additions_present", 0, "provider", &["virtualbox"], "the provider"),
    meaning("packages", "bootstrap_package", 0, "type", &["bootstrap"], ""),
    meaning("collectionModule", "", 1, "type", &["bootstrap"], ""),
    meaning("repository", "architectures", 0, "type", &["apt-deb"], ""),
];

/// `(element, attribute, other)`: the attribute needs the other one on the same element.
const NEEDS: &[(&str, &str, &str)] = &[
    ("type", "embed_verity_metadata", "verity_blocks"),
    ("type", "embed_integrity_metadata", "standalone_integrity"),
    ("type", "integrity_legacy_hmac", "standalone_integrity"),
];

/// `(image type, attribute)`: an image of this type needs the attribute.
const MANDATORY: &[(&str, &str)] = &[("oem", "filesystem"), ("appx", "metadata_path")];

/// What btrfs itself must do, so that neither another filesystem nor LVM can.
const OF_BTRFS: &[&str] = &[
    "btrfs_quota_groups",
    "btrfs_set_default_volume",
    "btrfs_root_is_subvolume",
    "btrfs_root_is_snapper_snapshot",
    "btrfs_root_is_readonly_snapshot",
];

/// Names of partitions that KIWI itself makes.
const RESERVED: &[&str] = &["root", "readonly", "boot", "prep", "spare", "swap", "efi_csm", "efi"];

/// Checks the whole tree.
pub fn check(image: &Node, problems: &mut Problems) {
    profiles(image, problems);
    walk(image, &mut Vec::new(), problems);
    bootstrap_packages(image, problems);
}

fn walk<'a>(node: &'a Node, above: &mut Vec<&'a Node>, problems: &mut Problems) {
    for rule in MEANINGS.iter().filter(|rule| rule.element == *node.name) {
        has_meaning(rule, node, above, problems);
    }
    for (element, attribute, other) in NEEDS {
        if *element == *node.name
            && let (Some(found), None) = (node.attribute(attribute), node.attribute(other))
        {
            problems.add(Problem::invalid(format!("`{attribute}` needs the attribute `{other}`")).at(&found.name.span));
        }
    }
    let parent = above.last().copied();
    match (node.name.as_str(), parent) {
        ("type", _) => image_type(node, problems),
        ("size", _) => size(node, problems),
        ("systemdisk", Some(kind)) => systemdisk(node, kind, problems),
        ("partition", _) => partition(node, problems),
        ("volume", Some(parent)) if *parent.name == "volumes" => container_volume(node, problems),
        ("entrypoint" | "subcommand", _) => command(node, problems),
        ("collectionModule", _) => module(node, problems),
        ("repository", _) => repository(node, problems),
        // What another language puts there is its own business.
        ("extension", _) => return,
        _ => {}
    }
    above.push(node);
    node.children.iter().for_each(|child| walk(child, above, problems));
    above.pop();
}

fn has_meaning(rule: &Meaning, node: &Node, above: &[&Node], problems: &mut Problems) {
    let place = match rule.attribute {
        "" => &node.name.span,
        name => match node.attribute(name) {
            Some(attribute) => &attribute.name.span,
            None => return,
        },
    };
    let owner = match rule.above {
        0 => Some(node),
        up => above.len().checked_sub(up).and_then(|index| above.get(index).copied()),
    };
    // Where it is missing and must not be, the schema complains.
    let Some(value) = owner.and_then(|owner| owner.attribute(rule.key)) else { return };
    if rule.words.contains(&value.value.as_str()) {
        return;
    }
    let what = match rule.attribute {
        "" => format!("<{}>", rule.element),
        name => format!("`{name}`"),
    };
    let (title, label) = match rule.of {
        "" => {
            let owner = owner.map_or("section", |owner| owner.name.as_str());
            let title = format!("{what} has no meaning for this <{}>", shown(owner));
            (title, format!("only for {}=\"{}\"", rule.key, rule.words.join("\" or \"")))
        }
        of => (
            format!("{what} has no meaning for {of} {}", shown(&value.value)),
            format!("only for {}", rule.words.join(", ")),
        ),
    };
    problems.add(Problem::invalid(title).at(place).label(label));
}

/// A description may define so many profiles: a check plans each of them.
const MOST_PROFILES: usize = 256;

fn profiles(image: &Node, problems: &mut Problems) {
    let defined: Vec<&Node> = image.children("profiles").flat_map(|profiles| profiles.children("profile")).collect();
    if let Some(node) = defined.get(MOST_PROFILES) {
        problems.add(Problem::invalid(format!("more than {MOST_PROFILES} profiles")).at(&node.name.span));
        return;
    }
    let name = |node: &Node| node.attribute("name").map(|name| name.value.to_string());
    let names: Vec<String> = defined.iter().filter_map(|node| name(node)).collect();
    for (index, node) in defined.iter().enumerate() {
        let Some(attribute) = node.attribute("name") else { continue };
        if let Some(first) = defined[..index].iter().find(|first| name(first).as_ref() == Some(&attribute.value.value))
        {
            problems.add(
                Problem::invalid(format!("profile `{}` is defined twice", shown(&attribute.value)))
                    .at(&attribute.value.span)
                    .label(format!("first one in line {}", first.name.span.place().line)),
            );
        }
    }
    let mut check = |text: &super::source::Spanned<String>| {
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if names.iter().any(|name| name == word) {
                continue;
            }
            let problem = Problem::invalid(format!("no profile is called `{}`", shown(word))).at(&text.span);
            problems.add(match closest(word, names.iter().map(String::as_str)) {
                Some(close) => problem.label(format!("did you mean `{close}`?")),
                None if names.is_empty() => problem.label("the description defines no profiles"),
                None => problem.label(format!("known are {}", names.join(", "))),
            });
        }
    };
    for required in defined.iter().flat_map(|node| node.children("requires")) {
        if let Some(profile) = required.attribute("profile") {
            check(&profile.value);
        }
    }
    let extensions = image.children("extension").flat_map(|node| &node.children);
    for node in image.children.iter().chain(extensions) {
        if let Some(attribute) = node.attribute("profiles") {
            check(&attribute.value);
        }
    }
}

fn bootstrap_packages(image: &Node, problems: &mut Problems) {
    let mut managers = image.children("preferences").flat_map(|part| part.children("packagemanager"));
    if managers.any(|manager| manager.text.trim() == "apt") {
        return;
    }
    for attribute in image.children("packages").filter_map(|packages| packages.attribute("bootstrap_package")) {
        problems.add(
            Problem::invalid("`bootstrap_package` has no meaning for this package manager")
                .at(&attribute.name.span)
                .label("only for apt"),
        );
    }
}

fn image_type(node: &Node, problems: &mut Problems) {
    let get = |name: &str| node.attribute(name).map(|attribute| attribute.value.as_str());
    let image = get("image").unwrap_or_default();
    let mut add = |problem: Problem| problems.add(problem);
    for (kind, needed) in MANDATORY {
        let meant = schema::find("type").is_some_and(|row| misspelt(node, row, needed));
        if image == *kind && get(needed).is_none() && !meant {
            add(Problem::invalid(format!("<type image=\"{kind}\"> lacks the attribute `{needed}`")).at(&node.name.span));
        }
    }
    let format = get("format").unwrap_or_default();
    let in_container = format.starts_with("oci:") || format.starts_with("docker:");
    let hint = "a disk in a container has format=\"oci:qcow2\", for example";
    if let (Some(from), "oem", false) = (node.attribute("derived_from"), image, in_container) {
        let title = "`derived_from` has no meaning for a disk that is not in a container";
        add(Problem::invalid(title).at(&from.name.span).hint(hint));
    }
    if let (Some(config), Some(_), false) = (node.children("containerconfig").next(), get("format"), in_container) {
        let title = format!("<containerconfig> has no meaning for format=\"{}\"", shown(format));
        add(Problem::invalid(title).at(&config.name.span).hint(hint));
    }
    if let (Some(options), None) = (node.children("luksformat").next(), get("luks")) {
        add(Problem::invalid("<luksformat> needs the attribute `luks` on <type>").at(&options.name.span));
    }
    let installs = ["installiso", "installpxe"].iter().any(|name| get(name).is_some_and(truth));
    if let (Some(media), false) = (node.children("installmedia").next(), installs) {
        add(Problem::invalid("<installmedia> needs installiso=\"true\" or installpxe=\"true\"").at(&media.name.span));
    }
    if format == "vagrant" && node.children("vagrantconfig").next().is_none() {
        add(Problem::invalid("format=\"vagrant\" needs <vagrantconfig>").at(&node.name.span));
    }
    if get("filesystem").is_some_and(|kind| kind != "btrfs") {
        for attribute in node.attributes.iter().filter(|attribute| OF_BTRFS.contains(&attribute.name.as_str())) {
            let title = format!("`{}` needs filesystem=\"btrfs\"", attribute.name.value);
            add(Problem::invalid(title).at(&attribute.name.span));
        }
        let volumes = node.children("systemdisk").flat_map(|disk| disk.children("volume"));
        for quota in volumes.filter_map(|volume| volume.attribute("quota")) {
            add(Problem::invalid("`quota` needs filesystem=\"btrfs\"").at(&quota.name.span));
        }
    }
}

fn size(node: &Node, problems: &mut Problems) {
    if let Some(unpartitioned) = node.attribute("unpartitioned")
        && let (Ok(part), Ok(whole)) = (unpartitioned.value.parse::<u64>(), node.text.trim().parse::<u64>())
        && part > whole
    {
        let title = format!("`unpartitioned` ({part}) is larger than the size itself ({whole})");
        problems.add(Problem::invalid(title).at(&unpartitioned.value.span));
    }
}

fn systemdisk(node: &Node, kind: &Node, problems: &mut Problems) {
    let Some(lvm) = node.attribute("preferlvm").filter(|lvm| truth(&lvm.value)) else { return };
    for attribute in kind.attributes.iter().filter(|attribute| OF_BTRFS.contains(&attribute.name.as_str())) {
        let title = format!("`{}` and preferlvm=\"true\" exclude each other", attribute.name.value);
        let label = format!("preferlvm is in line {}", lvm.name.span.place().line);
        problems.add(Problem::invalid(title).at(&attribute.name.span).label(label));
    }
}

fn partition(node: &Node, problems: &mut Problems) {
    if let Some(name) = node.attribute("name").filter(|name| RESERVED.contains(&name.value.as_str())) {
        let title = format!("the name of partition `{}` is taken", shown(&name.value));
        let label = format!("reserved are {}", RESERVED.join(", "));
        problems.add(Problem::invalid(title).at(&name.value.span).label(label));
    }
}

fn container_volume(node: &Node, problems: &mut Problems) {
    for attribute in node.attributes.iter().filter(|attribute| *attribute.name != "name") {
        let title = format!("`{}` has no meaning for a container's volume", shown(&attribute.name));
        problems.add(Problem::invalid(title).at(&attribute.name.span).label("only for a volume of a disk"));
    }
}

fn command(node: &Node, problems: &mut Problems) {
    let element = shown(&node.name);
    match (node.attribute("execute"), node.attribute("clear")) {
        (Some(_), Some(clear)) => {
            let title = format!("<{element}> has both `execute` and `clear`");
            problems.add(Problem::invalid(title).at(&clear.name.span));
        }
        (None, None) => {
            let title = format!("<{element}> lacks the attribute `execute` (or `clear`)");
            problems.add(Problem::invalid(title).at(&node.name.span));
        }
        _ => {}
    }
}

fn module(node: &Node, problems: &mut Problems) {
    let enabled = node.attribute("enable").is_some_and(|enable| truth(&enable.value));
    if let (Some(stream), false) = (node.attribute("stream"), enabled) {
        let title = "`stream` has no meaning for a module that is not enabled";
        problems.add(Problem::invalid(title).at(&stream.name.span).label("only with enable=\"true\""));
    }
}

fn repository(node: &Node, problems: &mut Problems) {
    if let (Some(_), Some(only)) = (node.attribute("imageinclude"), node.attribute("imageonly")) {
        let title = "`imageinclude` and `imageonly` exclude each other";
        problems.add(Problem::invalid(title).at(&only.name.span));
    }
}
