//! What lies where in the built-in image. Pure: from a list of applets to a list of nodes.

use std::path::Path;

use crate::ext4::{Content, Node};

const ROOT: (u32, u32) = (0, 0);
const USER: (u32, u32) = (1000, 1000);
/// root may read it, and Debian's group of programs that check passwords.
const SHADOW: (u32, u32) = (0, 42);

const FOLDERS: &[(&str, u32, (u32, u32))] = &[
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

const FILES: &[(&str, u32, (u32, u32), &str)] = &[
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

/// The image's tree, with a link for each of `applets` to the program at `busybox`.
pub(super) fn tree(busybox: &Path, applets: &[String]) -> Vec<Node> {
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
    let program = node("/bin/busybox", 0o755, ROOT, Content::Copy(busybox.to_owned()));
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
        let nodes = tree(
            Path::new("/b"),
            &["bin/sh".into(), "usr/bin/[".into(), "usr/sbin/httpd".into()],
        );
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
