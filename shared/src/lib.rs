//! What `capture` and `publisher` share: cutting a byte stream into telegrams, understanding a
//! telegram, the record that a queue stores, the protocol of the Unix socket between the two, and
//! the configuration file with its flags.
//!
//! Nothing here opens a port, a queue or a connection, except [`wire::client`], which connects to the Unix socket
//! that capture serves, and [`net`], which connects to a host.

pub mod accounts;
pub mod backoff;
pub mod bell;
pub mod check;
pub mod commands;
pub mod config;
pub mod container;
pub mod dsmr;
pub mod exit;
pub mod logging;
pub mod moment;
pub mod net;
pub mod outside;
pub mod peer;
pub mod privacy;
pub mod rate;
pub mod record;
pub mod regular_file;
pub mod telegram;
pub mod wire;
pub mod words;
