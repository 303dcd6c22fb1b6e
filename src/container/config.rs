//! What a container image says about itself (OCI image specification, config.md; Docker reads the same).
//!
//! In: a [`ContainerPlan`]. Out: the image's configuration as JSON, the same bytes for the same plan. Never a clock, a
//! host name or a user's name of the build host.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::gzip::Compressed;
use crate::error::{Error, Exit, Result};
use crate::plan::{ContainerPlan, Image};
use crate::report::timestamp;

/// Where programs are found when the description sets no PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Serialize)]
struct Configuration<'a> {
    created: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    author: &'a str,
    architecture: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    os: &'a str,
    config: Running<'a>,
    rootfs: RootFilesystem,
    history: [Event<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Running<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Empty>,
    env: Vec<String>,
    #[serde(skip_serializing_if = "is_none_or_empty")]
    entrypoint: Option<&'a [String]>,
    #[serde(skip_serializing_if = "is_none_or_empty")]
    cmd: Option<&'a [String]>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<String, Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<&'a str>,
}

fn is_none_or_empty(words: &Option<&[String]>) -> bool {
    words.is_none_or(<[String]>::is_empty)
}

/// `{}`: Docker's sets are maps to nothing.
#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct RootFilesystem {
    r#type: &'static str,
    diff_ids: [String; 1],
}

#[derive(Serialize)]
struct Event<'a> {
    created: &'a str,
    created_by: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    author: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
}

/// The configuration of an image with one layer. `epoch`: seconds since 1970.
pub fn encode(plan: &ContainerPlan, image: &Image, layer: &Compressed, epoch: i64) -> Result<Vec<u8>> {
    let created = timestamp(Duration::from_secs(u64::try_from(epoch).unwrap_or(0))).replace(".000Z", "Z");
    let (architecture, variant) = platform(&image.arch);
    let mut env: Vec<String> = plan.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !plan.environment.iter().any(|(name, _)| name == "PATH") {
        env.insert(0, format!("PATH={PATH}"));
    }
    let port = |port: &String| if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
    let configuration = Configuration {
        created: &created,
        author: &plan.author,
        architecture,
        variant,
        os: "linux",
        config: Running {
            user: plan.user.as_deref(),
            exposed_ports: plan.ports.iter().map(|name| (port(name), Empty {})).collect(),
            env,
            entrypoint: plan.entrypoint.as_deref(),
            cmd: plan.command.as_deref(),
            volumes: plan.volumes.iter().map(|path| (path.clone(), Empty {})).collect(),
            working_dir: plan.working_dir.as_deref(),
            labels: &plan.labels,
            stop_signal: plan.stop_signal.as_deref(),
        },
        rootfs: RootFilesystem { r#type: "layers", diff_ids: [format!("sha256:{}", layer.plain_sha256)] },
        history: [Event {
            created: &created,
            created_by: plan.history.created_by.as_deref().unwrap_or(concat!("ingot ", env!("CARGO_PKG_VERSION"))),
            author: plan.history.author.as_deref().unwrap_or(&plan.author),
            comment: plan.history.comment.as_deref(),
        }],
    };
    json(&configuration)
}

/// A value as compact JSON.
pub fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::cannot(Exit::Bug, "write JSON").because(error))
}

/// `uname -m` in the words of container images: GOARCH and, where it needs one, GOARM's variant.
pub fn platform(arch: &str) -> (&str, Option<&'static str>) {
    match arch {
        "x86_64" => ("amd64", None),
        "i386" | "i486" | "i586" | "i686" | "ix86" => ("386", None),
        "aarch64" => ("arm64", Some("v8")),
        "armv7l" | "armv7hl" => ("arm", Some("v7")),
        "armv6l" | "armv6hl" => ("arm", Some("v6")),
        "armv5tel" => ("arm", Some("v5")),
        "loongarch64" => ("loong64", None),
        other => (other, None),
    }
}
