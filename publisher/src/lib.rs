//! The publisher: reads the queue through capture's socket, turns telegrams into messages and
//! delivers them to an MQTT broker. The cursor moves after the broker's acknowledgement and never
//! before.

pub mod delivery;
mod jitter;
pub mod mqtt;
pub mod source;
