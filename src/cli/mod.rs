//! The command line: what can be typed, and the printing of results.
//!
//! In: argv and the environment, which enter ingot here and nowhere else. Out: an exit code. Never holds logic of a stage.

pub mod audit;
pub mod boot;
pub mod build;
pub mod cache;
pub mod catalog;
pub mod check;
pub mod convert;
pub mod differences;
pub mod farm_lint;
pub mod index;
pub mod kiwi;
pub mod manual;
pub mod plan;
pub mod preflight;
pub mod publish;
mod registries;
mod say;
mod sbom;
pub mod schema;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bytes::Bytes;
use crate::description::Colour;
use crate::error::{self, Exit};
use crate::plan::container;
use crate::plan::{Choices, LayerCompression, LayerSplit, NetworkForScripts, PackageDatabase, Target, UpdateStack};
use crate::report::Verbosity;

/// Everything that can be typed.
#[derive(Debug, Parser)]
#[command(name = "ingot", version, about = "Casts golden images from KIWI descriptions", help_template = HELP)]
#[command(disable_help_subcommand = true, arg_required_else_help = true, max_term_width = 100)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Clap cannot group subcommands, so the groups are written here; a test holds that none is missing.
const HELP: &str = "\
{name} {version}: casts golden images from KIWI descriptions

{usage-heading} {usage}

Look at a description
  check       Load, validate and resolve it: every problem at once
  plan        Show what would be done; nothing is touched
  schema      Tell what each element and attribute says, and what is made of it

Build
  build       Cast the image into a folder that appears whole or not at all
  kiwi        Do what KIWI's command line says
  convert     Write a disk image in another format
  index       Put the same container for several machines under one name

Check the result
  boot        Start a disk in QEMU and wait for a text on its console
  audit       Read an artifact back and report what a golden image must not carry
  preflight   Read an artifact back and report what its target would refuse
  sbom        List the packages of an artifact as SPDX or CycloneDX

Ship it
  publish     Bring a release to clouds and registries
  catalog     Show what was published where, and say which of it is current
  id          Print the id of the current image in a cloud

Housekeeping
  cache       Look after packages and stages of builds that are kept
  completions Print completions for a shell
  manual      Write the man pages into a folder

{options}

Exit codes: 0 ok, 1 findings, 64 usage, 65 description, 66 input missing, 69 host lacks something, 70 bug,
73 cannot create output, 74 I/O, 75 temporary (retry), 76 signature or hash, 77 permission, 78 configuration.
";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load a description, validate it and resolve it into plans: every problem at once, with file, line and column
    #[command(
        after_help = "Examples:\n  ingot check descriptions/debian-minimal\n  ingot check image.kiwi --profile Disk"
    )]
    Check(CheckArguments),
    /// Show what would be done; nothing is touched
    #[command(
        after_help = "Examples:\n  ingot plan descriptions/debian-minimal --profile Disk\n  ingot plan image/ --type docker --json | jq .packages"
    )]
    Plan(PlanArguments),
    /// Tell what each element and attribute of a description says, and whether it is honoured, refused or ignored
    #[command(after_help = "Examples:\n  ingot schema bootloader\n  ingot schema --json | jq '.[].name'")]
    Schema(SchemaArguments),
    /// Cast the image into a folder that appears whole or not at all
    #[command(
        after_help = "Examples:\n  ingot build descriptions/debian-minimal --target-dir out\n  SOURCE_DATE_EPOCH=1700000000 ingot build image/ --profile Container --target-dir out --mirror debian=file:///srv/debian"
    )]
    Build(Box<BuildArguments>),
    /// Do what KIWI's command line says, as when called `kiwi`, `kiwi-ng` or `kiwi-ng-3`
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  ingot kiwi system build --description image/ --target-dir out\n  ingot kiwi result bundle --target-dir out --id Build1.1 --bundle-dir bundle"
    )]
    Kiwi {
        /// KIWI's own options and commands: `ingot kiwi --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Put the same container for several machines under one name: a multi-architecture OCI index
    #[command(
        after_help = "Examples:\n  ingot index app.oci.tar --from amd64/app.oci.tar arm64/app.oci.tar\n  ingot index layout/ --from a.docker.tar b.oci.tar --name example.org/app:1"
    )]
    Index(index::IndexArguments),
    /// Start a disk in QEMU and wait for a text on its serial console; interactive without --expect
    #[command(
        after_help = "Examples:\n  ingot boot out/debian-minimal.x86_64-1.0.0.qcow2 --expect login:\n  ingot boot disk.raw --firmware uefi"
    )]
    Boot(BootArguments),
    /// Read a packed disk or container back and report what a golden image must not carry
    #[command(
        after_help = "Examples:\n  ingot audit out/debian-minimal.x86_64-1.0.0.qcow2\n  ingot audit image.oci.tar"
    )]
    Audit(AuditArguments),
    /// Print which packages a disk or container has, as a bill of materials that scanners read
    #[command(
        after_help = "Examples:\n  ingot sbom out/debian-minimal.x86_64-1.0.0.qcow2 > disk.spdx.json\n  ingot sbom image.oci.tar --format cyclonedx"
    )]
    Sbom(SbomArguments),
    /// Read a packed disk or container back and report what a cloud, hypervisor or registry would refuse
    #[command(
        after_help = "Examples:\n  ingot preflight out/debian-server.x86_64-1.0.0.raw --for aws\n  ingot preflight disk.raw --for gce --for aws --fix"
    )]
    Preflight(preflight::PreflightArguments),
    /// Write a disk image in another format
    #[command(
        after_help = "Examples:\n  ingot convert disk.raw disk.qcow2\n  ingot convert old.qcow2 new.qcow2 --option compression_type=zstd"
    )]
    Convert(convert::ConvertArguments),
    /// Bring a release to clouds and registries, through their own command lines; what is there already stays
    #[command(
        after_help = "Examples:\n  ingot publish out --to aws:eu-central-1 --to registry:registry.example/team/app:1.0\n  ingot publish out --to gce:my-project/images --dry-run"
    )]
    Publish(Box<publish::PublishArguments>),
    /// Show what was published where, and say which of it is tested, current or deprecated
    #[command(
        after_help = "Examples:\n  ingot catalog list --cloud aws\n  ingot catalog promote ami-0123456789abcdef0 --to current"
    )]
    Catalog(catalog::CatalogArguments),
    /// Print the id of the current image in a cloud, alone, for scripts and Terraform
    #[command(
        after_help = "Examples:\n  ingot id debian-minimal --cloud aws --region eu-central-1\n  echo '{\"name\": \"debian-minimal\", \"cloud\": \"aws\"}' | ingot id --query"
    )]
    Id(catalog::IdArguments),
    /// Look after the cache of packages and of stages of builds
    #[command(after_help = "Examples:\n  ingot cache list\n  ingot cache gc --limit 5G")]
    Cache(cache::CacheArguments),
    /// Print completions for a shell
    #[command(
        after_help = "Examples:\n  ingot completions bash > /etc/bash_completion.d/ingot\n  ingot completions fish"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder
    #[command(after_help = "Examples:\n  ingot manual /usr/share/man/man1\n  ingot manual . && man ./ingot-build.1")]
    Manual {
        /// Where to
        folder: PathBuf,
    },
}

/// What to build: a description and the choices it leaves open.
#[derive(Debug, Args)]
pub struct Selection {
    /// A folder with config.xml or *.kiwi, or such a file
    #[arg(value_name = "DESCRIPTION")]
    pub description: PathBuf,
    /// Select a profile (repeat for several); default: those that the description imports
    #[arg(short, long = "profile", value_name = "NAME")]
    pub profiles: Vec<String>,
    /// Select an image type (repeat for several outputs of the same packages)
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    pub image_types: Vec<String>,
    /// With or without a package manager in the image; default: as the description says
    #[arg(long, value_name = "kept|none")]
    pub update_stack: Option<UpdateStackChoice>,
    /// What becomes of the database of packages: it stays, an SPDX document takes its place, or it goes
    #[arg(long, value_name = "keep|sbom|none")]
    pub package_database: Option<PackageDatabaseChoice>,
    /// Switch a scrub rule off by name (repeat for several); the manifest records it
    #[arg(long, value_name = "RULE")]
    pub scrub_except: Vec<String>,
    /// Check the result for a target (aws, azure, gce, openstack, vmware, hyperv, libvirt, registry; repeat for several),
    /// beside those that the description names
    #[arg(long = "for", value_name = "TARGET", value_parser = preflight::target_parser(), hide_possible_values = true)]
    pub targets: Vec<Target>,
    /// Let the description's scripts use the host's network
    #[arg(long)]
    pub network_for_scripts: bool,
    /// Divide a container into layers of what changes together, at most N new ones (20)
    #[arg(long, value_name = "one|packages[:N]", value_parser = parse_layers)]
    pub layers: Option<LayerSplit>,
    /// How a container's new layers are compressed
    #[arg(long, value_name = "gzip|zstd|none")]
    pub layer_compression: Option<LayerCompressionChoice>,
    /// The image's date in seconds since 1970; default: the newest signed Release file's
    #[arg(long, env = "SOURCE_DATE_EPOCH", value_name = "SECONDS", value_parser = parse_epoch)]
    pub source_date_epoch: Option<i64>,
}

impl Selection {
    /// As the plan wants it, for each of the image types; at least one.
    pub fn choices(&self) -> Vec<Choices> {
        match self.image_types.as_slice() {
            [] => vec![self.choice(None)],
            types => types.iter().map(|image_type| self.choice(Some(image_type))).collect(),
        }
    }

    fn choice(&self, image_type: Option<&String>) -> Choices {
        Choices {
            profiles: self.profiles.clone(),
            image_type: image_type.cloned(),
            arch: std::env::consts::ARCH.into(),
            source_date_epoch: self.source_date_epoch,
            update_stack: self.update_stack.map(|choice| match choice {
                UpdateStackChoice::Kept => UpdateStack::Kept,
                UpdateStackChoice::None => UpdateStack::None,
            }),
            package_database: self.package_database.map(|choice| match choice {
                PackageDatabaseChoice::Keep => PackageDatabase::Keep,
                PackageDatabaseChoice::Sbom => PackageDatabase::Sbom,
                PackageDatabaseChoice::None => PackageDatabase::None,
            }),
            scrub_except: self.scrub_except.clone(),
            targets: self.targets.clone(),
            network_for_scripts: match self.network_for_scripts {
                true => NetworkForScripts::Host,
                false => NetworkForScripts::None,
            },
            environment: BTreeMap::new(),
            layers: self.layers,
            layer_compression: self.layer_compression.map(|choice| match choice {
                LayerCompressionChoice::Gzip => LayerCompression::Gzip,
                LayerCompressionChoice::Zstd => LayerCompression::Zstd,
                LayerCompressionChoice::None => LayerCompression::None,
            }),
        }
    }
}

/// `20G`, `512M`, `0`: bytes with a binary unit.
fn parse_size(text: &str) -> std::result::Result<Bytes, String> {
    let digits = text.trim_end_matches(|char: char| !char.is_ascii_digit());
    let unit: u64 = match text[digits.len()..].to_ascii_uppercase().trim_end_matches("IB") {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return Err("a number and K, M, G or T is needed: 20G".into()),
    };
    let number = digits.parse::<u64>().map_err(|_| "a number and K, M, G or T is needed: 20G".to_string())?;
    number.checked_mul(unit).map(Bytes).ok_or_else(|| "that is more than any disk holds".into())
}

fn parse_epoch(text: &str) -> std::result::Result<i64, String> {
    let latest = 253_402_300_799; // the end of the year 9999
    match text.parse::<i64>() {
        Ok(seconds) if (0..=latest).contains(&seconds) => Ok(seconds),
        Ok(_) => Err("a date between 1970 and 9999 is needed, in seconds since 1970".into()),
        Err(_) => Err("a whole number of seconds since 1970 is needed".into()),
    }
}

/// `one`, `packages`, `packages:30`.
fn parse_layers(text: &str) -> std::result::Result<LayerSplit, String> {
    let split = |most| Ok(LayerSplit::Packages { most });
    match text.split_once(':') {
        None if text == "one" => Ok(LayerSplit::One),
        None if text == "packages" => split(container::MOST_LAYERS),
        Some(("packages", most)) => match most.parse() {
            Ok(most) if (3..=126).contains(&most) => split(most),
            _ => Err("an image has between 3 and 126 new layers".into()),
        },
        _ => Err("`one`, `packages` or `packages:N` is needed".into()),
    }
}

/// `--layer-compression`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LayerCompressionChoice {
    /// What everything reads
    Gzip,
    /// Smaller, and quicker to unpack
    Zstd,
    /// Not at all
    None,
}

/// `--update-stack`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum UpdateStackChoice {
    /// A normal system with working, signed sources
    Kept,
    /// No package manager in the image
    None,
}

/// `--package-database`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PackageDatabaseChoice {
    /// For scanners, in the form that they read
    Keep,
    /// A bill of materials in its place
    Sbom,
    /// Nothing in the image says what is installed
    None,
}

/// `ingot check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// What to check.
    #[command(flatten)]
    pub selection: Selection,
    /// Check as a worker of the Open Build Service builds it, with the farm's repositories, and say what the farm reads
    /// otherwise, or not at all
    #[arg(long)]
    pub farm: bool,
    /// Say what is done otherwise than KIWI does it
    #[arg(long)]
    pub differences: bool,
}

/// `ingot plan`.
#[derive(Debug, Args)]
pub struct PlanArguments {
    /// What to plan.
    #[command(flatten)]
    pub selection: Selection,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
    /// Print as JSON what the description says for this choice, whether or not it can be built
    #[arg(long, conflicts_with = "json")]
    pub resolved: bool,
}

/// `ingot schema`.
#[derive(Debug, Args)]
pub struct SchemaArguments {
    /// The element; all of them in short where it is missing
    pub element: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// `ingot build`.
#[derive(Debug, Args)]
pub struct BuildArguments {
    /// What to build.
    #[command(flatten)]
    pub selection: Selection,
    /// Where the result appears
    #[arg(short = 'o', long, value_name = "DIR")]
    pub target_dir: PathBuf,
    /// Where mirror://NAME is (repeat for several); default: mirrors.toml, else the host's apt sources
    #[arg(long = "mirror", value_name = "NAME=URL")]
    pub mirrors: Vec<String>,
    /// Where the cache is.
    #[command(flatten)]
    pub cache: cache::CacheFolder,
    /// How registries are reached.
    #[command(flatten)]
    pub registries: registries::RegistryArguments,
    /// Neither read nor write the cache
    #[arg(long)]
    pub no_cache: bool,
    /// Use packages of the cache, but neither reuse nor keep stages of the build
    #[arg(long)]
    pub no_stage_cache: bool,
    /// Say which stages and which solution of the package manager were reused, or why not
    #[arg(long)]
    pub explain_cache: bool,
    /// What stages of builds may take in the cache; the least recently used go first
    #[arg(long, value_name = "SIZE", env = "INGOT_CACHE_LIMIT", default_value = "20G", value_parser = parse_size)]
    pub cache_limit: Bytes,
    /// Where the tree is built
    #[arg(long, value_enum, default_value = "loop")]
    pub workspace: WorkspaceChoice,
    /// Scratch space for the tree and disks
    #[arg(long, value_name = "DIR", env = "INGOT_WORK_DIR", default_value = "/var/tmp")]
    pub work_dir: PathBuf,
    /// Who unpacks packages
    #[arg(long, value_enum, default_value = "parallel")]
    pub unpacker: UnpackerChoice,
    /// Write what happens to FILE as JSON lines
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Write the same to a descriptor that is open, for a program that watches
    #[arg(long, value_name = "NUMBER", conflicts_with = "events")]
    pub status_fd: Option<i32>,
    /// Show errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Show every line of every program
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Keep the tree in the target folder as NAME.root, also when the build fails
    #[arg(long)]
    pub keep_root: bool,
    /// For mirrors.toml.
    #[arg(long, env = "XDG_CONFIG_HOME", hide = true)]
    pub config_home: Option<PathBuf>,
}

impl BuildArguments {
    /// How much to show.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Everything,
            _ => Verbosity::Steps,
        }
    }
}

/// `--workspace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WorkspaceChoice {
    /// A scratch filesystem on a loop device
    Loop,
    /// A plain folder
    Folder,
}

/// `--unpacker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnpackerChoice {
    /// All packages at once, on all cores; the real dpkg configures them
    Parallel,
    /// The real dpkg, package by package
    Dpkg,
}

/// `ingot boot`.
#[derive(Debug, Args)]
pub struct BootArguments {
    /// A disk image: raw, qcow2, vhd, vhdx, vmdk or vdi; it is not changed
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// Which firmware starts it
    #[arg(long, value_enum, default_value = "bios")]
    pub firmware: FirmwareChoice,
    /// Wait until this text appears on the serial console
    #[arg(long, value_name = "TEXT")]
    pub expect: Option<String>,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub timeout: u64,
    /// How the processor is provided; tcg works everywhere
    #[arg(long, value_enum, default_value = "tcg")]
    pub accel: AccelerationChoice,
    /// Memory of the machine in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub memory: u64,
}

/// `--firmware`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FirmwareChoice {
    /// SeaBIOS
    Bios,
    /// OVMF
    Uefi,
}

/// `--accel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccelerationChoice {
    /// Software emulation
    Tcg,
    /// The kernel's virtual machines
    Kvm,
}

/// `--format` of `ingot sbom`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BillChoice {
    /// SPDX 2.3
    Spdx,
    /// CycloneDX 1.5
    Cyclonedx,
}

/// `ingot sbom`.
#[derive(Debug, Args)]
pub struct SbomArguments {
    /// A disk, docker archive, OCI layout or root tarball
    #[arg(value_name = "ARTIFACT")]
    pub artifact: PathBuf,
    /// In which form
    #[arg(long, value_enum, default_value_t = BillChoice::Spdx)]
    pub format: BillChoice,
    /// Scratch space for what has to be unpacked
    #[arg(long, value_name = "DIR", env = "INGOT_WORK_DIR", default_value = "/var/tmp")]
    pub work_dir: PathBuf,
}

/// `ingot audit`.
#[derive(Debug, Args)]
pub struct AuditArguments {
    /// A disk image, docker archive, OCI layout or root tarball, compressed or not
    #[arg(value_name = "ARTIFACT")]
    pub artifact: PathBuf,
    /// Scratch space for what has to be unpacked
    #[arg(long, value_name = "DIR", env = "INGOT_WORK_DIR", default_value = "/var/tmp")]
    pub work_dir: PathBuf,
    /// List the notes, too: setuid files, files that no package owns, files that anybody may write
    #[arg(short, long)]
    pub verbose: bool,
    /// Print everything as JSON
    #[arg(long, conflicts_with = "verbose")]
    pub json: bool,
}

/// Parses argv; what KIWI's names are called with is parsed by [`kiwi`]. `Err` holds the exit code when there is nothing more to do: help and version are 0, mistakes 64.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> std::result::Result<CommandLine, u8> {
    let argv: Vec<OsString> = argv.into_iter().collect();
    if argv.first().is_some_and(|name| kiwi::is_name(name)) {
        return Ok(CommandLine { command: Command::Kiwi { arguments: argv[1..].to_vec() } });
    }
    CommandLine::try_parse_from(argv).map_err(|error| {
        let _ = error.print();
        if error.use_stderr() { Exit::Usage.code() } else { 0 }
    })
}

/// Carries a command out; whatever goes wrong is printed here, once.
pub fn run(line: CommandLine) -> u8 {
    let done = error::caught(|| match line.command {
        Command::Build(arguments) => build::run(*arguments, colour()),
        Command::Kiwi { arguments } => Ok(kiwi::run(&arguments, colour())),
        Command::Cache(arguments) => cache::run(arguments),
        Command::Catalog(arguments) => catalog::run(arguments),
        Command::Publish(arguments) => publish::run(&arguments),
        Command::Id(arguments) => catalog::id(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Index(arguments) => index::run(&arguments),
        Command::Completions { shell } => manual::completions(shell),
        Command::Manual { folder } => manual::write(&folder),
        Command::Boot(arguments) => boot::run(&arguments),
        Command::Check(arguments) => check::run(&arguments, colour()),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments, colour()),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Sbom(arguments) => sbom::run(&arguments),
        Command::Preflight(arguments) => preflight::run(&arguments),
    });
    done.unwrap_or_else(|error| {
        say::say(&error.text());
        error.exit().code()
    })
}

/// Colours on a terminal, unless `NO_COLOR` is set (no-color.org).
#[allow(clippy::disallowed_methods)] // The environment enters here.
fn colour() -> Colour {
    use std::io::IsTerminal;
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stderr().is_terminal() && !unwanted { Colour::Always } else { Colour::Never }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_help_names_every_command_and_fits_one_screen() {
        let mut command = CommandLine::command();
        command.build();
        let help = command.clone().render_help().to_string();
        for subcommand in command.get_subcommands() {
            assert!(help.contains(&format!("\n  {} ", subcommand.get_name())), "{} is missing", subcommand.get_name());
            let examples = subcommand.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert_eq!(examples.matches("\n  ").count(), 2, "{} needs two examples", subcommand.get_name());
        }
        assert!(help.lines().count() <= 40, "{}", help.lines().count());
    }

    #[test]
    fn a_date_is_checked() {
        assert_eq!(parse_epoch("1700000000"), Ok(1_700_000_000));
        assert!(
            parse_epoch("-1").is_err() && parse_epoch("tomorrow").is_err() && parse_epoch("99999999999999").is_err()
        );
    }
}
