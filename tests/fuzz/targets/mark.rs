//! Any high-water mark.

#![no_main]

#[path = "../claims/mark.rs"]
mod claims;
#[path = "../claims/scratch.rs"]
mod scratch;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    claims::hold_for(data);
});
