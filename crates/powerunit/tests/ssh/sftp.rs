//! OpenSSH's sftp against the server's own.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Output, Stdio};

use crate::server::{ALICE, Server, is_root, noise, stdout, success};

/// Runs a batch, whose lines must all succeed but those that begin with `-`.
fn sftp(server: &Server, batch: &str) -> Output {
    let mut sftp = Command::new("sftp");
    sftp.args(server.options())
        .args(["-P", &server.port.to_string(), "-b", "-"]);
    sftp.arg(format!("{}@127.0.0.1", server.user()));
    sftp.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = sftp.spawn().unwrap();
    child.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn large_files_go_both_ways_whole() {
    let server = Server::start();
    let (here, back) = (server.path("here"), server.path("back"));
    let data = noise(24 << 20);
    std::fs::write(&here, &data).unwrap();
    success(sftp(
        &server,
        &format!("put {} there\nget there {}\n", here.display(), back.display()),
    ));
    assert!(std::fs::read(server.home().join("there")).unwrap() == data);
    assert!(std::fs::read(back).unwrap() == data);
}

#[test]
fn an_interrupted_transfer_goes_on() {
    let server = Server::start();
    let (here, back) = (server.path("here"), server.path("back"));
    let data = noise(1 << 20);
    std::fs::write(&here, &data).unwrap();
    std::fs::write(server.home().join("there"), &data[..300_000]).unwrap();
    std::fs::write(&back, &data[..500_000]).unwrap();
    std::fs::set_permissions(
        server.home().join("there"),
        std::fs::Permissions::from_mode(0o666),
    )
    .unwrap();
    success(sftp(
        &server,
        &format!("reput {} there\nreget there {}\n", here.display(), back.display()),
    ));
    assert!(std::fs::read(server.home().join("there")).unwrap() == data);
    assert!(std::fs::read(back).unwrap() == data);
}

#[test]
fn files_and_folders_are_handled() {
    let server = Server::start();
    let file = server.path("file");
    std::fs::write(&file, "content").unwrap();
    let batch = format!(
        "pwd\nmkdir folder\nput -p {} folder/one\nchmod 600 folder/one\nln -s one folder/link\nln folder/one folder/hard\n\
         rename folder/one folder/two\nls -la folder\ndf folder\ncopy folder/two folder/copy\nrm folder/hard\n-rm folder/none\nrmdir folder/none2\n",
        file.display()
    );
    let output = sftp(&server, &batch);
    assert!(!output.status.success(), "the last line must fail");
    let text = stdout(&output);
    let folder = server.home().join("folder");
    assert!(text.contains(server.home().to_str().unwrap()), "{text}");
    assert!(text.contains("drwxr-xr-x"), "{text}");
    assert!(
        text.lines()
            .any(|line| line.starts_with("-rw-------") && line.ends_with("two")),
        "{text}"
    );
    let metadata = std::fs::metadata(folder.join("two")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(metadata.mtime(), std::fs::metadata(&file).unwrap().mtime());
    assert_eq!(
        std::fs::read_link(folder.join("link")).unwrap().to_str(),
        Some("one")
    );
    assert_eq!(std::fs::read(folder.join("copy")).unwrap(), b"content");
    assert!(!folder.join("hard").exists() && !folder.join("one").exists());
    if is_root() {
        assert_eq!(metadata.uid(), ALICE);
    }
}

#[test]
fn a_folder_of_many_files_is_listed_whole() {
    let server = Server::start();
    for number in 0..1500 {
        std::fs::write(server.home().join(format!("file-{number:04}")), "").unwrap();
    }
    let output = stdout(&success(sftp(&server, "ls -1\n")));
    assert_eq!(
        output.lines().filter(|line| line.starts_with("file-")).count(),
        1500
    );
}

#[test]
fn files_of_others_stay_closed() {
    if !is_root() {
        return;
    }
    let server = Server::start();
    let secret = server.path("secret");
    std::fs::write(&secret, "x").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let output = sftp(
        &server,
        &format!("get {} {}\n", secret.display(), server.path("got").display()),
    );
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("Permission denied"));
}
