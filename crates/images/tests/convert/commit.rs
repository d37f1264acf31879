//! Layers made of overlay disks that the kernel's overlayfs wrote to: over its base such a layer shows what was seen there.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use flate2::read::GzDecoder;
use images::Task;
use images::commit::{CommitError, Committed, Own, OwnContents, layer};
use images::convert::Limits;
use testkit::{run, skip};

use crate::archive::{Entry, What, archive};
use crate::listing::{Item, Listing};
use crate::{converted, done, umoci};

/// The image that machines change.
fn base() -> Vec<u8> {
    let folders = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let mut entries = Vec::new();
    for folder in folders {
        entries.push(Entry::directory(folder));
        entries.push(Entry::file(format!("{folder}/one"), folder.repeat(10)));
        entries.push(Entry::directory(format!("{folder}/sub")));
        entries.push(Entry::file(format!("{folder}/sub/two"), [7; 9000]));
        entries.push(Entry::link(
            format!("{folder}/sub/linked"),
            format!("{folder}/one"),
        ));
        entries.push(Entry::symlink(format!("{folder}/link"), "one"));
    }
    entries.push(
        Entry::file("attributes", "x")
            .xattr("user.a", "before")
            .xattr("user.b", "stays"),
    );
    entries.push(Entry::new("null", What::CharDevice(1, 3)));
    archive(&entries)
}

/// What a machine may do, in the folder that it sees.
const CHANGES: &str = r#"
set -eu
echo new > a/new; rm a/one; rm -r b; echo now-a-file > b
rm c/one; mkdir c/one; echo in > c/one/in
rm -r c/sub; mkdir c/sub; echo only > c/sub/only
mv d renamed; echo more > renamed/more; rm renamed/sub/two
mv e f/moved; mv f/moved/sub f/moved/deeper; echo changed >> f/moved/deeper/two
mv g away; mkdir g; echo fresh > g/fresh
mv h round; mv round h; touch h/after
rm i/sub/linked; mkdir -p i/sub/x/y; mv i/sub i/other; mv i/other/x i/x
chmod 4711 f/one; chown 70000:80000 f/link -h; touch -d '1969-12-31 23:59:58.123456789 UTC' f/sub/two
setfattr -n user.a -v after attributes; setfattr -n trusted.t -v t attributes; setfacl -m u:123456:rw attributes
setcap cap_net_raw+ep f/one
ln a/new a/second; ln f/sub/linked f/again
mknod null2 b 4000 500000; mkfifo fifo; mv null null3
truncate -s 3000000 sparse; printf end >> sparse
printf 'x' > "$(printf 'no\377text')"
ln -s "$(printf 't%.0s' $(seq 300))" long; mkdir "$(printf 'n%.0s' $(seq 255))"
chmod 711 .
"#;

/// Mounts, changes and looks, in a mount namespace that takes all mounts with it.
const MOUNTED: &str = r#"
set -eu
cd "$1"
mkdir base disk merged view
mount -o loop,ro base.ext4 base
mount -o loop overlay.ext4 disk
[ -d disk/upper ] || mkdir disk/upper disk/work
mount -t overlay overlay -o "lowerdir=base,upperdir=disk/upper,workdir=disk/work,$2" merged
(cd merged; eval "$3")
cp -a merged/. view/
umount merged disk base
"#;

/// A disk that a machine had, and what it saw at the end.
struct Disk {
    folder: tempfile::TempDir,
    base: Vec<u8>,
}

impl Disk {
    fn new(options: &str, changes: &str) -> Self {
        let base = base();
        let folder = tempfile::tempdir().unwrap();
        let (mut image, _) = converted(std::slice::from_ref(&base), &Limits::default()).unwrap();
        std::io::Seek::rewind(&mut image).unwrap();
        std::io::copy(
            &mut image,
            &mut File::create(folder.path().join("base.ext4")).unwrap(),
        )
        .unwrap();
        let disk = folder.path().join("overlay.ext4");
        File::create(&disk).unwrap().set_len(64 << 20).unwrap();
        done(
            Command::new("/usr/sbin/mke2fs")
                .args(["-q", "-F", "-t", "ext4"])
                .arg(&disk),
        );
        let mut mounted = Command::new("unshare");
        mounted
            .args(["--mount", "sh", "-c", MOUNTED, "sh"])
            .arg(folder.path());
        done(mounted.args([options, changes]));
        Self { folder, base }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn commit(&self, limits: &Limits) -> Result<(Vec<u8>, Committed), CommitError> {
        let [overlay, base] = ["overlay.ext4", "base.ext4"].map(|name| File::open(self.path(name)).unwrap());
        let mut packed = Vec::new();
        let committed = layer(&overlay, &base, &[], limits, &mut packed, &Task::new())?;
        let mut layer = Vec::new();
        GzDecoder::new(&*packed).read_to_end(&mut layer).unwrap();
        assert_eq!(committed.size, layer.len() as u64);
        assert_eq!(committed.diff_id, images::oci::Digest::of(&layer));
        Ok((layer, committed))
    }
}

/// Whether the kernel here can do it at all.
fn missing() -> Option<&'static str> {
    umoci::missing().or_else(|| {
        let probe = "mkdir $1/l $1/u $1/w $1/m && truncate -s 9M $1/i && mke2fs -qF -t ext4 $1/i && mkdir $1/d \
                     && mount -o loop $1/i $1/d && mkdir $1/d/u $1/d/w \
                     && mount -t overlay o -o lowerdir=$1/l,upperdir=$1/d/u,workdir=$1/d/w,redirect_dir=on $1/m";
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", probe, "sh"]).arg(folder.path());
        (run(&mut command).code() != 0).then_some("loop mounts with overlayfs")
    })
}

/// Times of access are not kept in layers.
fn without_atime(mut listing: Listing) -> Listing {
    let set = |item: &mut Item| item.atime = item.mtime;
    listing.0.values_mut().for_each(set);
    listing
}

fn seen(folder: &Path) -> Listing {
    without_atime(Listing::of_folder(folder))
}

#[test]
fn a_layer_shows_what_the_machine_saw() {
    if let Some(missing) = missing() {
        return skip("a_layer_shows_what_the_machine_saw", missing);
    }
    for options in [
        "redirect_dir=on",
        "redirect_dir=on,metacopy=on",
        "redirect_dir=off",
        "index=on",
    ] {
        // Without redirects, folders of the base cannot be renamed, and mv copies them.
        let disk = Disk::new(options, CHANGES);
        let (layer, committed) = disk.commit(&Limits::default()).unwrap();
        assert_eq!(committed.left_out, 0);
        let (again, _) = disk.commit(&Limits::default()).unwrap();
        assert!(layer == again);
        let layers = [disk.base.clone(), layer];
        let (file, _) = converted(&layers, &Limits::default()).unwrap();
        crate::listing::check(&file);
        let differences = seen(&disk.path("view")).differences(&without_atime(Listing::of_image(&file)));
        assert!(differences.is_empty(), "{options}: {differences:#?}");
        let layout = umoci::layout(&layers);
        umoci::compare(&layout.path().join("layout"), "test");
    }
}

#[test]
fn a_disk_that_was_only_mounted_gives_an_empty_layer() {
    if let Some(missing) = missing() {
        return skip("a_disk_that_was_only_mounted_gives_an_empty_layer", missing);
    }
    let disk = Disk::new("redirect_dir=on", "ls -lR > /dev/null");
    let (_, committed) = disk.commit(&Limits::default()).unwrap();
    assert_eq!(committed.entries, 1);
}

#[test]
fn sockets_are_counted_and_names_that_mean_removals_are_refused() {
    if let Some(missing) = missing() {
        return skip(
            "sockets_are_counted_and_names_that_mean_removals_are_refused",
            missing,
        );
    }
    let socket = "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'";
    let disk = Disk::new("redirect_dir=on", socket);
    assert_eq!(disk.commit(&Limits::default()).unwrap().1.left_out, 1);
    let disk = Disk::new("redirect_dir=on", "touch a/.wh.one");
    let error = disk.commit(&Limits::default()).unwrap_err();
    assert!(
        matches!(error, CommitError::Whiteout { ref path } if path.0 == b"a/.wh.one"),
        "{error}"
    );
}

#[test]
fn limits_hold_for_what_is_committed_too() {
    if let Some(missing) = missing() {
        return skip("limits_hold_for_what_is_committed_too", missing);
    }
    let disk = Disk::new(
        "redirect_dir=on",
        "mkdir -p x/y/z; truncate -s 100M hole; touch 1 2 3 4",
    );
    let mut limits = Limits::default();
    limits.depth = 2;
    assert!(matches!(
        disk.commit(&limits),
        Err(CommitError::Limit { name: "depth", .. })
    ));
    let mut limits = Limits::default();
    limits.file = 99 << 20;
    assert!(matches!(
        disk.commit(&limits),
        Err(CommitError::Limit { name: "file", .. })
    ));
    let mut limits = Limits::default();
    limits.total = 99 << 20;
    assert!(matches!(
        disk.commit(&limits),
        Err(CommitError::Limit { name: "total", .. })
    ));
    let mut limits = Limits::default();
    limits.entries = 5;
    assert!(matches!(
        disk.commit(&limits),
        Err(CommitError::Limit { name: "entries", .. })
    ));
}

/// What an init might write in the folder `i`.
fn own() -> [Own; 3] {
    let text = |is_own: fn(&str, &str) -> bool| OwnContents::Text(Box::new(is_own));
    [
        Own {
            path: "/i/name",
            contents: text(|_, now| now == "box\n"),
        },
        Own {
            path: "/i/one",
            contents: text(|before, now| now == format!("{before}+")),
        },
        Own {
            path: "/i/mtab",
            contents: OwnContents::Link("../proc"),
        },
    ]
}

/// An overlay disk that a shell wrote, and no kernel: its folder `upper`, then what debugfs does to the disk.
fn forged(upper: &str, debugfs: &str) -> Result<Listing, CommitError> {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    File::create(&disk).unwrap().set_len(8 << 20).unwrap();
    let mut shell = Command::new("sh");
    let script = format!("set -eu; cd \"$1\"; mkdir -p tree/upper; cd tree/upper; {upper}");
    done(shell.args(["-c", &script, "sh"]).arg(folder.path()));
    let mut make = Command::new("/usr/sbin/mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-d"])
        .arg(folder.path().join("tree"));
    done(make.arg(&disk));
    done(
        Command::new("/usr/sbin/debugfs")
            .args(["-w", "-R", debugfs])
            .arg(&disk),
    );
    let disk = File::open(&disk).unwrap();
    let (base_image, _) = converted(&[base()], &Limits::default()).unwrap();
    let mut limits = Limits::default();
    limits.entries = 1000;
    let mut packed = Vec::new();
    layer(&disk, &base_image, &own(), &limits, &mut packed, &Task::new())?;
    let mut layer = Vec::new();
    GzDecoder::new(&*packed).read_to_end(&mut layer).unwrap();
    let (file, _) = converted(&[base(), layer], &Limits::default()).unwrap();
    Ok(Listing::of_image(&file))
}

#[test]
fn what_the_init_wrote_is_left_out_until_somebody_changes_it() {
    let written =
        "mkdir i; echo box > i/name; printf iiiiiiiiii+ > i/one; ln -s ../proc i/mtab; echo x > i/other";
    let listing = forged(written, "stat /").unwrap();
    assert!(listing.get("i/name").is_none() && listing.get("i/mtab").is_none());
    assert_eq!(
        listing.get("i/one").unwrap().what,
        crate::listing::What::File(10, crate::listing::digest_of(b"iiiiiiiiii"))
    );
    assert!(listing.get("i/other").is_some());
    let changed = format!("{written}; echo more >> i/name; printf + >> i/one; ln -sfn elsewhere i/mtab");
    let listing = forged(&changed, "stat /").unwrap();
    assert!(listing.get("i/name").is_some() && listing.get("i/mtab").is_some());
    assert_eq!(
        listing.get("i/one").unwrap().what,
        crate::listing::What::File(12, crate::listing::digest_of(b"iiiiiiiiii++"))
    );
}

/// Newer kernels know whiteouts that are files.
#[test]
fn a_file_may_be_a_whiteout_by_its_attribute() {
    if let Some(missing) = umoci::missing() {
        return skip("a_file_may_be_a_whiteout_by_its_attribute", missing);
    }
    let marked = "mkdir a; touch a/one a/link; setfattr -n trusted.overlay.opaque -v x a; \
                  setfattr -n trusted.overlay.whiteout -v y a/one; mkdir b; touch b/one; \
                  setfattr -n trusted.overlay.whiteout -v y b/one";
    let listing = forged(marked, "stat /").unwrap();
    assert!(listing.get("a/one").is_none() && listing.get("a/sub/two").is_some());
    assert_eq!(
        listing.get("a/link").unwrap().what,
        crate::listing::What::File(0, crate::listing::digest_of(b""))
    );
    assert!(listing.get("b/one").is_some());
}

#[test]
fn a_forged_disk_is_no_way_out_and_no_bomb() {
    if let Some(missing) = umoci::missing() {
        return skip("a_forged_disk_is_no_way_out_and_no_bomb", missing);
    }
    // A folder that is within itself.
    let error = forged("mkdir -p a/b", "link /upper/a /upper/a/b/a").unwrap_err();
    assert!(
        matches!(error, CommitError::Twice { ref path } if path.0 == b"a/b/a"),
        "{error}"
    );
    // Redirects out of the base, to files and to nothing.
    let lost = "for to in /../../etc ../etc /null /a/one /none . /a/../b; do mkdir x$n; \
                setfattr -n trusted.overlay.redirect -v $to x$n; n=$((n+1)); done";
    let listing = forged(&format!("n=0; {lost}"), "stat /").unwrap();
    let names: Vec<_> = listing
        .names()
        .into_iter()
        .filter(|name| name.starts_with('x'))
        .collect();
    assert_eq!(names, ["x0", "x1", "x2", "x3", "x4", "x5", "x6"]);
    // All of the image, again and again.
    let bomb = "for n in $(seq 50); do mkdir x$n; setfattr -n trusted.overlay.redirect -v / x$n; done";
    let error = forged(bomb, "stat /").unwrap_err();
    assert!(
        matches!(error, CommitError::Limit { name: "entries", .. }),
        "{error}"
    );
    // Data that is said to be where none is.
    let error = forged("touch x; setfattr -n trusted.overlay.metacopy -v '' x", "stat /").unwrap_err();
    assert!(
        matches!(error, CommitError::NoData { ref path } if path.0 == b"x"),
        "{error}"
    );
}

#[test]
fn what_is_no_overlay_disk_is_refused_and_work_can_be_called_off() {
    let (file, _) = converted(&[base()], &Limits::default()).unwrap();
    let error = layer(&file, &file, &[], &Limits::default(), Vec::new(), &Task::new()).unwrap_err();
    assert!(matches!(error, CommitError::NoUpper), "{error}");
    let empty = tempfile::tempfile().unwrap();
    let error = layer(&empty, &file, &[], &Limits::default(), Vec::new(), &Task::new()).unwrap_err();
    assert!(matches!(error, CommitError::Disk { .. }), "{error}");
    let (disk, _) = converted(&[archive(&[Entry::directory("upper/new")])], &Limits::default()).unwrap();
    let task = Task::new();
    task.cancel();
    let error = layer(&disk, &file, &[], &Limits::default(), Vec::new(), &task).unwrap_err();
    assert!(matches!(error, CommitError::Cancelled(_)), "{error}");
}
