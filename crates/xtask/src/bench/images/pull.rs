//! From a registry on this machine to a root file system that can be booted.

use std::process::Command;

use anyhow::Result;
use testkit::registry::{Access, Registry};

use super::rivals::{Room, skopeo, unpack_and_mke2fs};
use super::subject::{Subject, emptied};
use super::timed;
use crate::bench::ground::{Ground, quiet};
use crate::bench::report::{Row, median};

pub(super) fn measure(ground: &Ground, subject: &Subject) -> Result<Vec<Row>> {
    let registry = Registry::plain(Access::Anyone);
    let reference = format!("{}/{}:latest", registry.host(), subject.name);
    let layout = format!("oci:{}:latest", subject.layout.display());
    let push = ["copy", "--quiet", "--dest-tls-verify=false", &layout];
    quiet(
        Command::new("skopeo")
            .args(push)
            .arg(format!("docker://{reference}")),
    )?;

    let room = Room::of(&subject.root)?;
    let work = ground.data.join("work");
    let (mut ours, mut copied, mut made) = (vec![], vec![], vec![]);
    for turn in 0..subject.turns {
        emptied(&work)?;
        let fetched = work.join("layout");
        let copy = timed(&mut skopeo(&reference, &fetched))?;
        copied.push(copy);
        if subject.all_of(turn) {
            made.push(copy + timed(&mut unpack_and_mke2fs(&fetched, room, &work))?);
        }
        emptied(&work)?;
        let mut pull = ground.knaller(&["image", "pull", "--quiet", &reference]);
        ours.push(timed(pull.env("XDG_DATA_HOME", work.join("data")))?);
    }
    std::fs::remove_dir_all(&work)?;
    let [ours, copied, made] = [ours, copied, made].map(median);
    let title = subject.title;
    let what = format!("`knaller image pull` from a local registry, root file system made ({title})");
    let whole = "skopeo copy && umoci unpack && mke2fs -d";
    let mut alone = Row::times(&what, ours, "skopeo copy alone", copied, 1.0);
    alone.budget = None;
    Ok(vec![Row::times(&what, ours, whole, made, 1.0), alone])
}
