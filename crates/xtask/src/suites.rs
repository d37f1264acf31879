//! Runs every test executable of the workspace, one after another, and sums up: suites, times, what was skipped.
//!
//! A test that needs what a machine may not have calls `testkit::skip`, which adds a line to the file named by
//! [`SKIPPED`]; so a skipped test is seen here by name and is never mistaken for one that passed.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command::{cargo, output, root, run, step, target};
use crate::{build, firecracker};

/// The environment variable that names the file of skipped tests.
pub(crate) const SKIPPED: &str = "PITWALL_SKIPPED";

/// One test executable.
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) command: Command,
}

/// What came of a suite.
struct Outcome {
    name: String,
    passed: usize,
    failed: usize,
    took: Duration,
    good: bool,
}

/// The lines of `cargo test --message-format=json` that matter here.
#[derive(Deserialize)]
struct Artifact {
    reason: String,
    package_id: Option<String>,
    target: Option<Target>,
    executable: Option<PathBuf>,
    profile: Option<Profile>,
    manifest_path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Suites that run one after another, and what came of them.
pub(crate) struct Run {
    init: PathBuf,
    skipped: PathBuf,
    outcomes: Vec<Outcome>,
}

pub(crate) fn run_suites(selected: &[String], arguments: &[String]) -> Result<()> {
    let mut run = Run::begin()?;
    let wanted =
        |name: &str| selected.is_empty() || selected.iter().any(|wanted| name.contains(wanted.as_str()));
    for suite in build(&["--workspace"])?.into_iter().chain([documentation()]) {
        if wanted(&suite.name) {
            run.execute(suite, arguments)?;
        }
    }
    if wanted(firecracker::SUITE) {
        firecracker::with_the_others(&mut run)?;
    }
    run.end()
}

/// Builds the tests of these packages and the programs that they run.
pub(crate) fn build(packages: &[&str]) -> Result<Vec<Suite>> {
    step("building the tests", || {
        run(&mut cargo(&["build", "--quiet", "--workspace", "--bins"]))?;
        executables(packages)
    })
}

fn executables(packages: &[&str]) -> Result<Vec<Suite>> {
    let lines = output(
        cargo(&[
            "test",
            "--all-features",
            "--no-run",
            "--quiet",
            "--message-format=json",
        ])
        .args(packages),
    )?;
    let mut suites = Vec::new();
    for line in lines.lines().filter(|line| line.starts_with('{')) {
        let artifact: Artifact = serde_json::from_str(line).context("cargo printed an unknown message")?;
        let (Some(found), Some(executable)) = (artifact.target, artifact.executable) else {
            continue;
        };
        if artifact.reason != "compiler-artifact" || !artifact.profile.is_some_and(|profile| profile.test) {
            continue;
        }
        let folder = artifact
            .manifest_path
            .as_deref()
            .and_then(|path| path.parent())
            .map(PathBuf::from);
        let folder = folder.with_context(|| format!("no folder for {:?}", artifact.package_id))?;
        let package = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let name = match found.kind.first().map(String::as_str) {
            Some("test") => format!("{package}/{}", found.name),
            Some("bin") => format!("{package} (bin {})", found.name),
            _ => package,
        };
        let mut command = Command::new(executable);
        // As cargo does: a test finds its own files from its crate's folder.
        command.current_dir(&folder).env("CARGO_MANIFEST_DIR", &folder);
        suites.push(Suite { name, command });
    }
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(suites)
}

fn documentation() -> Suite {
    Suite {
        name: "documentation examples".into(),
        command: cargo(&["test", "--workspace", "--doc", "--quiet"]),
    }
}

impl Run {
    pub(crate) fn begin() -> Result<Self> {
        let skipped = target().join("skipped-tests");
        let _ = std::fs::remove_file(&skipped);
        Ok(Self {
            init: build::guest()?,
            skipped,
            outcomes: Vec::new(),
        })
    }

    pub(crate) fn execute(&mut self, mut suite: Suite, arguments: &[String]) -> Result<()> {
        println!("==> {}", suite.name);
        let start = Instant::now();
        let binaries = target().join("debug");
        // What the suite has of its own comes before.
        let own: Vec<_> = suite
            .command
            .get_envs()
            .map(|(name, _)| name.to_owned())
            .collect();
        for (name, value) in [
            ("KNALLER_POWERUNIT", self.init.clone()),
            ("KNALLER_NETNS", binaries.join("knaller-netns")),
            ("SPARKLER", binaries.join("sparkler")),
            ("KNALLER", binaries.join("knaller")),
            ("PITWALL_ROOT", root()),
            (SKIPPED, self.skipped.clone()),
        ] {
            if !own.iter().any(|own| own == name) {
                suite.command.env(name, value);
            }
        }
        let mut child = suite
            .command
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", suite.name))?;
        let (passed, failed) = relay(child.stdout.take().context("no output")?)?;
        let status = child.wait()?;
        self.outcomes.push(Outcome {
            name: suite.name,
            passed,
            failed,
            took: start.elapsed(),
            good: status.success(),
        });
        Ok(())
    }

    /// Adds lines to those of the skipped tests.
    pub(crate) fn skip(&self, lines: &str) -> Result<()> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.skipped);
        file.and_then(|mut file| file.write_all(lines.as_bytes()))
            .with_context(|| format!("cannot write {}", self.skipped.display()))
    }

    /// Sums up; a suite that failed is an error.
    pub(crate) fn end(self) -> Result<()> {
        let skipped = std::fs::read_to_string(&self.skipped).unwrap_or_default();
        summary(&self.outcomes, &skipped)
    }
}

/// Shows a suite's output as it comes, and counts by its closing lines.
fn relay(stdout: std::process::ChildStdout) -> Result<(usize, usize)> {
    let (mut passed, mut failed) = (0, 0);
    for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)) {
        let line = line?;
        println!("{line}");
        if let Some(counts) = line.strip_prefix("test result: ") {
            passed += count(counts, " passed");
            failed += count(counts, " failed");
        }
    }
    Ok((passed, failed))
}

/// The number before `word` in `ok. 12 passed; 0 failed; …`.
fn count(counts: &str, word: &str) -> usize {
    counts
        .split_once(word)
        .and_then(|(before, _)| before.rsplit(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

fn summary(outcomes: &[Outcome], skipped: &str) -> Result<()> {
    println!("\nSuites:");
    for outcome in outcomes {
        let word = if outcome.good { "ok" } else { "FAILED" };
        println!(
            "  {:<44} {:>4} passed {:>3} failed {:>8.1} s  {word}",
            outcome.name,
            outcome.passed,
            outcome.failed,
            outcome.took.as_secs_f64()
        );
    }
    println!("\nSkipped:");
    for line in skipped.lines() {
        println!("  {line}");
    }
    if skipped.is_empty() {
        println!("  none");
    }
    let total = |figure: fn(&Outcome) -> usize| outcomes.iter().map(figure).sum::<usize>();
    // A skipped test returns early, which its suite counts as passed.
    let skips = skipped.lines().count();
    println!(
        "\n{} passed, {} failed, {skips} skipped",
        total(|o| o.passed).saturating_sub(skips),
        total(|o| o.failed),
    );
    let bad: Vec<_> = outcomes
        .iter()
        .filter(|outcome| !outcome.good)
        .map(|outcome| outcome.name.as_str())
        .collect();
    if !bad.is_empty() {
        bail!("failed: {}", bad.join(", "));
    }
    if outcomes.is_empty() {
        bail!("no suite has that in its name");
    }
    Ok(())
}
