use std::time::Duration;

use knaller::{Error, Protocol, State};

use super::*;

/// As a pipe shows it: without styles.
fn shown(error: impl Into<CommandError>) -> String {
    let CommandError::Failed(failure) = error.into() else {
        panic!("no failure")
    };
    let code = failure.class.code();
    format!(
        "{}\n(exit code {code})",
        anstream::adapter::strip_str(&failure.render())
    )
}

#[test]
fn what_stands_in_the_way_is_named() {
    insta::assert_snapshot!(shown(Error::NameTaken { name: "web".parse().unwrap(), state: State::Running }), @"
    error: a machine named web exists already (running)
    hint: choose another name, or stop that machine with `knaller stop web` and remove it with `knaller rm web`
    (exit code 4)
    ");
    let by = Some("web".parse().unwrap());
    insta::assert_snapshot!(
        shown(Error::PortTaken { bind: None, port: 8080, protocol: Protocol::Tcp, by }),
        @"
    error: tcp port 8080 of the host is taken by machine web
    hint: take another port, or 0 for a free one, or stop web with `knaller stop web`
    (exit code 5)
    "
    );
    let bind = Some("127.0.0.1".parse().unwrap());
    insta::assert_snapshot!(
        shown(Error::PortTaken { bind, port: 53, protocol: Protocol::Udp, by: None }),
        @"
    error: udp port 53 of 127.0.0.1 is taken by another program
    hint: take another port, or 0 for a free one
    (exit code 5)
    "
    );
}

#[test]
fn what_is_missing_comes_with_its_remedy() {
    insta::assert_snapshot!(shown(Error::NoKernel), @"
    error: there is no kernel yet
    hint: make one from the host's own with `knaller kernel import`
    (exit code 7)
    ");
    let pasta = Error::ProgramMissing {
        program: "pasta".to_owned(),
        hint: "sudo apt-get install passt".to_owned(),
    };
    insta::assert_snapshot!(shown(pasta), @"
    error: pasta was not found
    hint: sudo apt-get install passt
    (exit code 6)
    ");
    insta::assert_snapshot!(shown(Error::Memory { wanted_mib: 8192, available_mib: 2048 }), @"
    error: not enough memory: 8192 MiB are wanted and 2048 MiB are available
    hint: ask for less with --memory, or stop another machine
    (exit code 8)
    ");
    let forbidden = Error::UserNamespaces {
        reason: "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)".to_owned(),
        remedy: "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0".to_owned(),
    };
    insta::assert_snapshot!(shown(forbidden), @"
    error: user namespaces are forbidden: AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)
    hint: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0
    (exit code 6)
    ");
}

#[test]
fn the_guests_last_words_are_shown_without_what_steers_a_terminal() {
    let console = "booting\r\n\x1b[2J\x1b[31mred\x1b[0m\x07\r\n\r\nKernel panic - not syncing: no init\r\n";
    let panicked = Error::GuestPanicked {
        line: "Kernel panic - not syncing: no init".to_owned(),
        console: console.to_owned(),
    };
    insta::assert_snapshot!(shown(panicked), @"
    error: the guest panicked: Kernel panic - not syncing: no init
      the end of the guest's console:
      | booting
      | red
      | Kernel panic - not syncing: no init
    hint: `knaller start --verbose` shows the whole console
    (exit code 10)
    ");
    let silent = Error::SshTimeout {
        after: Duration::from_secs(60),
        console: String::new(),
    };
    insta::assert_snapshot!(shown(CommandError::from(silent).within("cannot start web")), @"
    error: cannot start web: SSH did not answer within 60.0 s
    hint: if the host is busy, give it longer with --boot-timeout; `knaller start --verbose` shows the whole console
    (exit code 11)
    ");
}

#[test]
fn only_the_end_of_a_long_log_is_shown() {
    let log: String = (1..=100).map(|line| format!("line {line}\n")).collect();
    let text = shown(Error::VmmDied { vmm: "sparkler", log });
    assert!(!text.contains("line 80\n"), "{text}");
    assert!(
        text.contains("line 81\n") && text.contains("line 100\n"),
        "{text}"
    );
}

#[test]
fn causes_follow_the_error() {
    let error = Error::Io {
        action: "read",
        path: "/x/vm.json".into(),
        source: io::Error::from(io::ErrorKind::PermissionDenied),
    };
    insta::assert_snapshot!(shown(error), @"
    error: cannot read /x/vm.json
      because: permission denied
    (exit code 1)
    ");
}

#[test]
fn a_reader_that_went_away_is_success() {
    let error = CommandError::from(io::Error::from(io::ErrorKind::BrokenPipe));
    assert_eq!(error.exit_code(), 0);
}
