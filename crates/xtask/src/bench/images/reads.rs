//! What a guest reads from its root: from an image's, shared and under an overlay, and from a file that mke2fs made.
//!
//! The guest's cache is empty before each; the host's is not, since it is the way through the guest that is measured.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::rivals::{Room, mke2fs};
use super::subject::{Subject, emptied};
use crate::bench::ground::{Ground, quiet};
use crate::bench::report::{Row, median};
use crate::command::output;

const NAME: &str = "bench/reads";
const LARGE: u64 = 256 << 20;
const SMALL: u32 = 2_000;
const TURNS: usize = 5;

pub(super) fn measure(ground: &Ground, subject: &Subject) -> Result<Vec<Row>> {
    let work = emptied(&ground.data.join("work"))?;
    // The same files under other names: nothing of them is changed.
    let root = work.join("root");
    quiet(
        Command::new("cp")
            .args(["--archive", "--link"])
            .args([&subject.root, &root]),
    )?;
    large(&subject.archive, &root.join("large"))?;
    let by_hand = work.join("root.ext4");
    quiet(&mut mke2fs(&root, Room::of(&root)?, &by_hand))?;
    quiet(
        ground
            .knaller(&["image", "import", "--quiet", "--name", NAME])
            .arg(&root),
    )?;
    std::fs::remove_dir_all(&root)?;

    ground.started("image", &["--cold", "--image", NAME])?;
    ground.started("file", &["--cold", "--rootfs", &by_hand.to_string_lossy()])?;
    let all = format!("find /srv -name '*.txt' | sort | shuf -n {SMALL} --random-source=/large > /tmp/some");
    let bytes: u64 = in_guest(ground, "image", &format!("{all}; xargs cat < /tmp/some | wc -c"))?
        .trim()
        .parse()?;
    in_guest(ground, "file", &all)?;
    let mut rows = Vec::new();
    for (title, bytes, command) in [
        (
            "one file of 256 MiB, from its start to its end",
            LARGE,
            "dd if=/large of=/dev/null bs=1M status=none",
        ),
        (
            "2,000 small files in no order",
            bytes,
            "xargs cat < /tmp/some > /dev/null",
        ),
    ] {
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..TURNS {
            theirs.push(took(ground, "file", command)?);
            ours.push(took(ground, "image", command)?);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let rate = |time: Duration| format!("{:.0} MB/s", bytes as f64 / 1e6 / time.as_secs_f64());
        let mut row = Row::figure(
            &format!("read in the guest: {title}"),
            rate(ours),
            &format!("a file of mke2fs -d, without an overlay: {}", rate(theirs)),
        );
        row.ratio = Some(ours.as_secs_f64() / theirs.as_secs_f64());
        rows.push(row);
    }
    ground.removed("image")?;
    ground.removed("file")?;
    quiet(&mut ground.knaller(&["image", "rm", NAME]))?;
    std::fs::remove_dir_all(&work)?;
    Ok(rows)
}

/// A file as long as it must be, of bytes that are like no others: those of a packed archive.
fn large(archive: &Path, file: &Path) -> Result<()> {
    let mut bytes = std::fs::File::open(archive)?.take(LARGE);
    let mut file = std::fs::File::create(file)?;
    std::io::copy(&mut bytes, &mut file)?;
    Ok(file.flush()?)
}

/// How long a command takes in the guest, by the guest's clock, when its cache is empty.
fn took(ground: &Ground, machine: &str, command: &str) -> Result<Duration> {
    let script =
        format!("sync; echo 3 > /proc/sys/vm/drop_caches; TIMEFORMAT=%R; time {{ {command}; }} 2>&1");
    let told = in_guest(ground, machine, &format!("{{ {script}; }} 2>&1"))?;
    let seconds: f64 = told
        .trim()
        .parse()
        .with_context(|| format!("{command}: {told}"))?;
    Ok(Duration::from_secs_f64(seconds))
}

fn in_guest(ground: &Ground, machine: &str, script: &str) -> Result<String> {
    output(&mut ground.knaller(&["exec", machine, "--", "bash", "-c", script]))
}
