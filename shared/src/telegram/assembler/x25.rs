//! Whether the meter sends CRC-16/X-25 in place of CRC-16/ARC: believed only after several telegrams in a
//! row have needed it, and from then on ARC is not believed, so that neither lets a damaged telegram pass
//! that happens to fit the other.

/// How many telegrams in a row of one meter must have needed the other CRC before it is believed.
const NEEDED_IN_A_ROW: u32 = 3;

/// The meter that last needed X-25.
#[derive(Debug, Default)]
pub(super) struct X25Meter {
    key: Vec<u8>,
    x25_in_a_row: u32,
    arc_in_a_row: u32,
}

impl X25Meter {
    /// A telegram of this meter fits ARC: whether that is believed.
    pub(super) fn sent_arc(&mut self, key: &[u8]) -> bool {
        if self.key != key {
            return true;
        }
        self.arc_in_a_row += 1;
        if self.x25_in_a_row < NEEDED_IN_A_ROW || self.arc_in_a_row > NEEDED_IN_A_ROW {
            *self = Self::default();
            return true;
        }
        false
    }

    /// A telegram of this meter fits X-25: whether that is believed.
    pub(super) fn sent_x25(&mut self, key: &[u8]) -> bool {
        self.arc_in_a_row = 0;
        if self.key != key {
            *self = Self {
                key: key.to_vec(),
                x25_in_a_row: 1,
                arc_in_a_row: 0,
            };
            return false;
        }
        self.x25_in_a_row = self.x25_in_a_row.saturating_add(1);
        self.x25_in_a_row > NEEDED_IN_A_ROW
    }

    /// A telegram of this meter fits neither.
    pub(super) fn sent_neither(&mut self, key: &[u8]) {
        if self.key == key {
            self.arc_in_a_row = 0;
            if self.x25_in_a_row < NEEDED_IN_A_ROW {
                self.x25_in_a_row = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x25_is_believed_after_three_in_a_row_and_a_damaged_one_does_not_end_that() {
        let mut meter = X25Meter::default();
        assert_eq!(
            [(); 5].map(|()| meter.sent_x25(b"HOL5")),
            [false, false, false, true, true]
        );
        meter.sent_neither(b"HOL5");
        assert!(meter.sent_x25(b"HOL5"));
        assert!(!meter.sent_x25(b"ISK5"), "another meter starts from nothing");
    }

    #[test]
    fn a_row_is_broken_by_a_telegram_that_fits_arc_or_neither() {
        for breaks in [
            |meter: &mut X25Meter| meter.sent_neither(b"ISK5"),
            |meter: &mut X25Meter| {
                assert!(meter.sent_arc(b"ISK5"));
            },
        ] {
            let mut meter = X25Meter::default();
            for _ in 0..10 {
                assert_eq!([(); 2].map(|()| meter.sent_x25(b"ISK5")), [false; 2]);
                breaks(&mut meter);
            }
        }
    }

    #[test]
    fn a_meter_known_for_x25_must_send_arc_several_times_too() {
        let mut meter = X25Meter::default();
        for _ in 0..4 {
            meter.sent_x25(b"HOL5");
        }
        assert!(meter.sent_arc(b"ISK5"), "another meter");
        assert_eq!(
            [(); 5].map(|()| meter.sent_arc(b"HOL5")),
            [false, false, false, true, true]
        );
    }
}
