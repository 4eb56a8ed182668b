//! Any damage to a queue's folder.

#![no_main]

#[path = "../claims/folder.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    claims::hold_for(data);
});
