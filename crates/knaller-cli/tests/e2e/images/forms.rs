//! The same as a guest sees it, however the image is packed, divided or large.

use std::process::Command;

use testkit::images::Image;
use testkit::run;

use super::{start, world_with};
use crate::world::World;

/// Limit of a process that converts an image, in KiB: 150 MiB.
const MEMORY: u64 = 150 * 1024;

/// Runs a command, then says on standard error how much memory it had at most, in KiB.
const MEASURE: &str = "
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
";

/// Every name below the current folder with what it is; times of folders are left out, since umoci changes them as it unpacks.
const LISTING: &str = "{ find . -type d -exec stat -c '%n %f %u %g' {} +
    find . -type l -exec stat -c '%N %u %g %Y' {} +
    find . -type f -exec stat -c '%n %f %u %g %Y %h %s' {} +
    find . -type f -exec sha256sum {} +; } | sort";

#[test]
fn layers_packed_by_zstd_boot() {
    let Some(world) = world_with(Image::Zstd, "layers_packed_by_zstd_boot") else {
        return;
    };
    start(&world, "packed", Image::Zstd, "128M", &[]);
    assert_eq!(
        world.shell("packed", "dpkg --audit; . /etc/os-release; echo $ID"),
        "debian\n"
    );
    world.stop_and_remove("packed");
}

#[test]
fn of_several_architectures_the_machines_own_is_taken() {
    let test = "of_several_architectures_the_machines_own_is_taken";
    let Some(world) = world_with(Image::MultiArch, test) else {
        return;
    };
    start(&world, "arch", Image::MultiArch, "128M", &[]);
    let own = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    assert_eq!(world.shell("arch", "cat /etc/architecture"), own);
    world.stop_and_remove("arch");
}

#[test]
fn a_hundred_layers_are_what_umoci_unpacks() {
    let test = "a_hundred_layers_are_what_umoci_unpacks";
    let Some(world) = world_with(Image::Hundred, test) else {
        return;
    };
    let bundle = world.sandbox.home().join("bundle");
    let layout = Image::Hundred.layout().unwrap();
    let image = format!("{}:latest", layout.display());
    let _ = run(Command::new("umoci")
        .args(["unpack", "--image", &image])
        .arg(&bundle))
    .ok();
    let mut listing = Command::new("/bin/busybox");
    listing
        .args(["sh", "-c", LISTING])
        .current_dir(bundle.join("rootfs/data"));
    // The same busybox: the image is made of this machine's.
    let expected = run(listing.env("PATH", bundle.join("rootfs/bin"))).ok();
    assert!(expected.lines().count() > 300, "{expected}");
    start(&world, "many", Image::Hundred, "128M", &[]);
    assert_eq!(world.shell("many", &format!("cd /data && {LISTING}")), expected);
    world.stop_and_remove("many");
}

#[test]
fn a_gibibyte_of_small_files_is_converted_in_little_memory() {
    let test = "a_gibibyte_of_small_files_is_converted_in_little_memory";
    let Some(world) = world_with(Image::Big, test) else {
        return;
    };
    let world: World = world.through(["python3", "-c", MEASURE]);
    let ran = world.run(&["start", "big", "--detach", "--image", "big", "-m", "192M"]);
    let peak = ran.stderr.lines().find_map(|line| line.strip_prefix("peak "));
    let peak: u64 = peak.unwrap_or_else(|| panic!("{ran}")).parse().unwrap();
    assert_eq!(ran.code(), 0, "{ran}");
    assert!(peak < MEMORY, "{peak} KiB at once");
    let count = "find /srv -type f | wc -l; cat /srv/042/0042*.txt | sha256sum";
    let layer_sum = files_of(&world);
    assert_eq!(world.shell("big", count), format!("100000\n{layer_sum}"));
    world.stop_and_remove("big");
}

/// What GNU tar has for some of the big layer's files.
fn files_of(world: &World) -> String {
    let layout = Image::Big.layout().unwrap();
    let largest = "cd \"$0/blobs/sha256\"; ls -S | head -n 1";
    let layer = run(Command::new("sh").args(["-c", largest]).arg(&layout)).ok();
    let layer = layout.join("blobs/sha256").join(layer.trim());
    let out = world.sandbox.home();
    let _ = run(Command::new("tar")
        .arg("-xzf")
        .arg(layer)
        .arg("-C")
        .arg(&out)
        .arg("srv/042"))
    .ok();
    let sum = "cat \"$0\"/srv/042/0042*.txt | sha256sum";
    run(Command::new("sh").args(["-c", sum]).arg(&out)).ok()
}
