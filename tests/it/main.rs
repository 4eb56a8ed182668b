//! End to end: the real programs, a meter on a pty or over TCP, a real mosquitto. One binary, a module
//! for each claim:
//!
//! * [`bench`]: the bench itself holds: brokers, proxy, subscriber and meters do what the other tests
//!   take for granted.
//! * [`containers`]: the images and compositions in a real engine; `tests/containers` runs these.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "these are tests, their own functions included"
)]

mod bench;
mod containers;
