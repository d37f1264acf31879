//! Starts that thaw a guest instead of booting one.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use knaller::{Machine, Origin, StartEvent, StartOptions};

use crate::support::{Bed, end, said, small};

/// What no two machines may share.
async fn own(machine: &Machine) -> String {
    said(machine, "cat /proc/sys/kernel/random/uuid").await
}

#[tokio::test]
async fn the_second_of_a_shape_is_thawed_and_is_nobody_else() {
    let bed = Bed::new();
    let first = bed.start(small("first")).await;
    assert_eq!(first.info().await.unwrap().origin, Origin::Cold);
    let [template] = bed.knaller.templates().await.unwrap().try_into().unwrap();
    assert!(!template.stale);
    let mut drawn = HashSet::from([own(&first).await]);
    for name in ["second", "third"] {
        let mut steps = Vec::new();
        let machine = bed
            .watch(small(name), &mut |event| {
                if let StartEvent::Step(step) = event {
                    steps.push(step.name);
                }
            })
            .await
            .unwrap();
        assert_eq!(machine.info().await.unwrap().origin, Origin::Warm);
        assert!(steps.iter().any(|step| step == "load"), "{steps:?}");
        assert!(!steps.iter().any(|step| step == "kernel"), "{steps:?}");
        assert_eq!(said(&machine, "hostname").await, name);
        // Its own disk, and the whole of it.
        said(&machine, "echo mine > /root/file && sync").await;
        assert!(drawn.insert(own(&machine).await));
        // The clock is the host's, though the guest slept, and keeps its pace, however busy the host is.
        let source = "cat /sys/devices/system/clocksource/clocksource0/current_clocksource";
        let source = said(&machine, source).await;
        assert!(["tsc", "kvm-clock"].contains(&source.as_str()), "{source}");
        let guest: i64 = said(&machine, "date +%s").await.parse().unwrap();
        let host = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert!(guest.abs_diff(host.cast_signed()) < 30, "{guest} {host}");
        end(&machine).await;
    }
    // Others' files are not the first one's.
    assert_eq!(said(&first, "ls /root").await, "");
    // A machine without disks has another shape.
    let bare = bed.start(crate::support::bare("bare")).await;
    assert_eq!(bare.info().await.unwrap().origin, Origin::Cold);
    assert_eq!(bed.knaller.templates().await.unwrap().len(), 2);
    end(&bare).await;
    end(&first).await;
}

#[tokio::test]
async fn a_template_that_cannot_be_thawed_goes_and_the_machine_boots() {
    let bed = Bed::new();
    let first = bed.start(small("first")).await;
    end(&first).await;
    let folder = spoil(&bed).await;
    // As if it had been made so: only the VMM can tell.
    let path = folder.join("template.json");
    let mut description: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let state = folder.join("state").metadata().unwrap();
    description["state"]["changed"] = serde_json::json!([state.ctime(), state.ctime_nsec()]);
    std::fs::write(&path, description.to_string()).unwrap();
    let (machine, slower) = start_told(&bed, "second").await;
    assert_eq!(machine.info().await.unwrap().origin, Origin::Cold);
    assert_eq!(slower.len(), 1, "{slower:?}");
    assert_eq!(said(&machine, "hostname").await, "second");
    end(&machine).await;
    assert!(bed.knaller.templates().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_template_that_was_written_to_is_made_anew() {
    let bed = Bed::new();
    let first = bed.start(small("first")).await;
    end(&first).await;
    spoil(&bed).await;
    let (machine, slower) = start_told(&bed, "second").await;
    assert_eq!(machine.info().await.unwrap().origin, Origin::Cold);
    assert!(
        matches!(slower.as_slice(), [one] if one.contains("written to")),
        "{slower:?}"
    );
    end(&machine).await;
    let (machine, slower) = start_told(&bed, "third").await;
    assert_eq!(machine.info().await.unwrap().origin, Origin::Warm);
    assert!(slower.is_empty(), "{slower:?}");
    end(&machine).await;
}

/// Overwrites the VMM's state in the one template there is. Returns its folder.
async fn spoil(bed: &Bed) -> PathBuf {
    let [template] = bed.knaller.templates().await.unwrap().try_into().unwrap();
    let folder = bed
        .knaller
        .options()
        .paths
        .data
        .join("templates")
        .join(&template.key);
    let state = folder.join("state");
    let length = usize::try_from(state.metadata().unwrap().len()).unwrap();
    std::fs::write(&state, vec![7; length]).unwrap();
    folder
}

/// A machine, and what was said of its start's being slower than it might be.
async fn start_told(bed: &Bed, name: &str) -> (Machine, Vec<String>) {
    let mut slower = Vec::new();
    let machine = bed
        .watch(small(name), &mut |event| {
            if let StartEvent::Slower { message, .. } = event {
                slower.push(message);
            }
        })
        .await
        .unwrap();
    (machine, slower)
}

#[tokio::test]
async fn a_cold_start_thaws_nothing_and_keeps_nothing() {
    let bed = Bed::new();
    let options = StartOptions {
        cold: true,
        ..StartOptions::default()
    };
    let started = bed.knaller.start(small("cold"), options, &mut |_| {}).await;
    let (machine, _) = started.unwrap();
    assert_eq!(machine.info().await.unwrap().origin, Origin::Cold);
    assert!(bed.knaller.templates().await.unwrap().is_empty());
    end(&machine).await;
}

#[tokio::test]
async fn a_template_can_be_taken_ahead_of_time() {
    let bed = Bed::new();
    let (taken, fresh) = bed.knaller.make_template(small("x"), &mut |_| {}).await.unwrap();
    assert!(fresh && taken.memory_mib == 128 && !taken.stale, "{taken:?}");
    assert!(bed.knaller.list().await.unwrap().is_empty());
    let (again, fresh) = bed.knaller.make_template(small("x"), &mut |_| {}).await.unwrap();
    assert!(!fresh && again.key == taken.key, "{again:?}");
    assert_eq!(bed.knaller.templates().await.unwrap().len(), 1);
    let machine = bed.start(small("first")).await;
    assert_eq!(machine.info().await.unwrap().origin, Origin::Warm);
    end(&machine).await;
}
