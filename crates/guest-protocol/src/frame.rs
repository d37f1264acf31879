//! Frames: a big-endian `u32` length and that many bytes of JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest body of a frame, in bytes: enough for a config with hundreds of keys and variables, too little to hurt.
pub const MAX_BODY: usize = 1024 * 1024;

/// Why bytes are no frame, or a value does not fit in one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a frame of {0} bytes is over the limit of {MAX_BODY} bytes")]
    TooLong(usize),
    #[error("a frame's body is not the expected JSON")]
    Json(#[source] serde_json::Error),
}

/// The bytes of `message` as one frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, Error> {
    let body = serde_json::to_vec(message).map_err(Error::Json)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_BODY);
    let length = length.ok_or(Error::TooLong(body.len()))?;
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Turns received bytes into messages. Holds at most one frame and what came behind it.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes bytes as they came from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes are there. After an error the stream is beyond repair.
    pub fn message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*head) as usize;
        if length > MAX_BODY {
            return Err(Error::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body).map_err(Error::Json)?;
        self.buffer.drain(..4 + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::GuestMessage;

    #[test]
    fn a_frame_over_the_limit_is_refused_before_its_body_is_read() {
        let mut decoder = Decoder::default();
        decoder.push(&[0x7f, 0, 0, 0]);
        assert!(matches!(
            decoder.message::<GuestMessage>(),
            Err(Error::TooLong(_))
        ));
        let long = "x".repeat(MAX_BODY);
        assert!(matches!(encode(&long), Err(Error::TooLong(_))));
    }

    proptest! {
        #[test]
        fn messages_survive_any_split_of_the_stream(texts in prop::collection::vec(".{0,40}", 1..5), cut in 1usize..9) {
            let sent: Vec<_> = texts
                .iter()
                .map(|text| GuestMessage::Warning { step: "step".into(), message: text.clone() })
                .collect();
            let stream: Vec<u8> = sent.iter().flat_map(|m| encode(m).unwrap()).collect();
            let mut decoder = Decoder::default();
            let mut received = Vec::new();
            for chunk in stream.chunks(cut) {
                decoder.push(chunk);
                while let Some(message) = decoder.message::<GuestMessage>().unwrap() {
                    received.push(message);
                }
            }
            prop_assert_eq!(received, sent);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.message::<GuestMessage>() {}
        }
    }
}
