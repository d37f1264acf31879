use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    start: StartArgs,
}

fn spec(words: &str) -> Result<MachineSpec, CommandError> {
    let line = Line::try_parse_from(std::iter::once("start").chain(words.split_whitespace())).unwrap();
    line.start.spec()
}

fn start(words: &str) -> StartArgs {
    let line = Line::try_parse_from(std::iter::once("start").chain(words.split_whitespace()));
    line.unwrap().start
}

#[test]
fn a_default_that_is_given_is_given() {
    for words in [
        "web -d --cold -v --timings -o json",
        "--name web --no-wait",
        "web --adopt",
    ] {
        assert!(start(words).is_name_alone(), "{words}");
    }
    for words in [
        "",
        "web -m 256M",
        "web --cpus 1",
        "web --network pasta",
        "web --image builtin",
        "web --restart no",
        "web --boot-timeout 60",
        "web --vmm auto",
        "web -- true",
    ] {
        assert!(!start(words).is_name_alone(), "{words}");
    }
    let words = "web --from-snapshot s --hostname h --mac new -p 80:80 -l a=b --rm --track-dirty -d --memory-backend file";
    assert!(start(words).unfit_for_a_snapshot().is_empty());
    assert_eq!(
        start("web --from-snapshot s --memory 256M --network pasta --cold").unfit_for_a_snapshot(),
        ["--memory", "--cold", "--network"]
    );
}

#[test]
fn no_words_are_the_librarys_defaults() {
    assert_eq!(spec("").unwrap(), MachineSpec::new());
}

#[test]
fn every_word_has_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pub");
    std::fs::write(&key, "# mine\nssh-ed25519 AAAA me@here\n\n").unwrap();
    let metadata = folder.path().join("metadata.json");
    std::fs::write(&metadata, r#"{"role": "web"}"#).unwrap();
    let words = format!(
        "web -c 2 -m 1G --rootfs debian.ext4 --rootfs-size 2G --kernel 6.1.0 --vmm sparkler --no-jail -l team=a -e A=b -u www \
         -w /srv --ssh-key {} --init image --metadata {} -p 0:80 -p [::1]:53:53/udp --rm -- httpd -f -p 80",
        key.display(),
        metadata.display(),
    );
    let expected = MachineSpec::new()
        .name("web".parse().unwrap())
        .cpus(2)
        .memory_mib(1024)
        .disk_mib(2048)
        .root(Root::File("debian.ext4".into()))
        .kernel(Kernel::Id("6.1.0".to_owned()))
        .vmm(Vmm::Sparkler)
        .without_jail()
        .label("team", "a")
        .env("A", "b")
        .user("www")
        .workdir("/srv")
        .ssh_key("ssh-ed25519 AAAA me@here")
        .init(Init::Image)
        .metadata(serde_json::json!({"role": "web"}))
        .forward("0:80".parse().unwrap())
        .forward("[::1]:53:53/udp".parse().unwrap())
        .remove_on_exit(true)
        .command(["httpd", "-f", "-p", "80"]);
    assert_eq!(spec(&words).unwrap(), expected);
}

#[test]
fn the_first_knallers_spellings_mean_the_same() {
    let old = spec("--name web --mem 512 --port 8080:80 --detach").unwrap();
    let new = spec("web --memory 512M --publish 8080:80 -d").unwrap();
    assert_eq!(old, new);
}

#[test]
fn a_kernel_is_a_file_if_it_looks_like_one() {
    assert_eq!(
        spec("--kernel ./vmlinux").unwrap().kernel,
        Kernel::Path("./vmlinux".into())
    );
    assert_eq!(
        spec("--kernel vmlinux-that-is-not-there").unwrap().kernel,
        Kernel::Id("vmlinux-that-is-not-there".into())
    );
}
