//! Any bytes from a broker.

#![no_main]

#[path = "../claims/broker.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    claims::hold_for(data);
});
