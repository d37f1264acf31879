//! A part of a test in a process of its own, which can be killed at a place that it names.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

const ARRIVED: &str = "arrived";

/// A test of this very program that runs on its own until it calls [`stay`]. Killed when dropped.
#[derive(Debug)]
pub struct Apart(Child);

impl Apart {
    /// Runs the ignored test `name` (with its modules) with these variables in its environment, and waits until it stays.
    ///
    /// # Panics
    /// When it ends before.
    #[must_use]
    pub fn until_it_stays(name: &str, variables: &[(&str, &OsStr)]) -> Self {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", name, "--nocapture"])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program again");
        let mut apart = Self(child);
        let output = apart.0.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        assert!(
            lines.any(|line| line.ends_with(ARRIVED)),
            "{name} did not come to where it stays: {variables:?}"
        );
        apart
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says to who started this process that it has come so far, and waits to be killed.
///
/// # Panics
/// When nobody listens any more.
pub fn stay() -> ! {
    // Not captured, as what is printed would be.
    let said = std::io::stdout().write_all(format!("\n{ARRIVED}\n").as_bytes());
    said.expect("somebody waits for it");
    loop {
        std::thread::park();
    }
}
