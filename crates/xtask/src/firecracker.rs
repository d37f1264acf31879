//! What a real Firecracker is tested with: the same tests as sparkler, as far as they ask nothing of QEMU. In `dev/with-kvm`,
//! since few machines that build this have KVM; what is chosen here ends there within half an hour.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build;
use crate::command::{output, root, run, step, target};
use crate::suites::{self, Run, SKIPPED, Suite};

/// What `make test` calls it, and lists as skipped where there is no Firecracker.
pub(crate) const SUITE: &str = "firecracker";

/// The packages whose tests these are.
const PACKAGES: [&str; 4] = ["--package", "firecracker-api", "--package", "knaller"];

/// Suites, and which of their tests: all where none is named.
const CHOSEN: [(&str, &[&str]); 2] = [
    ("firecracker-api/firecracker", &[]),
    (
        "knaller/machines",
        &[
            "access::commands_files_and_ports",
            "crash::a_machine_whose_process_is_killed_is_stopped",
            "differences::a_machine_of_a_snapshot",
            "direct::",
            "jail::",
            "life::a_machine_is_started_stopped_started_again_and_removed",
            "life::ctrl_alt_del_ends_a_machine_in_order",
            "limits::a_control_group_limits_and_goes_with_the_machine",
            "limits::a_guest_gives_memory_back_and_gets_it_again",
            "limits::a_machine_that_may_not_have_its_processes_does_not_start",
            "limits::a_machine_that_takes_more_memory_than_it_may_is_ended",
            "limits::disks_are_no_quicker_than_said",
            "limits::of_a_processor_that_two_want_each_gets_its_weight",
            "limits::the_network_is_no_quicker_than_said",
            "limits::what_has_rested_passes_at_once_and_then_at_the_rate",
            "network::without_a_network_ssh_still_works",
            "snapshots::",
            "supervision::a_supervisor_that_is_killed_and_started_again_has_every_machine_back",
            "user::everything_without_root",
            "warm::",
        ],
    ),
];

/// How long it may take to measure, in seconds.
const BENCH_LIMIT: &str = "7200";

/// How long the emulated machine may take for one suite, in seconds.
const LIMIT: &str = "2400";

/// `make test-firecracker`.
pub(crate) fn run_all(selected: &[String]) -> Result<()> {
    let program = program()?;
    let mut run = Run::begin()?;
    let mut suites = suites::build(&PACKAGES)?;
    suites.retain(|suite| {
        selected.is_empty() || selected.iter().any(|wanted| suite.name.contains(wanted.as_str()))
    });
    execute(&mut run, suites, &program)?;
    run.end()
}

/// As a part of `make test`.
pub(crate) fn with_the_others(run: &mut Run) -> Result<()> {
    match find() {
        Some(program) => execute(run, suites::build(&PACKAGES)?, &program),
        None => run.skip("make test-firecracker: no firecracker on PATH or in $FIRECRACKER\n"),
    }
}

/// `make bench-firecracker`: what was built here measures itself there.
pub(crate) fn bench() -> Result<()> {
    let program = program()?;
    build::release()?;
    let out = target().join("with-kvm/bench");
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    run(Command::new(root().join("dev/with-kvm"))
        .args(["--seconds", BENCH_LIMIT, "--memory", "8192", "--out"])
        .arg(&out)
        .arg("--")
        .arg(std::env::current_exe()?)
        .args(["bench", "--vmm", "firecracker", "--into", "/run/out"])
        .env("FIRECRACKER", program)
        .current_dir(root()))?;
    run(Command::new("cp")
        .args(["--recursive", "benchmarks-firecracker.md", "plots"])
        .arg(root().join("docs"))
        .current_dir(out))
}

/// The Firecracker that was asked for.
pub(crate) fn program() -> Result<PathBuf> {
    find().context("no firecracker on PATH, and none named by $FIRECRACKER")
}

fn find() -> Option<PathBuf> {
    let named = std::env::var_os("FIRECRACKER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let found = folders.into_iter().map(|folder| folder.join("firecracker"));
    let program = named.into_iter().chain(found).find(|program| program.is_file())?;
    std::path::absolute(program).ok()
}

fn execute(tests: &mut Run, suites: Vec<Suite>, program: &Path) -> Result<()> {
    run(Command::new(root().join("dev/setup")).arg("firecracker"))?;
    let kernel = kernel()?;
    let which = version(program)?;
    let shared = target().join("with-kvm/out");
    std::fs::create_dir_all(&shared).with_context(|| format!("cannot make {}", shared.display()))?;
    for suite in suites {
        let Some((_, chosen)) = CHOSEN.iter().find(|(name, _)| *name == suite.name) else {
            continue;
        };
        let inside = Suite {
            name: format!("{} on {which}", suite.name),
            command: emulated(&suite.command, &shared, program, &kernel),
        };
        // One at a time: the emulated machine has no processors to spare.
        let arguments = chosen.iter().chain(&["--test-threads=1"]);
        tests.execute(
            inside,
            &arguments.map(|word| (*word).to_owned()).collect::<Vec<_>>(),
        )?;
        let skipped = shared.join("skipped");
        if let Ok(lines) = std::fs::read_to_string(&skipped) {
            tests.skip(&lines)?;
            std::fs::remove_file(&skipped)?;
        }
    }
    Ok(())
}

/// What the program calls itself: `Firecracker v1.15.1`.
pub(crate) fn version(program: &Path) -> Result<String> {
    let said = output(Command::new(program).arg("--version"))?;
    let line = said.lines().next().unwrap_or_default();
    Ok(line.trim().to_owned())
}

/// The suite's command in `dev/with-kvm`.
fn emulated(suite: &Command, shared: &Path, program: &Path, kernel: &Path) -> Command {
    let mut command = Command::new(root().join("dev/with-kvm"));
    command
        .args(["--seconds", LIMIT, "--out"])
        .arg(shared)
        .arg("--")
        .arg(suite.get_program());
    if let Some(folder) = suite.get_current_dir() {
        command.current_dir(folder);
    }
    for (name, value) in suite.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
        .env("CONTRACT_KERNEL", kernel)
        .env("FIRECRACKER", program)
        .env("PITWALL_VMM", "firecracker")
        // Where root's machines can have users of their own.
        .env("PITWALL_SANDBOXES", "/run/disk")
        .env(SKIPPED, "/run/out/skipped");
    command
}

/// The guests' kernel, imported here where that is quick: the tests find it.
fn kernel() -> Result<PathBuf> {
    step("importing the guests' kernel", || {
        let data = target().join("knaller-tests");
        run(Command::new(target().join("debug/knaller"))
            .args(["kernel", "import", "--root"])
            .arg(testkit::kernel_root())
            .env("KNALLER_DATA", &data))?;
        let kernels = std::fs::read_dir(data.join("kernels"))?;
        let mut found = kernels.flatten().map(|entry| entry.path().join("vmlinux"));
        found
            .find(|path| path.is_file())
            .context("no kernel was imported")
    })
}
