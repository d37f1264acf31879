//! State files of snapshots, past their checksum too, which guards against accidents only.

use sparkler::snapshot::State;

pub(crate) fn run(bytes: &[u8]) {
    let _ = State::decode(bytes);
    if let Ok(state) = State::decode_body(bytes) {
        let again = state.encode().expect("no longer than it was");
        assert_eq!(State::decode(&again).expect("what was written"), state);
    }
}
