//! What will be done, with every default filled in.
//!
//! In: a [`Description`](crate::description::Description) and the user's [`Choices`]. Out: a [`Plan`], printable as JSON.
//! Never does I/O, never reads the clock or the environment: the same description and choices give the same plan.

pub mod address;
pub mod conflict;
pub mod container;
pub mod disk;
mod embedded;
mod format;
pub mod identity;
pub mod layout;
mod make;
mod output;
pub mod overrides;
mod package_database;
pub mod request;
pub mod resolved;
pub mod rootfs;
pub mod selection;
pub mod sources;
pub mod target;
pub mod together;
pub mod trust;
pub mod variables;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Place;
pub use crate::error::Warning;
pub use embedded::{Backend, EmbeddedPlan, Load};
pub use identity::{Seed, Uuid};
pub use make::make;
pub use output::{
    BasePlan, BootPlan, ContainerArchive, ContainerPlan, DiskPlan, DiskSize, Filesystem, FilesystemKind, Firmware,
    FormatChoice, GrowRoot, History, ImageAddress, Initrd, LayerCompression, LayerSplit, Output, Partition,
    PartitionSize, PartitionTable, Persistency, Role, Support, TimeoutStyle, USUAL_UNIT,
};
pub use overrides::Overrides;
pub use package_database::PackageDatabase;
pub use sources::decoded;
pub use target::{Demand, PlannedTarget, Target};
pub use trust::TrustPlan;

/// What the user chose on the command line, beside the description itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Choices {
    /// `--profile`, in the order given; empty: those with `import="true"`.
    pub profiles: Vec<String>,
    /// `--type`: an image type (`oem`, `docker`, ...); `vmx` means `oem`.
    pub image_type: Option<String>,
    /// Machine architecture as in `uname -m`.
    pub arch: String,
    /// `SOURCE_DATE_EPOCH`, seconds since 1970.
    pub source_date_epoch: Option<i64>,
    /// `--update-stack`; wins over the description.
    pub update_stack: Option<UpdateStack>,
    /// `--package-database`; wins over the description.
    pub package_database: Option<PackageDatabase>,
    /// `--scrub-except RULE`: rules switched off by name.
    pub scrub_except: Vec<String>,
    /// `--network-for-scripts`.
    pub network_for_scripts: NetworkForScripts,
    /// `--for`: targets beside those that the description names.
    pub targets: Vec<Target>,
    /// KIWI's `--setenv`: names and values in the environment of scripts.
    pub environment: BTreeMap<String, String>,
    /// `--layers`; wins over the description.
    pub layers: Option<LayerSplit>,
    /// `--layer-compression`; wins over the description.
    pub layer_compression: Option<LayerCompression>,
}

/// The whole of a build, decided.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Who and what the image is.
    pub image: Image,
    /// Selected profiles, each followed by what it requires, in the order in which they were chosen.
    pub profiles: Vec<String>,
    /// The folder that scripts, overlays and archives are looked up in.
    pub description_dir: PathBuf,
    /// The file that was read.
    pub description_file: PathBuf,
    /// The files that it includes.
    pub included: Vec<PathBuf>,
    /// Where the image's date comes from.
    pub epoch: Epoch,
    /// What every identifier of the image is derived from.
    pub seed: Seed,
    /// Where packages come from, in the description's order.
    pub repositories: Vec<Repository>,
    /// Which packages.
    pub packages: PackageRequest,
    /// With or without a package manager.
    pub update_stack: UpdateStack,
    /// What becomes of the database of packages.
    pub package_database: PackageDatabase,
    /// What happens to the tree after its packages are in.
    pub root: RootPlan,
    /// What is scrubbed.
    pub scrub: ScrubPlan,
    /// What is written.
    pub output: Output,
    /// Where it is meant to run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<PlannedTarget>,
    /// Elements and attributes that are read and not honoured, by name (invariant 9), and other advice.
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// Files with certificates that the image and the build's downloads trust.
    pub fn trusted_files(&self) -> Vec<PathBuf> {
        self.root.trust.iter().flat_map(|trust| &trust.files).map(|file| file.path.clone()).collect()
    }

    /// Files and folders of the host that go into the image or run in it, beside the description itself.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let overlays = self.root.overlays.iter().map(|overlay| match overlay {
            Overlay::Folder(path) | Overlay::Tarball(path) => path,
        });
        let archives = self.root.bootstrap_archives.iter().chain(&self.root.archives).map(|archive| &archive.path);
        let files = self.root.files.iter().map(|file| &file.path);
        let scripts = self.root.scripts.iter().map(|script| &script.path);
        let trusted = self.trusted_files();
        let files = files.chain(&trusted);
        let customize = self.repositories.iter().filter_map(|repository| repository.customize.as_ref());
        let beside = overlays.chain(archives).chain(files).chain(scripts).chain(customize).chain(&self.included);
        let keys = self.repositories.iter().flat_map(|repository| &repository.keys);
        let keys = keys.filter(|key| key.starts_with('/')).map(PathBuf::from);
        let mut inputs: Vec<PathBuf> = beside.cloned().chain(keys).collect();
        inputs.sort();
        inputs.dedup();
        inputs
    }
}

/// Identity of the image; the names of all results come from here.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// `<image name>`.
    pub name: String,
    /// `<image displayname>`, else the name: the boot menu's title.
    pub display_name: String,
    /// `<version>`.
    pub version: String,
    /// Architecture as `uname -m` says it (`x86_64`).
    pub arch: String,
    /// `<image id>`, written to /etc/ImageID.
    pub id: Option<String>,
    /// `<author>`.
    pub author: String,
    /// `<contact>`.
    pub contact: String,
    /// `<specification>`.
    pub specification: String,
}

impl Image {
    /// KIWI's `NAME.ARCH-VERSION`, the stem of every result.
    pub fn stem(&self) -> String {
        format!("{}.{}-{}", self.name, self.arch, self.version)
    }
}

/// Where the one date of the image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Epoch {
    /// `SOURCE_DATE_EPOCH`, seconds since 1970.
    Fixed(i64),
    /// The newest `Date` of the signed Release files, known after `package::resolve`.
    NewestRelease,
}

/// `<repository>`.
#[derive(Clone, Serialize)]
pub struct Repository {
    /// `alias`, else a name made from the source.
    pub alias: String,
    /// `<source path>`: `mirror://NAME[/path]`, http, https, file, dir (absolute; `this://` is already resolved).
    pub source: String,
    /// `distribution`, the suite; empty: a flat repository.
    pub distribution: String,
    /// `components`; default `main` where there is a suite.
    pub components: Vec<String>,
    /// `architectures` (Debian names); empty: the image's.
    pub architectures: Vec<String>,
    /// `priority`.
    pub priority: Option<u32>,
    /// Whether signed metadata is demanded. `repository_gpgcheck="false"` is the only way to [`Signed::NotChecked`].
    pub signed: Signed,
    /// Whether each package must be signed, beside the metadata; always [`Signed::NotChecked`] for apt, which knows no
    /// such signatures.
    pub signed_packages: Signed,
    /// `sourcetype`: what the source is.
    pub address: Address,
    /// `<signing key>`: local files (`this://` and `file://` resolved) or URLs.
    pub keys: Vec<String>,
    /// Where the repository is used.
    pub used: RepositoryUse,
    /// `username` and `password`; never logged, never in the image. Skipped in JSON.
    #[serde(skip)]
    pub credentials: Option<(String, String)>,
    /// `customize`: script on the host that may edit the image's sources file.
    pub customize: Option<PathBuf>,
    /// Where it stands in the description.
    #[serde(skip)]
    pub place: Place,
}

impl std::fmt::Debug for Repository {
    /// Without its credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("alias", &self.alias)
            .field("source", &self.source)
            .field("distribution", &self.distribution)
            .field("signed", &self.signed)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

/// Whether a repository's metadata must carry a good signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signed {
    /// An unsigned or badly signed Release file is refused.
    Required,
    /// The description says `repository_gpgcheck="false"`; the manifest records it.
    NotChecked,
}

/// `sourcetype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// The repository itself.
    #[default]
    Repository,
    /// A metalink, which names mirrors and digests.
    Metalink,
    /// A list of mirrors.
    MirrorList,
}

/// `imageinclude` and `imageonly`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepositoryUse {
    /// For the build only.
    Build,
    /// For the build, and written into the image as a permanent source.
    BuildAndImage,
    /// Only written into the image.
    ImageOnly,
}

/// A name as the description wrote it, with its place for error messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Package name, verbatim (`foo`, `foo=1:2`, `foo:arch`).
    pub name: String,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

/// What the package manager is asked for.
#[derive(Clone, Debug, Serialize)]
pub struct PackageRequest {
    /// Which package manager.
    pub manager: Manager,
    /// `<packages type="bootstrap">`, sorted, without duplicates.
    pub bootstrap: Vec<Named>,
    /// `<packages type="image">` and those of the image's type, sorted, without duplicates.
    pub image: Vec<Named>,
    /// `<namedCollection>` and `<product>` of the bootstrap list.
    pub bootstrap_groups: Groups,
    /// `<namedCollection>` and `<product>` of the image's lists.
    pub image_groups: Groups,
    /// `<collectionModule>`, in the description's order; only dnf has them.
    pub modules: Vec<Module>,
    /// What rpm is told; nothing for apt.
    pub rpm: RpmOptions,
    /// `<ignore>`: never installed.
    pub ignore: Vec<Named>,
    /// `--delete-package`: removed with what only they needed, before overlays, accounts and config.sh.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<Named>,
    /// `<packages type="uninstall">`: removed with what only they needed, after config.sh.
    pub uninstall: Vec<Named>,
    /// `<packages type="delete">`: removed without looking at dependencies, after uninstall.
    pub delete: Vec<Named>,
    /// `patternType="plusRecommended"`.
    pub recommends: Recommends,
    /// Whether Essential packages that nothing named needs are left out
    /// (`<ingot:packages essential="only-needed"/>`, and only with [`UpdateStack::None`]).
    pub essential: Essential,
}

impl PackageRequest {
    /// Whether packages are asked for under the name of a group.
    pub fn has_groups(&self) -> bool {
        let groups = [&self.bootstrap_groups, &self.image_groups];
        groups.into_iter().any(|groups| !groups.collections.is_empty() || !groups.products.is_empty())
    }
}

/// Packages under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Groups {
    /// `<namedCollection>`: zypper's patterns, dnf's groups.
    pub collections: Vec<Named>,
    /// `<product>`.
    pub products: Vec<Named>,
}

/// `<collectionModule>`: a choice among versions of the same packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Module {
    /// `name`.
    pub named: Named,
    /// `stream`; `None`: the default one.
    pub stream: Option<String>,
    /// `enable`.
    pub enabled: bool,
}

impl Module {
    /// As dnf takes it: `NAME:STREAM`.
    pub fn spelled(&self) -> String {
        match &self.stream {
            Some(stream) => format!("{}:{stream}", self.named.name),
            None => self.named.name.clone(),
        }
    }
}

/// What the description tells rpm and its package managers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RpmOptions {
    /// `<release-version>`: `$releasever`.
    pub release_version: Option<String>,
    /// `<rpm-excludedocs>`.
    pub exclude_documentation: bool,
    /// `<rpm-locale-filtering>`: the languages of `<locale>`; `None`: all.
    pub languages: Option<Vec<String>>,
}

/// `<packagemanager>`; those that this version cannot drive are refused while planning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// Debian and its derivatives.
    Apt,
    /// SUSE.
    Zypper,
    /// Fedora, Red Hat and their derivatives.
    Dnf4,
    /// The same, with the dnf that replaced it.
    Dnf5,
    /// The same, with the dnf without Python. It runs in images only: a dnf of the host chooses the packages.
    Microdnf,
    /// Arch Linux and its derivatives.
    Pacman,
}

impl Manager {
    /// All of them, with the words of `<packagemanager>`.
    pub const ALL: [(&'static str, Manager); 6] = [
        ("apt", Manager::Apt),
        ("zypper", Manager::Zypper),
        ("dnf4", Manager::Dnf4),
        ("dnf5", Manager::Dnf5),
        ("microdnf", Manager::Microdnf),
        ("pacman", Manager::Pacman),
    ];

    /// By its word.
    pub fn find(word: &str) -> Option<Manager> {
        Manager::ALL.iter().find(|(known, _)| *known == word).map(|(_, manager)| *manager)
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Manager::Apt => "apt",
            Manager::Zypper => "zypper",
            Manager::Dnf4 => "dnf4",
            Manager::Dnf5 => "dnf5",
            Manager::Microdnf => "microdnf",
            Manager::Pacman => "pacman",
        }
    }

    /// Whether its packages are rpm's.
    pub fn is_rpm(self) -> bool {
        match self {
            Manager::Apt | Manager::Pacman => false,
            Manager::Zypper | Manager::Dnf4 | Manager::Dnf5 | Manager::Microdnf => true,
        }
    }

    /// Whether dnf chooses its packages.
    pub fn is_dnf(self) -> bool {
        matches!(self, Manager::Dnf4 | Manager::Dnf5 | Manager::Microdnf)
    }
}

/// Weak dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recommends {
    /// `patternType="onlyRequired"`, KIWI's default.
    No,
    /// `patternType="plusRecommended"`.
    Yes,
}

/// What happens to packages marked `Essential: yes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Essential {
    /// All of them stay, as in every Debian system.
    Kept,
    /// Only those that a named package depends on stay in the image.
    OnlyNeeded,
}

/// The package manager and everything that exists only to serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateStack {
    /// A normal system with working, signed sources.
    Kept,
    /// No package manager in the image; the package database stays for scanners.
    None,
}

/// Whether scripts of the description reach a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkForScripts {
    /// An empty network namespace with a loopback device.
    #[default]
    None,
    /// The host's network (`--network-for-scripts`).
    Host,
}

/// What happens to the tree after its packages are in, in KIWI's order.
#[derive(Clone, Debug, Serialize)]
pub struct RootPlan {
    /// Overlays in the order in which they are laid over the tree.
    pub overlays: Vec<Overlay>,
    /// `<users>`, merged by name.
    pub users: Vec<User>,
    /// `<locale>`, first of the list, as written (`en_US`, `POSIX`).
    pub locale: Option<String>,
    /// `<keytable>`.
    pub keytable: Option<String>,
    /// `<timezone>`.
    pub timezone: Option<String>,
    /// `<archive>` of the bootstrap phase (`bootinclude` or bootstrap section).
    pub bootstrap_archives: Vec<Archive>,
    /// `<archive>` of the image phase.
    pub archives: Vec<Archive>,
    /// `<file>`.
    pub files: Vec<File>,
    /// `<certificates>` and `--ca-cert`: what the system trusts beside what its packages bring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustPlan>,
    /// `<containers>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<EmbeddedPlan>,
    /// Scripts found beside the description, in the order they run.
    pub scripts: Vec<Script>,
    /// The variables of `/.profile`, which are also the scripts' environment.
    pub variables: BTreeMap<String, String>,
    /// Environment of scripts beside the variables: what the command line sets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Network for scripts.
    pub network: NetworkForScripts,
}

/// Something that is copied over the tree; owners become root, modes and times stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlay {
    /// A folder on the host (`root/`, a profile's folder, `rootfs-overlays/NAME`).
    Folder(PathBuf),
    /// `root.tar`, `root.tar.gz`, `.xz`, `.zst`.
    Tarball(PathBuf),
}

/// `<user>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// Login name.
    pub name: String,
    /// What goes into /etc/shadow; skipped in JSON.
    #[serde(skip)]
    pub password: Option<Password>,
    /// Primary group first. `None` gid: whatever the system chooses.
    pub groups: Vec<Group>,
    /// `home`.
    pub home: Option<String>,
    /// `shell`.
    pub shell: Option<String>,
    /// `realname`.
    pub real_name: Option<String>,
    /// `id`.
    pub uid: Option<u32>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

/// A group of a user, `name` or `name:gid`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Group name.
    pub name: String,
    /// Demanded id.
    pub gid: Option<u32>,
}

/// `password` and `pwdformat`.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// A crypt(5) hash, taken as it is.
    Encrypted(String),
    /// Plain text; hashed with SHA-512 crypt and a salt derived from the seed.
    Plain(String),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// `<archive>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Archive {
    /// The file on the host.
    pub path: PathBuf,
    /// `target_dir` inside the image, default `/`.
    pub target: String,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

/// `<file>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct File {
    /// The file on the host.
    pub path: PathBuf,
    /// Absolute path inside the image; ends in `/` where the file keeps its name.
    pub target: String,
    /// `owner`: `user`, `user:group`.
    pub owner: Option<String>,
    /// `permissions`, octal.
    pub mode: Option<u32>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

/// A script of the description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Script {
    /// When it runs.
    pub phase: ScriptPhase,
    /// The file on the host.
    pub path: PathBuf,
    /// What it is called with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
}

/// When a script runs (KIWI's hooks).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScriptPhase {
    /// `post_bootstrap.sh`: after bootstrap, before the image packages.
    PostBootstrap,
    /// `config.sh`: when everything of the description is in the tree.
    Config,
    /// `images.sh`: before an image is made.
    Images,
    /// `editbootconfig`: disks only, when the boot loader's configuration is written.
    EditBootConfig,
    /// `pre_disk_sync.sh`: disks only, before the tree is packed.
    PreDiskSync,
    /// `disk.sh`: disks only, last of all, in the tree as the disk will hold it. KIWI runs it in the mounted disk.
    Disk,
}

/// What the scrub does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScrubPlan {
    /// Which rules by default.
    pub preset: ScrubPreset,
    /// Rules that are switched off by name; the manifest records them.
    pub except: Vec<String>,
}

/// A set of scrub rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScrubPreset {
    /// A golden virtual machine.
    Vm,
    /// A container: the rules of a VM and the container block.
    Container,
    /// Nothing.
    None,
}
