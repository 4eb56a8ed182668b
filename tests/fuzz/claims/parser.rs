//! Any bytes are read without a panic, and what is published of them is JSON no larger than their size times
//! a small constant.

/// A byte of a telegram is at most `\u00XX` in JSON; an M-Bus device's identifier stands there twice, and a
/// list of what was half understood once more.
const LARGEST_FACTOR: usize = 24;

/// The keys that are always there, and all the others' names.
const KEYS_BYTES: usize = 8 * 1024;

/// Asserts every claim for these bytes.
pub(crate) fn hold_for(bytes: &[u8]) {
    let readings = shared::dsmr::parse(bytes);
    let mut out = Vec::new();
    publisher::reading::write(&mut out, &readings, None);
    assert!(
        out.len() <= bytes.len() * LARGEST_FACTOR + KEYS_BYTES,
        "{} bytes of JSON for {} bytes of telegram",
        out.len(),
        bytes.len()
    );
    let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    let other = value["Other_objects"].as_object().map_or(0, serde_json::Map::len);
    assert_eq!(other, readings.other.len(), "no reference stands there twice");
}
