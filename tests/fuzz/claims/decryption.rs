//! Any bytes, bare or behind the head of a frame of their length, are opened or refused without a panic.

use publisher::decrypt::{Keys, Undecryptable, decrypt};

/// Asserts every claim for these bytes.
pub(crate) fn hold_for(bytes: &[u8]) {
    let keys = Keys::new([0xAA; 16]);
    let opened = decrypt(bytes, &keys);
    assert!(opened.is_err() || opened.is_ok_and(|telegram| telegram.len() < bytes.len()));

    let Ok(length) = u16::try_from(bytes.len() + 1) else {
        return;
    };
    let frame = [
        &b"\xDB\x08SYSTEMID\x82"[..],
        &length.to_be_bytes(),
        &[0x30],
        bytes,
    ]
    .concat();
    match decrypt(&frame, &keys) {
        Ok(telegram) => assert_eq!(telegram.len() + 16, bytes.len()),
        Err(Undecryptable::Malformed { .. }) => assert!(bytes.len() < 16),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
