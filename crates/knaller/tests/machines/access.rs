//! Into a machine: commands, files, ports.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use knaller::{CopyEvent, CopyOptions, Error, ExecExit, ExecRequest, Machine, Pty, Session, SessionEvent};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Bed, end, run, said, small};

#[tokio::test]
async fn commands_files_and_ports() {
    let bed = Bed::new();
    let machine = bed.start(small("door")).await;
    streams_and_exits(&machine).await;
    input(&machine).await;
    terminal(&machine).await;
    files(&machine).await;
    odd_names(&machine).await;
    ports(&machine).await;
    figures(&machine).await;
    end(&machine).await;
}

async fn streams_and_exits(machine: &Machine) {
    let output = run(machine, "echo out; echo err >&2; exit 7").await;
    assert_eq!(output.exit, ExecExit::Code(7));
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
    assert_eq!(
        run(machine, "kill -9 $$").await.exit,
        ExecExit::Signal("KILL".to_owned())
    );
    let request = ExecRequest::argv(["sh", "-c", "echo \"$WORD\" \"$(id -un)\""])
        .user("user")
        .env("WORD", "a  b");
    let output = machine.output(request).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a  b user\n");
    let uid = said(machine, "id -u user").await;
    let request = ExecRequest::line("id -un").user(uid.trim());
    let output = machine.output(request).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "user\n");
    for nobody in ["nosuch", "4711"] {
        let refused = machine.exec(ExecRequest::shell().user(nobody)).await;
        assert!(
            matches!(&refused, Err(Error::NoUser { user, .. }) if user == nobody),
            "{refused:?}"
        );
    }
}

async fn input(machine: &Machine) {
    let mut session = machine.exec(ExecRequest::line("wc -c")).await.unwrap();
    let input = session.input();
    let size = 3 << 20;
    let writer = tokio::spawn(async move {
        input.write(vec![b'x'; size]).await.unwrap();
        input.close().await.unwrap();
    });
    let (said, exit) = drain(&mut session).await;
    writer.await.unwrap();
    assert_eq!(
        (said.trim(), exit),
        (size.to_string().as_str(), ExecExit::Code(0))
    );
}

async fn terminal(machine: &Machine) {
    let pty = Pty {
        term: "xterm".to_owned(),
        columns: 80,
        rows: 24,
    };
    let mut session = machine
        .exec(ExecRequest::line("stty size; read x; stty size").pty(pty))
        .await
        .unwrap();
    let input = session.input();
    let mut said = String::new();
    while !said.contains("24 80") {
        let Some(SessionEvent::Stdout(bytes)) = session.next().await else {
            panic!("{said}")
        };
        said.push_str(&String::from_utf8_lossy(&bytes));
    }
    input.resize(100, 40).await.unwrap();
    input.write("\n").await.unwrap();
    let (rest, exit) = drain(&mut session).await;
    assert!(rest.contains("40 100"), "{rest}");
    assert_eq!(exit, ExecExit::Code(0));

    let mut session = machine
        .exec(ExecRequest::line("echo on; exec sleep 1000"))
        .await
        .unwrap();
    assert!(matches!(session.next().await, Some(SessionEvent::Stdout(_))));
    session.input().signal("TERM").await.unwrap();
    assert_eq!(drain(&mut session).await.1, ExecExit::Signal("TERM".to_owned()));
}

async fn drain(session: &mut Session) -> (String, ExecExit) {
    let mut said = Vec::new();
    loop {
        match session.next().await {
            Some(SessionEvent::Stdout(bytes)) => said.extend_from_slice(&bytes),
            Some(SessionEvent::Exit(exit)) => return (String::from_utf8_lossy(&said).into_owned(), exit),
            Some(SessionEvent::Stderr(_)) => {}
            None => panic!("no exit"),
        }
    }
}

async fn files(machine: &Machine) {
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("tree");
    std::fs::create_dir_all(source.join("deep/er")).unwrap();
    let content: Vec<u8> = (0..500_000u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(source.join("deep/large"), &content).unwrap();
    std::fs::write(source.join("tool"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(source.join("tool"), Permissions::from_mode(0o751)).unwrap();
    std::fs::write(source.join("empty"), "").unwrap();
    symlink("deep/large", source.join("link")).unwrap();
    symlink("/nowhere", source.join("dangling")).unwrap();
    // A link's own time, not that of what it leads to.
    let old = Command::new("touch")
        .args(["-h", "-d", "@1000000000"])
        .arg(source.join("dangling"))
        .status();
    assert!(old.unwrap().success());
    std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    std::fs::set_permissions(source.join("deep/er"), Permissions::from_mode(0o500)).unwrap();

    let mut skipped = Vec::new();
    let mut bytes = 0;
    let mut observer = |event| match event {
        CopyEvent::Skipped { path, .. } => skipped.push(path),
        CopyEvent::Bytes(more) => bytes += more,
        _ => {}
    };
    let options = CopyOptions::default();
    machine
        .copy_in(&source, "/root/", &options, &mut observer)
        .await
        .unwrap();
    assert_eq!(skipped.len(), 1);
    assert_eq!(bytes, content.len() as u64 + 10);
    assert_eq!(
        said(machine, "stat -c %a /root/tree/tool /root/tree/deep/er").await,
        "751\n500"
    );
    assert_eq!(said(machine, "readlink /root/tree/link").await, "deep/large");
    assert_eq!(
        said(machine, "stat -c %Y /root/tree/dangling").await,
        "1000000000"
    );

    let back = temp.path().join("back");
    machine
        .copy_out("/root/tree", &back, &options, &mut |_| {})
        .await
        .unwrap();
    assert!(std::fs::read(back.join("deep/large")).unwrap() == content);
    assert_eq!(
        back.join("tool").metadata().unwrap().permissions().mode() & 0o777,
        0o751
    );
    assert_eq!(
        std::fs::read_link(back.join("dangling")).unwrap().to_str(),
        Some("/nowhere")
    );
    let modified = |path: std::path::PathBuf| path.metadata().unwrap().modified().unwrap();
    let drift = modified(source.join("tool"))
        .duration_since(modified(back.join("tool")))
        .unwrap();
    assert!(drift.as_secs() < 1, "{drift:?}");
    // Once more over what is there now.
    machine
        .copy_out("/root/tree/tool", &back, &options, &mut |_| {})
        .await
        .unwrap();
    for missing in [
        machine
            .copy_out("/root/nosuch", &back, &options, &mut |_| {})
            .await,
        machine.copy_in(&source, "/nosuch/", &options, &mut |_| {}).await,
    ] {
        assert!(matches!(missing, Err(Error::NoGuestFile { .. })), "{missing:?}");
    }
    // A file without a size of its own.
    machine
        .copy_out(
            "/proc/version",
            &temp.path().join("version"),
            &options,
            &mut |_| {},
        )
        .await
        .unwrap();
    assert!(
        std::fs::read_to_string(temp.path().join("version"))
            .unwrap()
            .starts_with("Linux version")
    );
}

/// Names that a shell or a terminal would trip over.
async fn odd_names(machine: &Machine) {
    said(
        machine,
        "mkdir -p /root/odd && touch \"/root/odd/$(printf 'a\\nb *c')\"",
    )
    .await;
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("odd");
    machine
        .copy_out("/root/odd", &target, &CopyOptions::default(), &mut |_| {})
        .await
        .unwrap();
    assert!(target.join("a\nb *c").exists());
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
}

async fn ports(machine: &Machine) {
    said(
        machine,
        "(httpd -p 127.0.0.1:8000 -h /etc) </dev/null >/dev/null 2>&1",
    )
    .await;
    let mut forwarding = machine
        .forward("127.0.0.1:0".parse().unwrap(), 8000)
        .await
        .unwrap();
    for _ in 0..3 {
        let mut stream = tokio::net::TcpStream::connect(forwarding.local()).await.unwrap();
        stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("door\n"), "{answer}");
    }
    let local = forwarding.local();
    let taken = machine.forward(local, 8000).await;
    assert!(
        matches!(taken, Err(Error::PortTaken { port, by: None, .. }) if port == local.port()),
        "{taken:?}"
    );
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(10), forwarding.ended())
            .await
            .is_err()
    );
    drop(forwarding);
    let mut tries = 0;
    while tokio::net::TcpStream::connect(local).await.is_ok() {
        // The port closes with the task, which ends in its own time.
        tokio::task::yield_now().await;
        tries += 1;
        assert!(tries < 100_000, "the port is still open");
    }

    let mut stream = machine.connect_vsock(22).await.unwrap();
    let mut banner = [0; 8];
    stream.read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-2.0-");
    assert!(machine.connect_vsock(4242).await.is_err());
}

async fn figures(machine: &Machine) {
    let status = machine.status().await.unwrap();
    assert!(status.uptime_us > 0 && status.processes > 0);
    assert!(
        (64 * 1024..=128 * 1024).contains(&status.memory_total_kib),
        "{status:?}"
    );
}
