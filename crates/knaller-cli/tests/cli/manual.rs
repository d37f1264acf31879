//! The manual pages.

use std::process::Command;

use crate::support::World;

#[test]
fn every_page_renders_without_a_complaint() {
    let world = World::new();
    let folder = world.path().join("man");
    world.succeed(&["manual", folder.to_str().unwrap()]);
    let mut pages: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|page| page.unwrap().path())
        .collect();
    pages.sort();
    let names: Vec<_> = pages
        .iter()
        .map(|page| page.file_name().unwrap().to_string_lossy())
        .collect();
    assert!(names.iter().any(|name| name == "knaller.1"), "{names:?}");
    assert!(names.iter().any(|name| name == "knaller-start.1"), "{names:?}");
    for page in &pages {
        let output = Command::new("groff")
            .args(["-man", "-Tascii", "-P-cbou", "-ww"])
            .arg(page)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}: {output:?}",
            page.display()
        );
        assert!(
            text.contains("NAME") && text.contains("SYNOPSIS") && text.contains("knaller"),
            "{}: {text}",
            page.display()
        );
    }
}
