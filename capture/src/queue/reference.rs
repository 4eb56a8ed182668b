//! The telegrams compiled into the program that blocks are compressed against.
//!
//! A block names the one it was written with by number. A number's bytes never change: blocks on disk
//! could no longer be read. A better one gets the next number, and the old ones stay.
//!
//! They are made up, in the order and spelling that meters of the Netherlands use; other meters'
//! telegrams compress a little less well until a block holds several of them.

/// The reference that new blocks are written with, and its number.
pub const CURRENT: (u8, &[u8]) = (1, DSMR5);

/// The reference of a number.
pub fn by_number(number: u8) -> Option<&'static [u8]> {
    match number {
        1 => Some(DSMR5),
        _ => None,
    }
}

const DSMR5: &[u8] = include_bytes!("reference-1.txt");
