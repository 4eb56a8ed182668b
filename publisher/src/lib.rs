//! The publisher: reads the queue through capture's socket, turns telegrams into messages and
//! delivers them to an MQTT broker. The cursor moves after the broker's acknowledgement and never
//! before.

pub mod aggregate;
pub mod decrypt;
pub mod delivery;
mod jitter;
mod measurement;
pub mod mqtt;
pub mod parse;
pub mod payload;
pub mod reading;
pub mod source;
mod state;
mod summary;
