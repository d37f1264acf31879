use images::oci::{Descriptor, Digest};
use images::registry::BlobState;
use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// A configuration, and layers of these sizes.
fn blobs(layers: &[u64]) -> Vec<Descriptor> {
    let sizes = std::iter::once(&2048).chain(layers);
    let blob =
        |(number, size): (usize, &u64)| Descriptor::new("", Digest::of(number.to_string().as_bytes()), *size);
    sizes.enumerate().map(blob).collect()
}

/// A transfer that is told of events at moments of its own.
struct Story {
    blobs: Vec<Descriptor>,
    layers: Layers,
    now: Instant,
    said: Vec<Told>,
}

impl Story {
    fn of(sizes: &[u64]) -> Self {
        let mut told = Self {
            blobs: blobs(sizes),
            layers: Layers::default(),
            now: Instant::now(),
            said: Vec::new(),
        };
        let blobs = told.blobs.clone();
        told.event(&Event::Planned { blobs });
        told
    }

    fn event(&mut self, event: &Event) {
        self.said.extend(self.layers.take(event, self.now));
    }

    fn blob(&mut self, number: usize, state: BlobState) {
        let digest = self.blobs[number].digest.clone();
        self.event(&Event::Blob { digest, state });
    }

    fn later(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
        self.layers.tick(self.now);
    }

    fn lines(&self, columns: usize, rows: usize) -> Vec<String> {
        let lines = block::lines(&self.layers, Room { columns, rows }, self.now);
        lines
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect()
    }
}

/// In the middle of it: of five layers one was there, one is done, one moves, one waits for its next attempt, one for its turn.
fn halfway() -> Story {
    let mut told = Story::of(&[28 * MIB, 3 * MIB, 120 * MIB, 1536, 64 * MIB]);
    told.blob(0, BlobState::Done);
    told.blob(1, BlobState::There);
    told.blob(2, BlobState::Moving { done: 0 });
    told.blob(3, BlobState::Moving { done: 20 * MIB });
    told.later(0);
    told.blob(2, BlobState::Done);
    told.blob(3, BlobState::Moving { done: 44 * MIB });
    told.blob(5, BlobState::Moving { done: 0 });
    told.blob(5, BlobState::Moving { done: 9 * MIB });
    let (why, pause) = (
        "registry.example.org broke off".to_owned(),
        Duration::from_millis(3800),
    );
    told.blob(5, BlobState::Waiting { why, pause });
    told.later(2000);
    told
}

#[test]
fn one_line_for_each_layer_and_the_total() {
    let told = halfway();
    insta::assert_snapshot!(told.lines(80, 24).join("\n"));
    insta::assert_snapshot!(told.lines(200, 24).join("\n"));
    insta::assert_snapshot!(told.lines(40, 24).join("\n"));
    insta::assert_snapshot!(told.lines(20, 24).join("\n"));
}

#[test]
fn more_layers_than_lines_are_counted() {
    let mut told = Story::of(&[MIB; 100]);
    for number in 1..=37 {
        told.blob(number, BlobState::Done);
    }
    for number in 38..=40 {
        told.blob(number, BlobState::Moving { done: MIB / 2 });
    }
    insta::assert_snapshot!(told.lines(80, 24).join("\n"));
}

#[test]
fn what_stays_on_the_screen() {
    let mut told = halfway();
    told.event(&Event::Mirror {
        host: "mirror.lan".to_owned(),
        why: "mirror.lan cannot be reached".to_owned(),
    });
    insta::assert_snapshot!(format!("{:#?}", told.said));
    assert!(!told.layers.over());
    told.blob(3, BlobState::Done);
    told.blob(4, BlobState::Done);
    // It began anew: those bytes came twice.
    told.blob(5, BlobState::Moving { done: 0 });
    told.blob(5, BlobState::Done);
    assert!(told.layers.over());
    assert_eq!(
        told.layers.summary("fetched"),
        "fetched 176 MiB in 4 layers; 1 layer was there already"
    );
}

#[test]
fn nothing_to_do_is_over_at_once() {
    let mut told = Story::of(&[MIB, MIB]);
    for number in 0..=2 {
        told.blob(number, BlobState::There);
    }
    assert!(told.layers.over());
    assert_eq!(
        told.layers.summary("sent"),
        "sent 0 B; 2 layers were there already"
    );
    let mut empty = Story::of(&[]);
    empty.blob(0, BlobState::Done);
    assert!(empty.layers.over());
    assert_eq!(
        empty.layers.summary("fetched"),
        "fetched 2 KiB; there are no layers"
    );
}

fn state() -> impl Strategy<Value = BlobState> {
    prop_oneof![
        Just(BlobState::Queued),
        (0..u64::MAX).prop_map(|done| BlobState::Moving { done }),
        Just(BlobState::There),
        Just(BlobState::Done),
        (0..100_000u64).prop_map(|pause| BlobState::Waiting {
            why: "broken".to_owned(),
            pause: Duration::from_millis(pause)
        }),
    ]
}

proptest! {
    /// Whatever happens, in whatever window: nothing is wider or higher than it, and nothing overflows.
    #[test]
    fn it_always_fits(
        sizes in prop::collection::vec(any::<u64>(), 0..12),
        events in prop::collection::vec((0..12usize, state(), 0..3000u64), 0..40),
        columns in 1..220usize,
        rows in 3..30usize,
    ) {
        let mut told = Story::of(&sizes);
        for (number, state, pause) in events {
            told.blob(number % (sizes.len() + 1), state);
            told.later(pause);
        }
        let lines = told.lines(columns, rows);
        prop_assert!(lines.len() <= rows, "{lines:#?}");
        for line in &lines {
            prop_assert!(line.chars().count() <= columns, "{line:?}");
        }
        let _ = told.layers.summary("fetched");
    }
}
