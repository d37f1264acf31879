//! Images by the command: from registries and archives, under names, out again, and what is said on the way.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use testkit::registry::{Access, Fault, Network, Registry};
use testkit::{Terminal, run_with};

use crate::world::World;

/// An OCI layout with the image `app`: one layer that is large, one that is small.
fn layout(world: &World) -> PathBuf {
    let home = world.sandbox.home();
    let layout = home.join("layout");
    let image = format!("{}:app", layout.display());
    let umoci = |words: &[&str]| {
        let _ = testkit::run(Command::new("umoci").args(words)).ok();
    };
    umoci(&["init", "--layout", layout.to_str().unwrap()]);
    umoci(&["new", "--image", &image]);
    // Bytes that packing does not make fewer: xorshift's (G. Marsaglia, 2003).
    let mut seed = 2_463_534_242u32;
    let mut noise = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed.to_be_bytes()[0]
    };
    let noise: Vec<u8> = (0..1_500_000).map(|_| noise()).collect();
    for (name, content) in [("large", &noise[..]), ("small", b"text")] {
        let file = world.file(name, content);
        let target = format!("/{name}");
        umoci(&[
            "insert",
            "--rootless",
            "--image",
            &image,
            file.to_str().unwrap(),
            &target,
        ]);
    }
    umoci(&[
        "config",
        "--image",
        &image,
        "--config.cmd",
        "/bin/serve",
        "--config.env",
        "A=b",
    ]);
    layout
}

/// Puts the image into a registry, and says what it is called there.
fn serve(layout: &Path, registry: &str) -> String {
    let name = format!("{registry}/team/app:1");
    let _ = testkit::run(
        Command::new("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false"])
            .arg(format!("oci:{}:app", layout.display()))
            .arg(format!("docker://{name}")),
    )
    .ok();
    name
}

/// The digests of the image's layers, from its manifest in the layout.
fn layers(layout: &Path) -> Vec<String> {
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        layout.join("blobs").join(digest.replace(':', "/"))
    };
    let index = read(layout.join("index.json"));
    let manifest = read(blob(&index["manifests"][0]));
    let layers = manifest["layers"].as_array().unwrap();
    layers
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect()
}

/// An image in a registry, and on the way of its large layer a fault.
struct Shaky {
    world: World,
    layers: Vec<String>,
    name: String,
    _served: (Registry, Network),
}

impl Shaky {
    fn new(fault: Fault) -> Self {
        let world = World::without_kernel();
        let registry = Registry::plain(Access::Anyone);
        let layout = layout(&world);
        let _ = serve(&layout, &registry.host());
        let network = Network::to(registry.port());
        let layers = layers(&layout);
        network.fault("GET", &layers[0], 1, fault);
        Self {
            world,
            layers,
            name: format!("{}/team/app:1", network.host()),
            _served: (registry, network),
        }
    }
}

fn listed(world: &World) -> Value {
    serde_json::from_str(&world.ok(&["image", "ls", "-o", "json"])).unwrap()
}

#[test]
fn an_image_from_its_pull_to_its_removal() {
    let world = World::without_kernel();
    let registry = Registry::plain(Access::Anyone);
    let name = serve(&layout(&world), &registry.host());

    let pulled = world.run(&["image", "pull", &name]);
    for text in [
        "2 layers, ",
        "  done\n",
        "fetched ",
        " in 2 layers",
        &format!("{name} is pulled: "),
    ] {
        assert!(pulled.stderr.contains(text), "no {text:?} in {pulled}");
    }
    assert!(!pulled.stderr.contains('\x1b'), "{pulled}");
    assert_eq!(pulled.ok(), "");
    let again = world.run(&["image", "pull", &name]);
    assert!(again.stderr.contains("2 layers were there already"), "{again}");
    let id = world.ok(&["image", "pull", "--quiet", &name]);
    let told: Value = serde_json::from_str(&world.ok(&["image", "pull", &name, "-o", "json"])).unwrap();
    assert_eq!(
        told,
        serde_json::json!([{ "name": name, "done": "pulled", "id": id.trim() }])
    );

    let _ = world.ok(&["image", "tag", &name, "app"]);
    let list = listed(&world);
    assert_eq!(list[0]["names"], serde_json::json!(["app:latest", name]));
    assert_eq!(list[0]["id"], id.trim());
    assert_eq!(list[0]["size"], list[0]["unique"]);
    assert_eq!(
        world.ok(&["image", "ls", "-o", "name"]),
        format!("app:latest\n{name}\n")
    );
    let details: Value = serde_json::from_str(&world.ok(&["image", "inspect", "app", "-o", "json"])).unwrap();
    assert_eq!(details["config"]["cmd"], serde_json::json!(["/bin/serve"]));
    assert!(Path::new(details["rootfs"].as_str().unwrap()).is_file());
    assert!(world.ok(&["image", "history", "app"]).contains("umoci insert"));

    // Out again, under the name that it was called by; and back.
    let archive = world.sandbox.home().join("app.tar");
    let _ = world.ok(&["image", "export", "app", "-o", archive.to_str().unwrap()]);
    let seen = testkit::run(
        Command::new("skopeo")
            .args(["inspect", "--config"])
            .arg(format!("oci-archive:{}", archive.display())),
    );
    assert!(seen.ok().contains("/bin/serve"));
    // A link is written through, and what is no file is written to.
    let link = world.sandbox.home().join("link.tar");
    std::os::unix::fs::symlink("app.tar", &link).unwrap();
    let fifo = world.sandbox.home().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::read(fifo).unwrap()
    });
    for place in [&link, &fifo] {
        let _ = world.ok(&["image", "export", "app", "-o", place.to_str().unwrap()]);
    }
    assert!(link.is_symlink() && reader.join().unwrap() == std::fs::read(&archive).unwrap());
    let elsewhere = format!("{}/copy:2", registry.host());
    let pushed = world.run(&["image", "push", "app", &elsewhere]);
    assert!(
        pushed
            .stderr
            .contains(&format!("{elsewhere} is pushed: {}", id.trim())),
        "{pushed}"
    );

    // A name goes while there are others, the image with the last of them.
    let first = world.run(&["image", "rm", "app"]);
    assert!(
        first.stderr.contains("the image has other names and stays"),
        "{first}"
    );
    let last = world.run(&["image", "rm", &name]);
    assert!(last.stderr.contains(" are free again"), "{last}");
    assert_eq!(listed(&world), serde_json::json!([]));
    world
        .run(&["image", "rm", &name])
        .fails(3, &["there is no image"]);
    let _ = world.ok(&["image", "rm", "--force", &name]);

    let bytes = std::fs::read(&archive).unwrap();
    let back = run_with(
        &mut world.command(&["image", "import", "-", "-t", "back:1"]),
        &bytes,
    );
    assert!(back.stderr.contains("back:1 is imported: "), "{back}");
    assert_eq!(listed(&world)[0]["id"], id.trim());
    world
        .run(&["image", "import", archive.to_str().unwrap(), "--image", "other"])
        .fails(3, &["has no image \"other\"", "--image"]);
    let dry = world.run(&["image", "prune", "--all", "--dry-run"]);
    assert!(
        dry.stdout.contains("back:1") && dry.stderr.contains("1 image would be removed"),
        "{dry}"
    );
    let pruned = world.run(&["image", "prune", "--all"]);
    assert!(pruned.stderr.contains("1 image removed"), "{pruned}");
    let nothing = world.run(&["image", "prune", "--all"]);
    assert!(nothing.stderr.contains("there is nothing to remove"), "{nothing}");
}

#[test]
fn what_an_interrupted_pull_fetched_is_kept() {
    let shaky = Shaky::new(Fault::Trickle { after: 400_000 });
    let (world, name) = (&shaky.world, &shaky.name);

    let mut pull = world.spawn(&["image", "pull", name]);
    pull.line(&shaky.layers[1]["sha256:".len()..][..12]);
    pull.signal(Signal::INT);
    let (code, said) = pull.end();
    assert_eq!(code, 130, "{said}");
    assert!(said.contains("what has come is kept for a day"), "{said}");
    assert_eq!(listed(world), serde_json::json!([]));

    let pulled = world.run(&["image", "pull", name]);
    assert!(
        pulled.stderr.contains("in 1 layer; 1 layer was there already"),
        "{pulled}"
    );
    let _ = pulled.ok();
}

#[test]
fn a_terminal_sees_each_layer_move() {
    sees_each_layer_move(Terminal::new(80));
}

#[test]
fn a_terminal_that_does_not_know_its_size_sees_each_layer_move() {
    sees_each_layer_move(Terminal::of_unknown_size());
}

fn sees_each_layer_move(terminal: Terminal) {
    // It breaks off once, so there is a pause in which it must be drawn.
    let shaky = Shaky::new(Fault::Cut { after: 700_000 });
    let mut child = shaky
        .world
        .command(&["image", "pull", &shaky.name])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(terminal.device())
        .spawn()
        .unwrap();
    let status = testkit::end(&mut child, "a pull at a terminal");
    let seen = terminal.rest();
    assert!(status.success(), "{seen}");
    for text in [
        "█",
        "total  ",
        " of ",
        "again in ",
        "broke off",
        "fetched ",
        " is pulled: ",
    ] {
        assert!(seen.contains(text), "no {text:?} in {seen}");
    }
}

#[test]
fn an_image_for_another_platform_is_not_what_is_started() {
    let world = World::new();
    let registry = Registry::plain(Access::Anyone);
    let name = serve(&layout(&world), &registry.host());
    let tree = world.file("tree/file", "text");
    let far = || {
        let tree = tree.parent().unwrap().to_str().unwrap();
        let import = ["image", "import", "--platform", "linux/arm64", "--name"];
        world.ok(&[&import[..], &[&name, tree]].concat());
    };
    let platform = || -> Value {
        let inspected = world.ok(&["image", "inspect", &name, "-o", "json"]);
        serde_json::from_str::<Value>(&inspected).unwrap()["platform"].clone()
    };
    let near = ["--platform", "linux/amd64"];
    far();
    let forms: [&[&str]; 2] = [&["start", "x", "--rm", "--image", &name], &["run", &name]];
    for form in forms {
        // The words of `run` that are not the command's stand before the image.
        let with = |words: &[&str]| {
            let (verb, rest) = form.split_first().unwrap();
            world.run(&[&[*verb], words, rest].concat())
        };
        let foreign = format!("the image {name} is for linux/arm64, and this machine is linux/amd64");
        with(&[]).fails(7, &[&foreign, "`--platform linux/amd64` fetches"]);
        with(&["--platform", "linux/arm64"]).fails(7, &[&foreign]);
        with(&[&near[..], &["--pull", "never"]].concat())
            .fails(7, &["is for linux/arm64, and linux/amd64 is asked for"]);
        assert_eq!(platform(), "linux/arm64");
        // Fetched anew, and then there is nothing to run in it.
        let fetched = with(&near);
        let told = format!("{name} is here for linux/arm64: pulling it for linux/amd64");
        assert!(fetched.stderr.contains(&told), "{fetched}");
        assert_eq!(platform(), "linux/amd64");
        far();
    }
    assert_eq!(world.ok(&["list", "-o", "name"]), "");
    world.sandbox.assert_clean();
}

#[test]
fn what_goes_wrong_is_told() {
    let world = World::without_kernel();
    let registry = Registry::plain(Access::Anyone);
    let name = serve(&layout(&world), &registry.host());
    world
        .run(&["image", "inspect", "nope"])
        .fails(3, &["there is no image \"nope\"", "knaller image ls"]);
    world
        .run(&["image", "pull", "UPPER:1"])
        .fails(2, &["Did you mean \"upper:1\"?"]);
    let absent = format!("{}/team/absent", registry.host());
    world
        .run(&["image", "pull", &absent])
        .fails(3, &["does not have the image "]);
    world
        .run(&["image", "pull", "--platform", "linux/arm64", &name])
        .fails(7, &["linux/arm64", "linux/amd64"]);
    world
        .run(&["start", "x", "--image", "nope:1", "--pull", "never"])
        .fails(3, &["there is no image \"nope:1\""]);
    let id = "0".repeat(64);
    world
        .run(&["start", "x", "--image", &id])
        .fails(3, &["an id cannot be pulled", "knaller image ls"]);
    world
        .run(&["image", "import", "absent.tar"])
        .fails(3, &["absent.tar"]);
    let text = world.file(
        "text",
        "no archive at all, but some words that go on for a while".repeat(20),
    );
    world
        .run(&["image", "import", text.to_str().unwrap()])
        .fails(7, &["neither an archive of images nor a tar"]);
    let empty = world.file("empty", String::new());
    world
        .run(&["image", "import", empty.to_str().unwrap(), "-t", &name])
        .fails(7, &["has no file and no folder in it"]);
    // One that fails holds up no other.
    let both = world.run(&["image", "pull", &absent, &name]);
    let both = both.fails(3, &[&format!("{name} is pulled")]);
    assert!(both.stderr.contains("error: "), "{both}");
}

#[test]
fn a_start_fetches_what_is_missing_and_keeps_it() {
    let world = World::new();
    let registry = Registry::plain(Access::Anyone);
    let name = serve(&layout(&world), &registry.host());
    // It has nothing to run; SSH answers all the same.
    let start = [
        "start",
        "user",
        "--detach",
        "--memory",
        "128M",
        "--image",
        &name,
        "--entrypoint",
        "",
    ];
    let started = world.run(&start);
    for text in ["is not here: pulling it", "in 2 layers", "user is up"] {
        assert!(started.stderr.contains(text), "no {text:?} in {started}");
    }
    assert_eq!(listed(&world)[0]["used_by"], serde_json::json!(["user"]));
    world
        .run(&["image", "rm", &name])
        .fails(4, &["is in use by user"]);
    let pruned = world.run(&["image", "prune", "--all"]);
    assert!(pruned.stderr.contains("there is nothing to remove"), "{pruned}");
    world.stop_and_remove("user");
    let _ = world.ok(&["image", "rm", &name]);
}
