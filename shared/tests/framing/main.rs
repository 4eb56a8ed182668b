//! What the assembler promises about a stream of bytes, by claim.
//!
//! * `corpus`: what real meters sent, against what the collection's index says of it.
//! * `dialects`: every form of a CRC line, of line ends and of parity, as a table.
//! * `properties`: any chunking, any truncation, any flipped bit, any noise.
//! * `frames`: encrypted frames, true and false ones, among telegrams and noise.
//! * `fuzz`: a short run of the fuzz target.
//! * `hostile`: bounds on memory and on the work done, shown by counting.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking and say what they skip"
)]

mod corpus;
mod dialects;
mod frames;
mod fuzz;
mod hostile;
mod meter;
mod properties;
