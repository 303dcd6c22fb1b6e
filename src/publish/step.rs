//! What publishing in a cloud consists of: steps as data.
//!
//! In: programs and their arguments, with places for what is learned on the way. Out: a [`Plan`] that can be printed,
//! carried out, kept in a file, gone on with and undone. Never runs anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What earlier steps learned, by name.
pub type Learned = BTreeMap<String, String>;

/// Everything that publishes one artifact at one target, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// Which learned value is the image's id.
    pub id: Word,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What a person sees of it.
    pub verb: Verb,
    /// What it does.
    pub work: Work,
    /// What it makes, for messages: `snapshot <snapshot>`; nothing where it only asks.
    pub makes: Option<Word>,
    /// How to find what it made where its answer was lost.
    pub find: Option<Find>,
    /// How what it made is removed, in this order; what needs a value that was never learned is left out.
    pub undo: Vec<Undo>,
    /// Whether it makes the image itself.
    pub end: End,
}

/// What a step is about, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Looks at what is there.
    Inspect,
    /// Sends the artifact.
    Upload,
    /// Begins or awaits a snapshot.
    Snapshot,
    /// Says that all blocks were sent.
    Complete,
    /// Compares checksums.
    Compare,
    /// Lets the cloud read what was sent.
    Import,
    /// Makes or awaits the image.
    Register,
    /// Says who may use it.
    Share,
    /// Gives it further names.
    Tag,
    /// Removes what was needed on the way.
    Tidy,
}

impl Verb {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Inspect => "inspect",
            Verb::Upload => "upload",
            Verb::Snapshot => "snapshot",
            Verb::Complete => "complete",
            Verb::Compare => "compare",
            Verb::Import => "import",
            Verb::Register => "register",
            Verb::Share => "share",
            Verb::Tag => "tag",
            Verb::Tidy => "tidy",
        }
    }
}

/// Whether a step makes the image itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It makes the image.
    Image,
    /// It makes something on the way there, or nothing.
    OnTheWay,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Runs a command, learns from its answer and checks it.
    Run {
        /// The command.
        command: Invocation,
        /// What is learned: names, and where the answer says it.
        learns: Vec<(String, Pick)>,
        /// What the answer must say.
        checks: Vec<Check>,
    },
    /// Asks again and again.
    Wait {
        /// The question.
        command: Invocation,
        /// Where the answer is.
        pick: Pick,
        /// Answers that end the waiting well.
        until: Vec<String>,
        /// Answers that end it badly.
        never: Vec<String>,
        /// What else is learned from the last answer.
        learns: Vec<(String, Pick)>,
    },
    /// Counts the members of a list that comes in pages; 76 where there are more or fewer.
    Count {
        /// The question for the first page.
        command: Invocation,
        /// What is counted, for messages.
        what: String,
        /// JSON pointer to the list.
        list: String,
        /// JSON pointer to the name of the next page.
        next: String,
        /// The option that asks for it.
        option: String,
        /// How many there must be.
        wanted: usize,
    },
    /// Sends the blocks of a disk that are not all zeros, several at a time.
    Blocks {
        /// The command for one block; its places are [`Piece::BlockIndex`] and its like.
        command: Invocation,
        /// How many there are.
        count: usize,
    },
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The program, as PATH has it.
    pub program: String,
    /// Its arguments.
    pub words: Vec<Word>,
}

/// One argument, of several pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word(pub Vec<Piece>);

/// A piece of an argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Piece {
    /// As it is.
    Text(String),
    /// The path of the artifact.
    Artifact,
    /// What an earlier step learned.
    Learned(String),
    /// Number of a block.
    BlockIndex,
    /// SHA-256 of a block in base64.
    BlockChecksum,
    /// A file that holds a block.
    BlockFile,
}

/// A command that removes what a step made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The command.
    pub command: Invocation,
    /// Where this was learned, there is nothing to remove any more.
    pub unless: Option<String>,
}

/// How to find what a step made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Find {
    /// The question. An answer of failure that says "not found" means that there is nothing.
    pub command: Invocation,
    /// What is learned where it is there; nothing there where the first of them is missing.
    pub learns: Vec<(String, Pick)>,
    /// What the answer says where it is ours; what is not is never touched.
    pub ours: Option<Check>,
    /// What the answer says where it is whole; what is ours and not whole is removed and made anew.
    pub whole: Option<Check>,
    /// What becomes of something that is not ours.
    pub foreign: Foreign,
}

/// What becomes of something of the wanted name that is there and not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Foreign {
    /// It stays, and nothing is published (73).
    Stays,
    /// The name goes over to what is published, as a tag of a registry does.
    GivesWay,
}

/// Where an answer says something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pick {
    /// A JSON pointer (RFC 6901) into stdout.
    At(String),
    /// The rest of the line that begins with this label (blanks before it do not count).
    After(String),
    /// SHA-256 of stdout as it is: `sha256:...`.
    Digest,
}

/// What an answer must say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// For messages: `MD5`.
    pub what: String,
    /// Where it says it.
    pub pick: Pick,
    /// What it says.
    pub wanted: Wanted,
    /// Whether it may say nothing of it.
    pub missing: Missing,
}

/// What is wanted of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// This text.
    Is(String),
    /// What an earlier step learned.
    Learned(String),
    /// What an earlier step learned; anything where none did.
    LearnedOrAny(String),
    /// The entity tag that S3 gives the artifact: MD5, or MD5 of the MD5 sums of the parts that it was sent in.
    EntityTag,
}

/// What it means where an answer does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// It must.
    Wrong,
    /// Not every service says it.
    Fine,
}

impl Invocation {
    /// A program without arguments.
    pub fn new(program: &str) -> Invocation {
        Invocation { program: program.into(), words: Vec::new() }
    }

    /// One argument.
    pub fn arg(mut self, word: impl Into<Word>) -> Invocation {
        self.words.push(word.into());
        self
    }

    /// Several arguments.
    pub fn args<W: Into<Word>>(mut self, words: impl IntoIterator<Item = W>) -> Invocation {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// An option and its value, where there is one.
    pub fn option(self, option: &str, value: Option<impl Into<Word>>) -> Invocation {
        match value {
            Some(value) => self.arg(option).arg(value),
            None => self,
        }
    }

    /// As a person would type it into a shell; what is not known yet stands in angle brackets.
    pub fn line(&self, artifact: &str, learned: &Learned) -> String {
        let words = self.words.iter().map(|word| quoted(&word.shown(artifact, learned)));
        std::iter::once(quoted(&self.program)).chain(words).collect::<Vec<_>>().join(" ")
    }
}

impl Word {
    /// What an earlier step learned.
    pub fn learned(name: &str) -> Word {
        Word(vec![Piece::Learned(name.into())])
    }

    /// The path of the artifact.
    pub fn artifact() -> Word {
        Word(vec![Piece::Artifact])
    }

    /// More behind it.
    pub fn then(mut self, more: impl Into<Word>) -> Word {
        self.0.extend(more.into().0);
        self
    }

    /// The text, with names in angle brackets where something is not known.
    pub fn shown(&self, artifact: &str, learned: &Learned) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Artifact => artifact.to_string(),
            Piece::Learned(name) => learned.get(name).cloned().unwrap_or_else(|| format!("<{name}>")),
            Piece::BlockIndex => "<block>".into(),
            Piece::BlockChecksum => "<checksum>".into(),
            Piece::BlockFile => "<file>".into(),
        };
        self.0.iter().map(piece).collect()
    }

    /// The names of what it needs and what is not known.
    pub fn unknown<'a>(&'a self, learned: &Learned) -> Option<&'a str> {
        self.0.iter().find_map(|piece| match piece {
            Piece::Learned(name) if !learned.contains_key(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Word {
        Word(vec![Piece::Text(text.into())])
    }
}

impl From<String> for Word {
    fn from(text: String) -> Word {
        Word(vec![Piece::Text(text)])
    }
}

impl From<&String> for Word {
    fn from(text: &String) -> Word {
        text.as_str().into()
    }
}

impl From<Piece> for Word {
    fn from(piece: Piece) -> Word {
        Word(vec![piece])
    }
}

impl Step {
    /// A step that runs a command and makes nothing.
    pub fn run(verb: Verb, command: Invocation) -> Step {
        let work = Work::Run { command, learns: Vec::new(), checks: Vec::new() };
        Step { verb, work, makes: None, find: None, undo: Vec::new(), end: End::OnTheWay }
    }

    /// A step that waits until the answer is one of `until`; one of `never` is an error.
    pub fn wait(verb: Verb, command: Invocation, pick: Pick, until: &[&str], never: &[&str]) -> Step {
        let list = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let work = Work::Wait { command, pick, until: list(until), never: list(never), learns: Vec::new() };
        Step { work, ..Step::run(verb, Invocation::new("")) }
    }

    /// Learns one more thing.
    pub fn learns(mut self, name: &str, pick: Pick) -> Step {
        if let Work::Run { learns, .. } | Work::Wait { learns, .. } = &mut self.work {
            learns.push((name.into(), pick));
        }
        self
    }

    /// Checks one more thing.
    pub fn checks(mut self, check: Check) -> Step {
        if let Work::Run { checks, .. } = &mut self.work {
            checks.push(check);
        }
        self
    }

    /// Says what it makes.
    pub fn makes(mut self, what: impl Into<Word>) -> Step {
        self.makes = Some(what.into());
        self
    }

    /// Says how to find it.
    pub fn find(mut self, find: Find) -> Step {
        self.find = Some(find);
        self
    }

    /// Says how to remove it.
    pub fn undo(mut self, command: Invocation) -> Step {
        self.undo.push(Undo { command, unless: None });
        self
    }

    /// Says how to remove it as long as `learned` is not known.
    pub fn undo_unless(mut self, learned: &str, command: Invocation) -> Step {
        self.undo.push(Undo { command, unless: Some(learned.into()) });
        self
    }

    /// It makes the image itself.
    pub fn image(mut self) -> Step {
        self.end = End::Image;
        self
    }

    /// The command that it runs.
    pub fn command(&self) -> &Invocation {
        match &self.work {
            Work::Run { command, .. }
            | Work::Wait { command, .. }
            | Work::Count { command, .. }
            | Work::Blocks { command, .. } => command,
        }
    }
}

impl Find {
    /// It is there where the answer says `name` here.
    pub fn new(command: Invocation, name: &str, pick: Pick) -> Find {
        Find { command, learns: vec![(name.into(), pick)], ours: None, whole: None, foreign: Foreign::Stays }
    }

    /// It is ours only where the answer says this.
    pub fn ours(mut self, check: Check) -> Find {
        self.ours = Some(check);
        self
    }

    /// What is not ours gives way.
    pub fn takes_over(mut self) -> Find {
        self.foreign = Foreign::GivesWay;
        self
    }

    /// It is whole only where the answer says this.
    pub fn whole(mut self, check: Check) -> Find {
        self.whole = Some(check);
        self
    }
}

impl Pick {
    /// A JSON pointer.
    pub fn at(pointer: &str) -> Pick {
        Pick::At(pointer.into())
    }
}

impl Check {
    /// The answer must say this text here.
    pub fn is(what: &str, pick: Pick, wanted: impl Into<String>) -> Check {
        Check { what: what.into(), pick, wanted: Wanted::Is(wanted.into()), missing: Missing::Wrong }
    }

    /// It may also say nothing.
    pub fn if_there(mut self) -> Check {
        self.missing = Missing::Fine;
        self
    }
}

/// A word that a POSIX shell reads as it is.
pub fn quoted(word: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "%+,-./:=@_".contains(char);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_a_shell_would_take_it() {
        let command = Invocation::new("aws")
            .args(["ec2", "register-image", "--name", "it's"])
            .arg(Word::from("Ebs={SnapshotId=").then(Word::learned("snapshot")).then("}"))
            .arg("")
            .arg(Word::artifact())
            .option("--no", None::<&str>);
        let mut learned = Learned::new();
        let line = command.line("/r/a b.raw", &learned);
        assert_eq!(line, r"aws ec2 register-image --name 'it'\''s' 'Ebs={SnapshotId=<snapshot>}' '' '/r/a b.raw'");
        assert_eq!(command.words[4].unknown(&learned), Some("snapshot"));
        learned.insert("snapshot".into(), "snap-1".into());
        assert!(command.line("a", &learned).contains("SnapshotId=snap-1"));
        assert_eq!(command.words[4].unknown(&learned), None);
    }
}
