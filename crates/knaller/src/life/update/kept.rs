//! The limits that a VMM and the kernel keep, while an update changes them. The invariant: the record says which are about
//! to hold, from before the first of them does until all do or none; whoever is killed meanwhile leaves them to be taken back.

use firecracker_api::Client;
use tokio::runtime::Handle;

use super::kind::{Failure, Kind};
use super::{PATIENCE, save};
use crate::layout::Files;
use crate::record::Record;
use crate::{Error, MachineSpec, Result};

/// Writes down what the update is about to change, if it is any of this.
pub(super) async fn begin(files: &Files, record: &mut Record, spec: &MachineSpec) -> Result<()> {
    let was = record.current();
    if Kind::KEPT.into_iter().any(|kind| kind.differs(was, spec)) {
        record.limiting = Some(Box::new(spec.limits.clone()));
        save(files.clone(), record.clone()).await?;
    }
    Ok(())
}

/// Takes it back. What cannot be now is left to whoever heals the machine.
pub(super) async fn back(files: &Files, record: &mut Record) {
    if let Err(error) = settle(files, record).await {
        tracing::warn!(name = %record.name, %error, "the limits are not all as they were");
    }
}

/// Takes back what an update that was killed has changed of a machine that runs; whether there was one. The caller has the
/// machine's claim. Blocks, on a thread of a runtime for such.
pub(crate) fn heal(files: &Files, record: &mut Record) -> Result<bool> {
    if record.limiting.is_none() {
        return Ok(false);
    }
    Handle::current().block_on(settle(files, record))?;
    Ok(true)
}

async fn settle(files: &Files, record: &mut Record) -> Result<()> {
    let Some(limits) = record.limiting.as_deref() else {
        return Ok(());
    };
    let was = record.current();
    let about = was.clone().limits(limits.clone());
    let client = Client::new(files.api_socket()).with_timeout(PATIENCE);
    let mut first = None;
    for kind in Kind::KEPT.into_iter().filter(|kind| kind.differs(was, &about)) {
        match kind.try_change(&client, record, was).await {
            Ok(_) => {}
            // What a VMM refuses to take back it has not got.
            Err(Failure::Vmm(error)) if error.fault_message().is_some() => {
                tracing::debug!(name = %record.name, %error, "{} stay as they are", kind.name());
            }
            Err(Failure::Vmm(error)) => first = first.or_else(|| Some(Error::refused(&record.vmm, &error))),
            Err(Failure::Other(error)) => first = first.or(Some(error)),
        }
    }
    if let Some(error) = first {
        return Err(error);
    }
    record.limiting = None;
    save(files.clone(), record.clone()).await
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::Arc;
    use std::sync::mpsc::{self, Receiver};

    use super::*;
    use crate::claim::Claim;
    use crate::knaller::Inner;
    use crate::life::update::{Change, Update, update};
    use crate::{Knaller, Limits, Paths, Rate, heal, layout, leash};

    const OLD: u64 = 70;
    const NEW: u64 = 90;

    /// A machine that runs, as far as its files tell, and what its VMM is asked, which refuses what has `refused` in it.
    struct Scene {
        _temp: tempfile::TempDir,
        _log: std::fs::File,
        inner: Arc<Inner>,
        files: Files,
        asked: Receiver<String>,
    }

    impl Scene {
        fn new(refused: &'static str, limiting: Option<Limits>) -> Self {
            let temp = tempfile::tempdir().unwrap();
            let inner = Knaller::with_paths(Paths {
                data: temp.path().join("d"),
                runtime: temp.path().join("r"),
            })
            .unwrap()
            .inner;
            let name = "web".parse().unwrap();
            let files = layout::files(&inner.options.paths, &name);
            let spec = MachineSpec::new().limits(limits(OLD));
            let mut record = Record::new(name, files.runtime.clone(), spec);
            record.limiting = limiting.map(Box::new);
            drop(Claim::create(files.clone(), &record).unwrap().unwrap());
            std::fs::remove_file(files.creating()).unwrap();
            crate::runtime_folder::make(&files).unwrap();
            let listener = UnixListener::bind(files.api_socket()).unwrap();
            let (tell, asked) = mpsc::channel();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let request = answer(&mut BufReader::new(stream.unwrap()), refused);
                    if tell.send(request).is_err() {
                        break;
                    }
                }
            });
            Self {
                _log: leash::fasten(&files.vmm_log()).unwrap(),
                _temp: temp,
                inner,
                files,
                asked,
            }
        }

        fn record(&self) -> Record {
            Record::load(&self.files.record()).unwrap()
        }

        /// The limits that the disks have been given, in their order.
        fn disks_had(&self) -> Vec<u64> {
            let asked: Vec<_> = self.asked.try_iter().collect();
            let disks = asked
                .iter()
                .filter(|request| request.starts_with("PATCH /drives/"));
            let sizes = disks.map(|request| {
                let body = request.split_once("\r\n\r\n").unwrap().1;
                let body: serde_json::Value = serde_json::from_str(body).unwrap();
                body["rate_limiter"]["ops"]["size"].as_u64().unwrap() * 10
            });
            sizes.collect()
        }
    }

    /// Answers one request, and gives it.
    fn answer(stream: &mut BufReader<UnixStream>, refused: &str) -> String {
        let mut request = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            request += &line;
            if line.trim().is_empty() {
                break;
            }
        }
        stream.take(length).read_to_string(&mut request).unwrap();
        let (status, body) = if request.contains(refused) {
            ("400 Bad Request", r#"{"fault_message":"no"}"#)
        } else {
            ("200 OK", r#"{"vcpu_count":1,"mem_size_mib":256}"#)
        };
        let length = body.len();
        write!(
            stream.get_mut(),
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        request
    }

    fn limits(disk_ops: u64) -> Limits {
        Limits {
            disk_ops: Some(Rate::new(disk_ops)),
            ..Limits::default()
        }
    }

    #[tokio::test]
    async fn what_was_changed_is_taken_back_if_the_rest_is_refused() {
        let scene = Scene::new("/network-interfaces/", None);
        let change = Update {
            disk_ops: Change::Set(Rate::new(NEW)),
            receive: Change::Set(Rate::new(5)),
            ..Update::default()
        };
        let error = update(&scene.inner, &scene.record().name, change)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::VmmRefused { .. }), "{error}");
        assert_eq!(scene.disks_had(), [NEW, NEW, OLD, OLD]);
        let record = scene.record();
        assert_eq!((record.spec.limits, record.limiting), (limits(OLD), None));
    }

    #[tokio::test]
    async fn what_one_who_was_killed_has_changed_is_taken_back() {
        let scene = Scene::new("nothing", Some(limits(NEW)));
        heal::one(&scene.inner, &scene.record().name).await.unwrap();
        assert_eq!(scene.disks_had(), [OLD, OLD]);
        assert_eq!(scene.record().limiting, None);
        heal::one(&scene.inner, &scene.record().name).await.unwrap();
        assert!(scene.disks_had().is_empty());
    }

    #[tokio::test]
    async fn a_vmm_that_does_not_answer_leaves_it_to_be_taken_back() {
        let scene = Scene::new("nothing", Some(limits(NEW)));
        std::fs::remove_file(scene.files.api_socket()).unwrap();
        heal::one(&scene.inner, &scene.record().name).await.unwrap();
        assert_eq!(scene.record().limiting.as_deref(), Some(&limits(NEW)));
    }
}
