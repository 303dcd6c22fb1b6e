//! Microsoft Azure: a page blob, and a managed image made of it.
//!
//! In: a fixed VHD. Out: an image in a resource group. The service knows no checksum of a page blob by itself: each piece
//! is sent with its MD5, which the service checks, and the MD5 of the whole is written to the blob only when all of it is
//! there, so that half a blob never looks like a whole one.

use std::collections::BTreeMap;

use super::checksum::Kind;
use super::firmware::{self, Firmware};
use super::step::{Check, Find, Invocation, Pick, Plan, Step, Verb, Word};
use super::toml_table::Table;
use super::{Cloud, Image, parameters};
use crate::error::{Error, Exit, Result};

/// `[azure]` of publish.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    name: Option<String>,
    resource_group: Option<String>,
    location: Option<String>,
    generation: Option<String>,
    auth_mode: String,
    tags: BTreeMap<String, String>,
    prefix: Option<String>,
    upload_only: bool,
    keep_upload: bool,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            name: None,
            resource_group: None,
            location: None,
            generation: None,
            auth_mode: "login".into(),
            tags: BTreeMap::new(),
            prefix: None,
            upload_only: false,
            keep_upload: false,
        }
    }
}

impl Parameters {
    /// Reads the table.
    pub fn read(mut table: Table<'_>) -> Result<Parameters> {
        let default = Parameters::default();
        let parameters = Parameters {
            name: table.text("name")?,
            resource_group: table.text("resource-group")?,
            location: table.text("location")?,
            generation: table.word("hyper-v-generation", &["V1", "V2"])?,
            auth_mode: table.word("auth-mode", &["login", "key"])?.unwrap_or(default.auth_mode),
            tags: table.pairs("tags")?,
            prefix: table.text("prefix")?,
            upload_only: table.yes("upload-only")?.unwrap_or(default.upload_only),
            keep_upload: table.yes("keep-upload")?.unwrap_or(default.keep_upload),
        };
        if parameters.upload_only {
            let image = ["resource-group", "location", "hyper-v-generation", "tags", "keep-upload"];
            table.needless(&image, "with `upload-only`: no image is made")?;
        }
        table.finish()?;
        Ok(parameters)
    }
}

/// A storage account and a container, and how to publish there.
pub struct Azure<'a> {
    /// The storage account.
    pub account: &'a str,
    /// The container.
    pub container: &'a str,
    /// The parameters.
    pub parameters: &'a Parameters,
}

impl Cloud for Azure<'_> {
    fn formats(&self) -> &'static [&'static str] {
        &["vhd-fixed"]
    }

    fn checksums(&self) -> &'static [Kind] {
        &[Kind::Md5]
    }

    fn plan(&self, image: &Image, _step: &crate::report::Step) -> Result<Plan> {
        let name = parameters::named(self.parameters.name.as_ref(), image)?;
        let group = match (&self.parameters.resource_group, self.parameters.upload_only) {
            (Some(group), _) => group.as_str(),
            (None, true) => "",
            (None, false) => {
                return Err(Error::cannot(Exit::Configuration, format!("make an image of {}", image.artifact))
                    .because("`resource-group` is missing in [azure] of publish.toml")
                    .hint("or `upload-only = true`, where the blob is all that is wanted"));
            }
        };
        // What is removed again has a name that only its content can have; so nothing of anybody else's is overwritten.
        let blob = match self.parameters.upload_only {
            true => format!("{}{name}.vhd", self.parameters.prefix.as_deref().unwrap_or_default()),
            false => {
                parameters::check_name(&name, 1..=80, "_.-")?;
                format!("{}{}.vhd", self.parameters.prefix.as_deref().unwrap_or("ingot/"), image.checksums.sha256)
            }
        };
        let upload = self
            .blob("upload", &blob)
            .arg("--file")
            .arg(Word::artifact())
            .args(["--type", "page", "--overwrite", "true", "--validate-content", "--no-progress"])
            .args(["--metadata".to_string(), format!("ingot_digest={}", image.checksums.sha256)]);
        let upload = Step::run(Verb::Upload, upload)
            .makes(format!("blob {}/{}/{blob}", self.account, self.container))
            .undo(self.blob("delete", &blob));
        let md5 = &image.checksums.md5;
        let whole = || Check::is("MD5", Pick::at("/properties/contentSettings/contentMd5"), md5);
        let mark = Step::run(Verb::Complete, self.blob("update", &blob).args(["--content-md5", md5]));
        let ours = Check::is("ingot_digest", Pick::at("/metadata/ingot_digest"), &image.checksums.sha256);
        let mark = match self.parameters.upload_only {
            false => mark,
            true => mark
                .makes(format!("blob {blob}"))
                .image()
                .find(Find::new(self.blob("show", &blob), "blob", Pick::at("/name")).ours(ours).whole(whole())),
        };
        let size = image.checksums.size.to_string();
        let compare = Step::run(Verb::Compare, self.blob("show", &blob))
            .checks(Check::is("length", Pick::at("/properties/contentLength"), size))
            .checks(Check::is("type", Pick::at("/properties/blobType"), "PageBlob"))
            .checks(whole());
        let url = Step::run(Verb::Inspect, self.blob("url", &blob)).learns("url", Pick::at(""));
        let mut steps = vec![upload, mark, compare, url];
        if self.parameters.upload_only {
            return Ok(Plan { steps, id: Word::learned("url") });
        }
        steps.extend(self.image(image, &name, group)?);
        if !self.parameters.keep_upload {
            steps.push(Step::run(Verb::Tidy, self.blob("delete", &blob)));
        }
        Ok(Plan { steps, id: format!("{group}/{name}").into() })
    }
}

impl Azure<'_> {
    fn blob(&self, operation: &str, name: &str) -> Invocation {
        Invocation::new("az")
            .args(["storage", "blob", operation, "--account-name", self.account])
            .args(["--container-name", self.container, "--name", name])
            .args(["--auth-mode", &self.parameters.auth_mode, "--only-show-errors", "--output", "json"])
    }

    fn image(&self, image: &Image, name: &str, group: &str) -> Result<Vec<Step>> {
        let generation = match &self.parameters.generation {
            Some(generation) => generation.as_str(),
            None if firmware::of(&image.path)? == Firmware::Bios => "V1",
            None => "V2",
        };
        let command = |operation: &str| {
            let command = Invocation::new("az").args(["image", operation, "--resource-group", group, "--name", name]);
            command.args(["--only-show-errors", "--output", "json"])
        };
        let mut tags = self.parameters.tags.clone();
        tags.insert("ingot-digest".into(), image.checksums.sha256.clone());
        let create = command("create")
            .arg("--source")
            .arg(Word::learned("url"))
            .args(["--os-type", "Linux", "--hyper-v-generation", generation])
            .option("--location", self.parameters.location.as_ref())
            .arg("--tags")
            .args(tags.iter().map(|(name, value)| format!("{name}={value}")));
        let state = Pick::at("/provisioningState");
        Ok(vec![
            Step::run(Verb::Register, create)
                .makes(format!("image {group}/{name}"))
                .find(Find::new(command("show"), "image", Pick::at("/name")).ours(Check::is(
                    "tag ingot-digest",
                    Pick::at("/tags/ingot-digest"),
                    &image.checksums.sha256,
                )))
                .undo(command("delete"))
                .image(),
            Step::wait(Verb::Register, command("show"), state, &["Succeeded"], &["Failed", "Canceled", "Deleting"]),
        ])
    }
}
