//! Starts that fail: each with its own error, and nothing left.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use guest_protocol::frame::{Decoder, encode};
use guest_protocol::{GuestMessage, Hello, HostMessage, VERSION};
use knaller::{Class, Error, Exit, Kernel, Network, StartEvent, Vmm};

use crate::support::{Bed, bare, end, run, said, small};

/// Programs that are linked statically on every Debian, and are no init.
const ENDS_AT_ONCE: &str = "/sbin/ldconfig";
const NEVER_ASKS: &str = "/bin/busybox";

#[tokio::test]
async fn a_guest_that_panics_while_it_boots() {
    let bed = Bed::with(|options| options.programs.powerunit = Some(ENDS_AT_ONCE.into()));
    let error = bed.try_start(bare("mad")).await.unwrap_err();
    let Error::GuestPanicked { line, .. } = &error else {
        panic!("{error}")
    };
    assert!(line.contains("Attempted to kill init"), "{line}");
    assert_eq!(error.class(), Class::Guest);
}

#[tokio::test]
async fn a_guest_that_panics_later() {
    let bed = Bed::new();
    let machine = bed
        .start(small("late").command(["sh", "-c", "echo c > /proc/sysrq-trigger"]))
        .await;
    let exit = machine.wait().await.unwrap();
    assert!(
        matches!(&exit, Exit::Panicked(line) if line.contains("sysrq")),
        "{exit:?}"
    );
    assert_eq!(exit.code(), 10);
    machine.remove().await.unwrap();
}

#[tokio::test]
async fn a_guest_that_never_asks() {
    let bed = Bed::with(|options| options.programs.powerunit = Some(NEVER_ASKS.into()));
    let error = bed
        .try_start(bare("mute").boot_timeout(Duration::from_secs(10)))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NeverAsked { .. }), "{error}");
    assert_eq!(error.class(), Class::Timeout);
}

#[tokio::test]
async fn a_vmm_that_dies_at_once() {
    let bed = Bed::with(|options| options.programs.sparkler = Some("/bin/false".into()));
    for network in [Network::Pasta, Network::None] {
        let error = bed
            .try_start(bare("dead").vmm(Vmm::Sparkler).network(network))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::VmmDied { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_vmm_that_refuses() {
    let bed = Bed::new();
    let rules = bed.sandbox.path().join("broken");
    std::fs::write(&rules, "not a disk").unwrap();
    let spec = bare("no").root(knaller::Root::File(rules));
    let error = bed.try_start(spec).await.unwrap_err();
    assert_eq!(error.class(), Class::Image, "{error}");
}

#[tokio::test]
async fn a_port_that_another_machine_has() {
    let bed = Bed::new();
    let first = bed
        .start(bare("first").forward("127.0.0.1:0:80".parse().unwrap()))
        .await;
    let taken = first.info().await.unwrap().forwards[0];
    assert_ne!(taken.host_port, 0);
    for bind in ["", "127.0.0.1:"] {
        let forward = format!("{bind}{}:80", taken.host_port).parse().unwrap();
        let error = bed.try_start(bare("second").forward(forward)).await.unwrap_err();
        assert!(
            matches!(&error, Error::PortTaken { by: Some(name), .. } if name.as_str() == "first"),
            "{error}"
        );
        assert_eq!(error.class(), Class::Port);
    }
    // Also where it is asked for later, and be it by the machine itself.
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], taken.host_port));
    let error = first.forward(local, 80).await.unwrap_err();
    assert!(
        matches!(&error, Error::PortTaken { by: Some(name), .. } if name.as_str() == "first"),
        "{error}"
    );
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = format!("{}:80", listener.local_addr().unwrap().port())
        .parse()
        .unwrap();
    let error = bed.try_start(bare("third").forward(forward)).await.unwrap_err();
    assert!(matches!(error, Error::PortTaken { by: None, .. }), "{error}");
    end(&first).await;
}

#[tokio::test]
async fn what_the_host_lacks_is_named_before_anything_is_made() {
    let bed = Bed::with(|options| options.search_path = "/nowhere".into());
    let error = bed.try_start(bare("x").vmm(Vmm::Sparkler)).await.unwrap_err();
    assert!(
        matches!(&error, Error::ProgramMissing { program, .. } if program.starts_with("qemu")),
        "{error}"
    );

    let bed = Bed::new();
    let unknown = Kernel::Id("nosuch".to_owned());
    let error = bed.try_start(bare("x").kernel(unknown)).await.unwrap_err();
    assert!(matches!(error, Error::UnknownKernel(_)), "{error}");
    let error = bed
        .try_start(bare("x").kernel(Kernel::Path("/nowhere/vmlinuz".into())))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoFile(_)), "{error}");
    let error = bed.try_start(bare("x").memory_mib(u32::MAX)).await.unwrap_err();
    assert!(matches!(error, Error::Memory { .. }), "{error}");
    let error = bed.try_start(bare("x").cpus(0)).await.unwrap_err();
    assert_eq!(error.class(), Class::Usage);
    let error = bed
        .try_start(bare("x").forward("198.51.100.1:0:80".parse().unwrap()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotOurAddress { .. }), "{error}");
    // Nothing of all that left a name behind.
    assert!(bed.knaller.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_second_taker_of_the_config_is_refused_and_reported() {
    let bed = Bed::new();
    let socket = bed.sandbox.runtime().join("knaller/one/vsock.sock_1024");
    let mut stranger = None;
    let mut warnings = Vec::new();
    let machine = bed
        .watch(bare("one"), &mut |event| match event {
            StartEvent::Step(step) if step.name == "config" => {
                let mut stream = UnixStream::connect(&socket).unwrap();
                let hello = Hello {
                    version: VERSION,
                    powerunit: String::new(),
                    kernel: String::new(),
                    uptime_us: 0,
                    init_us: 0,
                    renewal: false,
                };
                let frame = encode(&GuestMessage::Hello(hello)).unwrap();
                std::io::Write::write_all(&mut stream, &frame).unwrap();
                stranger = Some(stream);
            }
            StartEvent::Warning { step, message } => warnings.push((step, message)),
            _ => {}
        })
        .await
        .unwrap();
    assert!(
        warnings
            .iter()
            .any(|(step, text)| step == "config" && text.contains("refused")),
        "{warnings:?}"
    );
    let mut decoder = Decoder::default();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut stranger.unwrap(), &mut bytes).unwrap();
    decoder.push(&bytes);
    assert!(matches!(
        decoder.message().unwrap(),
        Some(HostMessage::Refused { .. })
    ));
    // After the start nobody is there to ask.
    assert!(UnixStream::connect(&socket).is_err());
    end(&machine).await;
}

#[tokio::test]
async fn a_guest_that_fills_its_disk_is_still_there() {
    let bed = Bed::new();
    let machine = bed.start(small("full").disk_mib(64)).await;
    let output = run(&machine, "dd if=/dev/zero of=/root/fill bs=1M").await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"));
    assert_eq!(said(&machine, "rm /root/fill && echo well").await, "well");
    end(&machine).await;
}
