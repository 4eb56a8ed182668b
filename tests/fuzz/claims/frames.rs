//! Any bytes on the socket are frames of this protocol or an error, cost little more memory than came, and
//! what is understood is written back as the same message.

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::wire::codec::{self, LENGTH_BYTES};
use shared::wire::{MAX_FRAME_BYTES, Reply, Request};

/// Asserts every claim for these bytes.
pub(crate) fn hold_for(bytes: &[u8]) {
    let mut stream = bytes;
    let mut body = Vec::new();
    while let Ok(true) = codec::read_frame(&mut stream, &mut body) {
        assert!(body.len() <= MAX_FRAME_BYTES);
        understood::<Request>(&body);
        understood::<Reply>(&body);
    }
    // It doubles what it has, and begins with a page.
    let bound = 2 * bytes.len() + 4096;
    assert!(
        body.capacity() <= bound,
        "{} bytes held for {}",
        body.capacity(),
        bytes.len()
    );
    // And as a body, whatever length the first four would announce.
    understood::<Request>(bytes);
    understood::<Reply>(bytes);
}

fn understood<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(body: &[u8]) {
    let Ok(message) = codec::decode::<M>(body) else {
        return;
    };
    let mut frame = Vec::new();
    if codec::encode(&message, &mut frame).is_ok() {
        let again = codec::decode::<M>(frame.get(LENGTH_BYTES..).unwrap_or_default());
        assert_eq!(again.ok().as_ref(), Some(&message));
    }
}
