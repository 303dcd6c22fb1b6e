//! Google Compute Engine: an object in a bucket, and an image made of it.
//!
//! In: the tar with `disk.raw`. Out: an image of the project. The object goes when the image is ready, unless
//! `keep-upload` says otherwise.

use std::collections::BTreeMap;

use super::checksum::Kind;
use super::step::{Check, Find, Invocation, Pick, Plan, Step, Verb, Word};
use super::toml_table::Table;
use super::{Cloud, Image, parameters};
use crate::error::Result;

/// What the images of this tool can do.
const FEATURES: &[&str] = &["UEFI_COMPATIBLE", "VIRTIO_SCSI_MULTIQUEUE", "GVNIC"];

/// `[gce]` of publish.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    tool: Tool,
    name: Option<String>,
    description: Option<String>,
    family: Option<String>,
    features: Vec<String>,
    licences: Vec<String>,
    labels: BTreeMap<String, String>,
    storage_location: Option<String>,
    visibility: Option<String>,
    prefix: String,
    upload_only: bool,
    keep_upload: bool,
}

/// Which program uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Gcloud,
    Gsutil,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            tool: Tool::Gcloud,
            name: None,
            description: None,
            family: None,
            features: FEATURES.iter().map(ToString::to_string).collect(),
            licences: Vec::new(),
            labels: BTreeMap::new(),
            storage_location: None,
            visibility: None,
            prefix: "ingot/".into(),
            upload_only: false,
            keep_upload: false,
        }
    }
}

impl Parameters {
    /// Reads the table.
    pub fn read(mut table: Table<'_>) -> Result<Parameters> {
        let default = Parameters::default();
        let feature =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        let no_comma = |text: &str| !text.contains(',');
        let features =
            table.list_that("guest-os-features", "a list of features in quotes: UEFI_COMPATIBLE", feature)?;
        let parameters = Parameters {
            tool: match table.word("tool", &["gcloud", "gsutil"])?.as_deref() {
                Some("gsutil") => Tool::Gsutil,
                _ => Tool::Gcloud,
            },
            name: table.text("name")?,
            description: table.text("description")?,
            family: table.text_that("family", "lower-case letters, digits and -", is_name)?,
            features: if table.has("guest-os-features") { features } else { default.features },
            licences: table.list_that("licenses", "a list of licences in quotes", no_comma)?,
            labels: table.pairs("labels")?,
            storage_location: table.text("storage-location")?,
            visibility: table.word("visibility", &["private", "public"])?,
            prefix: table.text("prefix")?.unwrap_or(default.prefix),
            upload_only: table.yes("upload-only")?.unwrap_or(default.upload_only),
            keep_upload: table.yes("keep-upload")?.unwrap_or(default.keep_upload),
        };
        if parameters.upload_only {
            let image = [
                "name",
                "description",
                "family",
                "guest-os-features",
                "licenses",
                "labels",
                "storage-location",
                "visibility",
                "keep-upload",
            ];
            table.needless(&image, "with `upload-only`: no image is made")?;
        }
        if parameters.labels.values().any(|value| !no_comma(value)) {
            table.needless(&["labels"], "with a comma in a value")?;
        }
        table.finish()?;
        Ok(parameters)
    }
}

/// RFC 1035, as the API wants names.
fn is_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 63
        && text.starts_with(|char: char| char.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(good)
}

/// A project and a bucket, and how to publish there.
pub struct Gce<'a> {
    /// The project.
    pub project: &'a str,
    /// The bucket.
    pub bucket: &'a str,
    /// The parameters.
    pub parameters: &'a Parameters,
}

impl Cloud for Gce<'_> {
    fn formats(&self) -> &'static [&'static str] {
        &["gce"]
    }

    fn checksums(&self) -> &'static [Kind] {
        &[Kind::Md5, Kind::Crc32c]
    }

    fn plan(&self, image: &Image, _step: &crate::report::Step) -> Result<Plan> {
        let url = format!("gs://{}/{}{}.tar.gz", self.bucket, self.parameters.prefix, image.checksums.sha256);
        let mut upload = Step::run(Verb::Upload, self.storage("cp").arg(Word::artifact()).arg(&url))
            .makes(format!("object {url}"))
            .undo(self.storage("rm").arg(&url));
        if self.parameters.upload_only {
            upload = upload.image().find(Find::new(self.look_at(&url), "found", self.pick("crc32c")).whole(Check::is(
                "CRC-32C",
                self.pick("crc32c"),
                &image.checksums.crc32c,
            )));
        }
        let compare = Step::run(Verb::Compare, self.look_at(&url))
            .checks(Check::is("length", self.pick("size"), image.checksums.size.to_string()))
            .checks(Check::is("CRC-32C", self.pick("crc32c"), &image.checksums.crc32c))
            // An object that was composed of parts has none.
            .checks(Check::is("MD5", self.pick("md5"), &image.checksums.md5).if_there());
        let mut steps = vec![upload, compare];
        if self.parameters.upload_only {
            return Ok(Plan { steps, id: url.into() });
        }
        let name = self.name(image)?;
        steps.extend(self.image(image, &name, &url));
        if !self.parameters.keep_upload {
            steps.push(Step::run(Verb::Tidy, self.storage("rm").arg(&url)));
        }
        Ok(Plan { steps, id: format!("projects/{}/global/images/{name}", self.project).into() })
    }
}

impl Gce<'_> {
    /// `gcloud storage` or `gsutil`.
    fn storage(&self, operation: &str) -> Invocation {
        match self.parameters.tool {
            Tool::Gcloud => Invocation::new("gcloud").args(["storage", operation, "--project", self.project]),
            // What is composed of parts has no MD5.
            Tool::Gsutil => {
                Invocation::new("gsutil").args(["-o", "GSUtil:parallel_composite_upload_threshold=0", operation])
            }
        }
    }

    fn look_at(&self, url: &str) -> Invocation {
        match self.parameters.tool {
            Tool::Gcloud => Invocation::new("gcloud").args([
                "storage",
                "objects",
                "describe",
                "--project",
                self.project,
                "--raw",
                "--format=json",
                url,
            ]),
            Tool::Gsutil => Invocation::new("gsutil").args(["stat", url]),
        }
    }

    fn pick(&self, what: &str) -> Pick {
        match (self.parameters.tool, what) {
            (Tool::Gcloud, "md5") => Pick::at("/md5Hash"),
            (Tool::Gcloud, what) => Pick::at(&format!("/{what}")),
            (Tool::Gsutil, "size") => Pick::After("Content-Length:".into()),
            (Tool::Gsutil, what) => Pick::After(format!("Hash ({what}):")),
        }
    }

    /// A name as the API takes it, with the artifact's digest at its end where it would be too long.
    fn name(&self, image: &Image) -> Result<String> {
        let wanted = parameters::named(self.parameters.name.as_ref(), image)?.to_ascii_lowercase();
        let plain = |char: char| if char.is_ascii_lowercase() || char.is_ascii_digit() { char } else { '-' };
        let mut name: String = wanted.chars().map(plain).collect();
        if !name.starts_with(|char: char| char.is_ascii_lowercase()) {
            name.insert_str(0, "image-");
        }
        if name.len() > 63 {
            let digest = &image.checksums.sha256[..8];
            name.truncate(54);
            name = format!("{}-{digest}", name.trim_end_matches('-'));
        }
        Ok(name.trim_end_matches('-').to_string())
    }

    fn images(&self, operation: &str, name: &str) -> Invocation {
        Invocation::new("gcloud").args(["compute", "images", operation, name, "--project", self.project])
    }

    fn image(&self, image: &Image, name: &str, url: &str) -> Vec<Step> {
        // Labels have 63 characters at most.
        let digest = &image.checksums.sha256[..32];
        let mut labels = self.parameters.labels.clone();
        labels.insert("ingot-digest".into(), digest.into());
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let default = || format!("{} {} ({})", image.name, image.version, image.arch);
        let list = |list: &[String]| Some(list.join(",")).filter(|list| !list.is_empty());
        let create = self
            .images("create", name)
            .args(["--source-uri", url, "--architecture", if image.arch == "aarch64" { "ARM64" } else { "X86_64" }])
            .arg("--description")
            .arg(self.parameters.description.clone().unwrap_or_else(default))
            .option("--family", self.parameters.family.as_ref())
            .option("--guest-os-features", list(&self.parameters.features))
            .option("--licenses", list(&self.parameters.licences))
            .option("--storage-location", self.parameters.storage_location.as_ref())
            .args(["--labels".to_string(), labels.join(",")])
            .arg("--format=json");
        let describe = || self.images("describe", name).arg("--format=json");
        let mut steps = vec![
            Step::run(Verb::Register, create)
                .makes(format!("image {name}"))
                .find(Find::new(describe(), "image", Pick::at("/name")).ours(Check::is(
                    "label ingot-digest",
                    Pick::at("/labels/ingot-digest"),
                    digest,
                )))
                .undo(self.images("delete", name).arg("--quiet"))
                .image(),
            Step::wait(Verb::Register, describe(), Pick::at("/status"), &["READY"], &["FAILED", "DELETING"]),
        ];
        if self.parameters.visibility.as_deref() == Some("public") {
            let everybody = ["--member=allAuthenticatedUsers", "--role=roles/compute.imageUser"];
            steps.push(Step::run(Verb::Share, self.images("add-iam-policy-binding", name).args(everybody)));
        }
        steps
    }
}
