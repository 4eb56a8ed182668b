//! Any bytes as a frame.

#![no_main]

#[path = "../claims/decryption.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::hold_for(data));
