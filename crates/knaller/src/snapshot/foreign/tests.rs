use std::path::PathBuf;

use super::*;
use crate::record::{Changed, Jailed};
use crate::template::Program;
use crate::{CpuSet, EgressRule, Origin, Rate};

use super::super::description::{BaseFile, Parent};

const KERNEL: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const IMAGE: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A machine of an image that is as its host's user has it by default.
fn plain(spec: MachineSpec) -> Description {
    let spec = match spec.root {
        Root::Builtin => spec.root(Root::Image("base".to_owned())),
        _ => spec,
    };
    let has_image = matches!(spec.root, Root::Image(_));
    let mut record = Record::new("db".parse().unwrap(), "/there".into(), spec);
    record.vmm = SPARKLER.to_owned();
    record.kernel = KERNEL.to_owned();
    record.image = has_image.then(|| IMAGE.to_owned());
    let mut description = Description::new("ready".parse().unwrap(), record, "1.0".into(), "cpu".into());
    description.base = has_image.then(|| BaseFile {
        file: Program::at(Path::new("/")).unwrap(),
        checksum: Some(IMAGE.parse().unwrap()),
    });
    description
}

fn folder() -> PathBuf {
    "/data/snapshots/ready".into()
}

fn admitted(description: Description) -> Admitted {
    admit(description, &folder(), Path::new("/here")).unwrap()
}

fn refused(description: Description) -> String {
    admit(description, &folder(), Path::new("/here")).unwrap_err()
}

fn spec_of(spec: MachineSpec) -> (MachineSpec, Vec<String>) {
    let admitted = admitted(plain(spec));
    admitted.description.record.spec.validate().unwrap();
    (admitted.description.record.spec, admitted.changed)
}

#[test]
fn a_guest_comes_in_as_it_was() {
    let mut spec = MachineSpec::new()
        .name("db".parse().unwrap())
        .root(Root::Image("base".to_owned()))
        .cpus(2)
        .memory_mib(512)
        .disk_mib(64)
        .env("A", "b")
        .command(["run"])
        .user("me")
        .workdir("/srv")
        .ssh_key("ssh-ed25519 AAAA")
        .metadata(serde_json::json!({"a": 1}))
        .label("team", "blue")
        .mac("02:00:00:00:00:01".parse().unwrap())
        .egress(EgressRule::Deny)
        .egress("dns=example.org:443".parse().unwrap())
        .egress("allow=10.1.0.0/16:5432".parse().unwrap())
        .limits(Limits {
            cpu_quota: Some("0.5".parse().unwrap()),
            cpu_weight: Some(50),
            memory_max_mib: Some(1024),
            pids: Some(64),
            send: Some(Rate::new(1_000_000)),
            memory_target_mib: Some(128),
            ..Limits::default()
        })
        .read_only();
    spec.hostname = Some("db.example.org".to_owned());
    assert_eq!(spec_of(spec.clone()), (spec, Vec::new()));
}

#[test]
fn what_a_stranger_says_of_this_host_does_not_hold() {
    let mut spec = MachineSpec::new()
        .root(Root::File("/home/me/.ssh/id_ed25519".into()))
        .kernel(Kernel::Path("/etc/shadow".into()))
        .network(Network::Direct)
        .forward("0.0.0.0:22:22".parse().unwrap())
        .forward("80:80/udp".parse().unwrap())
        .volume("/etc/shadow:/a".parse().unwrap())
        .volume("others:/b".parse().unwrap())
        .vmm(Vmm::Sparkler)
        .without_jail()
        .slice("system.slice".parse().unwrap())
        .restart(Restart::Always)
        .limits(Limits {
            cpu_weight: Some(10_000),
            cpu_set: Some("0".parse::<CpuSet>().unwrap()),
            ..Limits::default()
        });
    spec.publish_all = true;
    (spec.boot_timeout_ms, spec.stop_grace_ms) = (u64::MAX, u64::MAX);
    let (here, changed) = spec_of(spec);
    assert!(here.jail && !here.publish_all && !here.remove_on_exit);
    assert_eq!(
        (here.vmm, here.network, here.restart, here.slice),
        (Vmm::Auto, Network::Pasta, Restart::No, None)
    );
    assert_eq!(here.root, Root::File(folder().join("rootfs.ext4")));
    assert_eq!(here.kernel, Kernel::Id(KERNEL.to_owned()));
    let sources: Vec<_> = here.volumes.into_iter().map(|volume| volume.source).collect();
    let own = ["volume0.ext4", "volume1.ext4"].map(|name| VolumeSource::File(folder().join(name)));
    assert_eq!(sources, own);
    let forwards: Vec<_> = here.forwards.iter().map(ToString::to_string).collect();
    assert_eq!(forwards, ["127.0.0.1:0:22", "127.0.0.1:0:80/udp"]);
    assert_eq!(here.limits, Limits::default());
    assert_eq!(
        (here.boot_timeout_ms, here.stop_grace_ms),
        (LONGEST_WAIT, LONGEST_WAIT)
    );
    // Each is said.
    for word in [
        "jail",
        "VMM",
        "direct",
        "127.0.0.1",
        "exposes",
        "by itself",
        "slice",
        "hour",
        "CPU time",
        "pinned",
    ] {
        assert!(
            changed.iter().any(|sentence| sentence.contains(word)),
            "{word}: {changed:?}"
        );
    }
    assert_eq!(changed.len(), 10, "{changed:?}");
}

#[test]
fn what_it_may_reach_is_no_wider_than_it_was_and_than_it_is_here() {
    let reach = |network, rules: &[&str]| {
        let mut spec = MachineSpec::new().network(network);
        spec.egress = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let (here, _) = spec_of(spec);
        here.egress.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let public_alone = ["allow=192.0.2.0/24"];
    assert!(reach(Network::Pasta, &[]).is_empty());
    assert!(reach(Network::None, &[]).is_empty());
    // Which reached public addresses alone.
    assert_eq!(reach(Network::Direct, &[]), public_alone);
    assert_eq!(reach(Network::Direct, &["deny"]), ["deny"]);
    for rule in [
        "allow=169.254.169.254:80",
        "allow=0.0.0.0/0",
        "allow=128.0.0.0/1",
        "allow=fd00::/8",
        "allow=[fd00:ec2::254]:80",
        "allow=100.100.100.200:80",
        "allow=[fd20:ce::254]:80",
        "allow=[64:ff9b::a9fe:a9fe]:80",
        "allow=168.63.129.16:80",
    ] {
        assert_eq!(reach(Network::Pasta, &[rule]), public_alone, "{rule}");
        assert_eq!(reach(Network::Pasta, &["deny", rule]), ["deny"], "{rule}");
    }
}

#[test]
fn what_a_boot_had_of_its_host_stays_there() {
    let mut description = plain(MachineSpec::new());
    let record = &mut description.record;
    let instance = "../../instance".to_owned();
    record.instance.clone_from(&instance);
    record.runtime = "/etc".into();
    record.forwards = vec!["22:22".parse().unwrap()];
    record.changed = Some(Changed {
        held: record.forwards.clone(),
        under_way: true,
    });
    record.limiting = Some(Box::default());
    record.cgroup = Some(serde_json::from_value(serde_json::json!("/sys/fs/cgroup/system.slice")).unwrap());
    record.jail = Some(Jailed::new("/etc".into()));
    record.origin = Origin::Warm;
    record.restarts = 7;
    record.boots = Some(Box::new(MachineSpec::new().cpus(7)));
    let here = admitted(description).description.record;
    assert_ne!(here.instance, instance);
    assert_eq!(here.runtime, Path::new("/here"));
    assert_eq!((here.boots, here.limiting), (None, None));
    assert_eq!(here.forwards, here.spec.forwards);
    assert_eq!(
        (here.changed, here.cgroup, here.jail, here.origin, here.restarts),
        (None, None, None, Origin::Cold, 0)
    );
    assert_eq!(
        (here.kernel.as_str(), here.image.as_deref()),
        (KERNEL, Some(IMAGE))
    );
}

#[test]
fn what_names_files_here_is_of_the_form_that_it_has() {
    let with = |change: &dyn Fn(&mut Description)| {
        let mut description = plain(MachineSpec::new());
        change(&mut description);
        refused(description)
    };
    for (text, word) in [
        (with(&|it| it.record.vmm = "../../bin/sh".into()), "VMM"),
        (with(&|it| it.record.kernel = "../../etc".into()), "kernel"),
        (with(&|it| it.record.kernel = "default".into()), "kernel"),
        (with(&|it| it.record.image = Some("base".into())), "image"),
        (with(&|it| it.record.image = Some("../x".into())), "image"),
        (with(&|it| it.record.image = None), "image"),
        (with(&|it| it.record.spec.root = Root::Builtin), "image"),
        (with(&|it| it.record.spec.root = Root::Initramfs), "image"),
        (with(&|it| it.base = None), "root file system"),
        (
            with(&|it| it.base.as_mut().unwrap().checksum = None),
            "root file system",
        ),
        (
            with(&|it| it.record.spec.root = Root::Raw("/dev/vda".into())),
            "image",
        ),
        (with(&|it| it.vmm_version = "\u{1b}[2J".into()), "version"),
        (with(&|it| it.cpu = "x".repeat(1000)), "processor"),
        (with(&|it| it.id = "a\nb".into()), "id"),
        (
            with(&|it| {
                it.parent = Some(Parent {
                    name: "base".parse().unwrap(),
                    id: String::new(),
                    state: IMAGE.parse().unwrap(),
                });
            }),
            "difference",
        ),
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    // Names are names already when they are read.
    let json = serde_json::to_string(&plain(MachineSpec::new())).unwrap();
    let foreign = json.replace("\"name\":\"ready\"", "\"name\":\"../ready\"");
    assert_ne!(foreign, json);
    assert!(serde_json::from_str::<Description>(&foreign).is_err());
}

/// Else the target would begin with nothing that comes as far as here.
#[test]
fn the_seed_of_the_fuzz_target_comes_in() {
    let seed = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fuzz/seeds/knaller_parsers/description"
    ));
    let here = admitted(serde_json::from_str(seed.strip_prefix('9').unwrap()).unwrap());
    assert!(here.description.record.spec.jail);
    assert_eq!(here.changed.len(), 5, "{:?}", here.changed);
    let again = admitted(here.description.clone());
    assert_eq!(again.description.record.spec, here.description.record.spec);
}
