//! The control subsystem: requests to the guest's init as JSON lines, answered in their order
//! ([`guest_protocol::control`]).

use guest_protocol::control::{MAX_LINE, Reply, Request};

use crate::machine;
use crate::ssh::channel::{Channel, Received};

/// Serves it until the client has no more requests.
pub(super) async fn serve(channel: &Channel, machine: &machine::Handle) {
    let caller = machine.caller();
    let mut data = Vec::new();
    let mut line = Vec::new();
    'all: while channel.receive(&mut data).await == Received::Data {
        for &byte in &data {
            if byte != b'\n' {
                line.push(byte);
                if line.len() <= MAX_LINE {
                    continue;
                }
            }
            let too_long = line.len() > MAX_LINE;
            let reply = match serde_json::from_slice::<Request>(&line) {
                _ if too_long => failed(format!("a request is longer than {MAX_LINE} bytes")),
                Ok(request) => caller.answer(request).await,
                Err(error) => failed(format!("this is no request: {error}")),
            };
            line.clear();
            let mut text = serde_json::to_vec(&reply).unwrap_or_default();
            text.push(b'\n');
            if channel.send(&text, false).await.is_err() || too_long {
                break 'all;
            }
        }
        channel.used(data.len());
    }
    channel.exit_status(0);
    channel.eof();
}

fn failed(message: String) -> Reply {
    Reply::Failed { message }
}
