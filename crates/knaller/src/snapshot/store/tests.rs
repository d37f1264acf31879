use super::*;
use crate::MachineSpec;
use crate::handover::STATE;
use crate::record::Record;

fn place() -> (tempfile::TempDir, Snapshots) {
    let temp = tempfile::tempdir().unwrap();
    let paths = Paths {
        data: temp.path().to_owned(),
        runtime: temp.path().join("r"),
    };
    let snapshots = Snapshots::open(&paths).unwrap();
    (temp, snapshots)
}

fn keep(snapshots: &Snapshots, name: &str, parent: Option<&Description>) -> Description {
    let name: Name = name.parse().unwrap();
    let mut record = Record::new(name.clone(), snapshots.folder.clone(), MachineSpec::new());
    record.image = Some("sha256:1".to_owned());
    let mut description = Description::new(name.clone(), record, "1.0".to_owned(), "cpu".to_owned());
    description.parent = parent.map(|parent| parent.as_parent().unwrap());
    let fresh = snapshots.fresh(&name).unwrap();
    fs::write(fresh.folder().join(STATE), "state").unwrap();
    description
        .measure(fresh.folder(), fresh.files().unwrap())
        .unwrap();
    fresh.finish(&description).unwrap();
    description
}

#[test]
fn who_cannot_tell_what_a_snapshot_needs_takes_nothing_away() {
    let (_temp, snapshots) = place();
    let base = keep(&snapshots, "base", None);
    keep(&snapshots, "next", Some(&base));
    let needed = snapshots.remove(&base.name, false);
    assert!(matches!(needed, Err(Error::SnapshotNeeded { .. })), "{needed:?}");
    assert_eq!(snapshots.of_image("sha256:1").unwrap().len(), 2);
    // It cannot be opened, by root neither: a link to itself.
    let file = snapshots.folder.join("next").join("snapshot.json");
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("snapshot.json", &file).unwrap();
    let unknown = snapshots.remove(&base.name, false);
    assert!(matches!(unknown, Err(Error::Io { .. })), "{unknown:?}");
    assert!(snapshots.of_image("sha256:1").is_err());
    // It does not hide the others, is told, and can go itself.
    let listed = snapshots.list().unwrap();
    assert_eq!(
        listed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        ["base"]
    );
    assert_eq!(snapshots.damaged().unwrap()[0].name.as_str(), "next");
    // A damaged one needs nothing.
    fs::remove_file(&file).unwrap();
    fs::write(&file, "{}").unwrap();
    assert_eq!(snapshots.of_image("sha256:1").unwrap().len(), 1);
    snapshots.remove(&base.name, false).unwrap();
    snapshots.remove(&"next".parse().unwrap(), false).unwrap();
    assert!(snapshots.damaged().unwrap().is_empty());
}

#[test]
fn a_damaged_snapshot_goes_after_those_that_build_on_it_and_strays_stay() {
    let (_temp, snapshots) = place();
    let base = keep(&snapshots, "base", None);
    keep(&snapshots, "next", Some(&base));
    fs::write(snapshots.folder.join("web-1"), "a file").unwrap();
    std::os::unix::fs::symlink("nowhere", snapshots.folder.join("web-2")).unwrap();
    fs::create_dir(snapshots.folder.join("Odd name")).unwrap();
    let description = snapshots.folder.join("base").join("snapshot.json");
    for bad in ["", "{", "\u{1}", r#"{"form":99}"#, "gone"] {
        match bad {
            "gone" => fs::remove_file(&description).unwrap(),
            bad => fs::write(&description, bad).unwrap(),
        }
        let damaged = snapshots.damaged().unwrap();
        let [one] = damaged.as_slice() else {
            panic!("{bad:?}: {damaged:?}")
        };
        assert_eq!(one.name.as_str(), "base");
        assert!(one.reason.contains("snapshot.json"), "{one:?}");
        assert_eq!(snapshots.list().unwrap().len(), 1);
        assert!(snapshots.get(&base.name).is_err());
        let needed = snapshots.remove(&base.name, false);
        assert!(matches!(needed, Err(Error::SnapshotNeeded { .. })), "{needed:?}");
    }
    assert_eq!(
        snapshots.unused(&"web".parse().unwrap()).unwrap().as_str(),
        "web-3"
    );
    assert_eq!(folder::strays(&snapshots.folder).len(), 3);
    assert_eq!(snapshots.remove(&base.name, true).unwrap().len(), 2);
    assert!(snapshots.list().unwrap().is_empty() && snapshots.damaged().unwrap().is_empty());
}

#[test]
fn a_copied_folder_is_a_snapshot_of_its_own_name() {
    let (_temp, snapshots) = place();
    keep(&snapshots, "first", None);
    let copy = snapshots.folder.join("second");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(snapshots.folder.join("first")).unwrap().flatten() {
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let listed = snapshots.list().unwrap();
    let names: Vec<_> = listed.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["first", "second"]);
}
