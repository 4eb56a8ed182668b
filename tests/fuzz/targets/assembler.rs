//! Any stream of bytes through the assembler.

#![no_main]

#[path = "../claims/assembler.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::hold_for(data));
