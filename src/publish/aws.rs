//! Amazon EC2: a snapshot, and an image registered on it.
//!
//! In: a raw disk; through S3 a vhd or vmdk, too. Out: an AMI. The snapshot is written through the EBS direct API, so that
//! only blocks with data travel and nothing is left in a bucket; `method = "s3"` imports an object of S3 instead. Never
//! starts an instance, so it needs no security group.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::checksum::Kind;
use super::firmware::{self, Firmware};
use super::step::{Check, Find, Invocation, Missing, Pick, Piece, Plan, Step, Verb, Wanted, Word, Work};
use super::toml_table::Table;
use super::{Cloud, Image, blocks, parameters};
use crate::error::{Error, Exit, Result};

/// Minutes without a block after which AWS gives a pending snapshot up.
const PATIENCE: &str = "60";

/// `[aws]` of publish.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    method: Method,
    name: Option<String>,
    description: Option<String>,
    volume_size: Option<u64>,
    volume_type: String,
    root_device: String,
    boot_mode: Option<String>,
    imds: Imds,
    ena: bool,
    kms_key: Option<String>,
    visibility: Option<String>,
    share_with: Vec<String>,
    tags: BTreeMap<String, String>,
    prefix: String,
    keep_upload: bool,
}

/// How the snapshot comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// Block by block.
    Ebs,
    /// An object is imported.
    S3,
}

/// Which requests the metadata service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Imds {
    /// Those with a session token only.
    Version2,
    /// Any.
    Optional,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            method: Method::Ebs,
            name: None,
            description: None,
            volume_size: None,
            volume_type: "gp3".into(),
            root_device: "/dev/xvda".into(),
            boot_mode: None,
            imds: Imds::Version2,
            ena: true,
            kms_key: None,
            visibility: None,
            share_with: Vec::new(),
            tags: BTreeMap::new(),
            prefix: "ingot/".into(),
            keep_upload: false,
        }
    }
}

impl Parameters {
    /// Reads the table.
    pub fn read(mut table: Table<'_>) -> Result<Parameters> {
        let default = Parameters::default();
        let account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        let parameters = Parameters {
            method: match table.word("method", &["ebs", "s3"])?.as_deref() {
                Some("s3") => Method::S3,
                _ => Method::Ebs,
            },
            name: table.text("name")?,
            description: table.text("description")?,
            volume_size: table.number("volume-size", 1..65_537)?,
            volume_type: table.text("volume-type")?.unwrap_or(default.volume_type),
            root_device: table.text("root-device")?.unwrap_or(default.root_device),
            boot_mode: table.word("boot-mode", &["uefi-preferred", "uefi", "legacy-bios"])?,
            imds: match table.word("imds", &["v2.0", "optional"])?.as_deref() {
                Some("optional") => Imds::Optional,
                _ => Imds::Version2,
            },
            ena: table.yes("ena")?.unwrap_or(default.ena),
            kms_key: table.text("kms-key")?,
            visibility: table.word("visibility", &["private", "public"])?,
            share_with: table.list_that("share-with", "a list of account numbers of 12 digits in quotes", account)?,
            tags: table.pairs("tags")?,
            prefix: table.text("prefix")?.unwrap_or(default.prefix),
            keep_upload: table.yes("keep-upload")?.unwrap_or(default.keep_upload),
        };
        if parameters.method == Method::Ebs {
            table.needless(&["prefix", "keep-upload"], "where no object is uploaded: with `method = \"s3\"` only")?;
        }
        table.finish()?;
        Ok(parameters)
    }
}

/// A region, and how to publish there.
pub struct Aws<'a> {
    /// The region.
    pub region: &'a str,
    /// The bucket, for an import.
    pub bucket: Option<&'a str>,
    /// The parameters.
    pub parameters: &'a Parameters,
}

impl Cloud for Aws<'_> {
    fn formats(&self) -> &'static [&'static str] {
        match self.parameters.method {
            Method::Ebs => &["raw"],
            Method::S3 => &["raw", "vhd-fixed", "vhd", "vmdk"],
        }
    }

    fn checksums(&self) -> &'static [Kind] {
        &[]
    }

    fn plan(&self, image: &Image, step: &crate::report::Step) -> Result<Plan> {
        let name = parameters::named(self.parameters.name.as_ref(), image)?;
        parameters::check_name(&name, 3..=128, "()[] ./-'@_")?;
        let mut steps = match self.parameters.method {
            Method::Ebs => {
                if let Some(bucket) = self.bucket {
                    let text = format!("the bucket {bucket} is not used: blocks go straight to a snapshot");
                    step.reporter().say(&format!("{:>14}  {text} (`method = \"s3\"` uses it)", "publish"));
                }
                self.by_blocks(image, &name, step)?
            }
            Method::S3 => self.by_import(image, &name)?,
        };
        steps.push(self.register(image, &name)?);
        steps.push(Step::wait(
            Verb::Register,
            self.ec2("describe-images").arg("--image-ids").arg(Word::learned("image")),
            Pick::at("/Images/0/State"),
            &["available"],
            &["invalid", "failed", "error", "deregistered"],
        ));
        steps.extend(self.permissions());
        if self.parameters.method == Method::S3 && !self.parameters.keep_upload {
            steps.push(Step::run(Verb::Tidy, self.remove_object(image)?));
        }
        Ok(Plan { steps, id: Word::learned("image") })
    }
}

impl Aws<'_> {
    fn aws(&self, service: &str, operation: &str) -> Invocation {
        Invocation::new("aws").args([service, operation, "--region", self.region, "--output", "json"])
    }

    fn ec2(&self, operation: &str) -> Invocation {
        self.aws("ec2", operation)
    }

    /// Tags as JSON, in the form that the request wants. What an attempt made is found by its token.
    fn tags(&self, image: &Image, name: &str, form: impl Fn(Value) -> Value) -> Word {
        const PLACE: &str = "{attempt}";
        let ours = [("Name", name), ("ingot-digest", &image.checksums.sha256), ("ingot-publication", PLACE)];
        let mut tags: BTreeMap<&str, &str> = ours.into_iter().collect();
        tags.extend(self.parameters.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let tags = tags.into_iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        let text = form(tags).to_string();
        // A tag of the author's may say the same: ours is the one with our key before it.
        let ours = format!("\"ingot-publication\",\"Value\":\"{PLACE}");
        match text.split_once(&ours) {
            Some((before, after)) => {
                let before = format!("{before}{}", ours.trim_end_matches(PLACE));
                Word::from(before).then(Aws::token()).then(after)
            }
            None => text.into(),
        }
    }

    fn filters(&self, filters: &[(&str, &[&str])]) -> String {
        let filters = filters.iter().map(|(name, values)| json!({"Name": name, "Values": values}));
        Value::from(filters.collect::<Vec<_>>()).to_string()
    }

    fn description(&self, image: &Image) -> String {
        let default = || format!("{} {} ({})", image.name, image.version, image.arch);
        self.parameters.description.clone().unwrap_or_else(default)
    }

    /// GiB that the disk needs.
    fn size(&self, image: &Image) -> Result<u64> {
        let least = image.disk.0.div_ceil(1 << 30).max(1);
        match self.parameters.volume_size {
            Some(size) if size < least => Err(Error::new(Exit::Configuration, "`volume-size` of [aws] is too small")
                .because(format!("the disk needs {least} GiB, and it is {size}"))),
            size => Ok(size.unwrap_or(least)),
        }
    }

    fn token() -> Word {
        Word::learned("attempt")
    }

    fn by_blocks(&self, image: &Image, name: &str, step: &crate::report::Step) -> Result<Vec<Step>> {
        let blocks = blocks::of(&image.path, step)?;
        let count = blocks.len();
        let snapshot = || Word::learned("snapshot");
        let mut start = self
            .aws("ebs", "start-snapshot")
            .args(["--volume-size".to_string(), self.size(image)?.to_string()])
            .arg("--client-token")
            .arg(Aws::token())
            .args(["--timeout", PATIENCE, "--description"])
            .arg(self.description(image))
            .arg("--tags")
            .arg(self.tags(image, name, |tags| tags));
        if let Some(key) = &self.parameters.kms_key {
            start = start.args(["--encrypted", "--kms-key-arn"]).arg(key);
        }
        let put = self
            .aws("ebs", "put-snapshot-block")
            .arg("--snapshot-id")
            .arg(snapshot())
            .arg("--block-index")
            .arg(Piece::BlockIndex)
            .arg("--block-data")
            .arg(Piece::BlockFile)
            .args(["--data-length".to_string(), blocks::SIZE.to_string()])
            .arg("--checksum")
            .arg(Piece::BlockChecksum)
            .args(["--checksum-algorithm", "SHA256"]);
        let complete = self
            .aws("ebs", "complete-snapshot")
            .arg("--snapshot-id")
            .arg(snapshot())
            .args(["--changed-blocks-count".to_string(), count.to_string()])
            .args(["--checksum".to_string(), blocks::checksum(&blocks)])
            .args(["--checksum-algorithm", "SHA256", "--checksum-aggregation-method", "LINEAR"]);
        let list = self
            .aws("ebs", "list-snapshot-blocks")
            .arg("--snapshot-id")
            .arg(snapshot())
            .args(["--max-results", "10000"]);
        let count_there = Work::Count {
            command: list,
            what: "number of blocks".into(),
            list: "/Blocks".into(),
            next: "/NextToken".into(),
            option: "--next-token".into(),
            wanted: count,
        };
        let send = Step { work: Work::Blocks { command: put, count }, ..Step::run(Verb::Upload, Invocation::new("")) };
        Ok(vec![
            Step::run(Verb::Snapshot, start)
                .learns("snapshot", Pick::at("/SnapshotId"))
                .makes(Word::from("snapshot ").then(snapshot()))
                .find(self.find_snapshot())
                .undo(self.ec2("delete-snapshot").arg("--snapshot-id").arg(snapshot())),
            send,
            Step::run(Verb::Complete, complete),
            self.wait_for_snapshot(),
            Step { work: count_there, ..Step::run(Verb::Compare, Invocation::new("")) },
        ])
    }

    fn find_snapshot(&self) -> Find {
        let filter = Word::from("Name=tag:ingot-publication,Values=").then(Aws::token());
        let ask = self.ec2("describe-snapshots").args(["--owner-ids", "self", "--filters"]).arg(filter);
        Find::new(ask, "snapshot", Pick::at("/Snapshots/0/SnapshotId"))
    }

    fn wait_for_snapshot(&self) -> Step {
        let ask = self.ec2("describe-snapshots").arg("--snapshot-ids").arg(Word::learned("snapshot"));
        Step::wait(Verb::Snapshot, ask, Pick::at("/Snapshots/0/State"), &["completed"], &["error", "recoverable"])
    }

    /// The object of S3, named by its content.
    fn object(&self, image: &Image) -> Result<(String, String)> {
        let bucket = self.bucket.ok_or_else(|| {
            Error::cannot(Exit::Usage, format!("publish to aws:{} through S3", self.region))
                .because("`method = \"s3\"` in publish.toml needs a bucket")
                .hint(format!("--to aws:{}/BUCKET", self.region))
        })?;
        let end = if image.format == "vhd-fixed" { "vhd" } else { &image.format };
        Ok((bucket.to_string(), format!("{}{}.{end}", self.parameters.prefix, image.checksums.sha256)))
    }

    fn remove_object(&self, image: &Image) -> Result<Invocation> {
        let (bucket, key) = self.object(image)?;
        Ok(Invocation::new("aws").args(["s3", "rm", "--region", self.region]).arg(format!("s3://{bucket}/{key}")))
    }

    fn by_import(&self, image: &Image, name: &str) -> Result<Vec<Step>> {
        let (bucket, key) = self.object(image)?;
        let url = format!("s3://{bucket}/{key}");
        let s3api = |operation| self.aws("s3api", operation).args(["--bucket", &bucket]);
        let parts = s3api("list-multipart-uploads").args(["--prefix", &key]);
        let give_up = s3api("abort-multipart-upload").args(["--key", &key, "--upload-id"]).arg(Word::learned("parts"));
        let copy = Invocation::new("aws").args(["s3", "cp", "--region", self.region]).arg(Word::artifact()).arg(&url);
        let format = if image.format == "vhd-fixed" { "VHD".into() } else { image.format.to_ascii_uppercase() };
        // The key in the description is how a task is found again whose number was never learned.
        let description = format!("{} ingot-publication {}", self.description(image), image.key);
        let container = json!({
            "Description": description, "Format": format, "UserBucket": {"S3Bucket": bucket, "S3Key": key}});
        let tags = self.tags(image, name, |tags| json!([{"ResourceType": "import-snapshot-task", "Tags": tags}]));
        let mut import = self
            .ec2("import-snapshot")
            .args(["--description", &description, "--disk-container"])
            .arg(container.to_string())
            .arg("--client-token")
            .arg(Aws::token())
            .arg("--tag-specifications")
            .arg(tags);
        if let Some(key) = &self.parameters.kms_key {
            import = import.args(["--encrypted", "--kms-key-id"]).arg(key);
        }
        let task = || Word::learned("task");
        let query = format!("ImportSnapshotTasks[?Description=='{}'].ImportTaskId", description.replace('\'', "\\'"));
        let ask = self.ec2("describe-import-snapshot-tasks").args(["--query".to_string(), query]);
        let find_task = Find::new(ask, "task", Pick::at("/0"));
        let snapshot = || Word::learned("snapshot");
        let wait = Step::wait(
            Verb::Import,
            self.ec2("describe-import-snapshot-tasks").arg("--import-task-ids").arg(task()),
            Pick::at("/ImportSnapshotTasks/0/SnapshotTaskDetail/Status"),
            &["completed"],
            &["deleted", "deleting", "cancelled", "error"],
        );
        Ok(vec![
            // Tells a wrong bucket and wrong credentials before anything is sent.
            Step::run(Verb::Inspect, s3api("head-bucket")),
            Step::run(Verb::Upload, copy)
                .makes(format!("object {url}"))
                .find(
                    Find::new(parts, "parts", Pick::at("/Uploads/0/UploadId"))
                        // Parts that lie there are of no use to another upload.
                        .whole(Check::is("parts", Pick::at("/Uploads"), "none")),
                )
                .undo(give_up)
                .undo(self.remove_object(image)?),
            Step::run(Verb::Compare, s3api("head-object").args(["--key", &key]))
                .checks(Check::is("length", Pick::at("/ContentLength"), image.checksums.size.to_string()))
                .checks(Check {
                    what: "entity tag".into(),
                    pick: Pick::at("/ETag"),
                    wanted: Wanted::EntityTag,
                    missing: Missing::Wrong,
                }),
            Step::run(Verb::Import, import)
                .learns("task", Pick::at("/ImportTaskId"))
                .makes(Word::from("import ").then(task()))
                .find(find_task)
                .undo_unless("snapshot", self.ec2("cancel-import-task").arg("--import-task-id").arg(task())),
            wait.learns("snapshot", Pick::at("/ImportSnapshotTasks/0/SnapshotTaskDetail/SnapshotId"))
                .makes(Word::from("snapshot ").then(snapshot()))
                .undo(self.ec2("delete-snapshot").arg("--snapshot-id").arg(snapshot())),
            Step::run(
                Verb::Tag,
                self.ec2("create-tags").arg("--resources").arg(snapshot()).arg("--tags").arg(self.tags(
                    image,
                    name,
                    |tags| tags,
                )),
            ),
        ])
    }

    fn boot_mode(&self, image: &Image) -> Result<String> {
        if let Some(mode) = &self.parameters.boot_mode {
            return Ok(mode.clone());
        }
        let firmware = firmware::of(&image.path)
            .map_err(|error| error.hint("`boot-mode` of [aws] in publish.toml says it without a look"))?;
        let arm = image.arch == "aarch64";
        Ok(match firmware {
            Firmware::Bios if !arm => "legacy-bios",
            Firmware::Both if !arm => "uefi-preferred",
            _ => "uefi",
        }
        .into())
    }

    fn register(&self, image: &Image, name: &str) -> Result<Step> {
        let arch = match image.arch.as_str() {
            "aarch64" => "arm64",
            "i386" | "i486" | "i586" | "i686" => "i386",
            arch => arch,
        };
        let size = self.size(image)?;
        let before = format!(
            "[{{\"DeviceName\":{},\"Ebs\":{{\"SnapshotId\":\"",
            Value::from(self.parameters.root_device.as_str())
        );
        let after = format!(
            "\",\"VolumeType\":{},\"VolumeSize\":{size},\"DeleteOnTermination\":true}}}}]",
            Value::from(self.parameters.volume_type.as_str())
        );
        let tags = self.tags(image, name, |tags| json!([{"ResourceType": "image", "Tags": tags}]));
        let mut register = self
            .ec2("register-image")
            .args(["--name", name, "--description"])
            .arg(self.description(image))
            .args(["--architecture", arch, "--virtualization-type", "hvm", "--root-device-name"])
            .arg(&self.parameters.root_device)
            .arg("--block-device-mappings")
            .arg(Word::from(before).then(Word::learned("snapshot")).then(after))
            .args(["--boot-mode".to_string(), self.boot_mode(image)?])
            .arg("--tag-specifications")
            .arg(tags);
        if self.parameters.ena {
            register = register.arg("--ena-support");
        }
        if self.parameters.imds == Imds::Version2 {
            register = register.args(["--imds-support", "v2.0"]);
        }
        let filters = self.filters(&[
            ("name", &[name]),
            ("tag:ingot-digest", &[&image.checksums.sha256]),
            ("state", &["pending", "available"]),
        ]);
        let find = self.ec2("describe-images").args(["--owners", "self", "--filters"]).arg(filters);
        // Where this attempt made a snapshot, only an image on that one is its own.
        let on_ours = Check {
            what: "snapshot".into(),
            pick: Pick::at("/Images/0/BlockDeviceMappings/0/Ebs/SnapshotId"),
            wanted: Wanted::LearnedOrAny("snapshot".into()),
            missing: Missing::Fine,
        };
        Ok(Step::run(Verb::Register, register)
            .learns("image", Pick::at("/ImageId"))
            .makes(Word::from(format!("image {name} ")).then(Word::learned("image")))
            .find(Find::new(find, "image", Pick::at("/Images/0/ImageId")).ours(on_ours))
            .undo(self.ec2("deregister-image").arg("--image-id").arg(Word::learned("image")))
            .image())
    }

    fn permissions(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let modify = |permission: Value| {
            let command = self.ec2("modify-image-attribute").arg("--image-id").arg(Word::learned("image"));
            command.args(["--launch-permission".to_string(), permission.to_string()])
        };
        if self.parameters.visibility.as_deref() == Some("public") {
            steps.push(Step::run(Verb::Share, modify(json!({"Add": [{"Group": "all"}]}))));
        }
        if !self.parameters.share_with.is_empty() {
            let accounts: Vec<Value> = self.parameters.share_with.iter().map(|id| json!({"UserId": id})).collect();
            steps.push(Step::run(Verb::Share, modify(json!({"Add": accounts}))));
        }
        steps
    }
}
