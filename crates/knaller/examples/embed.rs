//! A program that runs a microVM on a disk of its own, keeps both as they are in one moment, and makes a second machine
//! of that: `cargo run --example embed -- DISK COPY`. The disk is a raw ext4 file with a root file system in it.
//! `docs/guides/embed.md` explains it.
#![allow(clippy::print_stdout, reason = "it is an example: it shows what it does")]

use std::error::Error;
use std::path::{Path, PathBuf};

use knaller::{
    CopyOptions, ExecRequest, Knaller, MachineSpec, Options, RestoreSpec, Root, StartOptions, StopOptions,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut paths = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(disk), Some(copy)) = (paths.next(), paths.next()) else {
        return Err("call it as: embed DISK COPY".into());
    };
    let knaller = Knaller::open(Options::from_env())?;
    run(&knaller, MachineSpec::new(), &disk, &copy).await
}

/// All of it. `base` says what a machine is but for its disk.
pub(crate) async fn run(
    knaller: &Knaller,
    base: MachineSpec,
    disk: &Path,
    copy: &Path,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    // Start a machine.
    let spec = base.name("db".parse()?).root(Root::Raw(disk.to_owned()));
    let (machine, timeline) = knaller.start(spec, StartOptions::default(), &mut |_| {}).await?;
    println!("{} is up after {:?}", machine.name(), timeline.total);

    // Run a command in it.
    let output = machine.output(ExecRequest::argv(["uname", "-r"])).await?;
    println!(
        "its kernel: {}",
        String::from_utf8_lossy(&output.stdout).trim_end()
    );

    // Copy a file into it.
    let notes = copy.with_extension("txt");
    std::fs::write(&notes, "from outside")?;
    let options = CopyOptions::default();
    machine
        .copy_in(&notes, "/root/notes.txt", &options, &mut |_| {})
        .await?;

    // Keep it as it is now: its state and memory in two files, and a copy of its disk, all of one moment.
    let (state, memory) = (copy.with_extension("state"), copy.with_extension("memory"));
    let taken = machine
        .create_raw(&state, &memory, async |paused| {
            for disk in &paused.disks {
                tokio::fs::copy(disk, copy).await?;
            }
            Ok::<_, std::io::Error>(())
        })
        .await?;
    println!("it stood still for {:?}", taken.paused);
    let kept = serde_json::to_string(&taken.snapshot)?;

    // Whoever runs later takes charge of what runs, by its name.
    let adopted = knaller.adopt("db").await?;
    println!("{} runs, as process {}", adopted.name(), adopted.pid());
    machine.stop(StopOptions::default()).await?;

    // Go on from that moment, on the copied disk, as another machine.
    let mut own = RestoreSpec::default();
    own.name = Some("db2".parse()?);
    let disks = vec![copy.to_owned()];
    let (second, _) = knaller
        .restore_raw(
            serde_json::from_str(&kept)?,
            disks,
            own,
            StartOptions::default(),
            &mut |_| {},
        )
        .await?;
    let output = second
        .output(ExecRequest::argv(["cat", "/root/notes.txt"]))
        .await?;
    println!(
        "{} has: {}",
        second.name(),
        String::from_utf8_lossy(&output.stdout)
    );

    // End both. The disks stay.
    second.stop(StopOptions::default()).await?;
    second.remove().await?;
    machine.remove().await?;
    Ok(())
}
