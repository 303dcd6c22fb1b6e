//! OpenStack: an image in Glance.
//!
//! In: a qcow2 disk, or a raw one where the store wants that (Ceph). Out: an image. It is found again by a property that
//! holds the digest; one that is there and not whole is removed and made anew.

use std::collections::BTreeMap;

use super::checksum::Kind;
use super::firmware::{self, Firmware};
use super::step::{Check, Find, Invocation, Pick, Plan, Step, Verb, Word};
use super::toml_table::Table;
use super::{Cloud, Image, parameters};
use crate::error::{Error, Exit, Result};

/// `[openstack]` of publish.toml.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    format: Format,
    name: Option<String>,
    visibility: Option<String>,
    min_disk: Option<u64>,
    min_ram: Option<u64>,
    properties: BTreeMap<String, String>,
    tags: Vec<String>,
}

/// Which of the release's disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    #[default]
    Qcow2,
    Raw,
}

impl Parameters {
    /// Reads the table.
    pub fn read(mut table: Table<'_>) -> Result<Parameters> {
        let parameters = Parameters {
            format: match table.word("format", &["qcow2", "raw"])?.as_deref() {
                Some("raw") => Format::Raw,
                _ => Format::Qcow2,
            },
            name: table.text("name")?,
            visibility: table.word("visibility", &["private", "shared", "community", "public"])?,
            min_disk: table.number("min-disk", 0..65_537)?,
            min_ram: table.number("min-ram", 0..1 << 30)?,
            properties: table.pairs("properties")?,
            tags: table.list_that("tags", "a list of texts in quotes", |_| true)?,
        };
        table.finish()?;
        Ok(parameters)
    }
}

/// A cloud of clouds.yaml, and how to publish there.
pub struct Openstack<'a> {
    /// Its name.
    pub cloud: &'a str,
    /// The parameters.
    pub parameters: &'a Parameters,
}

impl Cloud for Openstack<'_> {
    fn formats(&self) -> &'static [&'static str] {
        match self.parameters.format {
            Format::Qcow2 => &["qcow2"],
            Format::Raw => &["raw"],
        }
    }

    fn checksums(&self) -> &'static [Kind] {
        &[Kind::Sha512]
    }

    fn plan(&self, image: &Image, _step: &crate::report::Step) -> Result<Plan> {
        let name = parameters::named(self.parameters.name.as_ref(), image)?;
        let least = image.disk.0.div_ceil(1 << 30);
        let min_disk = self.parameters.min_disk.unwrap_or(least);
        if min_disk < least {
            return Err(Error::new(Exit::Configuration, "`min-disk` of [openstack] is too small")
                .because(format!("the disk needs {least} GiB, and it is {min_disk}")));
        }
        let mut create = self
            .image("create")
            .arg("--file")
            .arg(Word::artifact())
            .args(["--disk-format", &image.format, "--container-format", "bare"])
            .args(["--min-disk".to_string(), min_disk.to_string()]);
        if let Some(ram) = self.parameters.min_ram {
            create = create.args(["--min-ram".to_string(), ram.to_string()]);
        }
        if let Some(visibility) = &self.parameters.visibility {
            create = create.arg(format!("--{visibility}"));
        }
        for tag in &self.parameters.tags {
            create = create.args(["--tag", tag]);
        }
        for (property, value) in self.properties(image)? {
            create = create.args(["--property".to_string(), format!("{property}={value}")]);
        }
        let id = || Word::learned("image");
        let list = self
            .image("list")
            .args(["--name".to_string(), name.clone()])
            .args(["--property".to_string(), format!("ingot_digest={}", image.checksums.sha256)]);
        let show = || self.image("show").arg(id());
        Ok(Plan {
            steps: vec![
                Step::run(Verb::Upload, create.arg(&name))
                    .learns("image", Pick::at("/id"))
                    .makes(Word::from(format!("image {name} ")).then(id()))
                    .find(Find::new(list, "image", Pick::at("/0/ID")).whole(Check::is(
                        "status",
                        Pick::at("/0/Status"),
                        "active",
                    )))
                    .undo(self.image("delete").arg(id()))
                    .image(),
                Step::wait(
                    Verb::Register,
                    show(),
                    Pick::at("/status"),
                    &["active"],
                    &["killed", "deleted", "deactivated"],
                ),
                Step::run(Verb::Compare, show())
                    .checks(Check::is("length", Pick::at("/size"), image.checksums.size.to_string()))
                    .checks(Check::is("hash algorithm", Pick::at("/properties/os_hash_algo"), "sha512"))
                    .checks(Check::is("SHA-512", Pick::at("/properties/os_hash_value"), &image.checksums.sha512)),
            ],
            id: id(),
        })
    }
}

impl Openstack<'_> {
    fn image(&self, operation: &str) -> Invocation {
        let command = Invocation::new("openstack").args(["--os-cloud", self.cloud, "image", operation]);
        // Deleting answers nothing, in no format.
        if operation == "delete" { command } else { command.args(["-f", "json"]) }
    }

    /// What is known of the image, and what publish.toml says, which wins.
    fn properties(&self, image: &Image) -> Result<BTreeMap<String, String>> {
        let mut properties: BTreeMap<String, String> =
            [("architecture", image.arch.as_str()), ("hw_disk_bus", "virtio")]
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect();
        if firmware::of(&image.path)? == Firmware::Uefi {
            properties.insert("hw_firmware_type".into(), "uefi".into());
        }
        properties.extend(self.parameters.properties.clone());
        properties.insert("ingot_digest".into(), image.checksums.sha256.clone());
        Ok(properties)
    }
}
