//! Carrying a plan out, from where an earlier run left off, and undoing it.
//!
//! In: an [`Attempt`]. Out: the image's id, or an error that names what was made so far. Before a step that makes something
//! the attempt is on the disk; where an answer was lost, the cloud is asked what is there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::answer;
use super::attempt::{Attempt, Attempts, Begun};
use super::blocks;
use super::checksum::base64;
use super::step::{Check, End, Find, Foreign, Invocation, Pick, Piece, Step, Verb, Word, Work};
use super::tool::{Answer, Failure, Tools, pause};
use super::trouble::Trouble;
use crate::error::{Error, Exit, OrCannot, Result};
use crate::host::file;
use crate::host::lock;
use crate::report;

/// Prefix of the folder in which blocks lie while they are sent.
const PREFIX: &str = ".blocks-";

/// How many blocks one process sends at most.
const BATCH: usize = 32;

/// How patient we are.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two questions.
    pub between: Duration,
    /// In all, for one step.
    pub longest: Duration,
    /// How many blocks are sent at once.
    pub parallel: usize,
}

/// One publication under way.
pub struct Carrier<'a> {
    /// How programs are run.
    pub tools: &'a Tools,
    /// Where attempts are kept.
    pub attempts: &'a Attempts,
    /// This one.
    pub attempt: Attempt,
    /// The artifact's path; only undoing needs none.
    pub artifact: PathBuf,
    /// How long to wait.
    pub patience: Patience,
}

/// Somebody else's thing has the name that ours shall have.
fn foreign(what: &str) -> Error {
    Error::new(Exit::CannotCreate, format!("{what} is there already, and is not of this publication"))
        .hint("`name` in publish.toml gives another name; or remove what is there")
}

/// What is found of what a step made.
enum Found {
    Nothing,
    /// Something of that name is there, which somebody else made.
    Foreign,
    /// It is ours and not whole.
    Part,
    Whole,
}

impl Carrier<'_> {
    /// Does what is not done yet; returns the image's id.
    pub fn finish(&mut self) -> Result<String> {
        self.carry_on().map_err(|error| self.with_what_was_made(error))?;
        Ok(self.attempt.plan.id.shown("", &self.attempt.learned))
    }

    fn with_what_was_made(&self, error: Error) -> Error {
        let made = self.attempt.made();
        if made.is_empty() {
            return error.because("nothing was made there");
        }
        let abort = format!("`ingot publish --abort --to {}` removes it", self.attempt.target);
        let error = error.because(format!("made so far: {}; {abort}", made.join(", ")));
        error.hint("the same command goes on from there")
    }

    fn carry_on(&mut self) -> Result<()> {
        let mut asked = self.attempt.done > 0 || self.attempt.begun == Begun::Perhaps;
        while !self.attempt.is_done() {
            let step = self.attempt.plan.steps[self.attempt.done].clone();
            if step.makes.is_some() && !asked {
                asked = true;
                if self.find_image()? {
                    continue;
                }
            }
            self.step(&step)?;
        }
        Ok(())
    }

    /// Whether the image is there already, though nothing here knows of it; then everything up to it is done.
    fn find_image(&mut self) -> Result<bool> {
        let steps = &self.attempt.plan.steps;
        let Some(index) = steps.iter().position(|step| step.end == End::Image) else { return Ok(false) };
        let Some(find) = steps[index].find.clone() else { return Ok(false) };
        let what = self.made(&steps[index].clone());
        match self.find(&find)? {
            Found::Whole => {
                self.attempt.done = index + 1;
                self.attempts.save(&self.attempt)?;
                Ok(true)
            }
            Found::Foreign if find.foreign == Foreign::Stays => Err(foreign(&what)),
            Found::Foreign | Found::Part | Found::Nothing => Ok(false),
        }
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let shown = self.tools.reporter.step(step.verb.name());
        if self.attempt.begun == Begun::Perhaps && self.is_there_already(step)? {
            shown.finish(&format!("{}: found", self.made(step)));
            return self.done();
        }
        if step.makes.is_some() {
            self.attempt.begun = Begun::Perhaps;
            self.attempts.save(&self.attempt)?;
        }
        match &step.work {
            Work::Run { command, learns, checks } => {
                let answer = match self.call(command, &shown) {
                    // What is to be removed and is not there is as it should be.
                    Err(failure) if step.verb == Verb::Tidy && failure.trouble == Trouble::Missing => None,
                    answer => Some(answer?),
                };
                if let Some(answer) = answer {
                    self.learn(&answer, learns, command)?;
                    self.check(&answer, checks)?;
                }
            }
            Work::Wait { command, pick, until, never, learns } => {
                let answer = self.wait(command, pick, (until, never), &shown)?;
                self.learn(&answer, learns, command)?;
            }
            Work::Count { command, what, list, next, option, wanted } => {
                let count = self.count(command, (list, next, option), *wanted, &shown)?;
                if count != *wanted {
                    let differs = format!("what was uploaded is not what was sent: the {what} differs");
                    let error = Error::new(Exit::Integrity, differs);
                    return Err(error.because(format!("there: {count}\nhere:  {wanted}")));
                }
            }
            Work::Blocks { command, count } => self.send_blocks(command, *count, &shown)?,
        }
        let summary = match &step.work {
            Work::Run { checks, .. } if !checks.is_empty() => {
                let names: Vec<&str> = checks.iter().map(|check| check.what.as_str()).collect();
                format!("the same there: {}", names.join(", "))
            }
            Work::Wait { until, .. } => until.join(" or "),
            Work::Count { what, .. } => format!("the same there: {what}"),
            Work::Blocks { count, .. } => format!("{count} blocks of 512 KiB"),
            Work::Run { .. } => self.made(step),
        };
        shown.finish(&summary);
        self.done()
    }

    fn made(&self, step: &Step) -> String {
        step.makes.as_ref().map(|made| made.shown("", &self.attempt.learned)).unwrap_or_default()
    }

    fn done(&mut self) -> Result<()> {
        self.attempt.done += 1;
        self.attempt.begun = Begun::No;
        self.attempts.save(&self.attempt)
    }

    /// Asks for what an interrupted step may have made. What is ours and half is removed.
    fn is_there_already(&mut self, step: &Step) -> Result<bool> {
        let Some(find) = &step.find else { return Ok(false) };
        match self.find(find)? {
            Found::Whole => Ok(true),
            Found::Foreign if find.foreign == Foreign::Stays => Err(foreign(&self.made(step))),
            Found::Nothing | Found::Foreign => Ok(false),
            Found::Part => {
                self.undo(step)?;
                Ok(false)
            }
        }
    }

    fn find(&mut self, find: &Find) -> Result<Found> {
        let answer = match self.ask(&find.command) {
            Err(failure) if failure.trouble == Trouble::Missing => return Ok(Found::Nothing),
            answer => answer?,
        };
        let first = find.learns.first().and_then(|(_, pick)| answer::pick(&answer.stdout, pick));
        if first.is_none() {
            return Ok(Found::Nothing);
        }
        let holds = |check: &Option<Check>| {
            let Some(check) = check else { return Ok(true) };
            Ok::<_, Error>(answer::holds(&answer.stdout, check, &self.artifact, &self.attempt.learned)?.0)
        };
        if !holds(&find.ours)? {
            return Ok(Found::Foreign);
        }
        let whole = holds(&find.whole)?;
        for (name, pick) in &find.learns {
            if let Some(text) = answer::pick(&answer.stdout, pick) {
                self.attempt.learned.insert(name.clone(), text);
            }
        }
        Ok(if whole { Found::Whole } else { Found::Part })
    }

    fn learn(&mut self, answer: &Answer, learns: &[(String, Pick)], command: &Invocation) -> Result<()> {
        for (name, pick) in learns {
            let Some(text) = answer::pick(&answer.stdout, pick) else {
                let line = command.line("ARTIFACT", &self.attempt.learned);
                return Err(Error::new(Exit::Io, format!("`{line}` did not tell the {name}")));
            };
            self.attempt.learned.insert(name.clone(), text);
        }
        Ok(())
    }

    fn check(&self, answer: &Answer, checks: &[Check]) -> Result<()> {
        checks.iter().try_for_each(|check| answer::check(&answer.stdout, check, &self.artifact, &self.attempt.learned))
    }

    fn wait(
        &self,
        command: &Invocation,
        pick: &Pick,
        (until, never): (&[String], &[String]),
        shown: &report::Step,
    ) -> Result<Answer> {
        let begun = Instant::now();
        loop {
            let answer = self.call(command, shown)?;
            let said = answer::pick(&answer.stdout, pick).unwrap_or_default();
            if until.contains(&said) {
                return Ok(answer);
            }
            if never.contains(&said) {
                let text = String::from_utf8_lossy(&answer.stdout).into_owned();
                let lines: Vec<&str> = text.lines().filter(|line| line.to_lowercase().contains("message")).collect();
                let error = Error::new(Exit::Io, format!("the cloud gave up: {said}"));
                return Err(lines.iter().fold(error, |error, line| error.because(line.trim())));
            }
            if begun.elapsed() > self.patience.longest {
                return Err(Error::new(Exit::Temporary, format!("the cloud still says `{said}`"))
                    .because(format!("after {} minutes", self.patience.longest.as_secs() / 60)));
            }
            shown.now(&said);
            pause(self.patience.between)?;
        }
    }

    /// The members of a list, page after page; ends early where there are too many.
    fn count(
        &self,
        command: &Invocation,
        (list, next, option): (&str, &str, &str),
        wanted: usize,
        shown: &report::Step,
    ) -> Result<usize> {
        let begun = Instant::now();
        let (mut page, mut count) = (command.clone(), 0);
        loop {
            let answer = self.call(&page, shown)?;
            let Some(length) = answer::length(&answer.stdout, list) else {
                let line = page.line("ARTIFACT", &self.attempt.learned);
                return Err(Error::new(Exit::Io, format!("`{line}` told no list")));
            };
            count += length;
            let Some(token) = answer::pick(&answer.stdout, &Pick::at(next)) else { return Ok(count) };
            if count > wanted {
                return Ok(count);
            }
            if begun.elapsed() > self.patience.longest {
                return Err(Error::new(Exit::Temporary, "the list that the cloud tells has no end"));
            }
            page = command.clone().args([option, &token]);
        }
    }

    /// The arguments, with everything known put in. 70 where something is not.
    fn words(&self, command: &Invocation) -> Result<Vec<String>> {
        command.words.iter().map(|word| self.word(word)).collect()
    }

    fn word(&self, word: &Word) -> Result<String> {
        match word.unknown(&self.attempt.learned) {
            Some(name) => Err(Error::cannot(Exit::Bug, format!("run a command without knowing the {name}"))),
            None => Ok(word.shown(&self.artifact.to_string_lossy(), &self.attempt.learned)),
        }
    }

    fn call(&self, command: &Invocation, shown: &report::Step) -> Result<Answer, Failure> {
        self.tools.call(&command.program, &self.words(command)?, &|line| shown.now(line))
    }

    fn ask(&self, command: &Invocation) -> Result<Answer, Failure> {
        self.tools.call(&command.program, &self.words(command)?, &|_| {})
    }

    fn send_blocks(&self, command: &Invocation, count: usize, shown: &report::Step) -> Result<()> {
        let snapshot = self.attempt.learned.get("snapshot").cloned().unwrap_or_default();
        let all = blocks::of(&self.artifact, shown)?;
        if all.len() != count {
            return Err(Error::new(Exit::Integrity, format!("{} changed meanwhile", self.artifact.display())));
        }
        let sent = self.attempts.blocks(&self.attempt.key, &snapshot)?;
        let left: Vec<u64> = all.iter().map(|block| block.index).filter(|index| !sent.has(*index)).collect();
        shown.total(count as u64);
        shown.advance((count - left.len()) as u64, 0);
        // What an interrupted run left there is swept.
        lock::sweep(self.attempts.folder(), PREFIX)?;
        let (folder, _lock) = lock::create_locked(self.attempts.folder(), PREFIX)?;
        let workers = self.patience.parallel.min(left.len());
        let batches: Vec<&[u64]> = left.chunks(left.len().div_ceil(workers.max(1)).clamp(1, BATCH)).collect();
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None::<Error>));
        let disk = file::open(&self.artifact)?;
        let work = |worker: usize| -> Result<()> {
            let folder = folder.join(worker.to_string());
            file::create_folder(&folder)?;
            let held = |failed: &Mutex<Option<Error>>| failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::SeqCst)).filter(|_| !held(&failed)) {
                let mut calls = Vec::new();
                for (number, index) in batch.iter().enumerate() {
                    let path = folder.join(number.to_string());
                    let block =
                        blocks::read(&disk, *index).or_cannot(|| format!("read {}", self.artifact.display()))?;
                    file::write(&path, &block)?;
                    calls.push(self.block_words(command, *index, &base64(&Sha256::digest(&block)), &path)?);
                }
                self.tools.call_each(&command.program, &calls, &|done| {
                    shown.advance(1, blocks::SIZE);
                    batch.get(done - 1).map_or(Ok(()), |index| sent.add(*index))
                })?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            for worker in 0..workers {
                let (work, failed) = (&work, &failed);
                scope.spawn(move || {
                    if let Err(error) = work(worker) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                });
            }
        });
        let removed = file::remove_tree(&folder);
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => removed,
        }
    }

    fn block_words(&self, command: &Invocation, index: u64, checksum: &str, path: &Path) -> Result<Vec<String>> {
        let piece = |piece: &Piece| match piece {
            Piece::BlockIndex => Piece::Text(index.to_string()),
            Piece::BlockChecksum => Piece::Text(checksum.into()),
            Piece::BlockFile => Piece::Text(path.to_string_lossy().into_owned()),
            other => other.clone(),
        };
        command.words.iter().map(|word| self.word(&Word(word.0.iter().map(piece).collect()))).collect()
    }

    /// Removes what was made, last things first, and forgets the attempt. Returns what was removed.
    pub fn abort(&mut self) -> Result<Vec<String>> {
        let begun = self.attempt.done + usize::from(self.attempt.begun == Begun::Perhaps);
        let mut removed = Vec::new();
        // One step that cannot be undone keeps none of the others: what is left stays in the attempt's file.
        let mut failed = None;
        for index in (0..begun.min(self.attempt.plan.steps.len())).rev() {
            let step = self.attempt.plan.steps[index].clone();
            if step.undo.is_empty() {
                continue;
            }
            let found = match &step.find {
                Some(find) if index == self.attempt.done => self.find(find).map(Some),
                _ => Ok(None),
            };
            let undone = match found {
                Ok(Some(Found::Nothing | Found::Foreign)) if !self.undo_names_it(&step) => Ok(false),
                Ok(_) => self.undo(&step),
                Err(error) => Err(error),
            };
            match undone {
                Ok(true) => removed.push(self.made(&step)),
                Ok(false) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            return Err(match removed.is_empty() {
                true => error,
                false => error.because(format!("removed all the same: {}", removed.join(", "))),
            });
        }
        self.attempts.remove(&self.attempt.key)?;
        Ok(removed)
    }

    /// Whether what the step makes has a name that only it can have, so that it may be removed without being found:
    /// an object named by its content.
    fn undo_names_it(&self, step: &Step) -> bool {
        step.verb == Verb::Upload && step.find.as_ref().is_some_and(|find| find.ours.is_none())
    }

    /// Runs what removes it; whether any of it removed something.
    fn undo(&self, step: &Step) -> Result<bool> {
        let mut removed = false;
        for undo in &step.undo {
            let learned = &self.attempt.learned;
            let needless = undo.unless.as_ref().is_some_and(|name| learned.contains_key(name));
            let known = undo.command.words.iter().all(|word| word.unknown(learned).is_none());
            if needless || !known {
                continue;
            }
            match self.ask(&undo.command) {
                Err(failure) if failure.trouble == Trouble::Missing => {}
                answer => {
                    answer?;
                    removed = true;
                }
            }
        }
        Ok(removed)
    }

    /// The commands that [`Carrier::abort`] would run, as far as they are known.
    pub fn abort_lines(&self) -> Vec<String> {
        let begun = self.attempt.done + usize::from(self.attempt.begun == Begun::Perhaps);
        let steps = self.attempt.plan.steps.iter().take(begun).rev();
        let undos = steps.flat_map(|step| &step.undo);
        undos.map(|undo| undo.command.line("ARTIFACT", &self.attempt.learned)).collect()
    }
}
