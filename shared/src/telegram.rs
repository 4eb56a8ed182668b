//! Telegrams as bytes: finding them in a stream and checking their CRC. No meaning is read here.

pub mod assembler;
pub mod crc16;
pub mod encrypted_frame;
pub mod exported;
pub mod found;
pub mod identification;
pub mod seven_bit;
