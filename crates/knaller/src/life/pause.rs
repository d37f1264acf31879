//! Standing still and going on.

use std::sync::Arc;
use std::time::Duration;

use firecracker_api::Client;
use firecracker_api::models::{InstanceState, VmState};

use crate::claim::Claim;
use crate::knaller::Inner;
use crate::layout::{self, Files};
use crate::{Error, Name, Result, State, heal, list, runtime_folder};

/// How long the VMM may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a guest may take to answer before the VMM is asked whether it can, and between two times that it is.
const SOON: Duration = Duration::from_millis(50);
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) async fn pause(inner: &Arc<Inner>, name: &Name) -> Result<()> {
    turn(inner, name, State::Running, VmState::Paused).await
}

pub(crate) async fn resume(inner: &Arc<Inner>, name: &Name) -> Result<()> {
    turn(inner, name, State::Paused, VmState::Resumed).await
}

async fn turn(inner: &Arc<Inner>, name: &Name, from: State, to: VmState) -> Result<()> {
    heal::one(inner, name).await?;
    // Who has it takes a snapshot, for instance: the guest must answer until it stands still, and stand still until its disks
    // are copied.
    let _claim = Claim::take(&layout::files(&inner.options.paths, name), name).await?;
    let info = list::one(inner, name).await?;
    if info.state != from {
        return Err(match info.state {
            State::Running => Error::NotPaused(name.clone()),
            State::Paused => Error::Paused(name.clone()),
            _ => Error::NotRunning(name.clone()),
        });
    }
    let (files, record) = list::load(inner, name)?;
    let client = Client::new(files.api_socket()).with_timeout(PATIENCE);
    let turned = client.patch_vm(to).await;
    turned.map_err(|error| Error::refused(&record.vmm, &error))?;
    // Nothing else shows it in a folder that somebody may watch.
    runtime_folder::stir(&inner.options.paths.runtime);
    Ok(())
}

/// What comes of `asking` a guest that runs; of one that its user has paused, that it is, as soon as it does not answer at once.
pub(crate) async fn unless_paused<T>(
    files: &Files,
    name: &Name,
    asking: impl Future<Output = Result<T>>,
) -> Result<T> {
    let silent = async {
        tokio::time::sleep(SOON).await;
        while !is_paused(files).await {
            tokio::time::sleep(AGAIN).await;
        }
    };
    tokio::select! {
        biased;
        answer = asking => answer,
        () = silent => Err(Error::Paused(name.clone())),
    }
}

/// Whether it stands still until its user lets it go on. Not for a command, such as a start or a snapshot: that soon ends.
pub(super) async fn is_paused(files: &Files) -> bool {
    let client = Client::new(files.api_socket()).with_timeout(AGAIN);
    // Twice, since a command may have ended between one look and the other.
    for _ in 0..2 {
        let state = client.get_instance().await.map(|instance| instance.state);
        if !matches!(state, Ok(InstanceState::Paused)) || is_for_a_command(files) {
            return false;
        }
    }
    true
}

/// Whether a command has the machine in its hands that lets its guest go on when it is done.
fn is_for_a_command(files: &Files) -> bool {
    [files.creating(), files.config_socket(), files.pausing()]
        .iter()
        .any(|mark| mark.exists())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;
    use crate::layout;

    /// A VMM that says this state to everybody, and the files of its machine.
    fn vmm(folder: &std::path::Path, state: &'static str) -> Files {
        let files = layout::files(
            &crate::Paths {
                data: folder.join("d"),
                runtime: folder.join("r"),
            },
            &"web".parse().unwrap(),
        );
        std::fs::create_dir_all(&files.runtime).unwrap();
        std::fs::create_dir_all(&files.data).unwrap();
        let listener = UnixListener::bind(files.api_socket()).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let body =
                    format!(r#"{{"id":"x","state":"{state}","vmm_version":"1","app_name":"Firecracker"}}"#);
                let _ = stream.read(&mut [0; 1024]).await;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        files
    }

    #[tokio::test]
    async fn only_what_its_user_has_paused_is() {
        let temp = tempfile::tempdir().unwrap();
        let files = vmm(temp.path(), "Paused");
        let name = "web".parse().unwrap();
        let silent = unless_paused(&files, &name, std::future::pending::<Result<()>>()).await;
        assert!(matches!(silent, Err(Error::Paused(of)) if of == name));
        unless_paused(&files, &name, async { Ok(()) }).await.unwrap();
        for mark in [files.creating(), files.config_socket(), files.pausing()] {
            std::fs::write(&mark, "").unwrap();
            assert!(!is_paused(&files).await, "{}", mark.display());
            std::fs::remove_file(&mark).unwrap();
        }
        assert!(is_paused(&files).await);
    }

    #[tokio::test]
    async fn one_that_runs_or_says_nothing_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let files = vmm(temp.path(), "Running");
        assert!(!is_paused(&files).await);
        std::fs::remove_file(files.api_socket()).unwrap();
        assert!(!is_paused(&files).await);
    }
}
