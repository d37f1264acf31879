//! Ending a machine: asked, told, killed, in that order.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firecracker_api::Client;
use firecracker_api::models::{ActionType, VmState};
use guest_protocol::console;
use rustix::process::Signal;

use crate::claim::Claim;
use crate::knaller::Inner;
use crate::layout::{self, Files};
use crate::process::Boot;
use crate::record::Record;
use crate::ssh::control;
use crate::{
    Error, Exit, Name, Restart, Result, State, StopOptions, StopOutcome, damage, heal, life, list, process,
    record, runtime_folder, tail, task,
};

/// What an orderly end takes beside the command's grace: killing the rest, syncing, unmounting.
const MARGIN: Duration = Duration::from_secs(15);

/// How long the guest's init may take to answer that it is about to end.
const ASKING: Duration = Duration::from_secs(10);

/// How long killed processes may take to be gone.
const KILLING: Duration = Duration::from_secs(30);

pub(crate) async fn stop(inner: &Arc<Inner>, name: &Name, options: StopOptions) -> Result<StopOutcome> {
    let mut info = list::one(inner, name).await?;
    if info.state == State::Stopped {
        heal::one(inner, name).await?;
        if let Some(outcome) = stay(inner, name).await? {
            return Ok(outcome);
        }
        // A supervisor was quicker.
        info = list::one(inner, name).await?;
        if info.state == State::Stopped {
            return Err(Error::NotRunning(name.clone()));
        }
    }
    let (files, record) = halted(inner, name)?;
    let grace = options
        .grace
        .unwrap_or(Duration::from_millis(record.spec.stop_grace_ms));
    let outcome = match info.state {
        State::Running | State::Paused => in_order(&files, &record, info.state, grace).await,
        _ => None,
    };
    if outcome.is_none() {
        end(record.boot(), name).await?;
    }
    released(&files, &record).await;
    // Before it may go as a whole.
    let exit = how(&tail::of(&files.console()), record.tells);
    heal::one(inner, name).await?;
    Ok(match outcome {
        Some(StopOutcome::Orderly) if was_killed(&exit) => StopOutcome::CommandKilled,
        Some(outcome) => outcome,
        None => StopOutcome::Killed,
    })
}

/// Whether the command's end was a SIGKILL: the init's own when the grace is over.
fn was_killed(exit: &Exit) -> bool {
    let kill = u8::try_from(Signal::KILL.as_raw()).ok();
    matches!(exit, Exit::Command(guest_protocol::Exit::Signal(signal)) if Some(*signal) == kill)
}

/// Tries the polite ways; `None` if neither helped.
async fn in_order(files: &Files, record: &Record, state: State, grace: Duration) -> Option<StopOutcome> {
    let client = Client::new(files.api_socket()).with_timeout(ASKING);
    if state == State::Paused {
        // A frozen guest hears nothing.
        client.patch_vm(VmState::Resumed).await.ok()?;
    }
    let asked = tokio::time::timeout(ASKING, control::shutdown(files, record, grace)).await;
    match asked {
        Ok(Ok(())) if gone(record, grace + MARGIN).await => return Some(StopOutcome::Orderly),
        Ok(Err(error)) => tracing::debug!(%error, "the guest's init cannot be asked"),
        _ => {}
    }
    client.put_action(ActionType::SendCtrlAltDel).await.ok()?;
    gone(record, grace + MARGIN)
        .await
        .then_some(StopOutcome::CtrlAltDel)
}

/// Kills it.
pub(crate) async fn kill(inner: &Arc<Inner>, name: &Name) -> Result<StopOutcome> {
    let (files, _) = match list::load(inner, name) {
        Ok(loaded) => loaded,
        Err(error) if damage::machine(inner, name).is_some() => {
            kill_damaged(inner, name, error).await?;
            return Ok(StopOutcome::Killed);
        }
        Err(error) => return Err(error),
    };
    if !heal::lives(&files)? {
        heal::one(inner, name).await?;
        if let Some(outcome) = stay(inner, name).await? {
            return Ok(outcome);
        }
    }
    let (files, record) = halted(inner, name)?;
    end(record.boot(), name).await?;
    released(&files, &record).await;
    heal::one(inner, name).await?;
    Ok(StopOutcome::Killed)
}

/// Has a machine that does not run stay so, if its policy would have it started again; `None` if somebody has started it.
async fn stay(inner: &Arc<Inner>, name: &Name) -> Result<Option<StopOutcome>> {
    let not_running = || Error::NotRunning(name.clone());
    match list::load(inner, name) {
        Ok((_, record)) if record.spec.restart != Restart::No => {}
        // One that was to go with its end has gone.
        Ok(_) | Err(Error::NotFound(_)) => return Err(not_running()),
        Err(error) => return Err(error),
    }
    let files = layout::files(&inner.options.paths, name);
    // Whoever starts it has this, or looks what is written here when he has.
    let claim = Claim::take(&files, name).await;
    if heal::lives(&files)? {
        return Ok(None);
    }
    let _claim = claim?;
    let (files, record) = list::load(inner, name)?;
    let exit = ended_how(inner, name);
    if is_halted(&files, &record) || !record.spec.restart.wants(&exit, record.restarts) {
        return Err(not_running());
    }
    record::write_private(&files.halted(), record.instance.as_bytes())?;
    Ok(Some(StopOutcome::StaysStopped))
}

/// Kills a machine whose record cannot be read, which is why is told if its boot cannot be told either.
async fn kill_damaged(inner: &Arc<Inner>, name: &Name, why: Error) -> Result<()> {
    let files = layout::files(&inner.options.paths, name);
    if !heal::lives(&files)? {
        return Err(Error::NotRunning(name.clone()));
    }
    let behind = process::boot_behind(&files.api_socket(), inner.options.users);
    let Some(boot) = behind.map_err(Error::system("look for a machine's processes"))? else {
        return Err(why);
    };
    end(boot, name).await?;
    let until = Instant::now() + KILLING;
    while heal::lives(&files)? && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// The machine as it is, of which somebody wants its end. One that a supervisor is about to start has another boot by the time
/// that this is written: either that is seen here, or the supervisor sees what was written for the last one ([`is_called_off`]).
fn halted(inner: &Inner, name: &Name) -> Result<(Files, Record)> {
    let (mut files, mut record) = list::load(inner, name)?;
    loop {
        halt(&files, &record)?;
        let now = list::load(inner, name)?;
        if now.1.instance == record.instance {
            return Ok((files, record));
        }
        (files, record) = now;
    }
}

/// Says that somebody wants this boot to end: no supervisor is to take the end for a failure.
fn halt(files: &Files, record: &Record) -> Result<()> {
    match record::write_private(&files.halted(), record.instance.as_bytes()) {
        // Ending machines is how room is made.
        Err(error @ (Error::DiskFull { .. } | Error::NoSpace { .. })) => {
            tracing::warn!(name = %record.name, %error, "a supervisor may start the machine again");
            Ok(())
        }
        written => written,
    }
}

/// Whether somebody wanted this boot to end.
pub(crate) fn is_halted(files: &Files, record: &Record) -> bool {
    std::fs::read_to_string(files.halted()).is_ok_and(|instance| instance == record.instance)
}

/// Whether somebody wanted the end of a machine that is being started again after the boot `before`, of which nobody had when
/// that began. Then it is written as wanted for the new boot, which is to be told when its processes are there: who wrote it later
/// finds them.
pub(crate) fn is_called_off(files: &Files, record: &Record, before: &str) -> Result<bool> {
    if std::fs::read_to_string(files.halted()).is_ok_and(|instance| instance == before) {
        halt(files, record)?;
    }
    Ok(is_halted(files, record))
}

/// Waits until a boot that has ended counts as ended: a process that the kernel takes down loses its command line, by which
/// it is known, before it lets go of its files, the leash among them.
async fn released(files: &Files, record: &Record) {
    let until = Instant::now() + KILLING;
    let mut pause = Duration::from_millis(1);
    let same_boot = || Record::load(&files.record()).is_ok_and(|now| now.instance == record.instance);
    while heal::lives(files).unwrap_or(true) && same_boot() && Instant::now() < until {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

async fn end(boot: Boot, name: &Name) -> Result<()> {
    let ended = task::blocking(move |_| {
        process::end(&boot, KILLING).map_err(Error::system("end a machine's processes"))
    });
    if ended.await? {
        return Ok(());
    }
    Err(Error::Timeout {
        what: format!("the VMM of {name}"),
        after: KILLING,
    })
}

/// Waits until no process of the boot is left; whether that came about in time.
async fn gone(record: &Record, patience: Duration) -> bool {
    matches!(tokio::time::timeout(patience, ended(record)).await, Ok(Ok(())))
}

pub(crate) async fn ended(record: &Record) -> Result<()> {
    let failed = |error| Error::system("watch a machine's processes")(error);
    let boot = record.boot();
    loop {
        let processes = process::of(&boot).map_err(failed)?;
        if processes.is_empty() {
            return Ok(());
        }
        for process in processes {
            process.ended().await.map_err(failed)?;
        }
    }
}

/// Waits for its end, and reads from its console how it came.
pub(crate) async fn wait(inner: &Arc<Inner>, name: &Name) -> Result<Exit> {
    let (files, record) = list::load(inner, name)?;
    // Opened before it ends: a machine that is to be removed on exit may go in the same moment.
    let console = File::open(files.console()).ok();
    over(inner, &files, &record, console.as_ref()).await
}

/// Waits until nothing is left of a boot, and reads from its console, opened while it ran, how it came to its end.
pub(crate) async fn over(
    inner: &Arc<Inner>,
    files: &Files,
    record: &Record,
    console: Option<&File>,
) -> Result<Exit> {
    ended(record).await?;
    released(files, record).await;
    heal::one(inner, &record.name).await?;
    // The file is the next boot's as soon as there is one.
    if Record::load(&files.record()).is_ok_and(|now| now.instance != record.instance) {
        return Ok(Exit::Lost);
    }
    // One that was opened before its VMM was there is the last boot's; that one is gone unless the machine is.
    let own = File::open(files.console()).ok();
    Ok(told_by(own.as_ref().or(console), record))
}

/// How a boot that is over has ended, as far as its console tells.
pub(crate) fn told_by(console: Option<&File>, record: &Record) -> Exit {
    let console = console.and_then(|console| tail::read(console).ok());
    how(&console.unwrap_or_default(), record.tells)
}

/// As [`told_by`], as far as what is left of the machine tells.
pub(crate) fn ended_how(inner: &Arc<Inner>, name: &Name) -> Exit {
    let Ok((files, record)) = list::load(inner, name) else {
        return Exit::Lost;
    };
    told_by(File::open(files.console()).ok().as_ref(), &record)
}

/// Removes a machine that does not run.
pub(crate) async fn remove(inner: &Arc<Inner>, name: &Name) -> Result<()> {
    let files = layout::files(&inner.options.paths, name);
    let claim = Claim::take(&files, name).await?;
    if heal::lives(&files)? {
        return Err(Error::Running(name.clone()));
    }
    // A damaged record is no reason to keep the machine.
    let runtime = Record::load(&files.record()).map_or(files.runtime.clone(), |record| {
        record.release(&inner.options);
        record.runtime
    });
    if !life::is_anothers(&inner.options.paths, name, &runtime)? {
        runtime_folder::remove(&Files { runtime, ..files });
    }
    task::blocking(move |_| claim.remove()).await
}

fn how(console: &str, tells: bool) -> Exit {
    if let Some(exit) = console::last_exit(console) {
        return Exit::Command(exit);
    }
    match console::kernel_panic(console) {
        Some(line) => Exit::Panicked(line.to_owned()),
        None if !tells && console::went_down(console) => Exit::Off,
        None => Exit::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_console_says_it_ended() {
        let exit = guest_protocol::Exit::Code(3);
        let line = console::exit_line(&exit);
        assert_eq!(
            how(&format!("x\n{line}\nreboot: Power down\n"), true),
            Exit::Command(exit)
        );
        let panic = "[1.0] Kernel panic - not syncing: oops\n";
        assert_eq!(
            how(panic, true),
            Exit::Panicked("Kernel panic - not syncing: oops".to_owned())
        );
        assert_eq!(how("reboot: Power down\n", false), Exit::Off);
        assert_eq!(how("reboot: Power down\n", true), Exit::Lost);
        assert_eq!(how("half a line of its outp", false), Exit::Lost);
    }
}
