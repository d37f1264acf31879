//! What killed processes left, found and put right at the beginning of every command. The invariant: a machine that nobody
//! works on is either whole and running, or whole and stopped without a socket or process.
//!
//! | found, and nobody holds the claim | so | then |
//! |---|---|---|
//! | `creating` | its first start was killed | its processes end, the machine goes |
//! | `pausing` | whoever made it stand still was killed | it goes on |
//! | `commit.ext4` | a commit was killed | the copy of the disk goes |
//! | `vsock.sock_1024` | a later start was killed | its processes end |
//! | `attended`, and nobody holds it | whoever it was for was killed | its processes end, the machine goes |
//! | a change of forwards under way | whoever changed them was killed | they are as they were before |
//! | limits about to be changed | whoever changed them was killed | they are as they were before |
//! | nobody carries a forward | whoever did was killed | another does |
//! | its VMM is gone, and the rest of the boot is ending | it was killed | `prune` waits for that |
//! | no process holds the leash | it stopped | its sockets go, and it too if it is to be removed on exit |

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::claim::Claim;
use crate::error::with_causes;
use crate::knaller::Inner;
use crate::layout::{self, Files};
use crate::network::live;
use crate::record::Record;
use crate::system::Healed;
use crate::{
    Error, Name, Options, Paths, Result, State, attendance, damage, folder, handover, keep, leash, life,
    process, runtime_folder, snapshot, task,
};

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Heals all machines.
pub(crate) async fn all(inner: &Arc<Inner>) -> Result<()> {
    let inner = Arc::clone(inner);
    task::blocking(move |_| {
        let options = &inner.options;
        folder::sweep(&layout::vms(&options.paths));
        for name in names(&options.paths)? {
            heal(options, &name);
        }
        Ok(())
    })
    .await
}

/// As [`all`], and what was found. A machine whose VMM is gone, but not yet all of its boot, is waited for. Blocks.
pub(crate) fn all_told(options: &Options) -> Result<Vec<Healed>> {
    let mut healed = Vec::new();
    for name in names(&options.paths)? {
        match try_heal(options, &name, PATIENCE) {
            Ok(found) => healed.extend(found),
            Err(error) => healed.push(Healed::Failed {
                name,
                reason: with_causes(&error),
            }),
        }
    }
    Ok(healed)
}

/// Heals one machine.
pub(crate) async fn one(inner: &Arc<Inner>, name: &Name) -> Result<()> {
    let (inner, name) = (Arc::clone(inner), name.clone());
    task::blocking(move |_| {
        heal(&inner.options, &name);
        Ok(())
    })
    .await
}

/// The machines that there are, sorted.
pub(crate) fn names(paths: &Paths) -> Result<Vec<Name>> {
    folder::names(&layout::vms(paths))
}

/// Whether a process of the machine's last boot lives. Who cannot tell, since it has too many open files for instance,
/// must not take it for dead: its sockets would go.
pub(crate) fn lives(files: &Files) -> Result<bool> {
    let log = files.vmm_log();
    leash::is_held(&log).map_err(Error::io("look at", &log))
}

fn heal(options: &Options, name: &Name) {
    if let Err(error) = try_heal(options, name, Duration::ZERO) {
        // The command goes on: what it is about may be another machine.
        tracing::warn!(%name, %error, "cannot heal a machine");
    }
}

/// What of a machine had to be put right. `patience`: how long a boot may take to end whose VMM is gone.
fn try_heal(options: &Options, name: &Name, patience: Duration) -> Result<Vec<Healed>> {
    let files = layout::files(&options.paths, name);
    if !folder::is_one(&files.data) {
        return Ok(Vec::new());
    }
    shorten(&files);
    let claim = match Claim::take_now(&files) {
        Ok(Some(claim)) => claim,
        // Somebody works on it, or it went meanwhile.
        Ok(None) => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("lock", &files.data)(error)),
    };
    let mut healed = Vec::new();
    let mut record = match Record::load(&files.record()) {
        Ok(record) => record,
        Err(error) if damage::is_of_the_file(&error) => {
            let (name, reason) = (name.clone(), with_causes(&error));
            return Ok(vec![told(Healed::Damaged { name, reason })]);
        }
        Err(error) => return Err(error),
    };
    if life::is_unfinished(&files, &record) {
        let from = record.name.clone();
        life::follow(&options.paths, name)?;
        record = Record::load(&files.record())?;
        let name = name.clone();
        healed.push(told(Healed::Renamed { name, from }));
    }
    // Whoever makes a copy of the disk has the claim meanwhile.
    let _ = std::fs::remove_file(files.commit());
    let machine = Unattended {
        options,
        name: name.clone(),
        files: Files {
            runtime: record.runtime.clone(),
            ..files
        },
        record,
        claim,
    };
    healed.extend(machine.heal(patience)?.into_iter().map(told));
    Ok(healed)
}

fn told(healed: Healed) -> Healed {
    tracing::info!("{healed}");
    healed
}

/// Cuts the beginning off long logs.
fn shorten(files: &Files) {
    for log in [files.console(), files.vmm_log()] {
        // One that is not there yet, or no more, needs no room.
        let _ = keep::trim(&log, keep::LIMIT);
        let _ = keep::shorten(&log);
    }
}

/// A machine that nobody works on but the one who heals it.
struct Unattended<'a> {
    options: &'a Options,
    name: Name,
    files: Files,
    record: Record,
    claim: Claim,
}

impl Unattended<'_> {
    fn heal(self, patience: Duration) -> Result<Vec<Healed>> {
        if self.claim.is_creating() {
            self.end()?;
            self.claim.remove()?;
            return Ok(vec![Healed::NeverStarted { name: self.name }]);
        }
        if self.files.pausing().exists() {
            // Whoever took a snapshot was killed: the machine goes on, and its guest does when nobody answers it.
            folder::remove_file(&self.files.config_socket())?;
            if lives(&self.files)? {
                return self.go_on();
            }
            let _ = std::fs::remove_file(self.files.pausing());
        }
        if self.is_forsaken()? {
            self.end()?;
            self.claim.remove()?;
            return Ok(vec![Healed::Forsaken { name: self.name }]);
        }
        if self.files.config_socket().exists() {
            self.end()?;
            return Ok(vec![Healed::NotStarted { name: self.name }]);
        }
        if lives(&self.files)? && !self.ends(patience)? {
            return self.settle();
        }
        self.clear()
    }

    /// Whether a boot that lives, but for its VMM, has ended in time. Of one that is killed pasta and QEMU end after it.
    fn ends(&self, patience: Duration) -> Result<bool> {
        if patience.is_zero() {
            return Ok(false);
        }
        // Nobody starts it meanwhile, and who cannot be asked is not taken for gone.
        let vmm = process::listening(&self.files.api_socket(), &self.record.boot());
        if !matches!(vmm, Ok(None)) {
            return Ok(false);
        }
        let log = self.files.vmm_log();
        leash::wait(&log, patience).map_err(Error::io("wait for the end of", &log))
    }

    /// Whether whoever it ran for is gone.
    fn is_forsaken(&self) -> Result<bool> {
        Ok(lives(&self.files)?
            && attendance::is_over(&self.files).map_err(Error::io("lock", self.files.attended()))?)
    }

    /// Lets a machine go on that stands still for nobody, or has it stand still if its user had paused it.
    fn go_on(self) -> Result<Vec<Healed>> {
        let tell = || snapshot::answer_forsaken(&self.files);
        let Some(state) = snapshot::heal_forsaken(&self.files, tell)? else {
            return Ok(Vec::new());
        };
        // Half a guest takes room.
        handover::clear(&self.files)?;
        let name = self.name;
        Ok(vec![match state {
            State::Paused => Healed::PausedAgain { name },
            _ => Healed::Resumed { name },
        }])
    }

    /// Has a machine that runs have its limits, and be reached by its forwards.
    fn settle(mut self) -> Result<Vec<Healed>> {
        let forwards = live::heal(self.options, &self.files, &mut self.record);
        // Neither keeps the other from being healed.
        let limits = life::heal_limits(&self.files, &mut self.record);
        let name = self.name;
        let limits = limits?.then(|| Healed::Limits { name: name.clone() });
        let forwards = forwards?.then_some(Healed::Forwards { name });
        Ok(limits.into_iter().chain(forwards).collect())
    }

    /// Ends the processes of a start that was killed, or of a machine that is nobody's.
    fn end(&self) -> Result<()> {
        let ended = process::end(&self.record.boot(), PATIENCE).map_err(Error::system("end processes"))?;
        if !ended {
            return Err(Error::Timeout {
                what: format!("the processes of {}", self.name),
                after: PATIENCE,
            });
        }
        self.record.release(self.options);
        runtime_folder::remove(&self.files);
        Ok(())
    }

    /// Takes away what a machine that has stopped leaves.
    fn clear(self) -> Result<Vec<Healed>> {
        let runtime = &self.files.runtime;
        let had_sockets = runtime.exists() && !life::is_anothers(&self.options.paths, &self.name, runtime)?;
        if had_sockets {
            self.record.release(self.options);
            runtime_folder::remove(&self.files);
        } else {
            self.record.remove_cgroup();
        }
        if self.record.spec.remove_on_exit {
            self.claim.remove()?;
            return Ok(vec![Healed::Removed { name: self.name }]);
        }
        Ok(had_sockets
            .then_some(Healed::Ended { name: self.name })
            .into_iter()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Child;

    use super::*;
    use crate::process::stand_in;
    use crate::{Knaller, MachineSpec};

    fn knaller(temp: &tempfile::TempDir) -> Knaller {
        Knaller::with_paths(Paths {
            data: temp.path().join("d"),
            runtime: temp.path().join("r"),
        })
        .unwrap()
    }

    /// A machine as a start leaves it that was killed before its end.
    fn half_started(inner: &Arc<Inner>, name: &str, spec: MachineSpec) -> (Files, String) {
        let name: Name = name.parse().unwrap();
        let files = layout::files(&inner.options.paths, &name);
        let record = Record::new(name, files.runtime.clone(), spec);
        drop(Claim::create(files.clone(), &record).unwrap().unwrap());
        runtime_folder::make(&files).unwrap();
        std::fs::write(files.config_socket(), "").unwrap();
        (files, record.instance)
    }

    /// A process that is known for the machine's VMM, until its input ends.
    fn vmm_of(files: &Files, instance: &str) -> Child {
        let mut command = stand_in::vmm(&files.api_socket(), instance);
        command.stderr(leash::fasten(&files.vmm_log()).unwrap());
        stand_in::start(command, ":")
    }

    #[tokio::test]
    async fn a_first_start_that_was_killed_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let inner = &knaller(&temp).inner;
        let (files, instance) = half_started(inner, "web", MachineSpec::new());
        let mut vmm = vmm_of(&files, &instance);
        all(inner).await.unwrap();
        assert!(!vmm.wait().unwrap().success());
        assert!(!files.data.exists() && !files.runtime.exists());
    }

    #[tokio::test]
    async fn a_machine_that_stands_still_is_not_taken_for_one_that_was_being_started() {
        let temp = tempfile::tempdir().unwrap();
        let inner = &knaller(&temp).inner;
        let (files, instance) = half_started(inner, "web", MachineSpec::new());
        std::fs::remove_file(files.creating()).unwrap();
        std::fs::write(files.pausing(), "").unwrap();
        let mut vmm = vmm_of(&files, &instance);
        // Nobody serves its socket, so it cannot be let go on; but it lives.
        all(inner).await.unwrap();
        assert!(files.pausing().exists() && files.runtime.exists());
        assert!(!files.config_socket().exists());
        drop(vmm.stdin.take());
        assert_eq!(vmm.wait().unwrap().code(), Some(0), "it was not killed");
    }

    #[tokio::test]
    async fn who_cannot_tell_whether_a_machine_lives_leaves_it() {
        let temp = tempfile::tempdir().unwrap();
        let inner = &knaller(&temp).inner;
        let (files, _) = half_started(inner, "web", MachineSpec::new());
        std::fs::remove_file(files.creating()).unwrap();
        std::fs::remove_file(files.config_socket()).unwrap();
        // It cannot be opened, by root neither: a link to itself.
        std::os::unix::fs::symlink("vmm.log", files.vmm_log()).unwrap();
        all(inner).await.unwrap();
        assert!(files.runtime.exists());
        assert!(matches!(lives(&files), Err(Error::Io { .. })));
    }

    #[tokio::test]
    async fn a_machine_being_started_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let inner = &knaller(&temp).inner;
        let (files, _) = half_started(inner, "web", MachineSpec::new());
        let claim = Claim::take_now(&files).unwrap().unwrap();
        all(inner).await.unwrap();
        assert!(files.data.exists() && files.runtime.exists());
        drop(claim);
    }

    #[tokio::test]
    async fn a_later_start_that_was_killed_keeps_the_machine() {
        let temp = tempfile::tempdir().unwrap();
        let inner = &knaller(&temp).inner;
        let (files, _) = half_started(inner, "web", MachineSpec::new());
        std::fs::remove_file(files.creating()).unwrap();
        all(inner).await.unwrap();
        assert!(files.data.exists() && !files.runtime.exists());
    }

    #[tokio::test]
    async fn the_copy_of_a_commit_that_was_killed_goes() {
        let temp = tempfile::tempdir().unwrap();
        let inner = &knaller(&temp).inner;
        let (files, _) = half_started(inner, "web", MachineSpec::new());
        std::fs::remove_file(files.creating()).unwrap();
        std::fs::write(files.commit(), "half").unwrap();
        let claim = Claim::take_now(&files).unwrap().unwrap();
        all(inner).await.unwrap();
        assert!(files.commit().exists(), "whoever commits has the claim");
        drop(claim);
        all(inner).await.unwrap();
        assert!(files.data.exists() && !files.commit().exists());
    }

    #[tokio::test]
    async fn sockets_that_have_not_followed_their_machine_yet_are_not_the_next_one_s_of_that_name() {
        let temp = tempfile::tempdir().unwrap();
        let inner = &knaller(&temp).inner;
        let (running, _) = half_started(inner, "a", MachineSpec::new());
        std::fs::remove_file(running.creating()).unwrap();
        std::fs::remove_file(running.config_socket()).unwrap();
        std::fs::write(running.api_socket(), "").unwrap();
        let log = leash::fasten(&running.vmm_log()).unwrap();
        // Whoever renamed it was killed after its first step.
        let renamed = layout::files(&inner.options.paths, &"b".parse().unwrap());
        std::fs::rename(&running.data, &renamed.data).unwrap();
        let record = Record::new("a".parse().unwrap(), running.runtime.clone(), MachineSpec::new());
        drop(Claim::create(running.clone(), &record).unwrap().unwrap());
        std::fs::remove_file(running.creating()).unwrap();
        // The stopped one comes first.
        all(inner).await.unwrap();
        assert!(renamed.api_socket().exists() && !running.runtime.exists());
        assert!(running.data.exists());
        drop(log);
    }

    #[test]
    fn a_boot_that_ends_after_its_vmm_is_waited_for() {
        use std::os::unix::fs::MetadataExt as _;
        use std::sync::atomic::{AtomicBool, Ordering};

        let temp = tempfile::tempdir().unwrap();
        let inner = &knaller(&temp).inner;
        let (files, instance) = half_started(inner, "web", MachineSpec::new());
        std::fs::remove_file(files.creating()).unwrap();
        std::fs::remove_file(files.config_socket()).unwrap();
        // Nobody serves its socket.
        let mut rest = vmm_of(&files, &instance);
        let inode = files.vmm_log().metadata().unwrap().ino();
        // proc_locks(5): who waits for a lock is told by an arrow.
        let waits = |line: &str| line.contains("->") && line.contains(&format!(":{inode} "));
        let over = AtomicBool::new(false);
        let healed = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let locks = std::fs::read_to_string("/proc/locks").unwrap();
                    if locks.lines().any(waits) {
                        break;
                    }
                    std::thread::yield_now();
                }
                drop(rest.stdin.take());
                rest.wait().unwrap();
            });
            let healed = all_told(&inner.options);
            over.store(true, Ordering::Relaxed);
            healed
        });
        let name = "web".parse().unwrap();
        assert_eq!(healed.unwrap(), [Healed::Ended { name }]);
        assert!(files.data.exists() && !files.runtime.exists());
        assert!(all_told(&inner.options).unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_stopped_machine_goes_if_it_was_to_be_removed() {
        let temp = tempfile::tempdir().unwrap();
        let inner = &knaller(&temp).inner;
        let (files, _) = half_started(inner, "web", MachineSpec::new().remove_on_exit(true));
        std::fs::remove_file(files.creating()).unwrap();
        std::fs::remove_file(files.config_socket()).unwrap();
        let log = leash::fasten(&files.vmm_log()).unwrap();
        all(inner).await.unwrap();
        assert!(files.data.exists() && files.runtime.exists());
        // By name, for a test beside this one may be starting a process, which shares the file for a moment.
        log.unlock().unwrap();
        all(inner).await.unwrap();
        assert!(!files.data.exists() && !files.runtime.exists());
    }
}
