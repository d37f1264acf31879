//! From the kernel's exec of init to the SSH banner: powerunit against busybox and dropbear.
//!
//! Each is the difference of two boots of the same VMM and kernel: to the banner, less to an init whose first act is
//! to write a mark to the console. busybox and dropbear run under QEMU by hand, with their network ready; powerunit runs
//! under sparkler, because it has its config from vsock, and its banner is read there.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use guest_protocol::frame::{self, Decoder};
use guest_protocol::{Config, GuestMessage, HostMessage, Root};

use super::RUNS;
use super::bare::{Bare, Init, initrd};
use super::ground::{Ground, quiet};
use super::report::{Row, median};
use crate::command::output;

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let mark = initrd(ground, &Init::Mark)?;
    let dropbear = initrd(ground, &Init::Dropbear)?;
    let ours = our_initrd(ground)?;
    let config = config(ground)?;
    let mut times: [Vec<Duration>; 4] = Default::default();
    let [by_hand, their_banner, by_sparkler, our_banner] = &mut times;
    for _ in 0..RUNS {
        by_hand.push(Bare::start(ground, &mark)?.until_mark()?);
        their_banner.push(Bare::start(ground, &dropbear)?.until_banner()?);
        by_sparkler.push(Ours::start(ground, Path::new(&mark))?.until_mark()?);
        our_banner.push(Ours::start(ground, Path::new(&ours))?.until_banner(&config)?);
    }
    let [by_hand, their_banner, by_sparkler, our_banner] = times.map(median);
    Ok(vec![
        Row::times(
            "exec of init to SSH banner",
            our_banner.saturating_sub(by_sparkler),
            "busybox init and dropbear",
            their_banner.saturating_sub(by_hand),
            1.0,
        ),
        Row::times(
            "exec of sparkler to guest's init",
            by_sparkler,
            "the same QEMU by hand",
            by_hand,
            1.05,
        ),
    ])
}

/// The initrd knaller made for this bundle.
fn our_initrd(ground: &Ground) -> Result<String> {
    let found = std::fs::read_dir(&ground.kernel)?
        .flatten()
        .map(|entry| entry.path());
    let mut found = found.filter(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("initrd-"))
    });
    Ok(found
        .next()
        .context("knaller made no initrd")?
        .to_string_lossy()
        .into_owned())
}

/// The least a guest needs to be told.
fn config(ground: &Ground) -> Result<Vec<u8>> {
    let key = ground.runtime.join("host_key");
    if !key.exists() {
        quiet(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&key),
        )?;
    }
    let config = serde_json::json!({
        "version": guest_protocol::VERSION,
        "hostname": "bench",
        "host_key": output(Command::new("cat").arg(&key))?,
        "authorized_keys": [],
        "clock_ns": 0,
        "root": Root::Initramfs,
    });
    let config: Config = serde_json::from_value(config)?;
    Ok(frame::encode(&HostMessage::Config(Box::new(config)))?)
}

/// A guest under sparkler; both are killed when dropped.
struct Ours {
    child: Child,
    started: Instant,
    listener: UnixListener,
    socket: String,
    _folder: tempfile::TempDir,
}

impl Ours {
    fn start(ground: &Ground, initrd: &Path) -> Result<Self> {
        let folder = tempfile::tempdir_in(&ground.runtime)?;
        let socket = folder.path().join("vsock").to_string_lossy().into_owned();
        let listener = UnixListener::bind(format!("{socket}_{}", guest_protocol::CONFIG_PORT))?;
        let settings = serde_json::json!({
            "boot-source": {
                "kernel_image_path": ground.kernel.join("vmlinux"),
                "initrd_path": initrd,
                "boot_args": ground.arguments,
            },
            "drives": [],
            "machine-config": { "vcpu_count": 1, "mem_size_mib": 256 },
            "vsock": { "guest_cid": 3, "uds_path": socket },
        });
        let file = folder.path().join("config.json");
        std::fs::write(&file, settings.to_string())?;
        let started = Instant::now();
        let child = Command::new(ground.binaries.join("sparkler"))
            .args(["--no-api", "--config-file"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot start sparkler")?;
        Ok(Self {
            child,
            started,
            listener,
            socket,
            _folder: folder,
        })
    }

    fn until_mark(&mut self) -> Result<Duration> {
        let console = self.child.stdout.as_mut().context("no console")?;
        let mut byte = [0];
        // sparkler's own log shares the console's stream: its lines end before the mark comes.
        loop {
            console.read_exact(&mut byte)?;
            if &byte == b"I" {
                console.read_exact(&mut byte)?;
                if &byte == b"\r" {
                    return Ok(self.started.elapsed());
                }
            }
        }
    }

    /// Gives the guest its config, then reads the banner over vsock.
    fn until_banner(&self, config: &[u8]) -> Result<Duration> {
        let (mut guest, _) = self.listener.accept()?;
        let mut decoder = Decoder::default();
        let mut next = |guest: &mut UnixStream| -> Result<GuestMessage> {
            let mut bytes = [0; 4096];
            loop {
                if let Some(message) = decoder.message()? {
                    return Ok(message);
                }
                let count = guest.read(&mut bytes)?;
                ensure!(count > 0, "the guest hung up");
                decoder.push(bytes.get(..count).unwrap_or_default());
            }
        };
        ensure!(
            matches!(next(&mut guest)?, GuestMessage::Hello(_)),
            "the guest did not say hello"
        );
        guest.write_all(config)?;
        while !matches!(next(&mut guest)?, GuestMessage::Listening { .. }) {}
        let mut ssh = UnixStream::connect(&self.socket)?;
        ssh.write_all(format!("CONNECT {}\n", guest_protocol::SSH_PORT).as_bytes())?;
        let mut received = Vec::new();
        let mut bytes = [0; 256];
        while !received.windows(4).any(|four| four == b"SSH-") {
            let count = ssh.read(&mut bytes)?;
            if count == 0 {
                bail!("no banner, but {:?}", String::from_utf8_lossy(&received));
            }
            received.extend_from_slice(bytes.get(..count).unwrap_or_default());
        }
        Ok(self.started.elapsed())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
