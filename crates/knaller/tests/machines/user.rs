//! As an ordinary user, by the command.

use std::process::Output;

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
    let listed = sure(&sandbox, &["list", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["state"], "running");
    let port = listed[0]["forwards"][0]["host_port"].as_u64().unwrap();
    let answer = std::process::Command::new("curl")
        .args([
            "--silent",
            "--retry",
            "20",
            "--retry-delay",
            "1",
            "--retry-all-errors",
        ])
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .unwrap();
    assert!(
        answer.status.success(),
        "{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    sure(&sandbox, &["stop", "mine"]);
    sure(&sandbox, &["rm", "mine"]);
}
