//! A machine's life by the command: made, used, stopped, started again, removed.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use testkit::{is_root, run_with};

use crate::world::{World, host_port, http_get};

#[test]
fn a_machine_from_its_start_to_its_removal() {
    life(&World::new());
}

#[test]
fn a_machine_of_an_ordinary_user() {
    if !is_root() {
        // Then the other test was one.
        return;
    }
    life(&World::of_ordinary_user());
}

#[test]
fn a_restart_that_was_slower_than_it_might_be_says_so() {
    let world = World::new();
    world.start("web", &["--network", "none"]);
    let templates = world.sandbox.data().join("knaller/templates");
    let spoil = || {
        let mut folders = std::fs::read_dir(&templates).unwrap().map(Result::unwrap);
        let state = folders.find_map(|folder| Some(folder.path().join("state")).filter(|path| path.exists()));
        let state = state.unwrap();
        let length = usize::try_from(state.metadata().unwrap().len()).unwrap();
        std::fs::write(state, vec![7; length]).unwrap();
    };
    spoil();
    let told = world.ok(&["restart", "web", "-o", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let warnings = told[0]["warnings"].as_array().unwrap();
    assert!(
        matches!(warnings.as_slice(), [one] if one.as_str().unwrap().contains("written to")),
        "{told}"
    );
    spoil();
    let ran = world.run(&["restart", "web"]);
    assert!(ran.code() == 0 && ran.stderr.contains("written to"), "{ran}");
    world.stop_and_remove("web");
}

fn life(world: &World) {
    let server = ["httpd", "-f", "-p", "80", "-h", "/srv/www"];
    let options = ["-p", "127.0.0.1:0:80", "--env", "GREETING=hello", "--"];
    let web = world.start("web", &[&options[..], &server].concat());
    assert_eq!(
        (&web["state"], &web["image"]),
        (&"running".into(), &"builtin".into())
    );
    assert_eq!(world.ok(&["list", "-o", "name"]), "web\n");
    assert!(world.ok(&["list"]).lines().nth(1).unwrap().contains("running"));

    commands(world);
    input(world);
    copies(world);
    ports(world, host_port(&web, 0));
    figures(world);
    console(world);

    // Stopped, it keeps its disk; its name alone starts it again as it was.
    world.shell("web", "echo kept > /root/kept");
    let waiting = world.spawn(&["wait", "web"]);
    let _ = world.ok(&["stop", "web"]);
    let (code, said) = waiting.end();
    assert_eq!(code, 128 + 15, "httpd ends by its stop signal: {said}");
    assert_eq!(world.inspect("web")["state"], "stopped");
    world
        .run(&["exec", "web", "true"])
        .fails(4, &["web is not running", "knaller start web"]);
    world.run(&["stop", "web"]).fails(4, &["web is not running"]);
    assert_eq!(world.sandbox.processes(), []);
    let _ = world.ok(&["start", "web", "--detach"]);
    assert_eq!(
        world.shell("web", "cat /root/kept; echo $GREETING"),
        "kept\nhello\n"
    );
    world
        .run(&["rm", "web"])
        .fails(4, &["web is running", "knaller stop web"]);
    world.stop_and_remove("web");
    assert_eq!(world.ok(&["list", "-o", "name"]), "");
    world
        .run(&["inspect", "web"])
        .fails(3, &["there is no machine named web"]);
}

/// Exit codes, signals, separate streams, users, folders, the environment.
fn commands(world: &World) {
    for (words, code) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["no-such-program"], 127),
        (&["/etc/passwd"], 126),
    ] {
        let ran = world.run(&[&["exec", "web"], words].concat());
        assert_eq!(ran.code(), code, "{ran}");
    }
    let both = world.run(&["exec", "web", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(world.shell("web", "echo $GREETING; hostname"), "hello\nweb\n");
    let told = world.ok(&[
        "exec",
        "--user",
        "user",
        "--workdir",
        "/tmp",
        "--env",
        "A=b c",
        "web",
        "sh",
        "-c",
        "id -un; pwd; echo $A",
    ]);
    assert_eq!(told, "user\n/tmp\nb c\n");
    world
        .run(&["exec", "-u", "nosuch", "web", "id"])
        .fails(3, &["web has no user nosuch, or none that may log in"]);
    // No shell of anybody's takes a command apart.
    assert_eq!(
        world.ok(&["exec", "web", "echo", "$HOME * 'a  b'"]),
        "$HOME * 'a  b'\n"
    );
    assert_eq!(world.ok(&["ssh", "--builtin", "web", "echo $HOME"]), "/root\n");
}

fn input(world: &World) {
    let noise: Vec<u8> = (0..1_000_003_u32)
        .map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let ran = run_with(&mut world.command(&["exec", "web", "cat"]), &noise);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    assert!(
        ran.bytes == noise,
        "{} of {} bytes came back",
        ran.bytes.len(),
        noise.len()
    );
    let counted = run_with(
        &mut world.command(&["exec", "-n", "web", "wc", "-c"]),
        b"not passed on",
    );
    assert_eq!(counted.ok().trim(), "0");
}

/// Both ways: files, folders, modes, links, times.
fn copies(world: &World) {
    let large = vec![0x5a; 3 << 20];
    world.file("tree/large", &large);
    world.file("tree/deep/er/a name with 'quotes' and ü", "text");
    world.file("tree/empty", "");
    let tree = world.sandbox.home().join("tree");
    std::fs::set_permissions(tree.join("empty"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::fs::set_permissions(tree.join("deep"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink("large", tree.join("link")).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", tree.join("dangling")).unwrap();
    let tree = tree.to_str().unwrap();
    let back = world.sandbox.home().join("back");
    let _ = world.ok(&["cp", tree, "web:/srv/copy"]);
    let _ = world.ok(&["cp", "web:/srv/copy", back.to_str().unwrap()]);
    // Setuid goes in, but what a guest made setuid never has rights here.
    assert_eq!(
        std::fs::metadata(back.join("empty"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777,
        0o755
    );
    std::fs::set_permissions(back.join("empty"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(listing(Path::new(tree)), listing(&back));
    let inside = world.shell(
        "web",
        "stat -c '%a %u' /srv/copy/empty; readlink /srv/copy/link; wc -c < /srv/copy/large",
    );
    assert_eq!(inside, "4755 0\nlarge\n3145728\n");
    // Into a folder that is there, and from one user's home.
    let one = world.file("one", "1");
    let _ = world.ok(&["cp", one.to_str().unwrap(), "user@web:"]);
    assert_eq!(world.shell("web", "stat -c '%U %a' /home/user/one"), "user 640\n");
    world.run(&["cp", "web:/nowhere", tree]).fails(3, &["/nowhere"]);
    world
        .run(&["cp", "/nowhere/here", "web:/"])
        .fails(3, &["/nowhere/here"]);
}

/// All below a folder: names, kinds, modes, checksums; times but of links, which get that of the copy; links' targets.
fn listing(folder: &Path) -> String {
    let script = r#"cd "$0" && find . -mindepth 1 ! -type l -printf '%p %y %m %Ts\n' | sort && find . -type l -printf '%p %l\n' | sort && find . -type f -exec sha256sum {} + | sort"#;
    testkit::run(Command::new("sh").args(["-c", script]).arg(folder)).ok()
}

/// The forward of the start, by pasta; and one of a running machine, by SSH.
fn ports(world: &World, port: u16) {
    let served = |address: SocketAddr| http_get(address, "/index.html").unwrap();
    let page = world.shell("web", "cat /srv/www/index.html");
    assert!(served((Ipv4Addr::LOCALHOST, port).into()).ends_with(&page));
    let mut forward = world.spawn(&["forward", "web", "127.0.0.1:0:80"]);
    let line = forward.line(" -> web:80");
    let local = line.split(' ').next().unwrap().parse().unwrap();
    assert!(served(local).ends_with(&page));
    assert!(served(local).ends_with(&page));
    forward.signal(Signal::INT);
    assert_eq!(forward.end().0, 0);
    assert!(http_get(local, "/").is_err());
}

fn figures(world: &World) {
    let text = world.ok(&["inspect", "--stats", "web", "-o", "json"]);
    let web: serde_json::Value = serde_json::from_str(&text).unwrap();
    let guest = &web["details"]["guest"];
    assert_eq!(guest["entrypoint_running"], true, "{guest}");
    let memory = guest["memory_total_kib"].as_u64().unwrap();
    assert!((64 << 10..128 << 10).contains(&memory), "{memory}");
    assert_eq!(web["details"]["spec"]["env"]["GREETING"], "hello");
}

/// What the guest writes is in the log at once, for those who follow and those who come later.
fn console(world: &World) {
    let mut follower = world.spawn(&["logs", "--follow", "web"]);
    world.shell("web", "echo told on the console > /dev/console");
    follower.line("told on the console");
    follower.signal(Signal::INT);
    assert_eq!(follower.end().0, 0);
    assert!(world.ok(&["logs", "web"]).contains("told on the console"));
}

#[test]
fn the_exit_code_of_a_command_is_the_starts_and_the_waits() {
    let world = World::new();
    // In the foreground: output and code of the machine's command, and then no machine.
    let alone = ["--rm", "-m", "128M", "--network", "none", "--"];
    let job = ["sh", "-c", "echo its output; exit 7"];
    let ran = world.run(&[&["start", "job"][..], &alone, &job].concat());
    assert_eq!(ran.code(), 7, "{ran}");
    assert!(ran.stdout.contains("its output"), "{ran}");
    world.sandbox.assert_clean();

    // In the background, for those who wait; it ends when it is told to by way of a pipe in the guest.
    let open = "mkfifo /run/pipe 2> /dev/null";
    let entry = format!("{open}; read code < /run/pipe; exit $code");
    world.start("job", &["--network", "none", "--rm", "--", "sh", "-c", &entry]);
    let waiting = world.spawn(&["wait", "job"]);
    world.shell("job", &format!("{open}; echo 5 > /run/pipe"));
    let (code, said) = waiting.end();
    assert_eq!(code, 5, "{said}");
    assert_eq!(world.ok(&["list", "-o", "name"]), "");
    world.sandbox.assert_clean();

    // A command that is not there is a failed start, which leaves no machine.
    let ran = world.run(&[&["start", "bad"][..], &alone, &["/no/such/thing"]].concat());
    ran.fails(10, &["cannot start bad", "there is no program `/no/such/thing`"]);
    world.sandbox.assert_clean();
}

#[test]
fn ctrl_c_stops_a_machine_cleanly_at_any_time() {
    let world = World::new();
    let words = ["start", "fore", "--rm", "-m", "128M", "--log", "knaller=debug"];
    // While it boots: nothing was ever there.
    for step in ["\"spawn\"", "\"boot\""] {
        let mut start = world.spawn(&words);
        start.line(step);
        start.signal(Signal::INT);
        let (code, said) = start.end();
        assert_eq!(code, 130, "{said}");
        world.sandbox.assert_clean();
    }
    // While it runs: an orderly stop.
    let mut start = world.spawn(&words);
    start.line("fore is up");
    start.signal(Signal::INT);
    let (code, said) = start.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("fore has stopped"), "{said}");
    world.sandbox.assert_clean();
}
