//! Any credentials file.

#![no_main]

#[path = "../claims/credentials.rs"]
mod claims;
#[path = "../claims/configuration.rs"]
mod configuration;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::hold_for(data));
