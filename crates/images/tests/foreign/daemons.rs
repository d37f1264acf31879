//! Images straight from a running Podman, which answers as Docker does.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use images::import::{Daemon, ImportError, Options, Source};

use crate::sample::{Sample, copy};

/// Podman with folders of its own.
fn podman(sample: &Sample) -> Command {
    let mut podman = Command::new("podman");
    for (option, folder) in [
        ("--root", "podman-root"),
        ("--runroot", "podman-run"),
        ("--tmpdir", "podman-tmp"),
    ] {
        podman.arg(option).arg(sample.path(folder));
    }
    podman.args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs"]);
    podman
}

/// What Podman calls its only image.
fn expected_id(sample: &Sample) -> String {
    let output = podman(sample).args(["images", "-q"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).unwrap();
    }
}

fn wait_for(socket: &Path) {
    let end = Instant::now() + Duration::from_secs(120);
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        assert!(Instant::now() < end, "Podman does not listen");
        std::thread::yield_now();
    }
}

#[test]
fn an_image_of_podman() {
    if !testkit::is_root() {
        return testkit::skip(
            "an_image_of_podman",
            "Podman without root needs subordinate user ids",
        );
    }
    let sample = Sample::new();
    let layout = sample.layout();
    let archive = sample.text("archive");
    copy(
        &format!("oci:{layout}:v1"),
        &format!("docker-archive:{archive}:test/app:1"),
    );
    let loaded = podman(&sample)
        .args(["load", "-q", "-i", &archive])
        .output()
        .unwrap();
    assert!(
        loaded.status.success(),
        "{}",
        String::from_utf8_lossy(&loaded.stderr)
    );
    let expected = sample.import(&layout).unwrap().image;

    for format in ["docker-archive", "oci-archive"] {
        let saved = sample.text(&format!("saved-{format}"));
        let output = podman(&sample)
            .args(["save", "-q", "--format", format, "-o", &saved, "test/app:1"])
            .output();
        assert!(output.unwrap().status.success());
        let image = Sample::new().import(&saved).unwrap().image;
        assert_eq!(image.config.diff_ids, expected.config.diff_ids);
        assert_eq!(image.names, ["test/app:1".parse().unwrap()]);
    }

    let runtime = sample.path("runtime");
    let socket = runtime.join("podman/podman.sock");
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let service = podman(&sample)
        .args(["system", "service", "--time=0"])
        .arg(format!("unix://{}", socket.display()))
        .stderr(Stdio::null())
        .spawn();
    let _service = Service(service.unwrap());
    wait_for(&socket);
    let docker = Daemon::docker(Some(&format!("unix://{}", socket.display())), None).unwrap();
    for daemon in [Daemon::podman(Some(runtime)), docker] {
        let from = |name: &str| Source::Daemon(daemon.clone(), name.to_owned());
        let other = Sample::new();
        let image = other
            .import_with(from("test/app:1"), &Options::default())
            .unwrap()
            .image;
        assert_eq!(image.config.diff_ids, expected.config.diff_ids);
        assert_eq!(image.config.run.entrypoint, ["/bin/app"]);
        assert_eq!(image.names, ["test/app:1".parse().unwrap()]);
        let id = expected_id(&sample);
        assert_eq!(
            other
                .import_with(from(&id), &Options::default())
                .unwrap()
                .image
                .digest,
            image.digest
        );
        let missing = other
            .import_with(from("test/other"), &Options::default())
            .unwrap_err();
        assert!(matches!(missing, ImportError::NotThere { .. }), "{missing}");
        assert!(missing.is_absence());
    }
}
