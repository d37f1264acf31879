use super::*;
use crate::template::{Drive, Program, host};

struct Place {
    _temp: tempfile::TempDir,
    templates: Templates,
}

fn place() -> Place {
    let temp = tempfile::tempdir().unwrap();
    let paths = Paths {
        data: temp.path().join("d"),
        runtime: temp.path().join("r"),
    };
    crate::layout::prepare(&paths).unwrap();
    let templates = Templates::open(&paths).unwrap();
    Place {
        _temp: temp,
        templates,
    }
}

fn shape(memory_mib: u32) -> Shape {
    let (cpu, boot) = host().unwrap();
    Shape {
        kernel: "6.1".into(),
        initrd: "initrd".into(),
        boot_args: String::new(),
        vmm: "sparkler".into(),
        programs: vec![Program::at(Path::new("/proc/self/exe")).unwrap()],
        cpus: 1,
        memory_mib,
        drives: vec![Drive {
            id: "base".into(),
            read_only: true,
        }],
        interfaces: Vec::new(),
        metadata: false,
        devices: 1,
        cpu,
        boot,
    }
}

fn maker(place: &Place, shape: &Shape) -> Maker {
    match place.templates.find(shape).unwrap() {
        Found::Absent(maker) => maker,
        other => panic!("{other:?}"),
    }
}

fn make(place: &Place, shape: &Shape) {
    let maker = maker(place, shape);
    let (state, memory) = (maker.folder().join(STATE), maker.folder().join(MEMORY));
    fs::write(state, "state").unwrap();
    fs::write(memory, vec![0; 1 << 20]).unwrap();
    maker.finish().unwrap();
}

fn names(place: &Place) -> usize {
    fs::read_dir(&place.templates.folder).unwrap().count()
}

#[test]
fn one_start_makes_it_and_the_next_has_it() {
    let place = place();
    let first = maker(&place, &shape(64));
    assert!(matches!(
        place.templates.find(&shape(64)).unwrap(),
        Found::InTheMaking
    ));
    // A maker that fails leaves nothing, and the next one tries.
    drop(first);
    assert_eq!(names(&place), 0);
    make(&place, &shape(64));
    let Found::Template(template) = place.templates.find(&shape(64)).unwrap() else {
        panic!("it was made");
    };
    assert_eq!(fs::read(template.state()).unwrap(), b"state");
    assert!(matches!(
        place.templates.find(&shape(128)).unwrap(),
        Found::Absent(_)
    ));
    let [info] = place.templates.list().unwrap().try_into().unwrap();
    assert_eq!((info.memory_mib, info.drives, info.stale), (64, 1, false));
}

#[test]
fn what_a_killed_maker_left_is_made_anew_or_swept() {
    let place = place();
    let left = place.templates.folder.join(format!(".new-{}", shape(64).key()));
    fs::create_dir(&left).unwrap();
    fs::write(left.join("state"), "half").unwrap();
    fs::create_dir(place.templates.folder.join(".new-00")).unwrap();
    make(&place, &shape(64));
    assert_eq!(names(&place), 1);
}

#[test]
fn a_template_that_was_written_to_is_none() {
    use std::os::unix::fs::FileExt as _;

    for part in ["state", "memory"] {
        let place = place();
        make(&place, &shape(64));
        let file = place.templates.folder.join(shape(64).key()).join(part);
        let modified = file.metadata().unwrap().modified().unwrap();
        // The kernel's times are as coarse as its tick.
        let made = Version::of(&file).unwrap();
        let open = File::options().write(true).open(&file).unwrap();
        while Version::of(&file).unwrap() == made {
            open.write_all_at(b"x", 0).unwrap();
        }
        // As long as it was, and not newer than it was: no proof that it is the same.
        open.set_modified(modified).unwrap();
        let Found::Spoilt(maker) = place.templates.find(&shape(64)).unwrap() else {
            panic!("{part} was written to");
        };
        drop(maker);
        make(&place, &shape(64));
        assert!(matches!(
            place.templates.find(&shape(64)).unwrap(),
            Found::Template(_)
        ));
    }
}

#[test]
fn one_that_is_being_thawed_stays() {
    let place = place();
    make(&place, &shape(64));
    let key = shape(64).key();
    let Found::Template(held) = place.templates.find(&shape(64)).unwrap() else {
        panic!("it was made");
    };
    assert!(matches!(
        place.templates.remove(&key),
        Err(Error::TemplateInUse(_))
    ));
    assert_eq!(place.templates.prune(true, &[]).unwrap().0, 0);
    drop(held);
    assert_eq!(place.templates.remove(&key[..8]).unwrap(), key);
    assert!(matches!(place.templates.remove(&key), Err(Error::NoTemplate(_))));
    assert!(matches!(place.templates.remove(""), Err(Error::NoTemplate(_))));
}

#[test]
fn what_is_stale_goes_and_no_more_than_the_most_stay() {
    let place = place();
    let stale = Shape {
        boot: "another".into(),
        ..shape(64)
    };
    make(&place, &stale);
    // Made by a later start: the stale one went.
    make(&place, &shape(64));
    let keys: Vec<_> = place
        .templates
        .list()
        .unwrap()
        .into_iter()
        .map(|info| info.key)
        .collect();
    assert_eq!(keys, [shape(64).key()]);
    for memory in 0..20 {
        make(&place, &shape(100 + memory));
    }
    assert_eq!(place.templates.list().unwrap().len(), MOST);
    assert_eq!(place.templates.prune(true, &[]).unwrap().0, MOST);
    assert_eq!(names(&place), 0);
}
