//! The publisher: reads the queue through capture's socket, turns telegrams into messages and
//! delivers them to an MQTT broker. The cursor moves after the broker's acknowledgement and never
//! before.

pub mod aggregate;
pub mod check;
pub mod cli;
pub mod decrypt;
pub mod delivery;
pub mod flow;
mod jitter;
mod measurement;
mod misfits;
pub mod mqtt;
pub mod parse;
pub mod payload;
pub mod reading;
pub mod registers;
pub mod replay;
pub mod run;
pub mod settings;
pub mod source;
mod state;
pub mod status;
mod stopped;
mod summary;
