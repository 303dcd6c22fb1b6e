//! What went wrong, in the form a person and a build farm can both act on.
//!
//! In: a verb, an object, a cause. Out: the text after `error:` and the process's exit code.
//! Never prints and never exits: `main` does both, once.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// Result of everything in ingot that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Exit codes (sysexits(3), plus the shell's convention for signals).
///
/// [`Exit::Temporary`] is the only one that a farm should retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// 1: `ingot audit` found leftovers, `ingot boot` did not see what it waited for.
    Findings = 1,
    /// 64: the command line is wrong.
    Usage = 64,
    /// 65: the description, or what it asks for, is invalid.
    Description = 65,
    /// 66: an input file is missing.
    InputMissing = 66,
    /// 69: the host lacks something: a program, loop devices, user namespaces.
    HostLacks = 69,
    /// 70: a bug of ours.
    Bug = 70,
    /// 73: the output cannot be created.
    CannotCreate = 73,
    /// 74: input or output error, no space.
    Io = 74,
    /// 75: temporary (a mirror, a lock).
    Temporary = 75,
    /// 76: a signature or a hash does not match.
    Integrity = 76,
    /// 77: permission denied.
    Permission = 77,
    /// 78: a configuration file of ingot is invalid.
    Configuration = 78,
    /// 130: interrupted by SIGINT, cleaned up.
    Interrupted = 130,
    /// 143: interrupted by SIGTERM or SIGHUP, cleaned up.
    Terminated = 143,
}

impl Exit {
    /// The number for `exit(2)`.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The code with this number, where it is one of ours.
    pub fn from_code(code: i32) -> Option<Exit> {
        use Exit::*;
        [
            Findings,
            Usage,
            Description,
            InputMissing,
            HostLacks,
            Bug,
            CannotCreate,
            Io,
            Temporary,
            Integrity,
            Permission,
            Configuration,
            Interrupted,
            Terminated,
        ]
        .into_iter()
        .find(|exit| i32::from(exit.code()) == code)
    }
}

/// A place in a text file: 1-based line and column (in characters).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// 1-based line.
    pub line: u32,
    /// 1-based column in characters.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// Something that is accepted and not done, or should be known, by name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Warning {
    /// One sentence.
    pub text: String,
    /// Where it stands, if it is about the description.
    pub place: Option<Place>,
}

/// One failure: `cannot <verb> <object>`, why, where, and one hint. Serialised, it crosses from one process of a
/// build to another; its form is no interface.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Inner {
    what: String,
    causes: Vec<String>,
    place: Option<Place>,
    hint: Option<String>,
    log: Option<PathBuf>,
    rendered: Option<String>,
    exit: Exit,
}

impl Error {
    /// An error whose first line is exactly `what`.
    pub fn new(exit: Exit, what: impl Into<String>) -> Error {
        Error {
            inner: Box::new(Inner {
                what: what.into(),
                causes: Vec::new(),
                place: None,
                hint: None,
                log: None,
                rendered: None,
                exit,
            }),
        }
    }

    /// `cannot {what}`, for instance `Error::cannot(Exit::Io, "write out/image.raw")`.
    pub fn cannot(exit: Exit, what: impl fmt::Display) -> Error {
        Error::new(exit, format!("cannot {what}"))
    }

    /// Adds a cause; several lines are allowed, each is shown under the one before.
    pub fn because(mut self, cause: impl fmt::Display) -> Error {
        self.inner.causes.push(cause.to_string().trim_end().to_string());
        self
    }

    /// Says where in a description or configuration file.
    pub fn at(mut self, place: Place) -> Error {
        self.inner.place = Some(place);
        self
    }

    /// The one hint. The first one given stays.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.inner.hint.get_or_insert(hint.into());
        self
    }

    /// Another hint, in place of an earlier one: a cause was found that tells more.
    pub fn better_hint(mut self, hint: impl Into<String>) -> Error {
        self.inner.hint = Some(hint.into());
        self
    }

    /// The log that holds the whole story.
    pub fn log(mut self, log: impl Into<PathBuf>) -> Error {
        self.inner.log.get_or_insert(log.into());
        self
    }

    /// Replaces the text that a person sees (problems of a description are drawn with their lines).
    pub fn rendered(mut self, text: String) -> Error {
        self.inner.rendered = Some(text);
        self
    }

    /// The exit code that goes with it.
    pub fn exit(&self) -> Exit {
        self.inner.exit
    }

    /// The same error with another exit code.
    pub fn with_exit(mut self, exit: Exit) -> Error {
        self.inner.exit = exit;
        self
    }

    /// The first line, without `error: `.
    pub fn what(&self) -> &str {
        &self.inner.what
    }

    /// What is known of the cause, innermost last.
    pub fn causes(&self) -> &[String] {
        &self.inner.causes
    }

    /// The hint, for machine-readable reports.
    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// Wraps: `self` becomes the cause of a broader failure, and keeps exit code, place, hint and log.
    pub fn within(mut self, what: impl fmt::Display) -> Error {
        let old = std::mem::replace(&mut self.inner.what, format!("cannot {what}"));
        self.inner.causes.insert(0, old);
        self
    }

    /// The whole text for a person, first line starting with `error: `, no newline at the end.
    pub fn text(&self) -> String {
        if let Some(text) = &self.inner.rendered {
            return text.clone();
        }
        let mut text = format!("error: {}", self.inner.what);
        let mut label = |name: &str, body: &str| {
            for (number, line) in body.lines().enumerate() {
                let name = if number == 0 { name } else { "" };
                text.push_str(&format!("\n  {name:<7}{line}"));
            }
        };
        for (number, cause) in self.inner.causes.iter().enumerate() {
            label(if number == 0 { "cause:" } else { "" }, cause);
        }
        if let Some(place) = &self.inner.place {
            label("where:", &place.to_string());
        }
        if let Some(hint) = &self.inner.hint {
            label("hint:", hint);
        }
        if let Some(log) = &self.inner.log {
            label("log:", &log.display().to_string());
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.what)?;
        for cause in &self.inner.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Runs `work`; a panic in it is an error of ours, 70.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(Error::cannot(Exit::Bug, "go on: this is a bug of ingot")
            .because(text.unwrap_or("a thread panicked"))
            .hint("please report it with the lines that begin with `thread`"))
    })
}

/// Gives an operating system error its `cannot <verb> <object>` and its exit code.
pub trait OrCannot<T> {
    /// Turns the error into [`Error`]: no space is 74 with a hint, permission 77, a missing file 66, the rest 74.
    fn or_cannot<W: fmt::Display>(self, what: impl FnOnce() -> W) -> Result<T>;
}

impl<T, E: Into<io::Error>> OrCannot<T> for std::result::Result<T, E> {
    fn or_cannot<W: fmt::Display>(self, what: impl FnOnce() -> W) -> Result<T> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            let (exit, hint) = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    (Exit::Io, Some("free some space there (or inodes: `df -i`), or choose another folder"))
                }
                io::ErrorKind::PermissionDenied => (Exit::Permission, None),
                io::ErrorKind::NotFound => (Exit::InputMissing, None),
                io::ErrorKind::ReadOnlyFilesystem => (Exit::CannotCreate, None),
                _ => (Exit::Io, None),
            };
            let mut result = Error::cannot(exit, what()).because(error);
            if let Some(hint) = hint {
                result = result.hint(hint);
            }
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_cause_place_and_hint_under_each_other() {
        let error = Error::cannot(Exit::Description, "install packages into the image")
            .because("apt cannot satisfy `openssh-sever`\nE: Unable to locate package openssh-sever")
            .at(Place { file: "d/config.xml".into(), line: 40, column: 9 })
            .hint("did you mean `openssh-server`?")
            .log("out/x.log");
        assert_eq!(
            error.text(),
            "error: cannot install packages into the image\
             \n  cause: apt cannot satisfy `openssh-sever`\
             \n         E: Unable to locate package openssh-sever\
             \n  where: d/config.xml:40:9\
             \n  hint:  did you mean `openssh-server`?\
             \n  log:   out/x.log"
        );
    }

    #[test]
    fn a_panic_is_70_and_says_what_it_said() {
        let number = 7;
        let error = caught(|| -> Result<()> { panic!("number {number}") }).unwrap_err();
        assert_eq!((error.exit(), error.causes()), (Exit::Bug, ["number 7".to_string()].as_slice()));
        let error = caught(|| -> Result<()> { panic!("on purpose") }).unwrap_err();
        assert_eq!(error.causes(), ["on purpose"]);
        assert_eq!(caught(|| Ok(number)).unwrap(), 7);
    }

    #[test]
    fn no_space_is_74_and_permission_77() {
        let full: io::Result<()> = Err(io::Error::from_raw_os_error(28));
        assert_eq!(full.or_cannot(|| "write x").unwrap_err().exit(), Exit::Io);
        let denied: io::Result<()> = Err(io::Error::from_raw_os_error(13));
        assert_eq!(denied.or_cannot(|| "write x").unwrap_err().exit(), Exit::Permission);
    }
}
