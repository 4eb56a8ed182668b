//! The CRC of a telegram: CRC-16/ARC (polynomial 0x8005 reflected, start 0, no final xor) over all
//! bytes from `/` to `!` inclusive (DSMR P1 5.0.2, section 6.2), and CRC-16/X-25, which one Hungarian
//! meter (Holley D545) sends in its place.
//!
//! Both run backwards as well: from a register and the byte that led to it to the register before. So
//! where a telegram that ends here can have begun is found in one pass over what came, however many
//! places there are to try.

/// One reflected CRC of 16 bits.
#[derive(Debug)]
pub struct Crc16 {
    /// The first is the usual one, for one byte; each further one is for a byte that stands one place further
    /// before the end.
    tables: [[u16; 256]; STRIDE],
    /// The index whose table entry has this upper byte: what makes running backwards possible.
    index_by_upper_byte: [u8; 256],
    start: u16,
    final_xor: u16,
}

/// So many bytes are taken at once by [`Crc16::forwards_all`], which asks for no more than half the instructions and does
/// not wait for the register after each byte.
const STRIDE: usize = 8;

/// CRC-16/ARC.
pub static ARC: Crc16 = Crc16::new(0xA001, 0x0000, 0x0000);

/// CRC-16/X-25.
pub static X25: Crc16 = Crc16::new(0x8408, 0xFFFF, 0xFFFF);

impl Crc16 {
    #[expect(
        clippy::indexing_slicing,
        reason = "a constant function; all indexes are within their arrays"
    )]
    #[expect(clippy::cast_possible_truncation, reason = "the index is below 256")]
    const fn new(reflected_polynomial: u16, start: u16, final_xor: u16) -> Self {
        let mut tables = [[0; 256]; STRIDE];
        let mut index_by_upper_byte = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut register = index as u16;
            let mut bit = 0;
            while bit < 8 {
                register = if register & 1 == 1 {
                    register >> 1 ^ reflected_polynomial
                } else {
                    register >> 1
                };
                bit += 1;
            }
            tables[0][index] = register;
            index_by_upper_byte[(register >> 8) as usize] = index as u8;
            index += 1;
        }
        let mut place = 1;
        while place < STRIDE {
            let mut index = 0;
            while index < 256 {
                let before: u16 = tables[place - 1][index];
                tables[place][index] = before >> 8 ^ tables[0][(before & 0xFF) as usize];
                index += 1;
            }
            place += 1;
        }
        Self {
            tables,
            index_by_upper_byte,
            start,
            final_xor,
        }
    }

    /// The register before the first byte.
    pub fn start(&self) -> u16 {
        self.start
    }

    /// The register after one more byte.
    #[inline]
    #[must_use]
    pub fn forwards(&self, register: u16, byte: u8) -> u16 {
        register >> 8 ^ self.entry(register as u8 ^ byte)
    }

    /// The register before this byte: `backwards(forwards(register, byte), byte) == register`.
    #[inline]
    #[must_use]
    pub fn backwards(&self, register: u16, byte: u8) -> u16 {
        let index = self
            .index_by_upper_byte
            .get(usize::from(register >> 8))
            .copied()
            .unwrap_or_default();
        (register ^ self.entry(index)) << 8 | u16::from(index ^ byte)
    }

    /// The CRC that a register stands for.
    #[must_use]
    pub fn finished(&self, register: u16) -> u16 {
        register ^ self.final_xor
    }

    /// The register that a CRC stands for.
    #[must_use]
    pub fn register_of(&self, crc: u16) -> u16 {
        crc ^ self.final_xor
    }

    /// The register after all of these bytes.
    #[must_use]
    pub fn forwards_all(&self, register: u16, bytes: &[u8]) -> u16 {
        let [t0, t1, t2, t3, t4, t5, t6, t7] = &self.tables;
        let mut register = register;
        let mut chunks = bytes.chunks_exact(STRIDE);
        for chunk in &mut chunks {
            let &[a, b, c, d, e, f, g, h] = chunk else {
                continue;
            };
            let [low, high] = register.to_le_bytes();
            register = entry(t7, a ^ low)
                ^ entry(t6, b ^ high)
                ^ entry(t5, c)
                ^ entry(t4, d)
                ^ entry(t3, e)
                ^ entry(t2, f)
                ^ entry(t1, g)
                ^ entry(t0, h);
        }
        (chunks.remainder().iter()).fold(register, |register, &byte| self.forwards(register, byte))
    }

    /// The CRC of all of these bytes.
    #[must_use]
    pub fn of(&self, bytes: &[u8]) -> u16 {
        self.finished(self.forwards_all(self.start, bytes))
    }

    #[inline]
    fn entry(&self, index: u8) -> u16 {
        let [table, ..] = &self.tables;
        entry(table, index)
    }
}

#[inline]
fn entry(table: &[u16; 256], index: u8) -> u16 {
    table.get(usize::from(index)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_check_values_of_the_catalogue_of_crcs_come_out() {
        assert_eq!(ARC.of(b"123456789"), 0xBB3D);
        assert_eq!(X25.of(b"123456789"), 0x906E);
    }

    /// The example of the Luxembourg specification is too long to repeat; this telegram is the shortest
    /// of the public ones, with the CRC that its meter gave.
    #[test]
    fn a_short_telegram_has_the_crc_that_its_meter_gave() {
        let telegram = b"/KFM5KAIFA-METER\r\n\r\n1-0:1.8.1(000671.578*kWh)\r\n1-0:1.7.0(00.318*kW)\r\n!";
        assert_eq!(ARC.of(telegram), 0x1E1D);
    }

    proptest! {
        #[test]
        fn many_bytes_at_once_are_as_many_steps(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for crc in [&ARC, &X25] {
                let step = |register, &byte: &u8| crc.forwards(register, byte);
                prop_assert_eq!(crc.of(&bytes), crc.finished(bytes.iter().fold(crc.start(), step)));
            }
        }

        #[test]
        fn a_step_backwards_undoes_a_step_forwards(register: u16, byte: u8) {
            for crc in [&ARC, &X25] {
                prop_assert_eq!(crc.backwards(crc.forwards(register, byte), byte), register);
            }
        }
    }
}
