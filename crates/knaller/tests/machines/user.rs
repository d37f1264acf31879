//! As an ordinary user, by the command.

use std::process::{Command, Output};

use testkit::{Sandbox, ordinary_user};

fn knaller(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let mut command = sandbox.knaller(arguments);
    // The programs that the test has built, and the folders of the user.
    ordinary_user(sandbox, &mut command).output().unwrap()
}

fn sure(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let output = knaller(sandbox, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn everything_without_root() {
    let sandbox = Sandbox::new();
    let package = testkit::kernel_package();
    sure(&sandbox, &["kernel", "import", package.to_str().unwrap()]);
    let name = sure(
        &sandbox,
        &[
            "start",
            "mine",
            "--detach",
            "-o",
            "name",
            "-p",
            "127.0.0.1:0:80",
            "--",
            "httpd",
            "-f",
            "-p",
            "80",
        ],
    );
    assert_eq!(name, "mine");
    assert_eq!(sure(&sandbox, &["exec", "mine", "--", "id", "-u"]), "0");
    let first = port(&sandbox, 0);
    assert!(answers(first));
    // While it runs.
    let kept = format!("127.0.0.1:{first}:80");
    let more = ["update", "mine", "-p", &kept, "-p", "127.0.0.1:0:80"];
    sure(&sandbox, &more);
    let second = port(&sandbox, 1);
    assert_eq!(port(&sandbox, 0), first);
    assert!(answers(first) && answers(second));
    sure(&sandbox, &["update", "mine", "--no-publish"]);
    assert!(!answers(first) && !answers(second));
    sure(&sandbox, &more);
    assert!(answers(first));
    let carried = || {
        let processes = sandbox.processes();
        processes
            .iter()
            .filter(|process| process.line.contains(" errand "))
            .count()
    };
    assert_eq!(carried(), 1);
    // From the next start on all are pasta's.
    sure(&sandbox, &["restart", "mine"]);
    assert_eq!(carried(), 0);
    assert_eq!(port(&sandbox, 0), first);
    assert!(answers(first) && answers(port(&sandbox, 1)));
    sure(&sandbox, &["stop", "mine"]);
    sure(&sandbox, &["rm", "mine"]);
}

/// The port of the host that is forwarded at this place of the list.
fn port(sandbox: &Sandbox, at: usize) -> u64 {
    let listed = sure(sandbox, &["list", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["state"], "running");
    listed[0]["forwards"][at]["host_port"].as_u64().unwrap()
}

/// Whether the guest's server does, soon if it is only just starting.
fn answers(port: u64) -> bool {
    let mut curl = Command::new("curl");
    let words = "--silent --show-error --max-time 60 --retry 5 --retry-delay 1 --retry-all-errors";
    curl.args(words.split(' '));
    let answer = curl.arg(format!("http://127.0.0.1:{port}/")).output().unwrap();
    // Of an empty folder it says that there is nothing.
    answer.status.success() && !answer.stdout.is_empty()
}
