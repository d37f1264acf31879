//! The image's own accounts: `/etc/passwd` and `/etc/group`, passwd(5) and group(5).
//!
//! The invariant: every line is foreign. A line that does not parse is as if it were not there, and an image with
//! neither file still has root, with `/` as its home. Nothing is cached: the files are the user's and change.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::files;

/// Files longer than this are not read to their end, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// The highest uid and gid; container engines know no higher ones either. The very highest number means "none" to the kernel:
/// to become it would be to stay root.
const MAX_ID: u32 = i32::MAX.cast_unsigned();

/// A uid or gid in decimal digits.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= MAX_ID)
}

/// The shell of an account that names none, passwd(5).
pub const DEFAULT_SHELL: &str = "/bin/sh";

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    pub home: PathBuf,
    pub shell: PathBuf,
}

impl User {
    /// The superuser of an image that has no `/etc/passwd`.
    #[must_use]
    pub fn root() -> Self {
        Self {
            name: "root".into(),
            uid: 0,
            gid: 0,
            home: "/".into(),
            shell: DEFAULT_SHELL.into(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let mut field = || fields.next();
        let (name, _password, uid, gid, _gecos) = (field()?, field()?, field()?, field()?, field()?);
        let (home, shell) = (field()?, field()?);
        if name.is_empty() || name.starts_with(['+', '-', '#']) {
            return None;
        }
        let or = |value: &str, default: &str| PathBuf::from(if value.is_empty() { default } else { value });
        Some(Self {
            name: name.into(),
            uid: id(uid)?,
            gid: id(gid)?,
            home: or(home, "/"),
            shell: or(shell.trim_end(), DEFAULT_SHELL),
        })
    }
}

/// One line of group(5).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl Group {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _password, gid) = (fields.next()?, fields.next()?, fields.next()?);
        let members = fields.next().unwrap_or_default();
        if name.is_empty() || name.starts_with(['+', '-', '#']) {
            return None;
        }
        Some(Self {
            name: name.into(),
            gid: id(gid)?,
            members: members
                .split(',')
                .map(|m| m.trim().to_owned())
                .filter(|m| !m.is_empty())
                .collect(),
        })
    }
}

/// As whom a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub user: User,
    /// The group it runs in: the user's primary one, unless another was asked for.
    pub gid: u32,
    /// Supplementary groups, [`Identity::gid`] among them; ascending.
    pub groups: Vec<u32>,
}

/// Why a `USER` as in an image's config names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("the image has no user {0:?} in /etc/passwd")]
    User(String),
    #[error("the image has no group {0:?} in /etc/group")]
    Group(String),
}

/// The accounts of one image, as they were when read.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl Accounts {
    /// Reads `passwd` and `group` in `etc`; a file that cannot be read counts as empty.
    #[must_use]
    pub fn load(etc: &Path) -> Self {
        Self::parse(&read(&etc.join("passwd")), &read(&etc.join("group")))
    }

    /// The accounts that the two files' texts name.
    #[must_use]
    pub fn parse(passwd: &str, group: &str) -> Self {
        Self {
            users: passwd.lines().filter_map(User::parse).collect(),
            groups: group.lines().filter_map(Group::parse).collect(),
        }
    }

    /// The account of that name. Root is always there.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<User> {
        let found = self.users.iter().find(|user| user.name == name).cloned();
        found.or_else(|| (name == "root").then(User::root))
    }

    /// The account that somebody logs in to: the one of that name, or of that uid in decimal digits. A name that is all
    /// digits is taken as a name first, and an account there must be: unlike [`Self::resolve`] this makes none up.
    #[must_use]
    pub fn login(&self, who: &str) -> Option<User> {
        self.user(who).or_else(|| {
            let digits = who.bytes().all(|byte| byte.is_ascii_digit());
            let uid = digits.then(|| id(who)).flatten()?;
            let found = self.users.iter().find(|user| user.uid == uid).cloned();
            found.or_else(|| (uid == 0).then(User::root))
        })
    }

    /// The group of that name.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups
            .iter()
            .find(|group| group.name == name)
            .map(|group| group.gid)
    }

    /// Names of users and groups by their numbers; of several names the first.
    #[must_use]
    pub fn names(&self) -> (HashMap<u32, String>, HashMap<u32, String>) {
        let users = self.users.iter().rev().map(|user| (user.uid, user.name.clone()));
        let groups = self
            .groups
            .iter()
            .rev()
            .map(|group| (group.gid, group.name.clone()));
        (users.collect(), groups.collect())
    }

    /// `user` with its primary group and all groups that list it.
    #[must_use]
    pub fn identity(&self, user: User) -> Identity {
        let listed = self
            .groups
            .iter()
            .filter(|group| group.members.contains(&user.name));
        let groups: BTreeSet<u32> = listed.map(|group| group.gid).chain([user.gid]).collect();
        Identity {
            gid: user.gid,
            groups: groups.into_iter().collect(),
            user,
        }
    }

    /// Whom an image config's `User` means: `name`, `uid`, `name:group` or `uid:gid`; empty means root.
    ///
    /// As in container engines a number needs no account, a name that is all digits is taken as a name first, and a
    /// group that was asked for replaces the supplementary ones.
    pub fn resolve(&self, spec: &str) -> Result<Identity, Unknown> {
        let (user, group) = match spec.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (spec, None),
        };
        let user = if user.is_empty() { "root" } else { user };
        let account = self.user(user).or_else(|| id(user).map(|uid| self.numbered(uid)));
        let account = account.ok_or_else(|| Unknown::User(user.into()))?;
        let Some(group) = group else {
            return Ok(self.identity(account));
        };
        let gid = self.group(group).or_else(|| id(group));
        let gid = gid.ok_or_else(|| Unknown::Group(group.into()))?;
        Ok(Identity {
            user: account,
            gid,
            groups: vec![gid],
        })
    }

    /// The account with that number, or one made up for it.
    fn numbered(&self, uid: u32) -> User {
        let found = self.users.iter().find(|user| user.uid == uid).cloned();
        found.unwrap_or_else(|| User {
            name: uid.to_string(),
            uid,
            gid: 0,
            ..User::root()
        })
    }
}

fn read(path: &Path) -> String {
    let text = files::read_start(path, MAX_FILE).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        # a comment\nbroken\nbad:x:minus:0::/:/bin/sh\n\
        alice:x:1000:1000:Alice,,,:/home/alice:\n\
        33:x:33:33::/var/www:/usr/sbin/nologin\n";
    const GROUP: &str = "root:x:0:\ntty:x:5:\nusers:x:100:alice,bob\nalice:x:1000:\nsudo:x:27:bob, alice\n";

    #[test]
    fn a_user_has_the_groups_that_list_it() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        let alice = accounts.identity(accounts.user("alice").unwrap());
        assert_eq!(alice.user.shell, Path::new("/bin/sh"));
        assert_eq!(alice.gid, 1000);
        assert_eq!(alice.groups, [27, 100, 1000]);
        assert_eq!(accounts.user("bad"), None);
    }

    #[test]
    fn an_image_without_files_has_root() {
        let accounts = Accounts::load(Path::new("/nonexistent"));
        assert_eq!(accounts.user("root"), Some(User::root()));
        assert_eq!(accounts.user("alice"), None);
        assert_eq!(accounts.resolve("").unwrap().user, User::root());
    }

    #[test]
    fn a_login_is_an_account_by_its_name_or_uid() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        let name = |who: &str| accounts.login(who).map(|user| user.name);
        assert_eq!(name("alice").as_deref(), Some("alice"));
        assert_eq!(name("1000").as_deref(), Some("alice"));
        assert_eq!(name("0").as_deref(), Some("root"));
        assert_eq!(name("33").as_deref(), Some("33"));
        for nobody in ["4711", "+1000", "1000:1000", "-1", "4294968296", "", "carol"] {
            assert_eq!(name(nobody), None, "{nobody}");
        }
        assert_eq!(Accounts::default().login("0"), Some(User::root()));
    }

    #[test]
    fn image_users_are_names_numbers_and_groups() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        let who = |spec: &str| {
            let identity = accounts.resolve(spec).unwrap();
            (identity.user.uid, identity.gid, identity.groups)
        };
        assert_eq!(who("alice"), (1000, 1000, vec![27, 100, 1000]));
        assert_eq!(who("1000"), (1000, 1000, vec![27, 100, 1000]));
        assert_eq!(who("alice:tty"), (1000, 5, vec![5]));
        assert_eq!(who("4711:4712"), (4711, 4712, vec![4712]));
        assert_eq!(who("4711"), (4711, 0, vec![0]));
        assert_eq!(who("33"), (33, 33, vec![33]));
        for nobody in ["4294967295", "2147483648", "4294967296", "-1"] {
            assert_eq!(accounts.resolve(nobody), Err(Unknown::User(nobody.into())));
            let group = format!("alice:{nobody}");
            assert_eq!(accounts.resolve(&group), Err(Unknown::Group(nobody.into())));
        }
        assert_eq!(accounts.resolve("carol"), Err(Unknown::User("carol".into())));
        assert_eq!(
            accounts.resolve("alice:wheel"),
            Err(Unknown::Group("wheel".into()))
        );
    }

    proptest! {
        #[test]
        fn foreign_files_never_panic(passwd in ".{0,200}", group in "[a-z:,0-9\n]{0,200}", spec in ".{0,20}") {
            let accounts = Accounts::parse(&passwd, &group);
            let _ = accounts.resolve(&spec);
        }
    }
}
