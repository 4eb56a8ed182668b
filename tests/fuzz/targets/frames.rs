//! Any bytes on the socket.

#![no_main]

#[path = "../claims/frames.rs"]
mod claims;

libfuzzer_sys::fuzz_target!(|data: &[u8]| claims::hold_for(data));
