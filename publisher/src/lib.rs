//! The publisher: reads the queue through capture's socket, turns telegrams into messages and
//! delivers them to an MQTT broker. The cursor moves after the broker's acknowledgement and never
//! before.

pub mod delivery;
pub mod mqtt;
