//! `make demo`: the main job as a person would type it, from nothing to nothing, with an image of its own in a registry of its
//! own.

mod registry;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use testkit::images::Image;

use crate::build;
use crate::command::{output, run, step};
use crate::stage::Stage;
use registry::Registry;

/// The machine's name.
const NAME: &str = "demo";

pub(crate) fn run_all() -> Result<()> {
    let start = Instant::now();
    let stage = Stage::new("demo")?;
    show(&stage)?;
    let left = left(&stage)?;
    ensure!(left.is_empty(), "the demo left behind: {}", left.join(", "));
    println!(
        "\nDone in {:.1} s; nothing is left running.",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Shows the line as it would be typed, then runs it.
fn type_line(stage: &Stage, arguments: &[&str]) -> Result<()> {
    println!("\n$ knaller {}", arguments.join(" "));
    run(&mut stage.knaller(arguments))
}

fn show(stage: &Stage) -> Result<()> {
    if !stage.has_kernel()? {
        type_line(stage, &["kernel", "import", &build::kernel_package()?])?;
    }
    type_line(stage, &["doctor"])?;
    let layout = step("an image of nginx, made of Debian's packages", || {
        Image::Nginx.layout()
    })?;
    let registry = Registry::start(&stage.runtime)?;
    let image = registry.reference(Image::Nginx.name());
    step("a registry on this machine, with the image", || {
        registry.fill(&layout, Image::Nginx.name())
    })?;
    type_line(stage, &["image", "pull", &image])?;
    drop(registry);
    let port = "127.0.0.1:0:80";
    type_line(
        stage,
        &[
            "start",
            NAME,
            "--detach",
            "--timings",
            "-p",
            port,
            "--image",
            &image,
        ],
    )?;
    type_line(stage, &["list"])?;
    type_line(stage, &["exec", NAME, "--", "uname", "-a"])?;
    over_stock_ssh(stage)?;
    over_http(stage)?;
    type_line(stage, &["stop", NAME])?;
    type_line(stage, &["rm", NAME])?;
    type_line(stage, &["image", "rm", &image])
}

/// The same machine by the system's own ssh, with no key or host key asked for.
fn over_stock_ssh(stage: &Stage) -> Result<()> {
    let config = stage.runtime.join("ssh_config");
    std::fs::write(&config, output(&mut stage.knaller(&["ssh-config", NAME]))?)
        .with_context(|| format!("cannot write {}", config.display()))?;
    println!("\n$ knaller ssh-config {NAME} > ssh_config; ssh -F ssh_config {NAME} cat /etc/os-release");
    run(stage
        .command(Path::new("ssh"))
        .arg("-F")
        .arg(&config)
        .args([NAME, "cat", "/etc/os-release"]))
}

/// The page that the guest's nginx serves, through the forwarded port.
fn over_http(stage: &Stage) -> Result<()> {
    let inspected = output(&mut stage.knaller(&["inspect", NAME, "-o", "json"]))?;
    let machine: serde_json::Value = serde_json::from_str(&inspected).context("inspect printed no JSON")?;
    let port = machine
        .pointer("/forwards/0/host_port")
        .and_then(serde_json::Value::as_u64);
    let address = format!(
        "http://127.0.0.1:{}/",
        port.with_context(|| format!("no forward in: {inspected}"))?
    );
    println!("\n$ curl {address}");
    // nginx may need a moment longer than SSH.
    let patience = ["--max-time", "20", "--retry", "5", "--retry-all-errors"];
    run(Command::new("curl")
        .args(["--silent", "--show-error", "--fail"])
        .args(patience)
        .arg(&address))
}

/// What is still there that should not be.
fn left(stage: &Stage) -> Result<Vec<String>> {
    let mut left = Vec::new();
    let marker = stage.runtime.to_string_lossy().into_owned();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(arguments) = std::fs::read(path.join("cmdline")) else {
            continue;
        };
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        if arguments.contains(&marker) {
            left.push(format!("process {} ({})", path.display(), arguments.trim()));
        }
    }
    let machines = stage.runtime.join("knaller");
    for entry in std::fs::read_dir(&machines).into_iter().flatten() {
        let path = entry?.path();
        // A machine is a folder; the lock that all machines share stays.
        if path.is_dir() {
            left.push(path.display().to_string());
        }
    }
    Ok(left)
}
