//! Any file to import.

#![no_main]

#[path = "../claims/imports.rs"]
mod claims;
#[path = "../claims/scratch.rs"]
mod scratch;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    claims::hold_for(data);
});
