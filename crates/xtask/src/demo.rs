//! `make demo`: the main job as a person would type it, from nothing to nothing.
//!
//! Everything it makes lies in the target folder (kept, so that a second run is quick) and in one temporary runtime
//! folder (gone at the end); the user's own images and machines are not touched.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::build;
use crate::command::{output, run, target};

/// The machine's name.
const NAME: &str = "demo";

/// Where the demo's commands find their programs and keep their files.
struct Stage {
    binaries: PathBuf,
    data: PathBuf,
    runtime: PathBuf,
}

pub(crate) fn run_all() -> Result<()> {
    let start = Instant::now();
    let binaries = build::release()?;
    let runtime =
        PathBuf::from(output(Command::new("mktemp").args(["-d", "/tmp/knaller-demo-XXXXXX"]))?.trim());
    let stage = Stage {
        binaries,
        data: target().join("demo"),
        runtime,
    };
    let shown = stage.show();
    // Whatever came of it: no machine may outlive the demo.
    let _ = stage.knaller(&["rm", "--force", NAME]).output();
    let left = stage.left()?;
    std::fs::remove_dir_all(&stage.runtime)
        .with_context(|| format!("cannot remove {}", stage.runtime.display()))?;
    shown?;
    ensure!(left.is_empty(), "the demo left behind: {}", left.join(", "));
    println!(
        "\nDone in {:.1} s; nothing is left running.",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

impl Stage {
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("XDG_DATA_HOME", &self.data)
            .env("XDG_RUNTIME_DIR", &self.runtime);
        command
    }

    fn knaller(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.binaries.join("knaller"));
        command.args(arguments);
        command
    }

    /// Shows the line as it would be typed, then runs it.
    fn type_line(&self, arguments: &[&str]) -> Result<()> {
        println!("\n$ knaller {}", arguments.join(" "));
        run(&mut self.knaller(arguments))
    }

    fn show(&self) -> Result<()> {
        std::fs::create_dir_all(&self.data)
            .with_context(|| format!("cannot make {}", self.data.display()))?;
        if output(&mut self.knaller(&["kernel", "ls", "-o", "name"]))?
            .trim()
            .is_empty()
        {
            self.type_line(&["kernel", "import", &build::kernel_package()?])?;
        }
        self.type_line(&["doctor"])?;
        let server = ["httpd", "-f", "-v", "-p", "80", "-h", "/srv/www"];
        let mut start = vec![
            "start",
            NAME,
            "--detach",
            "--timings",
            "-p",
            "127.0.0.1:0:80",
            "--",
        ];
        start.extend(server);
        self.type_line(&start)?;
        self.type_line(&["list"])?;
        self.type_line(&["exec", NAME, "--", "uname", "-a"])?;
        self.over_stock_ssh()?;
        self.over_http()?;
        self.type_line(&["stop", NAME])?;
        self.type_line(&["rm", NAME])
    }

    /// The same machine by the system's own ssh, with no key or host key asked for.
    fn over_stock_ssh(&self) -> Result<()> {
        let config = self.runtime.join("ssh_config");
        std::fs::write(&config, output(&mut self.knaller(&["ssh-config", NAME]))?)
            .with_context(|| format!("cannot write {}", config.display()))?;
        println!("\n$ knaller ssh-config {NAME} > ssh_config; ssh -F ssh_config {NAME} cat /etc/os-release");
        run(self
            .command(Path::new("ssh"))
            .arg("-F")
            .arg(&config)
            .args([NAME, "cat", "/etc/os-release"]))
    }

    /// The page that the guest's entrypoint serves, through the forwarded port.
    fn over_http(&self) -> Result<()> {
        let inspected = output(&mut self.knaller(&["inspect", NAME, "-o", "json"]))?;
        let machine: serde_json::Value =
            serde_json::from_str(&inspected).context("inspect printed no JSON")?;
        let port = machine
            .pointer("/forwards/0/host_port")
            .and_then(serde_json::Value::as_u64);
        let address = format!(
            "http://127.0.0.1:{}/",
            port.with_context(|| format!("no forward in: {inspected}"))?
        );
        println!("\n$ curl {address}");
        run(Command::new("curl").args(["--silent", "--show-error", "--fail", "--max-time", "20", &address]))
    }

    /// What is still there that should not be.
    fn left(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        let marker = self.runtime.to_string_lossy().into_owned();
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
        let machines = self.runtime.join("knaller");
        for entry in std::fs::read_dir(&machines).into_iter().flatten() {
            let path = entry?.path();
            // A machine is a folder; the lock that all machines share stays.
            if path.is_dir() {
                left.push(path.display().to_string());
            }
        }
        Ok(left)
    }
}
