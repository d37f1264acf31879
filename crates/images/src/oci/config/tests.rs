use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(value: &serde_json::Value) -> ImageConfig {
    ImageConfig::parse(value.to_string().as_bytes()).unwrap()
}

#[test]
fn all_that_docker_writes() {
    let diff_id = Digest::of(b"layer");
    let config = parse(&json!({
        "architecture": "arm64", "os": "linux", "variant": "v8", "created": "2024-01-02T03:04:05.678Z", "author": "A",
        "docker_version": "26.1", "container": "0123",
        "config": {
            "Hostname": "", "AttachStdin": false, "ArgsEscaped": true, "OnBuild": null, "Image": "sha256:x",
            "Env": ["PATH=/bin", "A=b=c"], "Entrypoint": ["/init"], "Cmd": ["-x", ""], "User": "app:staff",
            "WorkingDir": "/srv", "StopSignal": "SIGRTMIN+3", "Labels": {"a": "b"},
            "ExposedPorts": {"80/tcp": {}, "53/UDP": {}, "80": {}, "$PORT": {}, "0": {}, "70000": {}, "9002-9000/tcp": {}, "8001-8003/tcp": {}, "8003": {}},
            "Volumes": {"/data": {}},
            "Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 5_000_000_000_u64, "Timeout": 0, "Retries": -1, "StartPeriod": 1},
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "ADD x"}, {"empty_layer": true, "comment": null}],
    }));
    assert_eq!(config.platform.to_string(), "linux/arm64");
    assert_eq!(config.created.unwrap().to_string(), "2024-01-02T03:04:05.678Z");
    assert_eq!(config.diff_ids, std::slice::from_ref(&diff_id));
    assert_eq!(config.chain_id(), diff_id);
    assert!(config.history[1].empty_layer && config.history[0].created_by == "ADD x");
    let run = config.run;
    assert_eq!(
        (run.env.len(), run.entrypoint.as_slice(), run.cmd.len()),
        (2, &["/init".to_owned()][..], 2)
    );
    assert_eq!(
        (run.user.as_str(), run.working_dir.as_str()),
        ("app:staff", "/srv")
    );
    let ports: Vec<String> = run.exposed_ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["53/udp", "80/tcp", "8001/tcp", "8002/tcp", "8003/tcp"]);
    assert_eq!(run.volumes, ["/data"]);
    let health = run.healthcheck.unwrap();
    assert_eq!(health.command, ["/bin/sh", "-c", "curl x"]);
    assert_eq!(
        (health.interval, health.timeout),
        (Duration::from_secs(5), Duration::from_secs(30))
    );
    assert_eq!(
        (health.start_period, health.retries),
        (Duration::from_nanos(1), 3)
    );
}

#[test]
fn null_missing_and_old_forms_are_the_same() {
    let null = parse(&json!({
        "architecture": null, "created": null, "history": null, "rootfs": {"type": "layers", "diff_ids": null},
        "config": {"Env": null, "Entrypoint": null, "Cmd": null, "Labels": null, "ExposedPorts": null,
            "Volumes": null, "User": null, "Healthcheck": null},
    }));
    let empty = parse(&json!({"rootfs": {}}));
    assert_eq!(null, empty);
    assert_eq!(
        parse(&json!({"config": null, "created": "0001-01-01T00:00:00Z", "rootfs": {}})),
        empty
    );
    assert_eq!(empty.chain_id(), Digest::of(b""));
    let old = parse(&json!({"config": {"Cmd": "sh", "Entrypoint": []}, "rootfs": {}}));
    assert_eq!(
        (old.run.cmd.as_slice(), old.run.entrypoint.len()),
        (&["sh".to_owned()][..], 0)
    );
}

#[test]
fn a_healthcheck_that_checks_nothing_is_none() {
    for test in [
        json!(null),
        json!([]),
        json!(["NONE"]),
        json!(["CMD"]),
        json!(["CMD-SHELL"]),
        json!(["x", "y"]),
    ] {
        let config = parse(&json!({"config": {"Healthcheck": {"Test": test}}, "rootfs": {}}));
        assert_eq!(config.run.healthcheck, None, "{test}");
    }
    let config = parse(&json!({"config": {"Healthcheck": {"Test": ["CMD", "/check", "-q"]}}, "rootfs": {}}));
    assert_eq!(config.run.healthcheck.unwrap().command, ["/check", "-q"]);
}

#[test]
fn an_image_for_another_machine_is_refused() {
    let config = parse(&json!({"os": "linux", "architecture": "arm64", "rootfs": {}}));
    config.check_platform(&"arm64".parse().unwrap()).unwrap();
    let error = config.check_platform(&"amd64".parse().unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no image for linux/amd64, only for linux/arm64"
    );
    let silent = parse(&json!({"rootfs": {}}));
    silent.check_platform(&"amd64".parse().unwrap()).unwrap();
}

#[test]
fn what_is_no_configuration() {
    use ConfigError as E;
    let parse = |value: serde_json::Value| ImageConfig::parse(value.to_string().as_bytes());
    assert!(matches!(parse(json!({})), Err(E::Json(_))));
    assert!(matches!(
        parse(json!({"rootfs": {"diff_ids": ["sha256:1"]}})),
        Err(E::Json(_))
    ));
    assert!(matches!(
        parse(json!({"rootfs": {"type": "layers+base"}})),
        Err(E::Rootfs(_))
    ));
    let many = vec![Digest::of(b"x"); MAX_LAYERS + 1];
    assert!(matches!(
        parse(json!({"rootfs": {"diff_ids": many}})),
        Err(E::TooManyLayers(513))
    ));
    let large = vec![b' '; 8 << 20 | 1];
    assert!(matches!(ImageConfig::parse(&large), Err(E::TooLarge { .. })));
}

#[test]
fn chains_are_those_of_the_specification() {
    let layers = [b"a", b"b", b"c"].map(|layer| Digest::of(layer));
    let config = parse(&json!({"rootfs": {"type": "layers", "diff_ids": layers}}));
    let two = Digest::of(format!("{} {}", layers[0], layers[1]).as_bytes());
    assert_eq!(
        config.chain_id(),
        Digest::of(format!("{two} {}", layers[2]).as_bytes())
    );
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ImageConfig::parse(&bytes);
    }
}
