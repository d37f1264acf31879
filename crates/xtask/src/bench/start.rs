//! `knaller start --cold` until SSH answers, against the same QEMU and kernel with a bare init that answers on TCP.

use std::time::Instant;

use anyhow::Result;

use super::RUNS;
use super::bare::{Bare, Init, initrd};
use super::ground::Ground;
use super::report::{Row, median};

pub(super) fn measure(ground: &Ground) -> Result<Vec<Row>> {
    let bare = initrd(ground, &Init::Answer)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // Turn by turn, so that what else the machine does meets both.
    for _ in 0..RUNS {
        theirs.push(Bare::start(ground, &bare)?.until_banner()?);
        let start = Instant::now();
        ground.started("start", &["--cold"])?;
        ours.push(start.elapsed());
        ground.removed("start")?;
    }
    let what = "`knaller start --cold` to SSH ready (network, overlay disk, keys, config)";
    Ok(vec![Row::times(
        what,
        median(ours),
        "QEMU by hand, bare init",
        median(theirs),
        1.10,
    )])
}
