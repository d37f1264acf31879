//! Debian's part: the base by mmdebstrap, and packages on top of it by apt.
//!
//! Package files are downloaded once for all images. Root's images share them through hard links; who is not root downloads his
//! own, since mmdebstrap works as other users then.

use std::ffi::OsString;
use std::fs;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::making::{Making, write};
use super::sure;
use crate::{is_root, target};

/// Without what would only make images large, and without the syncs that only a machine that may crash needs.
const MMDEBSTRAP: [&str; 7] = [
    "--quiet",
    "--variant=minbase",
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
];

/// No file of an image is younger, in seconds of Unix time: the same packages make the same image.
const EPOCH: &str = "1767225600";

/// Keeps packages from starting their services while they are installed.
const POLICY: &str = "usr/sbin/policy-rc.d";

/// The page of [`nginx`].
const PAGE: &str = "<h1>nginx in a microVM</h1>";

/// When this machine's package lists were made: images are as old as these. Empty if it has none.
pub(super) fn lists() -> Result<String> {
    let mut dates = Vec::new();
    for entry in fs::read_dir("/var/lib/apt/lists").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.contains("debian") || !name.ends_with("_InRelease") {
            continue;
        }
        let file = fs::File::open(entry.path()).with_context(|| format!("cannot read {name}"))?;
        let mut lines = std::io::BufReader::new(file).lines().map_while(Result::ok);
        let date = lines.find(|line| line.starts_with("Date:")).unwrap_or_default();
        dates.push(format!("{name} {date}\n"));
    }
    dates.sort();
    Ok(dates.concat())
}

/// Where the package lists are that the image of this layout was made with.
pub(super) fn lists_of(layout: &Path) -> PathBuf {
    layout.with_extension("lists")
}

/// `minbase`, whose command is a shell.
pub(super) fn minimal(work: &Path) -> Result<PathBuf> {
    ensure!(is_root(), "this image is made by root only");
    let lists = lists_of(work);
    let keep = format!("cp -a \"$1/var/lib/apt/lists\" {}", quoted(&lists));
    let making = Making::empty(work)?;
    making.add_tar(&bootstrap(work, &[], &[&keep])?)?;
    making.config(&[("cmd", "/bin/bash"), ("env", PATH)])?;
    // What nobody wanted for a week is of other days' lists.
    sure(
        Command::new("find")
            .arg(archives()?)
            .args(["-name", "*.deb", "-ctime", "+7", "-delete"]),
    )?;
    making.done()
}

/// The variable that every image has.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A web server, in one go.
pub(super) fn nginx(work: &Path) -> Result<PathBuf> {
    let page = format!("echo '{PAGE}' > \"$1/var/www/html/index.html\"");
    let logs = "ln -sf /dev/stdout \"$1/var/log/nginx/access.log\"; ln -sf /dev/stderr \"$1/var/log/nginx/error.log\"";
    let making = Making::empty(work)?;
    let rest = bootstrap(work, &["nginx-light"], &[&page, logs])?;
    // As an image has them that was built step by step: several layers, some of them large.
    for part in ["./usr/share", "./usr/lib"] {
        making.add_tar(&cut(&rest, part)?)?;
    }
    making.add_tar(&rest)?;
    making.config(&[
        ("cmd", "nginx"),
        ("cmd", "-g"),
        ("cmd", "daemon off;"),
        ("env", PATH),
        ("exposedports", "80/tcp"),
        ("stopsignal", "SIGQUIT"),
        ("label", "org.opencontainers.image.title=nginx"),
    ])?;
    making.done()
}

/// Takes the folder `part` out of a tar, which keeps the rest, into a tar of its own.
fn cut(tar: &Path, part: &str) -> Result<PathBuf> {
    let own = tar.with_extension(part.replace(['.', '/'], "-"));
    fs::copy(tar, &own).with_context(|| format!("cannot make {}", own.display()))?;
    let delete = |from: &Path, words: &[&str]| {
        let mut command = Command::new("tar");
        sure(command.args(["--delete", "--file"]).arg(from).args(words))
    };
    let mut list = Command::new("tar");
    let names = sure(
        list.args(["--list", "--quoting-style=literal", "--file"])
            .arg(tar),
    )?;
    let below = format!("{part}/");
    let lines = names.split_inclusive(|byte| *byte == b'\n');
    let others: Vec<&[u8]> = lines.filter(|name| !name.starts_with(below.as_bytes())).collect();
    let list = own.with_extension("others");
    fs::write(&list, others.concat()).with_context(|| format!("cannot write {}", list.display()))?;
    let others = format!("--files-from={}", list.display());
    delete(&own, &["--no-recursion", "--verbatim-files-from", &others])?;
    delete(tar, &[part])?;
    Ok(own)
}

/// A tar of a fresh Debian with `packages`, after `hooks` have seen it as `$1`.
fn bootstrap(work: &Path, packages: &[&str], hooks: &[&str]) -> Result<PathBuf> {
    let tar = work.join("debian.tar");
    let mut command = Command::new("mmdebstrap");
    command.args(MMDEBSTRAP).env("SOURCE_DATE_EPOCH", EPOCH);
    if !packages.is_empty() {
        command.args(["--include", &packages.join(",")]);
    }
    for hook in hooks {
        command.arg(format!("--customize-hook={hook}"));
    }
    if is_root() {
        let archives = quoted(&archives()?);
        let into = "\"$1/var/cache/apt/archives\"";
        command
            .arg("--skip=essential/unlink,download/empty")
            .arg(format!(
                "--setup-hook=mkdir -p {into}; find {archives} -name '*.deb' -exec cp -t {into} {{}} +"
            ))
            .arg(format!(
                "--customize-hook=find {into} -name '*.deb' -exec cp -nt {archives} {{}} +"
            ));
    }
    sure(command.arg("bookworm").arg(&tar))?;
    Ok(tar)
}

/// Installs packages into an unpacked Debian, by this machine's apt and the lists that the Debian was made with.
pub(super) fn install(root: &Path, lists: &Path, packages: &[&str], config: &Path) -> Result<()> {
    let own_lists = root.join("var/lib/apt/lists");
    let own_archives = root.join("var/cache/apt/archives");
    let shared = archives()?;
    remove(&own_lists)?;
    copy(lists, &own_lists)?;
    fs::create_dir_all(own_archives.join("partial")).context("cannot make apt's folder")?;
    link_packages(&shared, &own_archives)?;
    let policy = write(root, POLICY, "#!/bin/sh\nexit 101\n")?;
    sure(Command::new("chmod").arg("755").arg(&policy))?;
    let text = format!(
        "Dir \"{0}\";\nDPkg::Chroot-Directory \"{0}\";\nAPT::Install-Recommends \"false\";\n\
         APT::Sandbox::User \"root\";\nDPkg::Options:: \"--force-unsafe-io\";\nDPkg::Use-Pty \"false\";\n",
        root.display()
    );
    fs::write(config, text).context("cannot write apt.conf")?;
    // Packages' scripts want /proc; in a mount namespace of its own it cannot stay behind.
    let script = "mount -t proc proc \"$0/proc\" && exec apt-get -qq -y install \"$@\"";
    sure(
        Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(root)
            .args(packages)
            .envs([("DEBIAN_FRONTEND", "noninteractive"), ("LC_ALL", "C.UTF-8")])
            .env("APT_CONFIG", config),
    )?;
    fs::remove_file(&policy).context("cannot remove the policy")?;
    link_packages(&own_archives, &shared)?;
    for rest in ["var/lib/apt/lists", "var/cache/apt", "var/log"] {
        empty(&root.join(rest))?;
    }
    Ok(())
}

/// The downloaded packages of all images.
fn archives() -> Result<PathBuf> {
    let folder = target().join("images/archives");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::canonicalize(&folder).with_context(|| format!("cannot find {}", folder.display()))
}

/// Gives the package files of one folder to another that has not got them.
fn link_packages(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let path = entry.context("cannot list packages")?.path();
        let (Some(name), Some("deb")) = (path.file_name(), path.extension().and_then(|end| end.to_str()))
        else {
            continue;
        };
        if let Err(error) = fs::hard_link(&path, to.join(name)) {
            let there = error.kind() == std::io::ErrorKind::AlreadyExists;
            ensure!(there, "cannot link {}: {error}", path.display());
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    sure(Command::new("cp").arg("-a").args([from, to]))?;
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// Removes all that is in a folder; files of logs that others write to stay, empty.
fn empty(folder: &Path) -> Result<()> {
    let mut words: Vec<OsString> = vec![folder.into()];
    words.extend(["-mindepth", "1", "-type", "f", "-delete"].map(OsString::from));
    sure(Command::new("find").args(words))?;
    Ok(())
}

/// As a word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
