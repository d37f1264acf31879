//! The metadata service's HTTP, as a hostile guest may speak it.

use std::sync::LazyLock;
use std::time::Instant;

use sparkler::mmds::Mmds;

static SERVICE: LazyLock<Mmds> = LazyLock::new(|| {
    let mmds = Mmds::new("fuzz", 1000).expect("randomness");
    mmds.put([("a", ["b", "c"])].into_iter().collect())
        .expect("small");
    mmds
});

pub(crate) fn run(bytes: &[u8]) {
    assert!(SERVICE.respond(bytes, Instant::now()).starts_with(b"HTTP/1."));
}
