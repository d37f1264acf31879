//! Taking charge of machines that run already, as a supervisor does that was killed and started again.
//!
//! The invariant: what is adopted is one boot of a machine, never merely its name, and its processes are held, so that
//! neither a number that is used again nor a file that lies can pass for it. Its VMM is the process that listens on the
//! machine's API socket and answers there with the boot's instance id; it is held by a pidfd, has that id in its command
//! line, and began in the same boot of the host as the machine's own, and not before that.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use crate::knaller::Inner;
use crate::layout::Files;
use crate::process::{self, Boot, Process};
use crate::record::{Moment, Record};
use crate::{Error, Exit, Machine, Name, Result, State, heal, list, stop, task};

/// How many machines are asked at once: each takes two files of the caller's.
const AT_ONCE: usize = 128;

/// How exactly the kernel tells when a process began: a clock tick is this, or less.
const TICK: Duration = Duration::from_millis(10);

/// One boot of a machine, held by its processes. Dropping it changes nothing; the machine runs on.
#[derive(Debug)]
pub struct Adopted {
    machine: Machine,
    files: Files,
    record: Record,
    state: State,
    vmm: u32,
    processes: Vec<Process>,
    /// As it was when the boot was adopted, whatever becomes of the machine's folder.
    console: Option<File>,
}

/// What came of [`crate::Knaller::adopt_all`]. Machines that do not run are in neither list.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Adoption {
    /// By name.
    pub adopted: Vec<Adopted>,
    /// Those that seem to run and cannot be adopted, and why.
    pub refused: Vec<(Name, Error)>,
}

impl Adopted {
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    #[must_use]
    pub fn name(&self) -> &Name {
        self.machine.name()
    }

    /// Names this boot; the VMM's `--id`.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.record.instance
    }

    /// The VMM's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.vmm
    }

    /// How it was when it was adopted: [`State::Running`], [`State::Paused`] or [`State::Unresponsive`].
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Waits until this boot is over, and says how it ended. May be dropped and called again, and by several at once. If the
    /// machine has been started anew by then, there is no telling how: [`Exit::Lost`].
    pub async fn ended(&self) -> Result<Exit> {
        let failed = || Error::system("watch a machine's processes");
        for process in &self.processes {
            let held = process.again().map_err(failed())?;
            held.ended().await.map_err(failed())?;
        }
        stop::over(
            self.machine.inner(),
            &self.files,
            &self.record,
            self.console.as_ref(),
        )
        .await
    }
}

/// Adopts the machine of this name.
pub(crate) async fn adopt(inner: &Arc<Inner>, name: &Name) -> Result<Adopted> {
    heal::one(inner, name).await?;
    let (files, record) = list::load(inner, name)?;
    let mut processes = processes_of([&record]).await?;
    let processes = processes.remove(&record.instance).unwrap_or_default();
    verified(inner, files, record, processes).await
}

/// Adopts all machines that run.
pub(crate) async fn adopt_all(inner: &Arc<Inner>) -> Result<Adoption> {
    heal::all(inner).await?;
    let mut adoption = Adoption::default();
    let mut loaded = Vec::new();
    for name in heal::names(&inner.options.paths)? {
        match list::load(inner, &name) {
            Ok(one) => loaded.push(one),
            // It went meanwhile.
            Err(Error::NotFound(_)) => {}
            Err(error) => adoption.refused.push((name, error)),
        }
    }
    let mut processes = processes_of(loaded.iter().map(|(_, record)| record)).await?;
    let verified = loaded.into_iter().map(|(files, record)| {
        let name = record.name.clone();
        let processes = processes.remove(&record.instance).unwrap_or_default();
        async { (name, verified(inner, files, record, processes).await) }
    });
    let mut verified = stream::iter(verified).buffer_unordered(AT_ONCE);
    while let Some((name, result)) = verified.next().await {
        match result {
            Ok(adopted) => adoption.adopted.push(adopted),
            Err(Error::NotRunning(_) | Error::NotFound(_)) => {}
            Err(error) => adoption.refused.push((name, error)),
        }
    }
    adoption.adopted.sort_by(|a, b| a.name().cmp(b.name()));
    adoption.refused.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(adoption)
}

/// The processes of these boots, by their instance ids.
async fn processes_of(records: impl IntoIterator<Item = &Record>) -> Result<HashMap<String, Vec<Process>>> {
    let boots: HashSet<Boot> = records.into_iter().map(Record::boot).collect();
    task::blocking(move |_| process::of_each(&boots).map_err(Error::system("look for a machine's processes")))
        .await
}

/// Makes sure that these processes, held before this, are the boot that the record tells of.
async fn verified(
    inner: &Arc<Inner>,
    files: Files,
    record: Record,
    processes: Vec<Process>,
) -> Result<Adopted> {
    let name = record.name.clone();
    let refuse = |reason: String| Error::NotAdoptable {
        name: name.clone(),
        reason,
    };
    if processes.is_empty() || !is_of_this_boot_of_the_host(&record) {
        return Err(Error::NotRunning(name));
    }
    // Before it can end: then the machine's folder may go at once.
    let console = File::open(files.console()).ok();
    let answer = list::ask(&files, &record).await?;
    match answer.state {
        State::Starting => return Err(Error::Busy(name)),
        State::Stopped if heal::lives(&files)? => {
            return Err(refuse(
                "its processes live, but no VMM of this boot answers on its API socket".to_owned(),
            ));
        }
        State::Stopped => return Err(Error::NotRunning(name)),
        State::Running | State::Paused | State::Unresponsive => {}
    }
    let vmm = processes.iter().find(|process| answer.pid == Some(process.pid()));
    let Some(vmm) = vmm else {
        return Err(refuse(match answer.pid {
            Some(pid) => format!("process {pid}, which listens on its API socket, is not of this boot"),
            None => "the kernel does not tell who listens on its API socket".to_owned(),
        }));
    };
    let pid = vmm.pid();
    if let (Some(began), Some(moment)) = (vmm.began(), &record.moment)
        && began + TICK < Duration::from_millis(moment.up_ms)
    {
        return Err(refuse(format!(
            "process {pid}, which listens on its API socket, is older than this boot"
        )));
    }
    // Alive after its socket was asked, so it is who was asked and no other of the same number.
    let failed = Error::system("watch a machine's processes");
    if vmm.has_ended().map_err(failed)? {
        return Err(Error::NotRunning(name));
    }
    Ok(Adopted {
        machine: Machine::new(Arc::clone(inner), name.clone()),
        state: answer.state,
        vmm: pid,
        files,
        record,
        processes,
        console,
    })
}

/// Of what was started before the host was last booted nothing runs. A record that does not say is not doubted for it.
fn is_of_this_boot_of_the_host(record: &Record) -> bool {
    match (&record.moment, Moment::now()) {
        (Some(began), Some(now)) => began.boot == now.boot,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::process::Child;

    use super::*;
    use crate::claim::Claim;
    use crate::process::stand_in;
    use crate::{Knaller, MachineSpec, Paths, layout, leash, runtime_folder};

    struct Place {
        _temp: tempfile::TempDir,
        knaller: Knaller,
    }

    /// A machine whose record says this, without any process.
    fn machine(change: impl FnOnce(&mut Record)) -> (Place, Files, Record) {
        let temp = tempfile::tempdir().unwrap();
        let knaller = Knaller::with_paths(Paths {
            data: temp.path().join("d"),
            runtime: temp.path().join("r"),
        })
        .unwrap();
        let name: Name = "web".parse().unwrap();
        let files = layout::files(&knaller.options().paths, &name);
        let mut record = Record::new(name, files.runtime.clone(), MachineSpec::new());
        change(&mut record);
        drop(Claim::create(files.clone(), &record).unwrap().unwrap());
        std::fs::remove_file(files.creating()).unwrap();
        runtime_folder::make(&files).unwrap();
        let place = Place { _temp: temp, knaller };
        (place, files, record)
    }

    /// A process of that boot, which holds the leash.
    fn process(files: &Files, record: &Record) -> Child {
        let log = leash::fasten(&files.vmm_log()).unwrap();
        let mut command = stand_in::vmm(&files.api_socket(), &record.instance);
        command.stderr(log);
        stand_in::start(command, ":")
    }

    /// This process, on the machine's API socket: it answers once, with this id.
    fn listen(files: &Files, id: &str) -> std::thread::JoinHandle<()> {
        let listener = UnixListener::bind(files.api_socket()).unwrap();
        let body =
            format!(r#"{{"id":"{id}","state":"Running","vmm_version":"1.0.0","app_name":"Firecracker"}}"#);
        std::thread::spawn(move || {
            // One that only looks who listens, and one that asks.
            drop(listener.accept().unwrap());
            let mut stream = listener.accept().unwrap().0;
            let mut heard = [0; 4096];
            let _ = stream.read(&mut heard).unwrap();
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .unwrap();
        })
    }

    async fn refused(place: &Place) -> String {
        let error = adopt(&place.knaller.inner, &"web".parse().unwrap()).await;
        error.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn what_does_not_run_is_not_adopted() {
        let (place, _files, _) = machine(|_| {});
        assert_eq!(refused(&place).await, "web is not running");
        let all = adopt_all(&place.knaller.inner).await.unwrap();
        assert!(all.adopted.is_empty() && all.refused.is_empty(), "{all:?}");
    }

    #[tokio::test]
    async fn a_stranger_on_the_socket_is_found_out() {
        let (place, files, record) = machine(|_| {});
        let mut child = process(&files, &record);
        // It knows the id, but is not the process that was held.
        let stranger = listen(&files, &record.instance);
        let own = std::process::id();
        assert_eq!(
            refused(&place).await,
            format!("cannot adopt web: process {own}, which listens on its API socket, is not of this boot")
        );
        stranger.join().unwrap();
        std::fs::remove_file(files.api_socket()).unwrap();
        let stranger = listen(&files, "another");
        let all = adopt_all(&place.knaller.inner).await.unwrap();
        let [(name, error)] = all.refused.as_slice() else {
            panic!("{all:?}")
        };
        assert_eq!(name.as_str(), "web");
        assert!(
            error.to_string().contains("no VMM of this boot answers"),
            "{error}"
        );
        stranger.join().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_record_of_another_boot_of_the_host_is_of_nothing_that_runs() {
        let (place, files, record) = machine(|record| {
            record.moment.as_mut().unwrap().boot = "another".to_owned();
        });
        let mut child = process(&files, &record);
        assert_eq!(refused(&place).await, "web is not running");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
