//! `ingot publish`: the frame around the clouds.
//!
//! In: the arguments, the environment for the vendors' programs. Out: ids on stdout, records in the catalog. Each target
//! stands for itself: one that fails keeps no other one back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::build::since_1970;
use super::catalog::CatalogFile;
use super::say::{print_line, say};
use crate::catalog::{Catalog, Publication, Record, State};
use crate::error::{Error, Exit, Result, Warning};
use crate::host::{file, signal};
use crate::publish::attempt::{Attempt, Attempts};
use crate::publish::carry::{Carrier, Patience};
use crate::publish::tool::Tools;
use crate::publish::{self, Image, Parameters, Target};
use crate::release::Released;
use crate::report::{Reporter, Verbosity};

/// `ingot publish`.
#[derive(Debug, Args)]
pub struct PublishArguments {
    /// The folder of a release, as `ingot build --target-dir` wrote it
    #[arg(value_name = "RELEASE", required_unless_present = "abort")]
    pub release: Option<PathBuf>,
    /// Where to (repeat for several): aws:REGION/BUCKET, azure:ACCOUNT/CONTAINER, gce:PROJECT/BUCKET, openstack:CLOUD, registry:HOST/NAME:TAG
    #[arg(long = "to", value_name = "TARGET", required_unless_present = "abort")]
    pub targets: Vec<Target>,
    /// publish.toml, or the folder that holds it; default: the release's folder
    #[arg(long, value_name = "FILE")]
    pub parameters: Option<PathBuf>,
    /// Which file of the release; default: the one whose format the target takes
    #[arg(long, value_name = "NAME")]
    pub artifact: Option<String>,
    /// Print the commands that would be run, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove what unfinished publications made: of this release, to these targets, or all
    #[arg(long)]
    pub abort: bool,
    /// How many blocks of a snapshot are sent at once; default: two per processor, at most 16
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallel: Option<u16>,
    /// How often a temporary failure (429, 500, a broken connection) is tried again
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    pub retries: u32,
    /// Wait before trying again; each time twice as long
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    pub retry_delay: Duration,
    /// Ask the cloud so often how far it is
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub poll: Duration,
    /// Give up waiting for one step (75); the same command goes on from there
    #[arg(long, value_name = "MINUTES", default_value_t = 120)]
    pub patience: u64,
    /// Write what happens to FILE as JSON lines
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Show errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Show every command and what programs print, without secrets
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Where it is recorded.
    #[command(flatten)]
    pub catalog: CatalogFile,
}

fn parse_seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "a number of seconds is needed: 10, 0.5".into())
}

/// Publishes, or removes what was begun.
pub fn run(arguments: &PublishArguments) -> Result<u8> {
    let frame = Frame::new(arguments)?;
    if arguments.abort {
        return frame.abort();
    }
    let Some(folder) = &arguments.release else { return Ok(0) };
    let release = Released::open(folder)?;
    let parameters = Parameters::load(arguments.parameters.as_deref(), folder)?;
    let mut code = 0;
    let mut printed = Ok(());
    for target in &arguments.targets {
        match frame.publish(&release, target, &parameters) {
            Ok(Some(record)) => printed = printed.and(print_line(record.publication.id)),
            Ok(None) => {}
            Err(error) => {
                let error = error.within(format!("publish {} to {target}", folder.display()));
                frame.tools.reporter.failed(None, &error);
                say(&error.text());
                code = if code == 0 { error.exit().code() } else { code };
                signal::check()?;
            }
        }
    }
    printed.map(|()| code)
}

/// What all targets share.
struct Frame<'a> {
    arguments: &'a PublishArguments,
    catalog: PathBuf,
    tools: Tools,
    patience: Patience,
}

impl<'a> Frame<'a> {
    fn new(arguments: &'a PublishArguments) -> Result<Frame<'a>> {
        let verbosity = match (arguments.quiet, arguments.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Everything,
            _ => Verbosity::Steps,
        };
        let events = arguments.events.as_deref().map(file::create).transpose()?;
        let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        signal::note_signals()?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Frame {
            arguments,
            catalog: arguments.catalog.path()?,
            tools: Tools {
                secrets: Tools::secrets_of(&environment),
                environment,
                folder: file::absolute(Path::new("."))?,
                retries: arguments.retries,
                delay: arguments.retry_delay,
                reporter: Reporter::new(verbosity, events, since_1970),
            },
            patience: Patience {
                between: arguments.poll,
                longest: Duration::from_secs(arguments.patience.saturating_mul(60)),
                parallel: arguments.parallel.map_or((2 * processors).min(16), usize::from),
            },
        })
    }

    /// Unfinished publications lie beside the catalog.
    fn attempts(&self) -> PathBuf {
        self.catalog.with_extension("publishing")
    }

    fn publish(&self, release: &Released, target: &Target, parameters: &Parameters) -> Result<Option<Record>> {
        let reporter = &self.tools.reporter;
        let cloud = target.open(parameters);
        let artifact = publish::choose(release, target, cloud.formats(), self.arguments.artifact.as_deref())?;
        reporter.say(&format!("{:>14}  {} to {target}", "publish", artifact.name));
        let step = reporter.step("verify");
        let image = publish::verify(release, artifact, target, cloud.checksums(), &step)?;
        let plan = cloud.plan(&image, &step)?;
        step.finish(&format!("{}, {}  sha256:{:.12}", artifact.format, artifact.size, artifact.sha256));
        if self.arguments.dry_run {
            publish::lines(&plan, &image).iter().try_for_each(print_line)?;
            return Ok(None);
        }
        let mut catalog = Catalog::open_or_create(&self.catalog)?;
        catalog.ready().map_err(|error| error.because("nothing was published"))?;
        let attempts = Attempts::open(&self.attempts())?;
        let _lock = attempts.lock(&image.key)?;
        let attempt = attempts.load(&image.key)?;
        self.remind(&attempts, &image.key, &target.place())?;
        let known = catalog.find(&target.place(), &image.checksums.sha256)?;
        if let Some(record) = known.filter(|record| record.state != State::Deprecated && attempt.is_none()) {
            let id = &record.publication.id;
            reporter.say(&format!("{:>14}  {id} is there already", "publish"));
            if attempts.differs(&image.key, &plan)? {
                reporter.warn(Warning {
                    text: format!(
                        "publish.toml, or this ingot, asks for something else than when {id} was published, which stays \
                         as it is: `ingot catalog deprecate {id}`, then publishing again, does what needs no new image"
                    ),
                    place: None,
                });
            }
            return Ok(Some(record));
        }
        let attempt = match attempt {
            None => {
                let text = target.place();
                let sha256 = &image.checksums.sha256;
                Attempt::new(&image.key, &text, &image.artifact, sha256, plan, since_1970().as_secs())
            }
            Some(begun) if begun.plan == plan => {
                reporter.say(&format!("{:>14}  goes on from an earlier run", "publish"));
                begun
            }
            Some(begun) => return Err(changed(&begun)),
        };
        let mut carrier = self.carrier(&attempts, attempt, &image.path);
        let id = carrier.finish()?;
        let record = catalog
            .record(&publication(release, target, &image, id.clone()))
            .map_err(|error| error.because(format!("{id} is there, and not recorded; the same command records it")))?;
        attempts.note(&image.key, &carrier.attempt.plan)?;
        attempts.remove(&image.key)?;
        reporter.say(&format!("{:>14}  {} is a {}", "catalog", record.publication.id, record.state));
        Ok(Some(record))
    }

    /// Says what earlier runs, perhaps killed ones, have left at this target of other artifacts.
    fn remind(&self, attempts: &Attempts, key: &str, place: &str) -> Result<()> {
        for other in attempts.keys()?.iter().filter(|other| *other != key) {
            // One that cannot be read is no matter of this publication: `--abort` says so.
            let Ok(Some(attempt)) = attempts.load(other) else { continue };
            let made = attempt.made();
            if attempt.target == place && !made.is_empty() {
                let (artifact, made) = (&attempt.artifact, made.join(", "));
                let text = format!(
                    "{artifact} ({:.12}) to {place} is unfinished, or another ingot is at it: {made}; `ingot publish \
                     --abort --to {place}` removes that",
                    attempt.digest
                );
                self.tools.reporter.warn(Warning { text, place: None });
            }
        }
        Ok(())
    }

    fn carrier<'b>(&'b self, attempts: &'b Attempts, attempt: Attempt, artifact: &Path) -> Carrier<'b> {
        Carrier { tools: &self.tools, attempts, attempt, artifact: artifact.into(), patience: self.patience }
    }

    /// Removes what unfinished publications made, and says what that was. 0 also where there is nothing.
    fn abort(&self) -> Result<u8> {
        if !file::is_folder(&self.attempts()) {
            self.tools.reporter.say("nothing is unfinished");
            return Ok(0);
        }
        let attempts = Attempts::open(&self.attempts())?;
        let digests = match &self.arguments.release {
            Some(folder) => {
                Some(Released::open(folder)?.artifacts.into_iter().map(|one| one.sha256).collect::<Vec<_>>())
            }
            None => None,
        };
        let targets: Vec<String> = self.arguments.targets.iter().map(Target::place).collect();
        let meant = |attempt: &Attempt| {
            let digest = digests.as_ref().is_none_or(|digests| digests.contains(&attempt.digest));
            digest && (targets.is_empty() || targets.contains(&attempt.target))
        };
        // One that cannot be removed keeps none of the others.
        let (mut none, mut code) = (true, 0);
        for key in attempts.keys()? {
            match self.abort_one(&attempts, &key, &meant) {
                Ok(found) => none &= !found,
                Err(error) => {
                    none = false;
                    self.tools.reporter.failed(None, &error);
                    say(&error.text());
                    code = if code == 0 { error.exit().code() } else { code };
                    signal::check()?;
                }
            }
        }
        if none {
            self.tools.reporter.say("nothing is unfinished");
        }
        Ok(code)
    }

    /// Removes what one unfinished publication made, if it is meant; whether it is.
    fn abort_one(&self, attempts: &Attempts, key: &str, meant: &dyn Fn(&Attempt) -> bool) -> Result<bool> {
        let Some(attempt) = attempts.load(key)?.filter(meant) else { return Ok(false) };
        let what = format!("{} to {}", attempt.artifact, attempt.target);
        if self.arguments.dry_run {
            print_line(format_args!("# {what}"))?;
            self.carrier(attempts, attempt, Path::new("")).abort_lines().iter().try_for_each(print_line)?;
            return Ok(true);
        }
        let within = |error: Error| error.within(format!("undo the publication of {what}"));
        let _lock = attempts.lock(key).map_err(within)?;
        // It may have come to its end while we waited for nothing.
        let Some(attempt) = attempts.load(key)? else { return Ok(false) };
        let removed = self.carrier(attempts, attempt, Path::new("")).abort().map_err(within)?;
        let removed = if removed.is_empty() { "nothing was there".into() } else { removed.join(", ") };
        self.tools.reporter.say(&format!("{:>14}  {what}: {removed}", "removed"));
        Ok(true)
    }
}

fn changed(begun: &Attempt) -> Error {
    let made = begun.made();
    let error = Error::cannot(Exit::Configuration, "go on with what was begun")
        .because("publish.toml, or this ingot, asks for something else than the earlier run did");
    let error = if made.is_empty() { error } else { error.because(format!("made so far: {}", made.join(", "))) };
    error.hint(format!("`ingot publish --abort --to {}` removes that; then publish again", begun.target))
}

fn publication(release: &Released, target: &Target, image: &Image, id: String) -> Publication {
    Publication {
        name: release.name.clone(),
        version: release.version.clone(),
        arch: release.arch.clone(),
        description: release.description.clone(),
        packages: release.packages.clone(),
        artifact: image.artifact.clone(),
        digest: image.checksums.sha256.clone(),
        cloud: target.cloud().into(),
        region: target.region(),
        target: target.place(),
        id,
        published: since_1970().as_secs() as i64,
        tool: concat!("ingot ", env!("CARGO_PKG_VERSION")).into(),
    }
}
