//! The account databases of the image: passwd(5), shadow(5), group(5), gshadow(5), subuid(5).
//!
//! In: the four files of a tree. Out: the same with users and groups added or changed, every other line as it was.
//! Never runs the image's useradd: it may have none, and it writes the day of the build into shadow.

use super::tree::{RootPath, RootTree};
use crate::error::{Error, Exit, Result};

/// Ids of people (login.defs(5): UID_MIN, UID_MAX).
const FIRST: u32 = 1000;
const LAST: u32 = 60_000;
/// What useradd(8) gives each user for user namespaces, and where it starts.
const SUBORDINATE: u32 = 65_536;
const FIRST_SUBORDINATE: u32 = 100_000;

/// The account databases, in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts {
    passwd: Table,
    shadow: Table,
    group: Table,
    gshadow: Table,
    subuid: Option<Table>,
    subgid: Option<Table>,
    limits: Limits,
}

/// Lines of colon-separated fields; a line that is none (a comment, NIS's `+`) is kept as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    rows: Vec<Vec<String>>,
}

/// What the image's login.defs(5) and useradd's defaults say.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    uid: (u32, u32),
    gid: (u32, u32),
    /// Mode of a new home.
    pub home_mode: u32,
    /// Whether each user gets a group of its own.
    user_groups: bool,
    /// The shell of a user who has none in the description.
    pub shell: String,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { uid: (FIRST, LAST), gid: (FIRST, LAST), home_mode: 0o755, user_groups: true, shell: "/bin/sh".into() }
    }
}

/// A user as the databases have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// User id.
    pub uid: u32,
    /// Id of the primary group.
    pub gid: u32,
    /// Home folder.
    pub home: String,
}

/// What becomes of a user; `None` leaves a field as it is, or as useradd's default has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Change<'a> {
    /// A crypt(5) hash.
    pub hash: Option<String>,
    /// Demanded id.
    pub uid: Option<u32>,
    /// Primary group, which exists.
    pub primary: Option<&'a str>,
    /// Other groups, which exist.
    pub others: Vec<&'a str>,
    /// Full name.
    pub real_name: Option<&'a str>,
    /// Home folder.
    pub home: Option<&'a str>,
    /// Login shell.
    pub shell: Option<&'a str>,
}

impl Accounts {
    /// Reads the databases; a file that is missing is an empty one.
    pub fn read(tree: &RootTree) -> Result<Accounts> {
        let read = |path: &str| -> Result<Option<Table>> {
            let Some(content) = tree.read_if_there(&path.into())? else { return Ok(None) };
            let text = String::from_utf8(content).map_err(|error| {
                Error::cannot(Exit::Description, format!("change {path} of the image")).because(error)
            })?;
            Ok(Some(Table::parse(&text)))
        };
        let definitions = tree.read_if_there(&"/etc/login.defs".into())?.unwrap_or_default();
        let defaults = tree.read_if_there(&"/etc/default/useradd".into())?.unwrap_or_default();
        Ok(Accounts {
            passwd: read("/etc/passwd")?.unwrap_or_default(),
            shadow: read("/etc/shadow")?.unwrap_or_default(),
            group: read("/etc/group")?.unwrap_or_default(),
            gshadow: read("/etc/gshadow")?.unwrap_or_default(),
            subuid: read("/etc/subuid")?,
            subgid: read("/etc/subgid")?,
            limits: Limits::parse(&String::from_utf8_lossy(&definitions), &String::from_utf8_lossy(&defaults)),
        })
    }

    /// Writes the databases back; new ones get the modes that Debian gives them.
    pub fn write(&self, tree: &RootTree) -> Result<()> {
        let shadow_group = self.gid("shadow").unwrap_or(0);
        let tables = [
            ("/etc/passwd", Some(&self.passwd), 0o644),
            ("/etc/group", Some(&self.group), 0o644),
            ("/etc/shadow", Some(&self.shadow), 0o640),
            ("/etc/gshadow", Some(&self.gshadow), 0o640),
            ("/etc/subuid", self.subuid.as_ref(), 0o644),
            ("/etc/subgid", self.subgid.as_ref(), 0o644),
        ];
        for (path, table, mode) in tables {
            let path = RootPath::from(path);
            let Some(table) = table else { continue };
            let new = !tree.exists(&path);
            if table.rows.is_empty() && new {
                continue;
            }
            tree.write(&path, table.text(), mode)?;
            if new && mode == 0o640 {
                tree.set_owner(&path, 0, shadow_group)?;
            }
        }
        Ok(())
    }

    /// What login.defs says.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<Account> {
        let row = self.passwd.row(name)?;
        Some(Account { uid: number(row, 2)?, gid: number(row, 3)?, home: row.get(5)?.clone() })
    }

    /// The id of a group.
    pub fn gid(&self, name: &str) -> Option<u32> {
        number(self.group.row(name)?, 2)
    }

    /// `user`, `user:group`, names or numbers; a user's own primary group where no group is said (as in chown(1), with
    /// the colon). 65 for a name that the image does not have.
    pub fn owner(&self, owner: &str) -> Result<(u32, u32)> {
        let unknown = |what: &str, name: &str| {
            Error::cannot(Exit::Description, format!("give a file to {owner}"))
                .because(format!("the image has no {what} `{name}`"))
        };
        let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
        let account = self.user(user);
        let uid = account.as_ref().map(|account| account.uid).or_else(|| user.parse().ok());
        let uid = if user.is_empty() { Some(0) } else { uid }.ok_or_else(|| unknown("user", user))?;
        let gid = match group {
            "" => account.map_or(0, |account| account.gid),
            group => self.gid(group).or_else(|| group.parse().ok()).ok_or_else(|| unknown("group", group))?,
        };
        Ok((uid, gid))
    }

    /// Makes the group unless there is one, with `gid` where one is demanded.
    pub fn ensure_group(&mut self, name: &str, gid: Option<u32>) -> Result<u32> {
        let refuse = |why: String| Error::cannot(Exit::Description, format!("make the group `{name}`")).because(why);
        check_name(name).map_err(|why| refuse(why.into()))?;
        match (self.gid(name), gid) {
            (Some(there), Some(wanted)) if there != wanted => {
                return Err(refuse(format!("the image has it with gid {there}, not {wanted}")));
            }
            (Some(there), _) => return Ok(there),
            (None, Some(wanted)) => {
                if let Some(other) = self.group.holder(2, wanted) {
                    return Err(refuse(format!("gid {wanted} belongs to `{other}`")));
                }
            }
            (None, None) => {}
        }
        let gid = gid.or_else(|| self.group.free(2, self.limits.gid)).ok_or_else(|| refuse("no id is free".into()))?;
        self.group.rows.push(row([name, "x", &gid.to_string(), ""]));
        self.gshadow.rows.push(row([name, "!", "", ""]));
        Ok(gid)
    }

    /// Makes or changes a user; `day` is the day of the last change of the password, since 1970. Whether it is new.
    pub fn set_user(&mut self, name: &str, change: &Change<'_>, day: i64) -> Result<bool> {
        let refuse = |why: String| Error::cannot(Exit::Description, format!("make the user `{name}`")).because(why);
        check_name(name).map_err(|why| refuse(why.into()))?;
        let fields = [change.real_name, change.home, change.shell, change.hash.as_deref()];
        if fields.iter().flatten().any(|field| field.contains([':', '\n', '\0'])) {
            return Err(refuse("a colon or a newline would begin another field of /etc/passwd".into()));
        }
        if let Some(wanted) = change.uid
            && let Some(other) = self.passwd.holder(2, wanted)
            && other != name
        {
            return Err(refuse(format!("uid {wanted} belongs to `{other}`")));
        }
        let new = self.passwd.row(name).is_none();
        if new {
            let uid = change.uid.or_else(|| self.passwd.free(2, self.limits.uid));
            let uid = uid.ok_or_else(|| refuse("no id is free".into()))?;
            let gid = match change.primary {
                Some(group) => self.gid(group).unwrap_or(0),
                None => self.own_group(name, uid)?,
            };
            let (uid, gid, home) = (uid.to_string(), gid.to_string(), format!("/home/{name}"));
            self.passwd.rows.push(row([name, "x", &uid, &gid, "", &home, &self.limits.shell]));
            self.give_subordinates(name);
        }
        if self.shadow.row(name).is_none() {
            self.shadow.rows.push(row([name, "!", &day.to_string(), "0", "99999", "7", "", "", ""]));
        }
        let gid = change.primary.and_then(|group| self.gid(group)).map(|gid| gid.to_string());
        let uid = change.uid.map(|uid| uid.to_string());
        let passwd =
            [(2, uid.as_deref()), (3, gid.as_deref()), (4, change.real_name), (5, change.home), (6, change.shell)];
        self.passwd.set(name, &passwd);
        if let Some(hash) = &change.hash {
            // The hash belongs into shadow, wherever it was.
            self.passwd.set(name, &[(1, Some("x"))]);
            self.shadow.set(name, &[(1, Some(hash)), (2, Some(&day.to_string()))]);
        }
        for group in &change.others {
            self.group.add_member(group, name);
            self.gshadow.add_member(group, name);
        }
        Ok(new)
    }

    /// The primary group of a user for whom the description names none.
    fn own_group(&mut self, name: &str, uid: u32) -> Result<u32> {
        /// `users` (useradd(8): GROUP).
        const USERS: u32 = 100;
        if !self.limits.user_groups {
            return Ok(USERS);
        }
        let free = self.gid(name).is_none() && self.group.holder(2, uid).is_none();
        self.ensure_group(name, free.then_some(uid))
    }

    fn give_subordinates(&mut self, name: &str) {
        for table in [&mut self.subuid, &mut self.subgid].into_iter().flatten() {
            let end = |row: &Vec<String>| Some(number(row, 1)?.saturating_add(number(row, 2)?));
            let start = table.rows.iter().filter_map(end).max().unwrap_or(0).max(FIRST_SUBORDINATE);
            if table.row(name).is_none() {
                table.rows.push(row([name, &start.to_string(), &SUBORDINATE.to_string()]));
            }
        }
    }
}

fn row<const N: usize>(fields: [&str; N]) -> Vec<String> {
    fields.map(str::to_string).to_vec()
}

fn number(row: &[String], field: usize) -> Option<u32> {
    row.get(field)?.parse().ok()
}

/// What useradd(8) accepts, and nothing that breaks the files.
fn check_name(name: &str) -> std::result::Result<(), &'static str> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-$".contains(&byte));
    if first && rest && name.len() <= 32 {
        Ok(())
    } else {
        Err("a name begins with a letter or `_` and goes on with letters, digits, `_`, `-` and `.`, 32 at most")
    }
}

impl Table {
    fn parse(text: &str) -> Table {
        Table { rows: text.lines().map(|line| line.split(':').map(str::to_string).collect()).collect() }
    }

    fn text(&self) -> String {
        self.rows.iter().map(|row| row.join(":") + "\n").collect()
    }

    fn row(&self, name: &str) -> Option<&Vec<String>> {
        self.rows.iter().find(|row| row.len() > 1 && row[0] == name)
    }

    fn set(&mut self, name: &str, fields: &[(usize, Option<&str>)]) {
        for row in self.rows.iter_mut().filter(|row| row.len() > 1 && row[0] == name) {
            for (field, value) in fields.iter().filter_map(|(field, value)| Some((*field, (*value)?))) {
                if row.len() <= field {
                    row.resize(field + 1, String::new());
                }
                row[field] = value.to_string();
            }
        }
    }

    fn add_member(&mut self, group: &str, name: &str) {
        for row in self.rows.iter_mut().filter(|row| row.len() > 1 && row[0] == group) {
            row.resize(4, String::new());
            if !row[3].split(',').any(|member| member == name) {
                row[3] = if row[3].is_empty() { name.to_string() } else { format!("{},{name}", row[3]) };
            }
        }
    }

    fn holder(&self, field: usize, id: u32) -> Option<&str> {
        self.rows.iter().find(|row| number(row, field) == Some(id)).map(|row| row[0].as_str())
    }

    fn free(&self, field: usize, (first, last): (u32, u32)) -> Option<u32> {
        (first..=last).find(|id| self.holder(field, *id).is_none())
    }
}

impl Limits {
    fn parse(definitions: &str, defaults: &str) -> Limits {
        let word = |name: &str| {
            let lines = definitions.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            lines
                .filter(|words| words.first() == Some(&name))
                .find_map(|words| words.get(1).map(|word| word.to_string()))
        };
        let id = |name: &str, default: u32| word(name).and_then(|word| word.parse().ok()).unwrap_or(default);
        let octal = |name: &str| word(name).and_then(|word| u32::from_str_radix(&word, 8).ok());
        let shell =
            defaults.lines().find_map(|line| line.trim().strip_prefix("SHELL=")).filter(|shell| !shell.is_empty());
        Limits {
            uid: (id("UID_MIN", FIRST), id("UID_MAX", LAST)),
            gid: (id("GID_MIN", FIRST), id("GID_MAX", LAST)),
            home_mode: octal("HOME_MODE").unwrap_or(0o777 & !octal("UMASK").unwrap_or(0o022)),
            user_groups: word("USERGROUPS_ENAB").is_none_or(|word| word == "yes"),
            shell: shell.unwrap_or("/bin/sh").to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: Table::parse("root:x:0:0:root:/root:/bin/bash\n# kept\nalice:x:1000:1000::/home/alice:/bin/sh\n"),
            shadow: Table::parse("root:*:19000:0:99999:7:::\nalice:!:19000:0:99999:7:::\n"),
            group: Table::parse("root:x:0:\nsudo:x:27:alice\nalice:x:1000:\n"),
            gshadow: Table::parse("root:*::\nsudo:*::alice\nalice:!::\n"),
            subuid: Some(Table::parse("alice:100000:65536\n")),
            ..Accounts::default()
        }
    }

    #[test]
    fn a_new_user_gets_the_lowest_free_ids_and_a_fixed_day() {
        let mut accounts = accounts();
        let change = Change { others: vec!["sudo"], hash: Some("$6$x".into()), ..Change::default() };
        assert!(accounts.set_user("bob", &change, 20_000).unwrap());
        assert_eq!(accounts.passwd.text().lines().last(), Some("bob:x:1001:1001::/home/bob:/bin/sh"));
        assert_eq!(accounts.shadow.text().lines().last(), Some("bob:$6$x:20000:0:99999:7:::"));
        assert_eq!(accounts.group.text(), "root:x:0:\nsudo:x:27:alice,bob\nalice:x:1000:\nbob:x:1001:\n");
        assert_eq!(accounts.gshadow.text(), "root:*::\nsudo:*::alice,bob\nalice:!::\nbob:!::\n");
        assert_eq!(accounts.subuid.unwrap().text(), "alice:100000:65536\nbob:165536:65536\n");
        assert!(accounts.passwd.text().contains("\n# kept\n"));
    }

    #[test]
    fn an_existing_user_keeps_what_the_description_does_not_say() {
        let mut accounts = accounts();
        let change = Change { hash: Some("$6$y".into()), shell: Some("/bin/zsh"), ..Change::default() };
        assert!(!accounts.set_user("root", &change, 20_000).unwrap());
        assert_eq!(accounts.passwd.text().lines().next(), Some("root:x:0:0:root:/root:/bin/zsh"));
        assert_eq!(accounts.shadow.text().lines().next(), Some("root:$6$y:20000:0:99999:7:::"));
        assert!(!accounts.set_user("alice", &Change::default(), 20_000).unwrap());
        assert_eq!(accounts.shadow.text().lines().last(), Some("alice:!:19000:0:99999:7:::"));
    }

    #[test]
    fn groups_are_made_once_and_ids_are_never_shared() {
        let mut accounts = accounts();
        assert_eq!(accounts.ensure_group("sudo", None).unwrap(), 27);
        assert_eq!(accounts.ensure_group("docker", Some(999)).unwrap(), 999);
        assert_eq!(accounts.ensure_group("more", None).unwrap(), 1001);
        for (name, gid) in [("sudo", Some(28)), ("other", Some(27)), ("bad:name", None), ("", None), ("-x", None)] {
            assert_eq!(accounts.ensure_group(name, gid).unwrap_err().exit(), Exit::Description, "{name}");
        }
        let taken = Change { uid: Some(0), ..Change::default() };
        assert_eq!(accounts.set_user("toor", &taken, 0).unwrap_err().exit(), Exit::Description);
        let injected = Change { real_name: Some("x:/:/bin/sh\nevil:x:0:0"), ..Change::default() };
        assert_eq!(accounts.set_user("bob", &injected, 0).unwrap_err().exit(), Exit::Description);
    }

    #[test]
    fn an_owner_is_a_name_or_a_number() {
        let accounts = accounts();
        let table = [
            ("alice", Some((1000, 1000))),
            ("alice:sudo", Some((1000, 27))),
            ("7:8", Some((7, 8))),
            ("7", Some((7, 0))),
        ];
        for (owner, wanted) in
            table.into_iter().chain([(":sudo", Some((0, 27))), ("nobody", None), ("alice:none", None)])
        {
            assert_eq!(accounts.owner(owner).ok(), wanted, "{owner}");
        }
    }

    #[test]
    fn login_defs_decides_ranges_and_modes() {
        let limits =
            Limits::parse("# UID_MIN 5\nUID_MIN\t2000\nHOME_MODE 0700\nUSERGROUPS_ENAB no\n", "SHELL=/bin/zsh\n");
        assert_eq!((limits.uid, limits.home_mode, limits.user_groups), ((2000, 60_000), 0o700, false));
        assert_eq!(limits.shell, "/bin/zsh");
        assert_eq!(Limits::parse("UMASK 027\n", "").home_mode, 0o750);
    }
}
