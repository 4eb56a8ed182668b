//! Reads a P1 smart-meter port into a durable queue, and serves that queue on a Unix socket.
//!
//! What never happens here: a telegram is interpreted; a network port is listened on.

pub mod intake;
pub mod port;
pub mod queue;
