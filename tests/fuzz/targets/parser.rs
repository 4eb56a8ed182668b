//! Any bytes as a telegram.

#![no_main]

#[path = "../claims/parser.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::hold_for(data));
