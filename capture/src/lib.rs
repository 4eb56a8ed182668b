//! Reads a P1 smart-meter port into a durable queue, and serves that queue on a Unix socket.
//!
//! What never happens here: a telegram is interpreted (but for its time line, by import); a network port
//! is listened on.

pub mod check;
pub mod cli;
pub mod clock;
pub mod export;
pub mod failure;
pub mod forget;
pub mod forwarder;
pub mod heartbeat;
pub mod import;
pub mod intake;
pub mod keeper;
pub mod meter;
pub mod panics;
pub mod port;
pub mod queue;
pub mod renew;
pub mod run;
pub mod server;
pub mod service_manager;
pub mod shutdown;
pub mod status;
pub mod words;
