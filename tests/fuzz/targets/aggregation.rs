//! Any records through the aggregation.

#![no_main]

#[path = "../claims/aggregation.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::hold_for(data));
