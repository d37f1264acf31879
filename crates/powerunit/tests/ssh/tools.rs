//! Programs that work over ssh: rsync, git, Ansible, scp's old protocol.

use std::path::Path;
use std::process::{Command, Output};

use crate::server::{Server, noise, stdout, success};

/// A folder with some files of awkward names and sizes.
fn tree(folder: &Path) {
    std::fs::create_dir_all(folder.join("deep/er")).unwrap();
    std::fs::write(folder.join("large"), noise(3 << 20)).unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    std::fs::write(folder.join("deep/er/a name with 'quotes' and ü"), "text").unwrap();
    std::os::unix::fs::symlink("large", folder.join("link")).unwrap();
}

#[track_caller]
fn same(one: &Path, other: &Path) {
    let diff = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([one, other])
        .output()
        .unwrap();
    assert_eq!(stdout(&diff), "");
}

fn at(server: &Server, path: &str) -> String {
    format!("{}@127.0.0.1:{path}", server.user())
}

#[test]
fn rsync_copies_both_ways() {
    let server = Server::start();
    let (tree_path, back) = (server.path("tree"), server.path("back"));
    tree(&tree_path);
    let rsync = |from: String, to: String| {
        success(
            Command::new("rsync")
                .args(["-a", "-e", &server.ssh_line()])
                .args([from, to])
                .output()
                .unwrap(),
        )
    };
    rsync(format!("{}/", tree_path.display()), at(&server, "copy/"));
    same(&tree_path, &server.home().join("copy"));
    rsync(at(&server, "copy/"), format!("{}/", back.display()));
    same(&tree_path, &back);
}

#[test]
fn scp_copies_both_ways_by_its_old_protocol() {
    let server = Server::start();
    copies_both_ways(&server, &["-O"]);
}

#[test]
fn scp_copies_both_ways_by_sftp() {
    let server = Server::start();
    copies_both_ways(&server, &[]);
}

fn copies_both_ways(server: &Server, options: &[&str]) {
    let (tree_path, back) = (server.path("tree"), server.path("back"));
    tree(&tree_path);
    // scp follows links.
    std::fs::remove_file(tree_path.join("link")).unwrap();
    let scp = |from: &str, to: &str| -> Output {
        let mut scp = Command::new("scp");
        scp.args(options)
            .args(server.options())
            .args(["-P", &server.port.to_string(), "-rp", from, to]);
        success(scp.output().unwrap())
    };
    scp(tree_path.to_str().unwrap(), &at(server, "copy"));
    same(&tree_path, &server.home().join("copy"));
    scp(&at(server, "copy"), back.to_str().unwrap());
    same(&tree_path, &back);
}

#[test]
fn git_clones_and_pushes() {
    let server = Server::start();
    server.run("git init -q --bare repository");
    let work = server.path("work");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=Test", "-c", "user.email=test@localhost"])
            .args(arguments);
        git.env("GIT_SSH_COMMAND", server.ssh_line())
            .env("HOME", server.folder.path());
        stdout(&success(git.output().unwrap()))
    };
    let url = format!(
        "ssh://{}@127.0.0.1:{}{}/repository",
        server.user(),
        server.port,
        server.home().display()
    );
    let folder = work.to_str().unwrap();
    git(&["clone", "-q", &url, folder]);
    std::fs::write(work.join("file"), noise(1 << 20)).unwrap();
    git(&["-C", folder, "add", "file"]);
    git(&["-C", folder, "commit", "-q", "-m", "one"]);
    git(&["-C", folder, "push", "-q", "origin", "HEAD:refs/heads/main"]);
    let pushed = git(&["-C", folder, "rev-parse", "HEAD"]);
    assert_eq!(server.run("git -C repository rev-parse main"), pushed);
    let again = server.path("again");
    git(&["clone", "-q", "-b", "main", &url, again.to_str().unwrap()]);
    same(&work.join("file"), &again.join("file"));
}

#[test]
fn ansible_runs_modules() {
    let server = Server::start();
    let inventory = format!(
        "guest ansible_host=127.0.0.1 ansible_port={} ansible_user={} ansible_ssh_common_args='{}' \
         ansible_python_interpreter=/usr/bin/python3\n",
        server.port,
        server.user(),
        server.options().join(" ")
    );
    std::fs::write(server.path("inventory"), inventory).unwrap();
    let ansible = |arguments: &[&str]| {
        let mut ansible = Command::new("ansible");
        ansible
            .arg("-i")
            .arg(server.path("inventory"))
            .arg("guest")
            .args(arguments);
        ansible
            .env("HOME", server.folder.path())
            .env("ANSIBLE_SSH_ARGS", "-oControlMaster=no")
            .env("ANSIBLE_NOCOLOR", "1");
        stdout(&success(ansible.output().unwrap()))
    };
    assert!(ansible(&["-m", "raw", "-a", "echo from-raw"]).contains("from-raw"));
    assert!(ansible(&["-m", "command", "-a", "echo from-command"]).contains("from-command"));
    std::fs::write(server.path("file"), "content").unwrap();
    let copy = format!("src={} dest=copied mode=0640", server.path("file").display());
    assert!(ansible(&["-m", "copy", "-a", &copy]).contains("\"changed\": true"));
    assert_eq!(
        std::fs::read_to_string(server.home().join("copied")).unwrap(),
        "content"
    );
}
