//! The one table of every element and attribute: the parser, "did you mean" and the schema's listing read it.
//!
//! In: names. Out: rows that say where something may stand, which values it takes, and whether ingot honours it.
//! Never looks at a description. The facts are those of KIWI's schema 8.5.

mod kinds;
mod oem;
mod packages;
mod top;
mod types;
mod value;

pub use value::Value;

/// An element of the schema. Names are unique: KIWI uses one name with one meaning, wherever it stands.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// Its name.
    pub name: &'static str,
    /// What it says, in a sentence without a full stop.
    pub about: &'static str,
    /// The elements that it may stand in; empty for the root.
    pub within: &'static [&'static str],
    /// What it may carry.
    pub attributes: &'static [Attribute],
    /// What may stand inside.
    pub content: Content,
    /// How often it may stand in one parent.
    pub occurs: Occurs,
    /// Children that must be there.
    pub needs: &'static [&'static str],
    /// What ingot makes of it.
    pub status: Status,
}

/// An attribute of an element.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Its name.
    pub name: &'static str,
    /// What it says, in a sentence without a full stop.
    pub about: &'static str,
    /// What it may hold.
    pub value: Value,
    /// Whether it must be there.
    pub need: Need,
    /// Image types (values of `<type image>`) for which it has a meaning; empty: all.
    pub types: &'static [&'static str],
    /// What it is on an image of another type.
    pub elsewhere: Elsewhere,
    /// What ingot makes of it.
    pub status: Status,
}

/// What an attribute is on an image of a type that it has no meaning for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// An error, as in KIWI.
    Invalid,
    /// KIWI says nothing; a warning does.
    Ignored,
}

/// What may stand inside an element.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// Elements; text is an error.
    Elements,
    /// Text of this kind.
    Text(Value),
    /// Elements of other namespaces.
    Foreign,
}

/// How often an element may stand in one parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurs {
    /// At most once.
    Once,
    /// As often as the author likes.
    Often,
}

/// Whether an attribute must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It may be left out.
    Optional,
    /// It must be there.
    Mandatory,
}

/// What ingot makes of an element or attribute. A boolean attribute or element with the value `false` asks for
/// nothing, so that it is neither refused nor warned about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is done.
    Honoured,
    /// The image would be wrong without it, so that a plan with it is refused, for this reason.
    Refused(&'static str),
    /// It is not done, and the image is right all the same; a warning says so, with this reason.
    Ignored(&'static str),
}

impl Attribute {
    const fn new(name: &'static str, value: Value) -> Attribute {
        Attribute {
            name,
            about: "",
            value,
            need: Need::Optional,
            types: &[],
            elsewhere: Elsewhere::Invalid,
            status: Status::Honoured,
        }
    }

    const fn about(self, about: &'static str) -> Attribute {
        Attribute { about, ..self }
    }

    const fn mandatory(self) -> Attribute {
        Attribute { need: Need::Mandatory, ..self }
    }

    const fn only(self, types: &'static [&'static str]) -> Attribute {
        Attribute { types, ..self }
    }

    const fn means(self, types: &'static [&'static str]) -> Attribute {
        Attribute { types, elsewhere: Elsewhere::Ignored, ..self }
    }

    const fn refused(self, reason: &'static str) -> Attribute {
        Attribute { status: Status::Refused(reason), ..self }
    }

    const fn ignored(self, reason: &'static str) -> Attribute {
        Attribute { status: Status::Ignored(reason), ..self }
    }
}

impl Element {
    const fn new(name: &'static str, within: &'static [&'static str]) -> Element {
        Element {
            name,
            about: "",
            within,
            attributes: &[],
            content: Content::Elements,
            occurs: Occurs::Once,
            needs: &[],
            status: Status::Honoured,
        }
    }

    const fn about(self, about: &'static str) -> Element {
        Element { about, ..self }
    }

    const fn with(self, attributes: &'static [Attribute]) -> Element {
        Element { attributes, ..self }
    }

    const fn text(self, value: Value) -> Element {
        Element { content: Content::Text(value), ..self }
    }

    const fn often(self) -> Element {
        Element { occurs: Occurs::Often, ..self }
    }

    const fn needs(self, needs: &'static [&'static str]) -> Element {
        Element { needs, ..self }
    }

    const fn refused(self, reason: &'static str) -> Element {
        Element { status: Status::Refused(reason), ..self }
    }

    const fn ignored(self, reason: &'static str) -> Element {
        Element { status: Status::Ignored(reason), ..self }
    }

    /// The row of one of its attributes.
    pub fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

/// Shorthand for the tables.
const fn attribute(name: &'static str, value: Value) -> Attribute {
    Attribute::new(name, value)
}

/// Shorthand for the tables.
const fn element(name: &'static str, within: &'static [&'static str]) -> Element {
    Element::new(name, within)
}

/// Every element of KIWI's schema.
pub fn elements() -> impl Iterator<Item = &'static Element> {
    [top::ELEMENTS, types::ELEMENTS, kinds::ELEMENTS, oem::ELEMENTS, packages::ELEMENTS].into_iter().flatten()
}

/// The row of an element.
pub fn find(name: &str) -> Option<&'static Element> {
    elements().find(|element| element.name == name)
}

/// The elements that may stand in `parent`.
pub fn children_of(parent: &str) -> impl Iterator<Item = &'static Element> {
    elements().filter(move |element| element.within.contains(&parent))
}

/// `(element, attribute, words)`: attributes that are honoured for these words and refused for others.
const HONOURED_WORDS: &[(&str, &str, &[&str])] = &[
    ("type", "image", &["oem", "docker", "oci", "tbz"]),
    ("type", "filesystem", &["ext2", "ext3", "ext4"]),
    ("type", "bootfilesystem", &["ext2", "ext3", "ext4"]),
    ("type", "firmware", &["bios", "ec2", "efi", "uefi"]),
    ("type", "format", &["qcow2", "vhd", "vhd-fixed", "vhdx", "vmdk", "vdi", "gce", "ova", "vagrant"]),
    ("type", "initrd_system", &["dracut", "none"]),
    ("bootloader", "name", &["grub2"]),
    ("packagemanager", "", &["apt", "dnf4", "dnf5", "microdnf", "pacman", "zypper"]),
    ("repository", "type", &["apt-deb", "rpm-md"]),
    ("description", "type", &["system"]),
];

/// The words that are honoured, of an attribute of which some are refused. A test holds that the plan agrees.
pub fn honoured_words(element: &str, attribute: &str) -> Option<&'static [&'static str]> {
    HONOURED_WORDS.iter().find(|row| (row.0, row.1) == (element, attribute)).map(|row| row.2)
}

/// What is made of an element, with those that it stands in: inside of what is refused nothing is honoured.
pub fn status_of(element: &Element) -> Status {
    let mut found = element.status;
    for parent in element.within.iter().filter_map(|parent| find(parent)) {
        if element.status != Status::Honoured {
            break;
        }
        found = status_of(parent);
        if found == Status::Honoured {
            break;
        }
    }
    found
}

/// What is made of an attribute, with the element that it stands on and the image types that it is for.
pub fn status_of_attribute(element: &Element, attribute: &Attribute) -> Status {
    let around = status_of(element);
    if around != Status::Honoured || attribute.status != Status::Honoured {
        return if around == Status::Honoured { attribute.status } else { around };
    }
    let kinds = IMAGE_TYPES.iter().filter(|(name, _)| attribute.types.contains(name));
    let mut refused = None;
    for (_, status) in kinds {
        match status {
            Status::Honoured => return Status::Honoured,
            other => refused = refused.or(Some(*other)),
        }
    }
    refused.unwrap_or(Status::Honoured)
}

/// The namespace of ingot's own elements in `<extension>`.
pub const NAMESPACE: &str = "urn:ingot:1";

/// ingot's own elements: they stand in `<extension>`, in the namespace [`NAMESPACE`].
pub const EXTENSIONS: &[Element] = &[
    element("update-stack", &["extension"]).about("Whether the image keeps its package manager").often().with(&[
        attribute("mode", Value::OneOf(&["kept", "none"]))
            .about("With it, or without and nothing that only serves it")
            .mandatory(),
        attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
    ]),
    element("packages", &["extension"]).about("Which essential packages stay").often().with(&[
        attribute("essential", Value::OneOf(&["kept", "only-needed"]))
            .about("All of them, or those that a named package needs")
            .mandatory(),
        attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
    ]),
    element("package-database", &["extension"])
        .about("What becomes of the database of packages in an image without update stack")
        .often()
        .with(&[
            attribute("mode", Value::OneOf(&["keep", "sbom", "none"]))
                .about("It stays, a bill of materials takes its place, or it goes")
                .mandatory(),
            attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
        ]),
    element("overlay", &["extension"]).about("A shared folder that is copied over the tree").often().with(&[
        attribute("name", Value::FileName)
            .about("Its folder in rootfs-overlays/, beside the description or in a folder above")
            .mandatory(),
        attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
    ]),
    element("scrub", &["extension"]).about("What is scrubbed").often().with(&[
        attribute("preset", Value::OneOf(&["vm", "container", "none"]))
            .about("The rules: for a machine, for a container, or none"),
        attribute("except", Value::Words).about("Rules that are switched off"),
        attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
    ]),
    element("base", &["extension"]).about("Pins a container that this one is built on").often().with(&[
        attribute("digest", Value::Digest).about("Digest of its manifest or index").mandatory(),
        attribute("source", Value::NotEmpty).about("Which entry of derived_from, where there are several"),
        attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
    ]),
    element("container", &["extension"]).about("Pins a container that the image holds").often().with(&[
        attribute("name", Value::NotEmpty).about("Its name, or NAME:TAG").mandatory(),
        attribute("digest", Value::Digest).about("Digest of its manifest or index").mandatory(),
        attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
    ]),
    element("layers", &["extension"]).about("How a container is divided into layers").often().with(&[
        attribute("split", Value::OneOf(&["one", "packages"]))
            .about("One layer, or what changes together in layers of its own"),
        attribute("most", Value::Between(3, 126)).about("No more new layers than this; 20"),
        attribute("compression", Value::OneOf(&["gzip", "zstd", "none"])).about("How new layers are compressed; gzip"),
        attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
    ]),
    element("annotation", &["extension"]).about("An annotation of the container's manifest").often().with(&[
        attribute("name", Value::NotEmpty).about("Its name").mandatory(),
        attribute("value", Value::Text).about("Its value").mandatory(),
        attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
    ]),
    element("target", &["extension"])
        .about("Where the image is meant to run; `build` checks that it can")
        .often()
        .with(&[
            attribute(
                "cloud",
                Value::OneOf(&["aws", "azure", "gce", "openstack", "vmware", "hyperv", "libvirt", "registry"]),
            )
            .about("The target whose rules `ingot preflight` knows")
            .mandatory(),
            attribute("profiles", Value::Profiles).about("Counts where one of these profiles is chosen"),
        ]),
];

/// Every image type of `<type image>`, with what ingot makes of it.
pub const IMAGE_TYPES: &[(&str, Status)] = &[
    ("oem", Status::Honoured),
    ("docker", Status::Honoured),
    ("oci", Status::Honoured),
    ("tbz", Status::Honoured),
    ("iso", Status::Refused("live media are not made yet")),
    ("pxe", Status::Refused("network boot images are not made yet")),
    ("kis", Status::Refused("kernel, initrd and system archives are not made yet")),
    ("cpio", Status::Refused("cpio archives are not made yet")),
    ("btrfs", Status::Refused("bare filesystem images are not made yet")),
    ("ext2", Status::Refused("bare filesystem images are not made yet")),
    ("ext3", Status::Refused("bare filesystem images are not made yet")),
    ("ext4", Status::Refused("bare filesystem images are not made yet")),
    ("xfs", Status::Refused("bare filesystem images are not made yet")),
    ("squashfs", Status::Refused("bare filesystem images are not made yet")),
    ("erofs", Status::Refused("bare filesystem images are not made yet")),
    ("appx", Status::Refused("containers for Windows are not made yet")),
    ("wsl", Status::Refused("containers for Windows are not made yet")),
    ("enclave", Status::Refused("enclave images are not made yet")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_holds_every_element_and_attribute_of_the_schema_once() {
        let names: Vec<&str> = elements().map(|element| element.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "an element has two rows");
        for element in elements() {
            let attributes: BTreeSet<&str> = element.attributes.iter().map(|attribute| attribute.name).collect();
            assert_eq!(attributes.len(), element.attributes.len(), "<{}> has an attribute twice", element.name);
            let said = element.attributes.iter().map(|attribute| attribute.about).chain([element.about]);
            assert!(said.clone().all(|about| !about.is_empty() && !about.ends_with('.')), "<{}>", element.name);
            for parent in element.within {
                assert!(find(parent).is_some(), "<{}> stands in <{parent}>, which is not in the table", element.name);
            }
            for child in element.needs {
                assert!(find(child).is_some_and(|child| child.within.contains(&element.name)), "{child}");
            }
        }
        let pairs: usize = elements().map(|element| element.attributes.len()).sum();
        assert_eq!((names.len(), pairs), (111, 281));
    }
}
