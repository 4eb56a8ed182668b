//! The two CRCs that meters use, bit by bit: slow, obvious, and not the code under test.

/// CRC-16/ARC: polynomial 0x8005 reflected, start 0, nothing at the end.
pub fn arc(bytes: &[u8]) -> u16 {
    reflected(bytes, 0xA001, 0x0000)
}

/// CRC-16/X-25: polynomial 0x1021 reflected, start 0xFFFF, inverted at the end.
pub fn x25(bytes: &[u8]) -> u16 {
    !reflected(bytes, 0x8408, 0xFFFF)
}

fn reflected(bytes: &[u8], polynomial: u16, start: u16) -> u16 {
    let mut remainder = start;
    for byte in bytes {
        remainder ^= u16::from(*byte);
        for _ in 0..8 {
            let is_odd = remainder & 1 == 1;
            remainder >>= 1;
            if is_odd {
                remainder ^= polynomial;
            }
        }
    }
    remainder
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_give_the_check_value_of_the_catalogue() {
        assert_eq!(super::arc(b"123456789"), 0xBB3D);
        assert_eq!(super::x25(b"123456789"), 0x906E);
    }
}
