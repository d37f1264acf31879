use knaller::Network;

use super::*;
use crate::ui::{Format, inspection, list};

fn spec() -> MachineSpec {
    MachineSpec::new()
        .memory_mib(512)
        .restart("on-failure:5".parse().unwrap())
        .forward("0:80".parse().unwrap())
        .command(["httpd", "-f", "-p", "80"])
}

fn info(name: &str, state: State, started: u64) -> MachineInfo {
    let running = state == State::Running;
    MachineInfo {
        name: name.parse().unwrap(),
        state,
        origin: Origin::Warm,
        instance: "0199c1f2-6b1e-7000-8000-000000000000".to_owned(),
        vmm: "sparkler".to_owned(),
        jail: Some(JailInfo::default()),
        vmm_version: running.then(|| "1.17.0".to_owned()),
        pid: running.then_some(4711),
        created: 1_790_000_000,
        started,
        restarts: 3,
        spec: spec(),
        next_start: None,
        forwards: vec![
            "127.0.0.1:8080:80".parse().unwrap(),
            "[::1]:5353:53/udp".parse().unwrap(),
        ],
        addresses: vec!["10.0.2.15".parse().unwrap(), "fd00::2".parse().unwrap()],
        image: Some("builtin-0".to_owned()),
        health: None,
        kernel: "6.1.0-49-cloud-amd64-0123abcd".to_owned(),
    }
}

fn machines() -> Vec<MachineView> {
    let now = u64::try_from(Timestamp::now().as_second()).unwrap();
    let mut stopped = info("brave-otter", State::Stopped, now - 3 * 86_400);
    stopped.forwards.clear();
    stopped.spec.network = Network::None;
    stopped.spec.root = Root::File("/srv/images/debian-12.ext4".into());
    vec![
        MachineView::new(info("web", State::Running, now - 200)),
        MachineView::new(stopped),
    ]
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn the_table_fits_any_terminal() {
    let table = |width| plain(&list(&machines(), Format::Table, width).unwrap());
    insta::assert_snapshot!("list-in-a-pipe", table(None));
    insta::assert_snapshot!("list-in-120-columns", table(Some(120)));
    insta::assert_snapshot!("list-in-80-columns", table(Some(80)));
    insta::assert_snapshot!("list-in-40-columns", table(Some(40)));
}

#[test]
fn all_formats_say_the_same() {
    let machines = [MachineView::new(info("web", State::Running, 1_790_000_100))];
    let json: serde_json::Value =
        serde_json::from_str(&list(&machines, Format::Json, None).unwrap()).unwrap();
    insta::assert_json_snapshot!("list-as-JSON", json);
    insta::assert_snapshot!("list-as-YAML", list(&machines, Format::Yaml, None).unwrap());
    assert_eq!(list(&machines, Format::Name, None).unwrap(), "web");
}

#[test]
fn an_inspection_shows_all() {
    let guest = guest_protocol::control::Status {
        uptime_us: 200_000_000,
        memory_total_kib: 512 * 1024,
        memory_available_kib: 400 * 1024,
        disk_total: 2 << 30,
        disk_free: 1 << 30,
        processes: 42,
        load: [0.5, 0.25, 0.1],
        ..Default::default()
    };
    let folder = PathBuf::from("/home/me/.local/share/knaller/vms/web");
    let machine = MachineView::with_details(info("web", State::Running, 1_790_000_100), folder, Some(guest));
    let machines = [machine];
    insta::assert_snapshot!(
        "inspect-in-60-columns",
        plain(&inspection(&machines, Format::Table, Some(60)).unwrap())
    );
    let json: serde_json::Value =
        serde_json::from_str(&inspection(&machines, Format::Json, None).unwrap()).unwrap();
    insta::assert_json_snapshot!("inspect-as-JSON", json);
    insta::assert_snapshot!(
        "inspect-as-YAML",
        inspection(&machines, Format::Yaml, None).unwrap()
    );
}

#[test]
fn what_only_the_next_start_has_is_told_apart() {
    let mut info = info("web", State::Running, 1_790_000_100);
    let mut next = serde_json::json!({"cpus": 2, "memory_mib": 1536, "limits": {"pids": 99}});
    info.next_start = serde_json::from_value(next.clone()).unwrap();
    let view = MachineView::new(info);
    assert_eq!(
        view.next_start(),
        "2 CPUs, 1.5 GiB of memory, limits: 99 processes"
    );
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!((&json["cpus"], &json["memory_mib"]), (&1.into(), &512.into()));
    next["limits"] = json["next_start"]["limits"].clone();
    assert_eq!(
        (&json["next_start"], &next["limits"]["pids"]),
        (&next, &99.into())
    );
}

#[test]
fn an_inspection_tells_how_the_machine_began() {
    let name: Name = "db".parse().unwrap();
    let (snapshot, machine) = (name.clone(), name);
    for (origin, text, start, from) in [
        (Origin::Cold, "cold", "cold", None),
        (Origin::Warm, "warm", "warm", None),
        (
            Origin::Restored { snapshot },
            "restored from db",
            "restored",
            Some("db"),
        ),
        (Origin::Forked { machine }, "forked from db", "forked", Some("db")),
    ] {
        let mut info = info("web", State::Running, 1_790_000_100);
        info.origin = origin;
        let view = MachineView::new(info);
        assert_eq!(view.start(), text);
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(
            (json["start"].as_str(), json["start_from"].as_str()),
            (Some(start), from)
        );
        assert_eq!(json["warm"], start == "warm");
    }
}
