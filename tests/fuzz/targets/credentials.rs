//! Any credentials file.

#![no_main]

#[path = "../claims/credentials.rs"]
mod claims;
#[path = "../claims/scratch.rs"]
mod scratch;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::hold_for(data));
