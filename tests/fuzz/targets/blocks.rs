//! Any bytes as a stored block.

#![no_main]

#[path = "../claims/blocks.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::hold_for(data));
