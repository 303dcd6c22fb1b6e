//! Small descriptions made from the table of the schema: each element as small as can be, in the parents that it needs.

use ingot::description::schema::{self, Content, Element, Need};

/// Values of every kind, right ones and wrong ones, beside the words that an attribute names itself.
pub const VALUES: &[&str] = &[
    "",
    "true",
    "1",
    "yes",
    "0",
    "5",
    "-5",
    "+5",
    "2048",
    "40000",
    "1.5",
    "0x5",
    "10M",
    "10G",
    "10K",
    "all",
    "abc",
    "a b",
    "a/b",
    "a.b-c_d",
    "a,b",
    "a:5",
    "ä",
    "x86_64",
    "x86_64,aarch64",
    "en_US",
    "POSIX",
    "POSIX,en_US",
    "en",
    "80/tcp",
    "file:///k",
    "this://k",
    "https://h/x",
    "1.2.3.4",
    "1.2.3",
    "70000.1.1.1",
    "3f1c0000-0000-4000-8000-00000000000a",
    "00:16:3e:00:00:01",
    "docker:qcow2",
    "oci:vagrant",
    "123456789012345678901234567890123",
    "true ",
    " 5",
];

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// A value that the kind of value takes.
pub fn good(value: schema::Value) -> &'static str {
    match value {
        schema::Value::Profiles => "P",
        schema::Value::OneOf(words) => words[0],
        value => VALUES.iter().copied().find(|text| !text.is_empty() && value.accepts(text)).unwrap_or(""),
    }
}

/// Values that are not only accepted but make sense, where planning looks.
const SENSIBLE: &[(&str, &str, &str)] = &[
    ("source", "path", "https://h/x"),
    ("signing", "key", "https://h/k"),
    ("user", "password", "!"),
    ("description", "type", "system"),
    ("size", "", "4000"),
    ("version", "", "1.0.0"),
    ("packagemanager", "", "apt"),
];

/// A value of an attribute, or of the element's text where the attribute is empty.
fn sensible(element: &str, attribute: &str, value: schema::Value) -> &'static str {
    let known = SENSIBLE.iter().find(|(of, name, _)| (*of, *name) == (element, attribute));
    known.map_or_else(|| good(value), |(_, _, text)| text)
}

/// The element as small as can be, with `attributes` and `inside`.
pub fn element(row: &Element, attributes: &[(&str, &str)], inside: &str) -> String {
    let mut given: Vec<(&str, &str)> = attributes.to_vec();
    for attribute in row.attributes.iter().filter(|attribute| attribute.need == Need::Mandatory) {
        if !given.iter().any(|(name, _)| *name == attribute.name) {
            given.push((attribute.name, sensible(row.name, attribute.name, attribute.value)));
        }
    }
    let needs = |name: &'static str, value: &'static str, given: &mut Vec<(&str, &str)>| {
        if !given.iter().any(|(known, _)| *known == name) {
            given.push((name, value));
        }
    };
    let has = |name: &str, given: &[(&str, &str)]| given.iter().any(|(known, _)| *known == name);
    match row.name {
        "type" => {
            let image = given.iter().find(|(name, _)| *name == "image").map_or("", |(_, value)| *value).to_string();
            if image == "oem" {
                let btrfs = given.iter().any(|(name, _)| name.starts_with("btrfs_")) || inside.contains(" quota=");
                needs("filesystem", if btrfs { "btrfs" } else { "ext4" }, &mut given);
            }
            if image == "appx" {
                needs("metadata_path", "m", &mut given);
            }
            if has("embed_verity_metadata", &given) {
                needs("verity_blocks", "all", &mut given);
            }
            if has("embed_integrity_metadata", &given) || has("integrity_legacy_hmac", &given) {
                needs("standalone_integrity", "true", &mut given);
            }
            if inside.contains("<luksformat") {
                needs("luks", "x", &mut given);
            }
            if inside.contains("<installmedia") {
                needs("installiso", "true", &mut given);
            }
            if has("derived_from", &given) && image == "oem" {
                needs("format", "docker:qcow2", &mut given);
            }
        }
        "entrypoint" | "subcommand" if !has("clear", &given) => needs("execute", "x", &mut given),
        _ => {}
    }
    let mut children = inside.to_string();
    // What every image needs, [`image`] adds.
    let needs = if row.name == "image" { &[] } else { row.needs };
    for needed in needs.iter().filter(|needed| !inside.contains(&format!("<{needed}"))) {
        children += &element(schema::find(needed).unwrap(), &[], "");
    }
    if let (Content::Text(value), "") = (row.content, inside) {
        children += &escape(sensible(row.name, "", value));
    }
    let attributes: String = given.iter().map(|(name, value)| format!(" {name}=\"{}\"", escape(value))).collect();
    format!("<{}{attributes}>{children}</{}>", row.name, row.name)
}

/// A whole description around an element; `within` is the chain of parents that was chosen.
pub fn document(row: &Element, text: String, image: &str) -> Vec<String> {
    let mut documents = Vec::new();
    let parents: Vec<&str> = row.within.to_vec();
    if row.name == "image" {
        return vec![text];
    }
    for parent in parents {
        let above = schema::find(parent).unwrap();
        let attributes: Vec<(&str, &str)> = match parent {
            "type" if image == "oem" && row.name == "machine" => vec![("image", image), ("format", "vmdk")],
            "type" if image == "oem" && row.name == "vagrantconfig" => vec![("image", image), ("format", "vagrant")],
            "type" => vec![("image", image)],
            "bootloader" if row.name == "securelinux" => vec![("name", "zipl")],
            "bootloader" => vec![("name", "grub2")],
            "packages" if row.name == "collectionModule" => vec![("type", "bootstrap")],
            _ => Vec::new(),
        };
        let outer = element(above, &attributes, &text);
        documents.extend(document(above, outer, image));
    }
    documents
}

/// `<image>` with what every description has, and these children.
pub fn image(inside: &str) -> String {
    let mut text = String::from("<image schemaversion=\"8.5\" name=\"n\">");
    if !inside.contains("<description") {
        text += "<description type=\"system\"><author>A</author><contact>c</contact><specification>S</specification></description>";
    }
    if !inside.contains("<profiles") {
        text += "<profiles><profile name=\"P\" description=\"p\"/><profile name=\"Q\" description=\"q\"/></profiles>";
    }
    let kind = if inside.contains("<type") { "" } else { "<type image=\"tbz\"/>" };
    let version = if inside.contains("<version") { "" } else { "<version>1.0.0</version>" };
    let manager = if inside.contains("<packagemanager") { "" } else { "<packagemanager>apt</packagemanager>" };
    text += &format!("<preferences>{version}{manager}{kind}</preferences>");
    if !inside.contains("<repository") {
        text += "<repository><source path=\"https://h/x\"/></repository>";
    }
    if !inside.contains("<packages") {
        text += "<packages type=\"bootstrap\"><package name=\"a\"/></packages>";
    }
    text + inside + "</image>"
}
