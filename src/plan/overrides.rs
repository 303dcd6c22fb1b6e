//! What a command line says instead of the description: one typed step between loading and planning.
//!
//! In: a [`Description`], the [`Choices`] that select its parts, and [`Overrides`]. Out: the description as if its author
//! had written them; messages name the option in place of a file. Never does I/O.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::selection::Selection;
use super::sources::published;
use super::{Choices, Manager};
use crate::description::xml::{Attribute, Node};
use crate::description::{
    Certificates, Description, Key, Name, Packages, Problem, Problems, Repository, Secret, Source, Span, Spanned, When,
    shown,
};

/// Everything that KIWI's command line may change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// `--set-type-attr NAME=VALUE`, in order.
    pub type_attributes: Vec<(String, String)>,
    /// `--ignore-repos`, `--ignore-repos-used-for-build`.
    pub repositories: DescribedRepositories,
    /// `--set-repo`: replaces what it names of the first repository.
    pub set_repository: Option<RepositoryWords>,
    /// `--add-repo`, in order.
    pub add_repositories: Vec<RepositoryWords>,
    /// `--signing-key`: every repository may be signed by them.
    pub signing_keys: Vec<KeyWords>,
    /// `--add-package`.
    pub packages: Vec<String>,
    /// `--add-bootstrap-package`.
    pub bootstrap_packages: Vec<String>,
    /// `--ca-cert`: trusted by the image, and by downloads.
    #[serde(default)]
    pub certificates: Vec<KeyWords>,
    /// `--ca-target-distribution`: whose way of installing them, in place of the description's.
    #[serde(default)]
    pub certificates_for: Option<String>,
    /// `--delete-package`: removed again with what only they needed, before the configuration.
    pub delete_packages: Vec<String>,
    /// `--set-release-version`: in place of the description's.
    #[serde(default)]
    pub release_version: Option<String>,
    /// `--set-container-tag`.
    pub container_tag: Option<String>,
    /// `--set-container-derived-from`.
    pub container_derived_from: Option<String>,
    /// `--add-container-label NAME=VALUE`, in order.
    pub container_labels: Vec<(String, String)>,
    /// What `obs://PROJECT/REPOSITORY` means.
    pub build_service: BuildService,
    /// Whether local repositories without a signature are taken.
    pub unsigned_local: UnsignedLocal,
}

/// What happens to the repositories of the description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DescribedRepositories {
    /// They count.
    #[default]
    Kept,
    /// Those that the build would use are dropped; `imageonly` ones stay.
    NotForTheBuild,
    /// All are dropped.
    Dropped,
}

/// Whether the metadata of a local repository may lack a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnsignedLocal {
    /// As for every other repository: no.
    #[default]
    Refused,
    /// Yes, where nobody says otherwise: the build farm made the repository a moment ago and has no key to sign it.
    Accepted,
}

/// What the addresses `obs://PROJECT/REPOSITORY` and `obsrepositories:/` mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BuildService {
    /// Nothing that is known here: `obs://` is the mirror `obs`, and `obsrepositories:/` is refused while planning.
    #[default]
    Unknown,
    /// Folders below this one, `PROJECT/REPOSITORY`, as the farm's worker laid them out; the names are all there are.
    Worker {
        /// The folder above.
        folder: PathBuf,
        /// `PROJECT/REPOSITORY`, sorted.
        names: Vec<String>,
    },
    /// A server that publishes `PROJECT/REPOSITORY` below this URL, each colon of a project followed by a slash.
    Server(String),
}

/// A repository in KIWI's words, `--add-repo` and `--set-repo`; what is `None` was left out.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryWords {
    /// The option and its value as typed, without credentials, for messages.
    pub written: String,
    /// Its address.
    pub source: String,
    /// `rpm-md`, `apt-deb` and so on.
    pub kind: Option<String>,
    /// Its name.
    pub alias: Option<String>,
    /// Its priority.
    pub priority: Option<String>,
    /// Whether it stays in the image.
    pub image_include: Option<bool>,
    /// Whether metadata must be signed.
    pub repository_gpgcheck: Option<bool>,
    /// Whether each package must be signed.
    #[serde(default)]
    pub package_gpgcheck: Option<bool>,
    /// Keys that may sign it.
    pub keys: Vec<KeyWords>,
    /// Divided by blanks.
    pub components: Option<String>,
    /// The suite.
    pub distribution: Option<String>,
    /// `baseurl` and so on.
    pub source_type: Option<String>,
    /// User and password; never printed.
    pub credentials: Option<(String, String)>,
}

impl std::fmt::Debug for RepositoryWords {
    /// Without its credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RepositoryWords").field(&self.written).finish()
    }
}

/// A signing key or a certificate: as typed, and the file, absolute, where there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyWords {
    /// As typed.
    pub uri: String,
    /// Where it is on this host.
    pub found: Option<PathBuf>,
}

/// A place in messages: an option's value instead of a line of a file.
fn span(option: &str, text: &str) -> Span {
    let source = Source::new(Path::new(option), text.to_string());
    Span::new(&source, 0, text.len())
}

fn spanned(value: &str, span: &Span) -> Spanned<String> {
    Spanned { value: value.to_string(), span: span.clone() }
}

impl Overrides {
    /// The description with all of them.
    pub fn apply(&self, mut description: Description, choices: &Choices) -> Result<Description, Problems> {
        let mut problems = Problems::new();
        self.change_type(&mut description, choices, &mut problems)?;
        self.change_repositories(&mut description, choices, &mut problems)?;
        self.add_certificates(&mut description, choices, &mut problems)?;
        for (option, kind, names) in [
            ("--add-package", "image", &self.packages),
            ("--add-bootstrap-package", "bootstrap", &self.bootstrap_packages),
            ("--delete-package", super::conflict::WITHDRAWN, &self.delete_packages),
        ] {
            if !names.is_empty() {
                description.packages.push(packages(option, kind, names));
            }
        }
        if let Some(version) = &self.release_version {
            let written = spanned(version, &span("--set-release-version", version));
            description.preferences.iter_mut().for_each(|part| part.release_version = Some(written.clone()));
        }
        problems.or(description)
    }

    /// Into the section that counts, which is made where there is none.
    fn add_certificates(
        &self,
        description: &mut Description,
        choices: &Choices,
        problems: &mut Problems,
    ) -> Result<(), Problems> {
        let Some(first) = self.certificates.first() else { return Ok(()) };
        let counting = Selection::new(description, choices)?.certificates.first().copied().map(std::ptr::from_ref);
        let chosen = self.certificates_for.as_ref();
        let family = chosen.map(|name| spanned(name, &span("--ca-target-distribution", name)));
        let section = description.certificates.iter_mut().find(|section| counting == Some(std::ptr::from_ref(section)));
        let file = |words: &KeyWords| (spanned(&words.uri, &span("--ca-cert", &words.uri)), words.found.clone());
        let files = self.certificates.iter().map(file);
        match (section, family) {
            (Some(section), family) => {
                section.files.extend(files);
                section.family = family.unwrap_or_else(|| section.family.clone());
            }
            (None, Some(family)) => {
                description.certificates.push(Certificates { when: When::default(), family, files: files.collect() });
            }
            (None, None) => problems.add(
                Problem::invalid("--ca-cert says nothing about the family of distributions")
                    .at(&span("--ca-cert", &first.uri))
                    .hint("add --ca-target-distribution archlinux, debian, redhat or suse"),
            ),
        }
        Ok(())
    }

    fn change_type(
        &self,
        description: &mut Description,
        choices: &Choices,
        problems: &mut Problems,
    ) -> Result<(), Problems> {
        let of_container =
            self.container_tag.is_some() || self.container_derived_from.is_some() || !self.container_labels.is_empty();
        if self.type_attributes.is_empty() && !of_container {
            return Ok(());
        }
        let selection = Selection::new(description, choices)?;
        let chosen: *const _ = selection.image_type(description, choices.image_type.as_deref())?;
        let mut types = description.preferences.iter_mut().flat_map(|part| &mut part.types);
        let Some(kind) = types.find(|kind| std::ptr::eq(*kind, chosen)) else { return Ok(()) };
        for (name, value) in &self.type_attributes {
            let written = format!("{name}={value}");
            let at = span("--set-type-attr", &written);
            if let Err(problem) = kind.set_attribute(spanned(name, &at), spanned(value, &at)) {
                problems.add(problem);
            }
        }
        if !of_container {
            return Ok(());
        }
        if !matches!(kind.image.as_str(), "docker" | "oci") {
            let title = format!("an image of type {} has neither tag nor labels nor a base", shown(&kind.image));
            let option = match (&self.container_tag, &self.container_derived_from) {
                (Some(_), _) => "--set-container-tag",
                (None, Some(_)) => "--set-container-derived-from",
                (None, None) => "--add-container-label",
            };
            problems.add(Problem::invalid(title).at(&span(option, "")));
            return Ok(());
        }
        if let Some(from) = &self.container_derived_from {
            let at = span("--set-container-derived-from", from);
            if let Err(problem) = kind.set_attribute(spanned("derived_from", &at), spanned(from, &at)) {
                problems.add(problem);
            }
        }
        if self.container_tag.is_none() && self.container_labels.is_empty() {
            return Ok(());
        }
        let config = child(&mut kind.node, "containerconfig");
        if let Some(tag) = &self.container_tag {
            set(config, "tag", tag, &span("--set-container-tag", tag));
        }
        for (name, value) in &self.container_labels {
            let at = span("--add-container-label", &format!("{name}={value}"));
            let labels = child(config, "labels");
            // The same label again replaces the first one.
            labels.children.retain(|label| label.attribute("name").is_none_or(|known| *known.value != *name));
            let mut label = element("label", &at);
            set(&mut label, "name", name, &at);
            set(&mut label, "value", value, &at);
            labels.children.push(label);
        }
        Ok(())
    }

    fn change_repositories(
        &self,
        description: &mut Description,
        choices: &Choices,
        problems: &mut Problems,
    ) -> Result<(), Problems> {
        match self.repositories {
            DescribedRepositories::Kept => {}
            DescribedRepositories::NotForTheBuild => description.repositories.retain(|one| !one.when_building()),
            DescribedRepositories::Dropped => description.repositories.clear(),
        }
        let selection = Selection::new(description, choices)?;
        let first: Option<*const Repository> = selection.repositories.first().map(|first| *first as *const _);
        let manager = selection.preferences.iter().find_map(|part| part.manager.as_ref());
        let manager = manager.and_then(|manager| Manager::find(manager));
        if let Some(words) = &self.set_repository {
            let found =
                description.repositories.iter_mut().find(|one| first.is_some_and(|first| std::ptr::eq(*one, first)));
            match found {
                Some(repository) => words.replace(repository, "--set-repo", manager),
                None => description.repositories.insert(0, words.repository("--set-repo", manager)),
            }
        }
        let added = self.add_repositories.iter().map(|words| words.repository("--add-repo", manager));
        description.repositories.extend(added);
        let mut all = Vec::new();
        for repository in std::mem::take(&mut description.repositories) {
            match self.build_service.locate(repository) {
                Ok(found) => all.extend(found),
                Err(problem) => problems.add(*problem),
            }
        }
        for repository in &mut all {
            let local = is_local(&repository.path);
            if local && self.unsigned_local == UnsignedLocal::Accepted && repository.keys.is_empty() {
                repository.repository_gpgcheck = repository.repository_gpgcheck.or(Some(false));
            }
            for key in &self.signing_keys {
                repository.keys.push(key.key("--signing-key"));
            }
        }
        description.repositories = all;
        Ok(())
    }
}

fn is_local(address: &str) -> bool {
    ["dir:", "file:"].iter().any(|scheme| address.trim_start().starts_with(scheme))
}

impl BuildService {
    /// The repositories that an address of the build service stands for; any other is left as it is.
    fn locate(&self, repository: Repository) -> Result<Vec<Repository>, Box<Problem>> {
        let address = repository.path.trim().to_string();
        let at = |address: String| Repository {
            path: Spanned { value: address, span: repository.path.span.clone() },
            ..repository.clone()
        };
        let name = match address.split_once(':') {
            Some(("obs", name)) => name.trim_matches('/'),
            Some(("obsrepositories", _)) => match self {
                BuildService::Worker { folder, names } => {
                    let folders = names.iter().map(|name| at(format!("dir://{}/{name}", folder.display())));
                    return Ok(folders.collect());
                }
                _ => return Ok(vec![repository]),
            },
            _ => return Ok(vec![repository]),
        };
        match self {
            BuildService::Unknown => Ok(vec![repository]),
            BuildService::Server(url) => Ok(vec![at(format!("{}/{}", url.trim_end_matches('/'), published(name)))]),
            BuildService::Worker { folder, names } => {
                if names.iter().any(|known| known == name) {
                    return Ok(vec![at(format!("dir://{}/{name}", folder.display()))]);
                }
                let problem = Problem::missing(format!("the build farm provides no repository {}", shown(name)))
                    .at(&repository.path.span)
                    .label(format!("looked for in {}", folder.display()));
                Err(Box::new(match names.as_slice() {
                    [] => problem,
                    names => problem.hint(format!("it provides {}", names.join(", "))),
                }))
            }
        }
    }
}

impl KeyWords {
    fn key(&self, option: &str) -> Key {
        Key { uri: spanned(&self.uri, &span(option, &self.uri)), found: self.found.clone() }
    }
}

impl RepositoryWords {
    /// A new repository of the image's `manager`, if that is known.
    fn repository(&self, option: &str, manager: Option<Manager>) -> Repository {
        let at = span(option, &self.written);
        let mut repository = Repository {
            when: When::default(),
            span: at.clone(),
            kind: None,
            alias: None,
            path: spanned("", &at),
            keys: Vec::new(),
            distribution: None,
            components: Vec::new(),
            architectures: Vec::new(),
            priority: None,
            image_include: false,
            image_only: false,
            repository_gpgcheck: None,
            package_gpgcheck: None,
            source_type: None,
            username: None,
            password: None,
            customize: None,
            asides: Vec::new(),
        };
        self.replace(&mut repository, option, manager);
        repository
    }

    /// Puts what is named in place of what was there.
    fn replace(&self, repository: &mut Repository, option: &str, manager: Option<Manager>) {
        let is_apt = manager == Some(Manager::Apt);
        // Farms call everything `rpm-md`: only what the manager reads can be meant.
        let has_one_kind = is_apt || manager == Some(Manager::Pacman);
        let at = span(option, &self.written);
        let text = |value: &Option<String>| value.as_ref().map(|value| spanned(value, &at));
        repository.path = match self.source.starts_with('/') {
            true => spanned(&format!("dir://{}", self.source), &at),
            false => spanned(&self.source, &at),
        };
        repository.span = at.clone();
        if let Some(kind) = text(&self.kind) {
            repository.kind =
                Some(kind).filter(|kind| !(has_one_kind && matches!(kind.as_str(), "rpm-md" | "apt-deb")));
        }
        repository.alias = text(&self.alias).or(repository.alias.take());
        repository.priority = text(&self.priority).or(repository.priority.take());
        repository.distribution = text(&self.distribution).or(repository.distribution.take());
        repository.source_type = text(&self.source_type).or(repository.source_type.take());
        repository.image_include = self.image_include.unwrap_or(repository.image_include);
        repository.repository_gpgcheck = self.repository_gpgcheck.or(repository.repository_gpgcheck);
        repository.package_gpgcheck = self.package_gpgcheck.filter(|_| !is_apt).or(repository.package_gpgcheck);
        if let Some(components) = &self.components {
            repository.components = components.split_whitespace().map(str::to_string).collect();
        }
        if !self.keys.is_empty() {
            repository.keys = self.keys.iter().map(|key| key.key(option)).collect();
        }
        if let Some((name, secret)) = &self.credentials {
            repository.username = Some(name.clone());
            repository.password = Some(Secret(secret.clone()));
        }
    }
}

fn packages(option: &str, kind: &str, names: &[String]) -> Packages {
    let name = |name: &String| Name { name: spanned(name, &span(option, name)), arch: Vec::new() };
    Packages {
        when: When::default(),
        kind: spanned(kind, &span(option, kind)),
        pattern_type: None,
        packages: names.iter().map(name).collect(),
        collections: Vec::new(),
        products: Vec::new(),
        modules: Vec::new(),
        ignore: Vec::new(),
        archives: Vec::new(),
        files: Vec::new(),
        asides: Vec::new(),
    }
}

fn element(name: &str, at: &Span) -> Node {
    Node {
        name: spanned(name, at),
        tag: at.clone(),
        attributes: Vec::new(),
        children: Vec::new(),
        text: String::new(),
        text_span: at.clone(),
    }
}

/// The child with this name, made where it is missing.
fn child<'a>(node: &'a mut Node, name: &str) -> &'a mut Node {
    let at = match node.children.iter().position(|child| *child.name == *name) {
        Some(at) => at,
        None => {
            let made = element(name, &node.tag.clone());
            node.children.push(made);
            node.children.len() - 1
        }
    };
    &mut node.children[at]
}

fn set(node: &mut Node, name: &str, value: &str, at: &Span) {
    node.attributes.retain(|attribute| *attribute.name != *name);
    node.attributes.push(Attribute { name: spanned(name, at), value: spanned(value, at) });
}
