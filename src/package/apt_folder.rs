//! The private folder in which the host's apt works: configuration, sources, keys, indexes.
//!
//! In: [`Source`]s and their keys. Out: an [`AptFolder`] from which apt programs are started. Of the host's own
//! configuration only what says how to reach a network is read, by name ([`HONOURED`]); never its sources, its
//! preferences, its lists, its package database.
//!
//! Indexes and what apt computes from them stay in `CACHE_DIR/apt/KEY`, KEY being the digest of the sources, their
//! keys and the architectures, so that the next build only asks whether they are still current. What belongs to one
//! build (preferences, passwords) is in its scratch folder.

use std::path::{Path, PathBuf};

use super::certificates;
use super::failure;
use super::keyring::Keyring;
use super::repository::Source;
use super::signing_keys;
use crate::cache::Sha256;
use crate::error::{Error, Exit, Result};
use crate::host::file;
use crate::host::lock::FileLock;
use crate::host::program::{Ended, Program};
use crate::plan::Signed;
use crate::report::Reporter;

/// What is taken from the host's apt.conf: a name, or the beginning of one where it ends in `::`.
const HONOURED: &[&str] = &[
    "Acquire::http::Proxy",
    "Acquire::http::Proxy::",
    "Acquire::http::Proxy-Auto-Detect",
    "Acquire::https::Proxy",
    "Acquire::https::Proxy::",
    "Acquire::https::Proxy-Auto-Detect",
    "Acquire::https::CaInfo",
    "Acquire::https::CaPath",
];

/// Where distributions keep the keys of their archives.
const KEYRINGS: &str = "/usr/share/keyrings";

/// How apt is set up for every call. A mirror that does not answer is given up after three attempts.
const SETTINGS: &str = r#"
Dir::Etc::main "/dev/null";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::trusted "/dev/null";
Dir::Log "/dev/null";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "2";
Acquire::http::Timeout "15";
Acquire::https::Timeout "15";
Acquire::ForceHash "SHA256";
APT::Update::Error-Mode "any";
APT::Sandbox::User "root";
APT::Install-Suggests "false";
APT::Get::Assume-Yes "true";
APT::Cmd::Show-Update-Stats "false";
"#;

/// apt's private folder, ready to use; locked against other builds with the same repositories while it exists.
#[derive(Debug)]
pub struct AptFolder {
    state: PathBuf,
    configuration: PathBuf,
    preferences: PathBuf,
    keyrings: Vec<Option<PathBuf>>,
    _lock: FileLock,
}

/// How programs of apt reach a network, without any repository: for keys and archives.
#[derive(Clone, Debug)]
pub struct Transport {
    configuration: PathBuf,
}

impl Transport {
    /// Reads the host's proxies and writes them and the sources' passwords into `scratch`, for nobody else to read.
    pub fn prepare(sources: &[Source], scratch: &Path) -> Result<Transport> {
        let folder = scratch.join("apt");
        file::create_folders(&folder.join("empty"))?;
        let passwords: String = sources.iter().filter_map(Source::authentication).collect();
        file::write_private(&folder.join("auth.conf"), passwords.as_bytes())?;
        let mut text = host_settings()?;
        text.push_str(SETTINGS);
        text.push_str(&format!("Dir::Etc::netrc {};\n", quoted(&folder.join("auth.conf"))?));
        for name in ["Dir::Etc::parts", "Dir::Etc::netrcparts", "Dir::Etc::trustedparts", "Dir::Etc::preferencesparts"]
        {
            text.push_str(&format!("{name} {};\n", quoted(&folder.join("empty"))?));
        }
        let configuration = folder.join("transport.conf");
        file::write_private(&configuration, text.as_bytes())?;
        Ok(Transport { configuration })
    }

    /// Trusts these certificates, too, beside those that the host's apt trusts.
    pub fn trust(&self, named: &[PathBuf]) -> Result<()> {
        if named.is_empty() {
            return Ok(());
        }
        let mut configuration = file::read_text(&self.configuration)?;
        let setting = |line: &str| Some(line.strip_prefix("Acquire::https::CaInfo \"")?.split('"').next()?.to_string());
        let of_host = configuration.lines().filter_map(setting).next_back().map(PathBuf::from);
        let bundle = certificates::in_one_file(of_host, named)?;
        let path = self.configuration.with_file_name("trusted.pem");
        file::write_private(&path, &bundle)?;
        configuration.push_str(&format!("Acquire::https::CaInfo {};\n", quoted(&path)?));
        file::write_private(&self.configuration, configuration.as_bytes())
    }

    /// `apt-helper`, which downloads with apt's own methods.
    pub fn helper(&self) -> Program {
        Program::new("/usr/lib/apt/apt-helper").env("APT_CONFIG", &self.configuration)
    }
}

/// The keys that may sign a source: those that the description names, else those that the host's own source of the
/// same mirror names, else the archive keyrings that are installed on the host.
pub fn keys(source: &Source, transport: &Transport, scratch: &Path, reporter: &Reporter) -> Result<Keyring> {
    if source.signed == Signed::NotChecked {
        return Ok(Keyring::default());
    }
    let mut keyring = signing_keys::named(source, &|| Ok(transport.clone()), &scratch.join("apt"), reporter)?;
    let mut add = |name: &str, bytes: &[u8]| {
        keyring.add(bytes).map_err(|why| {
            Error::cannot(Exit::Description, format!("use the signing key {name}"))
                .because(why)
                .at(source.place.clone())
        })
    };
    if source.keys.is_empty() {
        let signed_by = source.host_signed_by.as_deref().unwrap_or_default();
        if signed_by.contains("-----BEGIN PGP") {
            add("of the host's own source", signed_by.as_bytes())?;
        }
        let words = signed_by.split([',', ' ', '\n']).filter(|word| word.starts_with('/'));
        let mut files: Vec<PathBuf> = words.map(PathBuf::from).filter(|path| file::is_file(path)).collect();
        if files.is_empty() && !signed_by.contains("-----BEGIN PGP") {
            files = archive_keyrings()?;
        }
        for path in files {
            add(&path.display().to_string(), &file::read(&path)?)?;
        }
    }
    if keyring.is_empty() {
        let error = Error::cannot(Exit::HostLacks, format!("verify the repository `{}`", source.alias));
        let hint = "install the distribution's archive keyring (debian-archive-keyring, ubuntu-keyring), or name a key";
        return Err(error.because(format!("{KEYRINGS} holds no archive keyring")).at(source.place.clone()).hint(hint));
    }
    Ok(keyring)
}

/// Installed archive keyrings, without those that hold keys that were taken out of use.
fn archive_keyrings() -> Result<Vec<PathBuf>> {
    let folder = Path::new(KEYRINGS);
    if !file::is_folder(folder) {
        return Ok(Vec::new());
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for name in file::names(folder)? {
        let Some((stem, "gpg" | "pgp" | "asc")) = name.to_str().and_then(|name| name.rsplit_once('.')) else {
            continue;
        };
        let path = folder.join(&name);
        let known = |other: &PathBuf| file::canonical(other).ok() == file::canonical(&path).ok();
        if stem.ends_with("archive-keyring") && !found.iter().any(known) {
            found.push(path);
        }
    }
    Ok(found)
}

impl AptFolder {
    /// Makes or finds the folder for these sources and waits until no other build uses it. `native` and `foreign`
    /// are Debian architectures.
    pub fn open(
        cache: &Path,
        scratch: &Path,
        sources: &[(&Source, &Keyring)],
        native: &str,
        foreign: &[String],
    ) -> Result<AptFolder> {
        let mut text = String::new();
        for (source, keyring) in sources {
            let signed_by = (source.signed == Signed::Required).then(|| keyring.signed_by());
            text.push_str(&format!("{}\n", source.stanza(&source.url, signed_by.as_deref())));
        }
        let key = Sha256::of(format!("{native} {}\n{text}", foreign.join(" "))).to_string();
        let state = cache.join("apt").join(&key[..32]);
        file::create_folders(&state)?;
        let lock = FileLock::wait(&state.join("lock"))?;
        for name in ["lists/partial", "archives/partial", "sources.list.d", "keyrings"] {
            file::create_folders(&state.join(name))?;
        }
        // apt rebuilds its cache when these are newer than it, so they are written once.
        let once = |path: &Path, content: &[u8]| {
            let same = file::is_file(path) && file::read(path)? == content;
            if same { Ok(()) } else { file::write_atomically(path, content) }
        };
        once(&state.join("sources.list.d").join("ingot.sources"), text.as_bytes())?;
        let mut keyrings = Vec::new();
        for (source, keyring) in sources {
            let path = state.join("keyrings").join(format!("{}.gpg", &keyring.digest().to_string()[..32]));
            once(&path, keyring.binary())?;
            keyrings.push((source.signed == Signed::Required).then_some(path));
        }
        let folder = scratch.join("apt");
        let preferences = folder.join("preferences");
        let mut text = format!("#include {};\n", quoted(&folder.join("transport.conf"))?);
        for (name, path) in [
            ("Dir", state.clone()),
            ("Dir::State", state.clone()),
            ("Dir::State::lists", state.join("lists")),
            ("Dir::State::status", state.join("status")),
            ("Dir::State::extended_states", state.join("extended_states")),
            ("Dir::Cache", state.clone()),
            ("Dir::Cache::archives", state.join("archives")),
            ("Dir::Etc", state.clone()),
            ("Dir::Etc::sourceparts", state.join("sources.list.d")),
            ("Dir::Etc::preferences", preferences.clone()),
        ] {
            text.push_str(&format!("{name} {};\n", quoted(&path)?));
        }
        let architectures: String = [native]
            .into_iter()
            .chain(foreign.iter().map(String::as_str))
            .map(|arch| format!(" \"{arch}\";"))
            .collect();
        text.push_str(&format!(
            "#clear APT::Architectures;\nAPT::Architecture \"{native}\";\nAPT::Architectures {{{architectures} }};\n"
        ));
        let configuration = folder.join("apt.conf");
        file::write_private(&configuration, text.as_bytes())?;
        Ok(AptFolder { state, configuration, preferences, keyrings, _lock: lock })
    }

    /// A file with the binary keys of each source, in the sources' order; `None` where no signature is demanded.
    pub fn keyrings(&self) -> &[Option<PathBuf>] {
        &self.keyrings
    }

    /// Lets apt see these packages as installed; empty: none.
    pub fn installed(&self, status: &[u8]) -> Result<()> {
        let path = self.state.join("status");
        let same = file::is_file(&path) && file::read(&path)? == status;
        // apt rebuilds its cache when it is newer than it.
        if same { Ok(()) } else { file::write_atomically(&path, status) }
    }

    /// Where the indexes are.
    pub fn lists(&self) -> PathBuf {
        self.state.join("lists")
    }

    /// Where solutions are remembered.
    pub fn solutions(&self) -> PathBuf {
        self.state.join("solutions")
    }

    /// Sets apt_preferences(5) for this build.
    pub fn prefer(&self, preferences: &str) -> Result<()> {
        file::write_private(&self.preferences, preferences.as_bytes())
    }

    /// A program of apt (`apt-get`, `apt-cache`) that sees this folder only.
    pub fn program(&self, name: &str) -> Program {
        Program::new(name).env("APT_CONFIG", &self.configuration)
    }

    /// Brings the indexes up to date; those that did not change are not fetched again.
    /// 76 for a bad signature or hash, 75 for a mirror that does not answer, 65 for a suite that is not there.
    pub fn update(&self, sources: &[Source], reporter: &Reporter) -> Result<()> {
        // Without a signature nothing says that an index belongs to the Release file that was there before: apt would
        // keep the old one, or none at all.
        if sources.iter().any(|source| source.signed == Signed::NotChecked) {
            file::remove_tree(&self.state.join("lists"))?;
            file::create_folders(&self.state.join("lists/partial"))?;
        }
        // Whoever asks apt something parses them, if nobody did before: often nobody has to ask.
        let program = self.program("apt-get").args(["update", "-q", "-o", "pkgCacheFile::Generate=false"]);
        let line = program.line();
        let ended: Ended = program.run_to_end(reporter, |_| {})?;
        if ended.status.success() {
            return Ok(());
        }
        Err(failure::of_transfer("read the repositories", &line, &ended, sources))
    }
}

/// The settings of [`HONOURED`] in the host's apt configuration; nothing where there is none.
fn host_settings() -> Result<String> {
    // A proxy's URL may hold a password, so this output is kept out of the log.
    let output = Program::new("apt-config").arg("dump").run(&Reporter::silent())?;
    let honoured = |line: &&str| {
        let name = line.split(' ').next().unwrap_or_default();
        HONOURED.iter().any(|known| name == *known || (known.ends_with("::") && name.starts_with(known)))
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().filter(honoured).map(|line| format!("{line}\n")).collect())
}

/// A value of apt.conf(5), which knows no way to quote a quotation mark.
fn quoted(path: &Path) -> Result<String> {
    match path.to_str().filter(|path| !path.contains(|char: char| char == '"' || char.is_control())) {
        Some(path) => Ok(format!("\"{path}\"")),
        None => Err(Error::cannot(Exit::Usage, format!("use the folder {} for apt", path.display()))
            .because("its name has a quotation mark, a control character or bytes that are not UTF-8")
            .hint("choose another --cache-dir or TMPDIR")),
    }
}
