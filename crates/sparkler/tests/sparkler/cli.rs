//! The command line.

use std::process::Output;

use testkit::Sandbox;

fn sparkler(args: &[&str]) -> Output {
    Sandbox::new()
        .command(env!("CARGO_BIN_EXE_sparkler"))
        .args(args)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_tells_its_versions() {
    let version = sparkler(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(
        stdout(&version).starts_with("Firecracker v1.17."),
        "{}",
        stdout(&version)
    );
    let snapshot = sparkler(&["--snapshot-version"]);
    assert_eq!(
        (snapshot.status.code(), stdout(&snapshot).as_str()),
        (Some(0), "v1.0.0\n")
    );
    let foreign = sparkler(&["--describe-snapshot", "/bin/busybox"]);
    assert_eq!(foreign.status.code(), Some(1));
    let text = "Invalid data format version of snapshot file: the file is not a state file of sparkler";
    assert!(stderr(&foreign).contains(text), "{}", stderr(&foreign));
    let missing = sparkler(&["--describe-snapshot", "/missing"]);
    assert_eq!(missing.status.code(), Some(1));
    let text = "Unable to open snapshot state file: No such file or directory (os error 2)";
    assert!(stderr(&missing).contains(text), "{}", stderr(&missing));
}

#[test]
fn wrong_lines_end_with_firecrackers_codes() {
    let unknown = sparkler(&["--frobnicate"]);
    assert_eq!(unknown.status.code(), Some(153));
    assert!(
        stderr(&unknown).contains("Found argument 'frobnicate' which wasn't expected"),
        "{}",
        stderr(&unknown)
    );
    let level = sparkler(&["--level", "loud"]);
    assert_eq!(level.status.code(), Some(152));
    let file = sparkler(&["--no-api", "--config-file", "/nowhere"]);
    assert_eq!(file.status.code(), Some(1));
    assert!(stderr(&file).contains("/nowhere"), "{}", stderr(&file));
    let log = sparkler(&["--log-path", "/nowhere/log"]);
    assert_eq!(log.status.code(), Some(1));
    let help = sparkler(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for flag in ["--api-sock", "--config-file", "--accel"] {
        assert!(stdout(&help).contains(flag), "{}", stdout(&help));
    }
}
