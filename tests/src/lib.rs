//! Support for the end-to-end tests and the demo: a simulated household that is the oracle of what
//! must come out, the real programs as processes, a meter on a pty or over TCP, brokers, a proxy that
//! misbehaves on request, and a subscriber that keeps what it gets.
//!
//! Nothing here is computed by the code under test: times, decimals and the CRC are done again,
//! plainly, from what was generated.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a support library for tests: what does not hold is a panic that names what was expected"
)]

pub mod broker;
pub mod deadline;
pub mod folder;
pub mod household;
pub mod ledger;
pub mod meter;
pub mod mqtt;
pub mod network;
pub mod ports;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod socket_proxy;
pub mod subscriber;
