//! The publisher against models of what is around it. Seeds give the faults, a clock is moved by hand, and when the
//! faults have stopped nothing may be missing.
//!
//! * `delivery`: delivery between a queue and a broker.
//! * `skipping`: `on_rejected: skip` before brokers that fail in every way.
//! * `flow`: meter, capture, aggregation, delivery and broker.
//! * `live`: how soon an interval is published.
//! * `session`: the thread of the session with capture, against a fake of it (`capture`).
//! * `connection`: the thread of the connection to the broker, against a fake of it (`broker`).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

mod broker;
mod capture;
mod connection;
mod delivery;
mod flow;
mod live;
mod random;
mod session;
mod skipping;
