//! What lies where in the built-in image. Pure: from a list of applets to a list of nodes, and from that to a layer.

use std::io;

use crate::pack::{Entry, Kind, append};

const ROOT: (u32, u32) = (0, 0);
const USER: (u32, u32) = (1000, 1000);
/// root may read it, and Debian's group of programs that check passwords.
const SHADOW: (u32, u32) = (0, 42);

const FOLDERS: &[(&str, u16, (u32, u32))] = &[
    ("/bin", 0o755, ROOT),
    ("/dev", 0o755, ROOT),
    ("/etc", 0o755, ROOT),
    ("/etc/profile.d", 0o755, ROOT),
    ("/home", 0o755, ROOT),
    ("/home/user", 0o755, USER),
    ("/media", 0o755, ROOT),
    ("/mnt", 0o755, ROOT),
    ("/opt", 0o755, ROOT),
    ("/proc", 0o755, ROOT),
    ("/root", 0o700, ROOT),
    ("/run", 0o755, ROOT),
    ("/sbin", 0o755, ROOT),
    ("/srv", 0o755, ROOT),
    ("/srv/www", 0o755, ROOT),
    ("/sys", 0o755, ROOT),
    ("/tmp", 0o1777, ROOT),
    ("/usr", 0o755, ROOT),
    ("/usr/bin", 0o755, ROOT),
    ("/usr/lib", 0o755, ROOT),
    ("/usr/local", 0o755, ROOT),
    ("/usr/local/bin", 0o755, ROOT),
    ("/usr/local/sbin", 0o755, ROOT),
    ("/usr/sbin", 0o755, ROOT),
    ("/usr/share", 0o755, ROOT),
    ("/var", 0o755, ROOT),
    ("/var/cache", 0o755, ROOT),
    ("/var/lib", 0o755, ROOT),
    ("/var/log", 0o755, ROOT),
    ("/var/spool", 0o755, ROOT),
    ("/var/tmp", 0o1777, ROOT),
];

const FILES: &[(&str, u16, (u32, u32), &str)] = &[
    ("/etc/group", 0o644, ROOT, include_str!("files/group")),
    ("/etc/hostname", 0o644, ROOT, "localhost\n"),
    ("/etc/hosts", 0o644, ROOT, "127.0.0.1 localhost\n::1 localhost\n"),
    ("/etc/inittab", 0o644, ROOT, include_str!("files/inittab")),
    (
        "/etc/nsswitch.conf",
        0o644,
        ROOT,
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    ),
    ("/etc/passwd", 0o644, ROOT, include_str!("files/passwd")),
    ("/etc/profile", 0o644, ROOT, include_str!("files/profile")),
    ("/etc/resolv.conf", 0o644, ROOT, ""),
    ("/etc/shadow", 0o640, SHADOW, include_str!("files/shadow")),
    ("/etc/shells", 0o644, ROOT, "/bin/sh\n/bin/ash\n"),
    (
        "/srv/www/index.html",
        0o644,
        ROOT,
        include_str!("files/index.html"),
    ),
];

const LINKS: &[(&str, &str)] = &[
    ("/etc/mtab", "/proc/self/mounts"),
    ("/var/run", "/run"),
    ("/var/lock", "/run/lock"),
];

/// One thing in the tree. Parents come before what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Absolute.
    path: String,
    mode: u16,
    owner: (u32, u32),
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Directory,
    Text(String),
    Busybox,
    Symlink(String),
}

/// The image's tree, with a link for each of `applets` to busybox.
pub(super) fn tree(applets: &[String]) -> Vec<Node> {
    let node = |path: &str, mode, owner, content| Node {
        path: path.to_owned(),
        mode,
        owner,
        content,
    };
    let folders = FOLDERS
        .iter()
        .map(|(path, mode, owner)| node(path, *mode, *owner, Content::Directory));
    let files = FILES
        .iter()
        .map(|(path, mode, owner, text)| node(path, *mode, *owner, Content::Text((*text).to_owned())));
    let release = node("/etc/os-release", 0o644, ROOT, Content::Text(os_release()));
    let program = node("/bin/busybox", 0o755, ROOT, Content::Busybox);
    let link = |path: &str, target: &str| node(path, 0o777, ROOT, Content::Symlink(target.to_owned()));
    let links = LINKS.iter().map(|(path, target)| link(path, target));
    let applets = applets
        .iter()
        .map(|applet| link(&format!("/{applet}"), "/bin/busybox"));
    folders
        .chain(files)
        .chain([release, program])
        .chain(links)
        .chain(applets)
        .collect()
}

/// The tree as a layer's tar stream, with `busybox` as the program. All of it is of 1970, so that the same is the same.
pub(super) fn layer(nodes: &[Node], busybox: &[u8]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::with_capacity(busybox.len() + (1 << 20)));
    for node in nodes {
        let text: &[u8] = match &node.content {
            Content::Text(text) => text.as_bytes(),
            Content::Busybox => busybox,
            Content::Directory | Content::Symlink(_) => &[],
        };
        let entry = Entry {
            path: node.path.as_bytes(),
            kind: match &node.content {
                Content::Directory => Kind::Directory,
                Content::Text(_) | Content::Busybox => Kind::File(text.len() as u64),
                Content::Symlink(target) => Kind::Symlink(target.as_bytes()),
            },
            mode: node.mode,
            uid: node.owner.0,
            gid: node.owner.1,
            mtime: (0, 0),
            xattrs: &[],
        };
        append(&mut tar, entry, text)?;
    }
    tar.into_inner()
}

fn os_release() -> String {
    format!(
        "NAME=\"Pitwall built-in image\"\nID=pitwall\nVERSION_ID={version}\nPRETTY_NAME=\"Pitwall built-in image {version}\"\n",
        version = env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn parents_come_first_and_nothing_twice() {
        let nodes = tree(&["bin/sh".into(), "usr/bin/[".into(), "usr/sbin/httpd".into()]);
        let mut seen = HashSet::from([""]);
        for node in &nodes {
            let (parent, _) = node.path.rsplit_once('/').unwrap();
            assert!(seen.contains(parent), "{} comes before its folder", node.path);
            assert!(seen.insert(&node.path), "{} is there twice", node.path);
        }
    }

    #[test]
    fn every_user_has_a_group_a_home_and_no_password() {
        let text = |path: &str| FILES.iter().find(|(other, ..)| *other == path).unwrap().3;
        for user in text("/etc/passwd").lines() {
            let fields: Vec<_> = user.split(':').collect();
            let [name, "x", _, group, _, home, _] = fields[..] else {
                panic!("{user}")
            };
            assert!(
                text("/etc/group")
                    .lines()
                    .any(|line| line.split(':').nth(2) == Some(group)),
                "{user}"
            );
            assert!(text("/etc/shadow").contains(&format!("{name}:*:")), "{user}");
            let known = FOLDERS.iter().any(|(path, ..)| *path == home);
            assert!(known || home == "/nonexistent", "{user}");
        }
    }
}
