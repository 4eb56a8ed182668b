//! Brokers: a real mosquitto for the tests, and one embedded in the demo, which must run where no broker
//! is installed.

pub mod embedded;
pub mod mosquitto;

pub use embedded::Embedded;
pub use mosquitto::Mosquitto;
