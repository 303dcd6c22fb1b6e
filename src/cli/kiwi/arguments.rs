//! Everything that KIWI's command line may hold, in its own command tree.
//!
//! In: argv without the program's name. Out: [`KiwiLine`]. Options of KIWI 10 and 11; whoever adds a command adds a file
//! for it beside this one. Never decides what an option means.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cli::registries::RegistryArguments;

/// `kiwi [GLOBAL OPTIONS] SERVICE COMMAND [OPTIONS]`.
#[derive(Debug, Parser)]
#[command(name = "kiwi", about = "Builds system images from KIWI descriptions", max_term_width = 100)]
#[command(disable_version_flag = true, disable_help_subcommand = true, arg_required_else_help = true)]
pub struct KiwiLine {
    /// Options before the command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub service: Option<Service>,
}

/// Options that stand before the command.
#[derive(Clone, Debug, Default, Args)]
pub struct Globals {
    /// Colour the log by level
    #[arg(long)]
    pub color_output: bool,
    /// Settings (kiwi.yml) that win over those of the machine and the user
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Show every line of every program
    #[arg(long)]
    pub debug: bool,
    /// Refused: scripts run without a terminal
    #[arg(long)]
    pub debug_run_scripts_in_screen: bool,
    /// Name of the description's file in its folder
    #[arg(long, value_name = "NAME")]
    pub kiwi_file: Option<String>,
    /// Write the log to a file, too; `stdout` is where it goes anyway
    #[arg(long, value_name = "FILE")]
    pub logfile: Option<PathBuf>,
    /// Write the log to a unix socket, too
    #[arg(long, value_name = "SOCKET")]
    pub logsocket: Option<PathBuf>,
    /// 0 debug, 10 debug, 20 info, 30 warning, 40 error
    #[arg(long, value_name = "NUMBER")]
    pub loglevel: Option<u32>,
    /// How registries of containers are reached.
    #[command(flatten)]
    pub registries: RegistryArguments,
    /// Select a profile (repeat for several)
    #[arg(long = "profile", value_name = "NAME")]
    pub profiles: Vec<String>,
    /// Set an environment variable of scripts (repeat for several)
    #[arg(long = "setenv", value_name = "NAME=VALUE", value_parser = pair)]
    pub environment: Vec<(String, String)>,
    /// Where packages are kept between builds
    #[arg(long, value_name = "DIR")]
    pub shared_cache_dir: Option<PathBuf>,
    /// Architecture of the image
    #[arg(long, value_name = "ARCH")]
    pub target_arch: Option<String>,
    /// Scratch space
    #[arg(long, value_name = "DIR")]
    pub temp_dir: Option<PathBuf>,
    /// Image type; `vmx` means `oem`
    #[arg(long = "type", value_name = "TYPE")]
    pub image_type: Option<String>,
    /// Write JSON lines of what happens to this open descriptor
    #[arg(long, value_name = "NUMBER", global = true)]
    pub status_fd: Option<i32>,
    /// Print the version
    #[arg(short = 'v', long)]
    pub version: bool,
    /// The image's date in seconds since 1970
    #[arg(long, env = "SOURCE_DATE_EPOCH", hide = true, value_parser = crate::cli::parse_epoch)]
    pub source_date_epoch: Option<i64>,
    /// For the user's settings.
    #[arg(long, env = "HOME", hide = true)]
    pub home: Option<PathBuf>,
    /// Where packages are kept, as for `ingot build`.
    #[arg(long, env = "INGOT_CACHE_DIR", hide = true)]
    pub cache_dir: Option<PathBuf>,
    /// Scratch space, as for `ingot build`.
    #[arg(long, env = "INGOT_WORK_DIR", hide = true)]
    pub work_dir: Option<PathBuf>,
    /// Refused: packages install the completions
    #[arg(long)]
    pub install_completion: bool,
    /// Print completions for bash
    #[arg(long)]
    pub show_completion: bool,
}

/// The services.
#[derive(Debug, Subcommand)]
pub enum Service {
    /// Build an image, or go part of the way
    #[command(subcommand)]
    System(SystemCommand),
    /// What a build made
    #[command(subcommand)]
    Result(ResultCommand),
    /// What a description says, and the size of a disk
    #[command(subcommand)]
    Image(ImageCommand),
}

/// `kiwi system`.
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Build an image: the tree and then the image of it
    Build(Box<BuildArguments>),
    /// Make the tree and stop
    Prepare(Box<PrepareArguments>),
    /// Make an image of a prepared tree
    Create(CreateArguments),
    /// Install packages into a prepared tree, or remove them
    Update(UpdateArguments),
    /// Refused: no virtual machine is started for a build
    Boxbuild(Anything),
    /// Refused: trees are not kept in containers
    Stash(Anything),
    /// Refused: trees are not kept in containers
    Stackbuild(Anything),
}

/// `kiwi result`.
#[derive(Debug, Subcommand)]
pub enum ResultCommand {
    /// List the files of a build
    List {
        /// Where the build put them
        #[arg(long, value_name = "DIR")]
        target_dir: PathBuf,
    },
    /// Copy what is worth shipping, named with an identifier, compressed, with checksums
    Bundle(BundleArguments),
}

/// `kiwi image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Print what a description says
    Info(InfoArguments),
    /// Make a raw disk larger
    Resize(ResizeArguments),
}

/// A command that is refused takes anything.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Anything {
    /// Whatever follows.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<std::ffi::OsString>,
}

/// Options of `system build` and `system prepare`.
#[derive(Debug, Default, Args)]
pub struct Common {
    /// The folder that holds the description
    #[arg(long, value_name = "DIR")]
    pub description: PathBuf,
    /// Replace a tree of an earlier build instead of refusing
    #[arg(long)]
    pub allow_existing_root: bool,
    /// Fetch every package anew
    #[arg(long)]
    pub clear_cache: bool,
    /// Drop the description's repositories
    #[arg(long)]
    pub ignore_repos: bool,
    /// Drop the description's repositories, except those with imageonly="true"
    #[arg(long)]
    pub ignore_repos_used_for_build: bool,
    /// Replace the first repository: SOURCE,TYPE,ALIAS,PRIORITY,IMAGEINCLUDE,PACKAGE_GPGCHECK,{KEYS},COMPONENTS,
    /// DISTRIBUTION,REPOSITORY_GPGCHECK,SOURCETYPE
    #[arg(long, value_name = "WORDS")]
    pub set_repo: Option<String>,
    /// USER:PASSWORD, or a file that holds it
    #[arg(long, value_name = "USER:PASSWORD|FILE")]
    pub set_repo_credentials: Option<String>,
    /// Add a repository, in the words of --set-repo (repeat for several)
    #[arg(long, value_name = "WORDS")]
    pub add_repo: Vec<String>,
    /// USER:PASSWORD, or a file that holds it; in the order of --add-repo
    #[arg(long, value_name = "USER:PASSWORD|FILE")]
    pub add_repo_credentials: Vec<String>,
    /// Install a package, too (repeat for several)
    #[arg(long, value_name = "NAME")]
    pub add_package: Vec<String>,
    /// Install a package in the bootstrap phase, too (repeat for several)
    #[arg(long, value_name = "NAME")]
    pub add_bootstrap_package: Vec<String>,
    /// Remove a package (repeat for several)
    #[arg(long, value_name = "NAME")]
    pub delete_package: Vec<String>,
    /// Container that the image is built on, in place of `derived_from`
    #[arg(long, value_name = "URI")]
    pub set_container_derived_from: Option<String>,
    /// Tag of a container
    #[arg(long, value_name = "TAG")]
    pub set_container_tag: Option<String>,
    /// Label of a container (repeat for several)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub add_container_label: Vec<(String, String)>,
    /// Set an attribute of the image's <type> (repeat for several)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub set_type_attr: Vec<(String, String)>,
    /// The $releasever of zypper and dnf, in place of <release-version>
    #[arg(long, value_name = "VERSION")]
    pub set_release_version: Option<String>,
    /// A key that may sign repositories (repeat for several)
    #[arg(long, value_name = "FILE")]
    pub signing_key: Vec<String>,
    /// A certificate that the image and the build's downloads trust, in PEM (repeat for several)
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Vec<PathBuf>,
    /// Whose way of installing certificates: archlinux, debian, redhat or suse
    #[arg(long, value_name = "DISTRIBUTION")]
    pub ca_target_distribution: Option<String>,
}

/// `kiwi system build`.
#[derive(Debug, Args)]
pub struct BuildArguments {
    /// What to build.
    #[command(flatten)]
    pub common: Common,
    /// Where the results appear
    #[arg(long, value_name = "DIR")]
    pub target_dir: PathBuf,
}

/// `kiwi system prepare`.
#[derive(Debug, Args)]
pub struct PrepareArguments {
    /// What to build.
    #[command(flatten)]
    pub common: Common,
    /// Where the tree appears
    #[arg(long, value_name = "DIR")]
    pub root: PathBuf,
}

/// `kiwi system create`.
#[derive(Debug, Args)]
pub struct CreateArguments {
    /// A tree of `system prepare`; it stays as it is
    #[arg(long, value_name = "DIR")]
    pub root: PathBuf,
    /// Where the results appear
    #[arg(long, value_name = "DIR")]
    pub target_dir: PathBuf,
    /// Ignored: nothing is fetched any more
    #[arg(long, value_name = "FILE")]
    pub signing_key: Vec<String>,
}

/// `kiwi system update`.
#[derive(Debug, Args)]
pub struct UpdateArguments {
    /// A tree of `system prepare`
    #[arg(long, value_name = "DIR")]
    pub root: PathBuf,
    /// Install a package (repeat for several)
    #[arg(long, value_name = "NAME")]
    pub add_package: Vec<String>,
    /// Remove a package (repeat for several)
    #[arg(long, value_name = "NAME")]
    pub delete_package: Vec<String>,
}

/// `kiwi result bundle`.
#[derive(Debug, Args)]
pub struct BundleArguments {
    /// Where the build put its files
    #[arg(long, value_name = "DIR")]
    pub target_dir: PathBuf,
    /// What is put behind the version in each name
    #[arg(long, value_name = "ID")]
    pub id: String,
    /// Where the bundle appears
    #[arg(long, value_name = "DIR")]
    pub bundle_dir: PathBuf,
    /// A name of another pattern: %N name, %P profiles, %A architecture, %I id, %T type, %v version, %M %m %p its numbers
    #[arg(long, value_name = "PATTERN")]
    pub bundle_format: Option<String>,
    /// Leave raw disks as they are
    #[arg(long)]
    pub no_compress: bool,
    /// Write a zsync file beside each file with a checksum: where the bundle will be downloaded from
    #[arg(long, value_name = "URL")]
    pub zsync_source: Option<String>,
    /// Make one RPM package of the bundle's files
    #[arg(long)]
    pub package_as_rpm: bool,
}

/// `kiwi image info`.
#[derive(Debug, Args)]
pub struct InfoArguments {
    /// The folder that holds the description
    #[arg(long, value_name = "DIR")]
    pub description: PathBuf,
    /// List every package that would be installed, with the repositories as they are now
    #[arg(long)]
    pub resolve_package_list: bool,
    /// List the profiles
    #[arg(long)]
    pub list_profiles: bool,
    /// Print the variables of /.profile
    #[arg(long)]
    pub print_kiwi_env: bool,
    /// Drop the description's repositories
    #[arg(long)]
    pub ignore_repos: bool,
    /// Add a repository (repeat for several)
    #[arg(long, value_name = "WORDS")]
    pub add_repo: Vec<String>,
    /// USER:PASSWORD, or a file that holds it; in the order of --add-repo
    #[arg(long, value_name = "USER:PASSWORD|FILE")]
    pub add_repo_credentials: Vec<String>,
    /// Print the description in the words of the newest schema
    #[arg(long)]
    pub print_xml: bool,
    /// The same in YAML
    #[arg(long, conflicts_with = "print_xml")]
    pub print_yaml: bool,
    /// The same in TOML
    #[arg(long, conflicts_with_all = ["print_xml", "print_yaml"])]
    pub print_toml: bool,
}

/// `kiwi image resize`.
#[derive(Debug, Args)]
pub struct ResizeArguments {
    /// Where the build put its files
    #[arg(long, value_name = "DIR")]
    pub target_dir: PathBuf,
    /// The new size in bytes, or with m or g
    #[arg(long, value_name = "SIZE")]
    pub size: String,
    /// Ignored: a disk is resized without its tree
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err("NAME=VALUE is needed".into()),
    }
}
