//! Rules between elements that the table cannot say (KIWI's Schematron, and its runtime checks on the text alone).
//!
//! In: the root [`Node`]. Out: [`Problems`]. Never looks at which sections count.

use super::problem::{Problem, Problems, closest, shown};
use super::validate::misspelt;
use super::xml::Node;
use super::{schema, truth};

/// Checks the whole tree.
pub fn check(image: &Node, problems: &mut Problems) {
    profiles(image, problems);
    for preferences in image.children("preferences") {
        preferences.children("type").for_each(|node| image_type(node, problems));
    }
    for packages in image.children("packages") {
        let kind = packages.attribute("type").map(|kind| kind.value.as_str()).unwrap_or_default();
        if let (Some(package), true) = (packages.attribute("bootstrap_package"), kind != "bootstrap") {
            let title = "`bootstrap_package` has no meaning for this list";
            problems.add(Problem::invalid(title).at(&package.name.span).label("only for type=\"bootstrap\""));
        }
        for module in packages.children("collectionModule") {
            if kind != "bootstrap" {
                let title = "<collectionModule> has no meaning for this list";
                problems.add(Problem::invalid(title).at(&module.name.span).label("only for type=\"bootstrap\""));
            }
        }
    }
    for repository in image.children("repository") {
        let (include, only) = (repository.attribute("imageinclude"), repository.attribute("imageonly"));
        if let (Some(_), Some(only)) = (include, only) {
            let title = "`imageinclude` and `imageonly` exclude each other";
            problems.add(Problem::invalid(title).at(&only.name.span));
        }
        if let (Some(architectures), Some(kind)) = (repository.attribute("architectures"), repository.attribute("type"))
            && *kind.value != "apt-deb"
        {
            let title = "`architectures` has no meaning for this repository";
            problems.add(Problem::invalid(title).at(&architectures.name.span).label("only for type=\"apt-deb\""));
        }
    }
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

fn image_type(node: &Node, problems: &mut Problems) {
    let get = |name: &str| node.attribute(name).map(|attribute| attribute.value.as_str());
    let image = get("image").unwrap_or_default();
    let mut add = |problem: Problem| problems.add(problem);
    for (kind, needed) in [("oem", "filesystem"), ("appx", "metadata_path")] {
        let meant = schema::find("type").is_some_and(|row| misspelt(node, row, needed));
        if image == kind && get(needed).is_none() && !meant {
            add(Problem::invalid(format!("<type image=\"{kind}\"> lacks the attribute `{needed}`")).at(&node.name.span));
        }
    }
    for (element, kinds) in
        [("bootloader", &["oem", "iso"][..]), ("containerconfig", &["oem", "docker", "oci", "appx"])]
    {
        if let Some(child) = node.children(element).next()
            && !kinds.contains(&image)
        {
            let title = format!("<{element}> has no meaning for an image of type {}", shown(image));
            add(Problem::invalid(title).at(&child.name.span).label(format!("only for {}", kinds.join(", "))));
        }
    }
    if let Some(size) = node.children("size").next()
        && let Some(unpartitioned) = size.attribute("unpartitioned")
        && let (Ok(part), Ok(whole)) = (unpartitioned.value.parse::<u64>(), size.text.trim().parse::<u64>())
        && part > whole
    {
        add(Problem::invalid(format!("`unpartitioned` ({part}) is larger than the size itself ({whole})"))
            .at(&unpartitioned.value.span));
    }
    if let (Some(options), None) = (node.children("luksformat").next(), get("luks")) {
        add(Problem::invalid("<luksformat> needs the attribute `luks` on <type>").at(&options.name.span));
    }
    let installs = ["installiso", "installpxe"].iter().any(|name| get(name).is_some_and(truth));
    if let (Some(media), false) = (node.children("installmedia").next(), installs) {
        add(Problem::invalid("<installmedia> needs installiso=\"true\" or installpxe=\"true\"").at(&media.name.span));
    }
    if let (Some(kind), None) = (get("format").filter(|kind| *kind == "vagrant"), node.children("vagrantconfig").next())
    {
        add(Problem::invalid(format!("format=\"{kind}\" needs <vagrantconfig>")).at(&node.name.span));
    }
    if get("filesystem").is_some_and(|kind| kind != "btrfs") {
        for attribute in node.attributes.iter().filter(|attribute| attribute.name.starts_with("btrfs_")) {
            let title = format!("`{}` needs filesystem=\"btrfs\"", attribute.name.value);
            add(Problem::invalid(title).at(&attribute.name.span));
        }
    }
    for config in node.children("containerconfig") {
        for element in ["entrypoint", "subcommand"] {
            let Some(command) = config.children(element).next() else { continue };
            match (command.attribute("execute"), command.attribute("clear")) {
                (Some(_), Some(clear)) => {
                    let title = format!("<{element}> has both `execute` and `clear`");
                    add(Problem::invalid(title).at(&clear.name.span));
                }
                (None, None) => {
                    let title = format!("<{element}> lacks the attribute `execute` (or `clear`)");
                    add(Problem::invalid(title).at(&command.name.span));
                }
                _ => {}
            }
        }
        let volumes = config.children("volumes").flat_map(|volumes| volumes.children("volume"));
        for attribute in volumes.flat_map(|volume| &volume.attributes).filter(|attribute| *attribute.name != "name") {
            let title = format!("`{}` has no meaning for a container's volume", shown(&attribute.name));
            add(Problem::invalid(title).at(&attribute.name.span).label("only for a volume of a disk"));
        }
    }
    let loader = node.children("bootloader").next();
    let name = loader.and_then(|loader| loader.attribute("name")).map(|name| name.value.as_str()).unwrap_or_default();
    const GRUB: &[&str] = &["grub2", "grub2_s390x_emu"];
    let rules: &[(&str, &[&str])] = &[
        ("bls", &["grub2"]),
        ("output_console", GRUB),
        ("input_console", GRUB),
        ("serial_line", GRUB),
        ("video_mode", GRUB),
        ("timeout", &["grub2", "grub2_s390x_emu", "systemd_boot", "zipl"]),
        ("timeout_style", GRUB),
        ("targettype", &["grub2_s390x_emu", "zipl"]),
    ];
    for (attribute, loaders) in rules {
        if let Some(found) = loader.and_then(|loader| loader.attribute(attribute))
            && !loaders.contains(&name)
        {
            let title = format!("`{attribute}` has no meaning for the boot loader {}", shown(name));
            add(Problem::invalid(title).at(&found.name.span).label(format!("only for {}", loaders.join(", "))));
        }
    }
}
