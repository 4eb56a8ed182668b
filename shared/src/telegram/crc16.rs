//! The CRC of a telegram: CRC-16/ARC (polynomial 0x8005 reflected, start 0, no final xor) over all
//! bytes from `/` to `!` inclusive (DSMR P1 5.0.2, section 6.2).
