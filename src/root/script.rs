//! The scripts of a description: `post_bootstrap.sh`, `config.sh`, `images.sh`, `editbootconfig`, `pre_disk_sync.sh`,
//! `disk.sh`.
//!
//! In: the plan's scripts. Out: whatever they do to the tree, or an error with a script's name, status and last words.
//! They find what KIWI gives them: `/image` with the description, `/.profile` with its variables (which are their
//! environment too) and `/.kconfig` with functions. [`remove_surroundings`] takes all three away after the last script.

use std::os::unix::fs::PermissionsExt;

use super::tree::{RootPath, RootTree};
use crate::error::{Error, Exit, Result, Warning};
use crate::host::file;
use crate::host::program::{Ended, status_text};
use crate::host::sandbox::{Network, Sandbox};
use crate::plan::{NetworkForScripts, Plan, Script, ScriptPhase};
use crate::report::Reporter;

/// The functions that scripts of KIWI descriptions call.
const FUNCTIONS: &str = include_str!("kconfig.sh");
/// Where KIWI puts the description.
const IMAGE: &str = "/image";
const PROFILE: &str = "/.profile";
const KCONFIG: &str = "/.kconfig";
/// How a file ends that lets people in.
const KEYS: &[u8] = b"/.ssh/authorized_keys";
/// How many lines of a failed script's output are shown.
const TAIL: usize = 12;

/// Runs the script of this phase, if the description has one. A script that fails is 65.
pub fn run_script(
    phase: ScriptPhase,
    plan: &Plan,
    tree: &RootTree,
    sandbox: &Sandbox,
    reporter: &Reporter,
) -> Result<()> {
    let Some(script) = plan.root.scripts.iter().find(|script| script.phase == phase) else { return Ok(()) };
    surround(plan, tree)?;
    let name = script.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let path = format!("{IMAGE}/{}", name_of(script));
    let mut sandbox = sandbox.clone().network(match plan.root.network {
        NetworkForScripts::None => Network::None,
        NetworkForScripts::Host => Network::Host,
    });
    for (variable, value) in plan.root.variables.iter().chain(&plan.root.environment) {
        sandbox = sandbox.env(variable, value);
    }
    let executable = tree.entry(&RootPath::new(&path))?.is_some_and(|entry| entry.mode & 0o111 != 0);
    let mut command = match executable {
        true => vec![path],
        false => vec![interpreter(&name, tree, reporter)?, path],
    };
    command.extend(script.arguments.iter().cloned());
    let step = reporter.step("script");
    step.now(&name);
    let ended = sandbox.run_to_end(reporter, &command, |line| step.now(line))?;
    if !ended.status.success() {
        return Err(failed(&name, &ended, plan.root.network));
    }
    step.finish(&name);
    Ok(())
}

/// What functions of `/.kconfig` put there because a script called them, after the last script: keys of accounts, and
/// nothing else, so that no script can talk the scrub into leaving other things.
pub fn asked_for(tree: &RootTree) -> Result<Vec<RootPath>> {
    let noted = tree.read_if_there(&format!("{IMAGE}/.asked-for").as_str().into())?.unwrap_or_default();
    let lines = noted.split(|byte| *byte == b'\n');
    Ok(lines.filter(|line| line.starts_with(b"/") && line.ends_with(KEYS)).map(RootPath::new).collect())
}

/// Removes what scripts found, after the last of them.
pub fn remove_surroundings(tree: &RootTree) -> Result<()> {
    [IMAGE, PROFILE, KCONFIG].iter().try_for_each(|path| tree.remove(&(*path).into()))
}

/// Puts `/image`, `/.profile` and `/.kconfig` into the tree; scripts of later phases find what earlier ones left there.
fn surround(plan: &Plan, tree: &RootTree) -> Result<()> {
    tree.create_folders(&IMAGE.into(), 0o755)?;
    tree.write(&format!("{IMAGE}/config.xml").as_str().into(), file::read(&plan.description_file)?, 0o644)?;
    for script in &plan.root.scripts {
        let target = RootPath::from(IMAGE).join(name_of(script));
        let executable =
            file::metadata(&script.path).is_some_and(|metadata| metadata.permissions().mode() & 0o111 != 0);
        tree.write(&target, file::read(&script.path)?, 0o644)?;
        tree.set_mode(&target, if executable { 0o755 } else { 0o644 })?;
    }
    tree.write(&PROFILE.into(), profile(plan), 0o644)?;
    tree.write(&KCONFIG.into(), FUNCTIONS, 0o644)
}

/// Its name in [`IMAGE`]. What `editbootconfig` names may lie in any folder, and has KIWI's name there.
fn name_of(script: &Script) -> String {
    if script.phase == ScriptPhase::EditBootConfig {
        return "edit_boot_config.sh".to_string();
    }
    script.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// `name='value'` a line, which any shell reads; a quote in a value ends and reopens the quoting.
fn profile(plan: &Plan) -> String {
    let quoted = |value: &str| value.replace('\'', r"'\''");
    plan.root.variables.iter().map(|(name, value)| format!("{name}='{}'\n", quoted(value))).collect()
}

/// What runs a script without the x bit: bash, as with KIWI.
fn interpreter(name: &str, tree: &RootTree, reporter: &Reporter) -> Result<String> {
    if tree.exists(&"/bin/bash".into()) {
        return Ok("/bin/bash".into());
    }
    if tree.exists(&"/bin/sh".into()) {
        let text = format!("{name} is run by /bin/sh: the image has no bash");
        reporter.warn(Warning { text, place: None });
        return Ok("/bin/sh".into());
    }
    Err(Error::cannot(Exit::Description, format!("run {name}"))
        .because("the image has no shell")
        .hint("install `bash` or `dash`, or remove the script from the description"))
}

fn failed(name: &str, ended: &Ended, network: NetworkForScripts) -> Error {
    let said = [ended.output.stdout.as_slice(), ended.output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said);
    let what = match ended.status.code() {
        Some(code) => format!("{name} exited with status {code}"),
        None => format!("{name} was {}", status_text(ended.status)),
    };
    let shown = if ended.output.stderr.trim_ascii().is_empty() { &ended.output.stdout } else { &ended.output.stderr };
    let shown = String::from_utf8_lossy(shown);
    let lines: Vec<&str> = shown.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].iter().map(|line| format!("| {line}\n")).collect::<String>();
    let error = Error::new(Exit::Description, what);
    let error = if tail.is_empty() { error.because("it said nothing") } else { error.because(tail) };
    let offline = ["Temporary failure in name resolution", "Could not resolve", "Network is unreachable"];
    let hint = if network == NetworkForScripts::None && offline.iter().any(|words| said.contains(words)) {
        "scripts have no network, so that builds can be repeated; `--network-for-scripts` gives them the host's"
    } else if ended.status.code() == Some(127) {
        "a program that the script calls is not in the image: add its package to the description"
    } else {
        "`set -x` at the script's top shows in the log which command failed"
    };
    error.hint(hint)
}
