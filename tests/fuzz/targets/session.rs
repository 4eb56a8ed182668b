//! Any requests on a session.

#![no_main]

#[path = "../claims/session.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    claims::hold_for(data);
});
