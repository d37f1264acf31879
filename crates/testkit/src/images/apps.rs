//! What people run: services over Debian, each as an image of its kind says it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::making::{Making, write};
use super::{layout, sure};

pub(super) const SERVER_PY: &str = include_str!("files/server.py");
pub(super) const APP_JS: &str = include_str!("files/node/app.js");
pub(super) const PACKAGE: &str = include_str!("files/node/package.json");
pub(super) const PACKAGE_LOCK: &str = include_str!("files/node/package-lock.json");
pub(super) const POSTGRES_SH: &str = include_str!("files/postgres.sh");

/// PostgreSQL's programs are not on everybody's path.
const POSTGRES_PATH: &str = "PATH=/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn systemd(making: Making) -> Result<PathBuf> {
    making.install(&["systemd-sysv", "dbus"])?;
    // Empty, so that every machine gets an id of its own.
    making.layer(|root| write(root, "etc/machine-id", "").map(drop))?;
    making.config(&[("cmd", "/sbin/init"), ("stopsignal", "SIGRTMIN+3")])?;
    making.done()
}

pub(super) fn python(making: Making) -> Result<PathBuf> {
    making.install(&["python3-minimal"])?;
    making.layer(|root| {
        in_root(
            root,
            &[
                "useradd",
                "--uid",
                "1500",
                "--user-group",
                "--no-create-home",
                "app",
            ],
        )?;
        in_root(root, &["groupadd", "--gid", "1600", "--users", "app", "marshals"])?;
        write(root, "app/server.py", SERVER_PY).map(drop)
    })?;
    making.config(&[
        ("entrypoint", "python3"),
        ("entrypoint", "/app/server.py"),
        ("cmd", "serve"),
        ("env", "GREETING=good morning"),
        ("user", "app"),
        ("workingdir", "/app"),
        ("exposedports", "8000/tcp"),
    ])?;
    let made = making.done()?;
    let check = json!({
        "Test": ["CMD", "python3", "/app/server.py", "check"],
        "Interval": 1_000_000_000, "Timeout": 30_000_000_000_u64, "Retries": 3
    });
    layout::configure(&made, "Healthcheck", &check)?;
    Ok(made)
}

pub(super) fn node(making: Making) -> Result<PathBuf> {
    making.install(&["nodejs"])?;
    let packages = making.path("npm");
    write(&packages, "package.json", PACKAGE)?;
    write(&packages, "package-lock.json", PACKAGE_LOCK)?;
    sure(
        Command::new("npm")
            .args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&packages),
    )?;
    making.layer(|root| {
        fs::create_dir_all(root.join("app")).context("cannot make /app")?;
        sure(
            Command::new("cp")
                .args(["-r", "--no-preserve=ownership"])
                .args(["node_modules", "package.json"].map(|name| packages.join(name)))
                .arg(root.join("app")),
        )?;
        Ok(())
    })?;
    making.layer(|root| {
        write(root, "app/public/index.html", "<h1>pit board</h1>\n")?;
        write(root, "app/app.js", APP_JS).map(drop)
    })?;
    making.config(&[
        ("entrypoint", "node"),
        ("cmd", "app.js"),
        ("env", "NODE_ENV=production"),
        ("user", "1000:1000"),
        ("workingdir", "/app"),
        ("exposedports", "3000/tcp"),
    ])?;
    making.done()
}

pub(super) fn postgres(making: Making) -> Result<PathBuf> {
    making.layer(|root| {
        let settings = "create_main_cluster = false\n";
        write(root, "etc/postgresql-common/createcluster.conf", settings).map(drop)
    })?;
    making.install(&["postgresql-15"])?;
    making.layer(|root| {
        let script = write(root, "usr/local/bin/entrypoint", POSTGRES_SH)?;
        sure(Command::new("chmod").arg("755").arg(script))?;
        let data = ["install", "-d", "-m", "700", "-o", "postgres", "-g", "postgres"];
        in_root(root, &[&data[..], &["/var/lib/postgresql/data"]].concat())
    })?;
    making.config(&[
        ("entrypoint", "/usr/local/bin/entrypoint"),
        ("cmd", "postgres"),
        ("env", POSTGRES_PATH),
        ("env", "PGDATA=/var/lib/postgresql/data"),
        ("user", "postgres"),
        ("volume", "/var/lib/postgresql/data"),
        ("exposedports", "5432/tcp"),
        ("stopsignal", "SIGINT"),
    ])?;
    making.done()
}

/// Runs a program of the image's own.
fn in_root(root: &Path, words: &[&str]) -> Result<()> {
    sure(
        Command::new("chroot")
            .arg(root)
            .args(words)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    )?;
    Ok(())
}
