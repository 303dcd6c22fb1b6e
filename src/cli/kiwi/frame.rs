//! What all of KIWI's commands share: settings, the log, folders, the build's namespaces, the last line.
//!
//! In: global options. Out: [`Frame`], in which a command runs. Never knows what a command does.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::arguments::Globals;
use super::settings::Settings;
use crate::bytes::Bytes;
use crate::cli::build::since_1970;
use crate::description::Colour;
use crate::error::{self, Error, Exit, Result, Warning};
use crate::host::{self, file, identity};
use crate::package::{Mirrors, Unpacker};
use crate::pipeline::stages::{Explain, Reuse};
use crate::pipeline::{KeepRoot, Order, Reports};
use crate::plan::Plan;
use crate::release::manifest::digest_description;
use crate::report::{Colouring, KiwiLog, Level, Reporter};
use crate::root::{Workspace, WorkspaceKind};
use crate::scrub::BuildHost;

/// The surroundings of one command.
pub struct Frame<'a> {
    /// Options before the command.
    pub globals: &'a Globals,
    /// What `kiwi.yml` says.
    pub settings: Settings,
    /// Whether problems are drawn with colours.
    pub colour: Colour,
    /// What to warn of before anything else.
    pub warnings: Vec<Warning>,
}

/// Where one build works.
pub struct Places<'a> {
    /// Where its files are written.
    pub folder: &'a Path,
    /// Where its log is written, below `folder` or elsewhere.
    pub log: PathBuf,
    /// Where a person finds that log afterwards.
    pub shown_log: PathBuf,
    /// Where the tree is kept.
    pub keep_root: KeepRoot,
    /// Whether packages are fetched anew.
    pub cache: CacheUse,
}

impl Places<'_> {
    /// After a failure the log is all that stays. Whichever side comes first moves it to where it is looked for.
    fn keep_log(&self) -> Result<()> {
        if self.log == self.shown_log || !file::is_file(&self.log) {
            return Ok(());
        }
        if let Some(folder) = self.shown_log.parent() {
            file::create_folders(folder)?;
        }
        file::move_file(&self.log, &self.shown_log)
    }
}

/// `--clear-cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// What is there is used.
    Shared,
    /// A new, empty cache of this build alone: other builds may be using the shared one.
    OwnAndEmpty,
}

/// Something failed before there was a log.
pub fn give_up(error: &Error) -> u8 {
    let log = KiwiLog { least: Level::Error, colour: Colouring::Off, copies: Vec::new() };
    let reporter = Reporter::kiwi(log, None, since_1970);
    tell(&reporter, error)
}

/// The error, and the last line with it.
fn tell(reporter: &Reporter, error: &Error) -> u8 {
    reporter.failed(None, error);
    result_of(error)
}

/// The last line of a command that failed.
fn result_of(error: &Error) -> u8 {
    let code = error.exit().code();
    last_line(&json!({"exit": code, "error": {
        "what": error.what(), "cause": error.causes(), "hint": error.hint_text()}}));
    code
}

/// The last line of every command: a farm keeps the end of a log, and maps all failures to one exit code.
pub fn last_line(outcome: &Value) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away does not change the outcome.
    let _ = writeln!(out, "INGOT-RESULT: {outcome}").and_then(|()| out.flush());
}

impl<'a> Frame<'a> {
    /// Reads the settings.
    pub fn open(globals: &'a Globals, colour: Colour) -> Result<Frame<'a>> {
        let is_worker = super::farm::is_worker();
        let settings = Settings::load(globals.config.as_deref(), globals.home.as_deref(), is_worker)?;
        let warnings = settings.warnings.clone();
        Ok(Frame { globals, settings, colour, warnings })
    }

    /// One more warning.
    pub fn warn(&mut self, text: String) {
        self.warnings.push(Warning { text, place: None });
    }

    /// The log in KIWI's form.
    pub fn reporter(&self) -> Result<Reporter> {
        let globals = self.globals;
        let mut copies: Vec<Box<dyn Write + Send>> = Vec::new();
        if let Some(path) = globals.logfile.as_ref().filter(|path| *path != Path::new("stdout")) {
            copies.push(Box::new(file::append_or_create(path)?));
        }
        if let Some(socket) = &globals.logsocket {
            copies.push(Box::new(file::connect(socket)?));
        }
        let least = match (globals.debug, globals.loglevel) {
            (true, _) => Level::Debug,
            (_, Some(0..=10)) => Level::Debug,
            (_, None | Some(11..=20)) => Level::Info,
            (_, Some(21..=30)) => Level::Warning,
            (_, Some(_)) => Level::Error,
        };
        let colour = if globals.color_output { Colouring::On } else { Colouring::Off };
        let events = globals.status_fd.map(file::from_descriptor).transpose()?;
        let reporter = Reporter::kiwi(KiwiLog { least, colour, copies }, events, since_1970);
        Ok(reporter)
    }

    /// Says what went wrong outside of the build's namespaces.
    pub fn failed(&self, error: &Error) -> u8 {
        match self.reporter() {
            Ok(reporter) => tell(&reporter, error),
            Err(_) => give_up(error),
        }
    }

    /// Where packages are kept between builds.
    fn shared_cache(&self) -> PathBuf {
        let globals = self.globals;
        let named = globals.shared_cache_dir.as_ref().or(globals.cache_dir.as_ref());
        named.cloned().unwrap_or_else(|| "/var/cache/ingot".into())
    }

    /// Makes a folder where it is missing, and makes sure that it can be written.
    fn writable(folder: &Path) -> Result<PathBuf> {
        file::create_folders(folder)?;
        let folder = file::canonical(folder)?;
        file::check_writable(&folder)?;
        Ok(folder)
    }

    /// Scratch space.
    pub fn work_dir(&self) -> Result<PathBuf> {
        let named = self.globals.temp_dir.as_ref().or(self.globals.work_dir.as_ref());
        Frame::writable(named.map_or(Path::new("/var/tmp"), PathBuf::as_path))
    }

    /// The shared cache, made where it is missing.
    pub fn cache_dir(&self) -> Result<PathBuf> {
        Frame::writable(&file::absolute(&self.shared_cache())?)
    }

    /// What `mirror://NAME` means.
    pub fn mirrors(&self) -> Result<Mirrors> {
        let config = self.globals.home.as_ref().map(|home| home.join(".config/ingot/mirrors.toml"));
        Mirrors::load(&[], config.as_deref())
    }

    /// The order for a build.
    pub fn order(&self, plan: &Plan, places: &Places<'_>) -> Result<Order> {
        let cache_dir = match places.cache {
            CacheUse::OwnAndEmpty => Frame::writable(&file::absolute(&places.folder.join(".cache"))?)?,
            CacheUse::Shared => self.cache_dir()?,
        };
        let work_dir = self.work_dir()?;
        Ok(Order {
            folder: places.folder.to_path_buf(),
            workspace: WorkspaceKind::Loop,
            unpacker: Unpacker::default(),
            cache_dir,
            // A build farm's worker starts from nothing each time: what it kept nobody would find.
            reuse: match (places.cache, super::farm::is_worker()) {
                (CacheUse::Shared, false) => Reuse::UpTo(Bytes::gib(20)),
                _ => Reuse::No,
            },
            // KIWI builds whenever it is asked to.
            published: None,
            explain: Explain::InTheLog,
            tool: identity::of_this_program()?,
            mirrors: self.mirrors()?,
            registries: self.globals.registries.registries()?,
            keep_root: places.keep_root.clone(),
            build_host: BuildHost::this_machine(&work_dir, since_1970().as_secs() as i64),
            description: digest_description(&plan.description_file, &plan.description_dir, &plan.inputs())?,
            reports: if self.settings.changes { Reports::VerifiedAndChanges } else { Reports::Verified },
            work_dir,
        })
    }

    /// Runs `work` in namespaces of its own; a failure is said there, and its code returned. KIWI needs root, and a
    /// farm gives it.
    pub fn isolated(
        &self,
        plan: &Plan,
        order: &Order,
        places: &Places<'_>,
        work: impl FnOnce(&Reporter) -> Result<()>,
    ) -> Result<u8> {
        if !host::is_root() {
            return Err(Error::cannot(Exit::Permission, "do what KIWI does").because("KIWI's command line needs root"));
        }
        let ended = host::namespace::isolated(|| {
            self.inside(places, |reporter| self.begin(plan, places, reporter).and_then(|()| work(reporter)))
        });
        if !matches!(ended, Ok(0)) {
            // What was killed could not clean up, and what it left is unlocked now. How the build ended is what counts:
            // a failure of this is no second result, and the next build sweeps, too.
            let _ = (Workspace::sweep(&order.work_dir), places.keep_log());
        }
        ended
    }

    /// The part of it that is in the namespaces.
    fn inside(&self, places: &Places<'_>, work: impl FnOnce(&Reporter) -> Result<()>) -> u8 {
        let reporter = match self.reporter() {
            Ok(reporter) => reporter,
            Err(error) => return give_up(&error),
        };
        let Err(error) = error::caught(|| work(&reporter)) else { return 0 };
        let error = error.log(&places.shown_log);
        reporter.failed(None, &error);
        if let Err(error) = places.keep_log() {
            reporter.warn(Warning { text: format!("the log could not be kept: {error}"), place: None });
        }
        result_of(&error)
    }

    fn begin(&self, plan: &Plan, places: &Places<'_>, reporter: &Reporter) -> Result<()> {
        reporter.log_to(file::create(&places.log)?);
        let profiles = plan.profiles.join(", ");
        reporter.say(&format!("Loading XML description: {}", plan.description_file.display()));
        reporter.say(&format!("--> {} {} {profiles}", plan.image.name, plan.image.version));
        self.warnings.iter().chain(&plan.warnings).for_each(|warning| reporter.warn(warning.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::kiwi::arguments::KiwiLine;

    #[test]
    fn a_panic_of_a_build_is_70_and_stands_in_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let [copy, log] = ["copy", "log"].map(|name| folder.path().join(name));
        let line = KiwiLine::try_parse_from(["kiwi", "--logfile", &copy.display().to_string()]).unwrap();
        let frame = Frame::open(&line.globals, Colour::Never).unwrap();
        let (folder, keep_root, cache) = (folder.path(), KeepRoot::No, CacheUse::Shared);
        let places = Places { folder, log: log.clone(), shown_log: log.clone(), keep_root, cache };
        let code = frame.inside(&places, |reporter| {
            reporter.log_to(file::create(&log)?);
            panic!("on purpose")
        });
        assert_eq!(code, 70);
        for log in [copy, log] {
            let text = String::from_utf8(file::read(&log).unwrap()).unwrap();
            assert!(text.contains("this is a bug of ingot") && text.contains("on purpose"), "{text}");
        }
        assert_eq!(frame.inside(&places, |_| Ok(())), 0);
    }
}
