//! `<users>`: groups, users, their passwords and homes.
//!
//! In: the plan's users. Out: account databases and homes in the tree. Passwords are salted from the plan's seed and
//! dated with the image's day, so that the same description gives the same bytes. Never starts a program.

use std::collections::BTreeSet;

use sha_crypt::{PasswordHasher, ShaCrypt};

use super::account::{Account, Accounts, Change};
use super::tree::{Kind, RootPath, RootTree};
use crate::error::{Error, Exit, Result, Warning};
use crate::plan::{Password, Plan, User};
use crate::report::Reporter;

const SECONDS_PER_DAY: i64 = 86_400;
/// Homes that are part of the system: what is in them never changes its owner.
const SYSTEM: [&str; 14] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys", "/tmp",
    "/usr",
];
/// As [`SYSTEM`], but what is below them may be a home.
const PARENTS: [&str; 9] = ["/", "/home", "/media", "/mnt", "/opt", "/srv", "/var", "/var/lib", "/var/log"];

/// Login names whose password the description sets.
pub fn passwords(plan: &Plan) -> BTreeSet<String> {
    plan.root.users.iter().filter(|user| user.password.is_some()).map(|user| user.name.clone()).collect()
}

/// Makes the groups of all users, then the users, as KIWI does. `epoch` in seconds since 1970.
pub(super) fn set_up(
    plan: &Plan,
    tree: &RootTree,
    epoch: i64,
    described: &mut BTreeSet<RootPath>,
    reporter: &Reporter,
) -> Result<()> {
    if plan.root.users.is_empty() {
        return Ok(());
    }
    let mut accounts = Accounts::read(tree)?;
    for user in &plan.root.users {
        for group in &user.groups {
            accounts.ensure_group(&group.name, group.gid).map_err(|error| error.at(user.place.clone()))?;
        }
    }
    let mut homes = Vec::new();
    for user in &plan.root.users {
        let set = set_one(user, plan, &mut accounts, epoch).map_err(|error| error.at(user.place.clone()));
        homes.push((user, set?));
    }
    accounts.write(tree)?;
    for (user, new) in homes {
        if let Some(account) = accounts.user(&user.name).filter(|_| new || user.home.is_some()) {
            let mode = accounts.limits().home_mode;
            make_home(user, &account, mode, tree, described, reporter).map_err(|error| error.at(user.place.clone()))?;
        }
        warn_of_shell(user, tree, reporter);
    }
    Ok(())
}

/// Whether the user is new.
fn set_one(user: &User, plan: &Plan, accounts: &mut Accounts, epoch: i64) -> Result<bool> {
    let hash = match &user.password {
        None => None,
        Some(Password::Encrypted(hash)) => Some(hash.clone()),
        Some(Password::Plain(password)) => Some(hashed(password, &user.name, plan)?),
    };
    let mut groups = user.groups.iter().map(|group| group.name.as_str());
    let change = Change {
        hash,
        uid: user.uid,
        primary: groups.next(),
        others: groups.collect(),
        real_name: user.real_name.as_deref(),
        home: user.home.as_deref(),
        shell: user.shell.as_deref(),
    };
    accounts.set_user(&user.name, &change, epoch.div_euclid(SECONDS_PER_DAY))
}

/// SHA-512 crypt (crypt(5)) with a salt that only the seed and the user's name decide.
fn hashed(password: &str, name: &str, plan: &Plan) -> Result<String> {
    let salt = plan.seed.bytes(&format!("password of {name}"));
    // Twelve bytes are the sixteen characters that crypt(5) takes.
    let hash = ShaCrypt::SHA512.hash_password_with_salt(password.as_bytes(), &salt[..12]);
    hash.map(|hash| hash.as_str().to_string())
        .map_err(|error| Error::cannot(Exit::Description, format!("hash the password of `{name}`")).because(error))
}

/// Makes a home from /etc/skel, or gives an existing one (an overlay's) to its user.
fn make_home(
    user: &User,
    account: &Account,
    mode: u32,
    tree: &RootTree,
    described: &mut BTreeSet<RootPath>,
    reporter: &Reporter,
) -> Result<()> {
    let home = RootPath::new(&account.home);
    if !account.home.starts_with('/') || account.home == "/nonexistent" {
        return Ok(());
    }
    if !tree.exists(&home) {
        tree.create_folders(&home, 0o755)?;
        copy_skeleton(&home, tree, described)?;
        tree.set_mode(&home, mode)?;
    } else if account.uid == 0 {
        return Ok(());
    }
    let system = SYSTEM.iter().any(|folder| home.is_below(&(*folder).into()));
    if system || PARENTS.iter().any(|folder| home == (*folder).into()) {
        let text = format!("the home of `{}` is {home}, a folder of the system: its owner stays", user.name);
        reporter.warn(Warning { text, place: Some(user.place.clone()) });
        return Ok(());
    }
    for entry in tree.walk(&home)? {
        tree.set_owner(&entry.path, account.uid, account.gid)?;
        // chown(2) clears these bits.
        if entry.mode & 0o6000 != 0 && !matches!(entry.kind, Kind::Symlink(_)) {
            tree.set_mode(&entry.path, entry.mode)?;
        }
        described.insert(entry.path);
    }
    Ok(())
}

fn copy_skeleton(home: &RootPath, tree: &RootTree, described: &mut BTreeSet<RootPath>) -> Result<()> {
    let skeleton = RootPath::from("/etc/skel");
    for entry in tree.walk(&skeleton)?.into_iter().skip(1) {
        let target = home.join(&entry.path.as_bytes()[skeleton.as_bytes().len()..]);
        match &entry.kind {
            Kind::Folder => tree.create_folders(&target, entry.mode)?,
            Kind::Symlink(link) => tree.symlink(link, &target)?,
            Kind::File => tree.write(&target, tree.read(&entry.path)?, entry.mode)?,
            // useradd(8) copies nothing else.
            _ => continue,
        }
        tree.set_mtime(&target, entry.mtime)?;
        described.insert(target);
    }
    Ok(())
}

fn warn_of_shell(user: &User, tree: &RootTree, reporter: &Reporter) {
    if let Some(shell) = user.shell.as_ref().filter(|shell| !shell.is_empty() && !tree.exists(&RootPath::new(shell))) {
        let text = format!("the image has no {shell}, the shell of `{}`", user.name);
        reporter.warn(Warning { text, place: Some(user.place.clone()) });
    }
}
