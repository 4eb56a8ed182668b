//! Any configuration file, flags and environment.

#![no_main]

#[path = "../claims/configuration.rs"]
mod claims;
#[path = "../claims/scratch.rs"]
mod scratch;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    claims::hold_for(data);
});
