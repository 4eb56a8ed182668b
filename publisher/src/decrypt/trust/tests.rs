//! What is taken, skipped and waited for, depending on what came before; and somebody on the meter's line who knows every
//! telegram and no key.

use super::super::tests::{forged, frame_of, keys, keys_with_authentication, with_crc};
use super::*;

const METER: [u8; 8] = *b"SYSTEMID";

fn telegram(number: u32) -> Vec<u8> {
    with_crc(format!("/EST5\\253710000_A\r\n\r\n1-0:1.7.0({number:07}*W)\r\n!").as_bytes())
}

/// What the meter sends with this frame counter.
fn genuine(counter: u32) -> Vec<u8> {
    frame_of(METER, &telegram(counter), &keys(), counter)
}

/// The same, changed on the line.
fn changed(counter: u32) -> Vec<u8> {
    forged(&genuine(counter), &telegram(counter), &telegram(9_999_999))
}

/// What a meter sends whose tags do not verify.
fn unverified(counter: u32) -> Vec<u8> {
    let theirs = Keys {
        authentication: Some([9; 16]),
        ..keys()
    };
    frame_of(METER, &telegram(counter), &theirs, counter)
}

/// A reader with its records numbered from 1.
struct Reader {
    decryption: Decryption,
    sequence: u64,
}

impl Reader {
    fn with(keys: Keys) -> Self {
        Self::skipping_or_waiting(Some(keys), OnTrouble::Wait)
    }

    fn skipping_or_waiting(keys: Option<Keys>, on_undecryptable: OnTrouble) -> Self {
        Self {
            decryption: Decryption::new(keys, on_undecryptable),
            sequence: 0,
        }
    }

    fn open<'r>(&mut self, record: &'r [u8]) -> Opened<'r> {
        self.sequence += 1;
        self.decryption.open(record, self.sequence)
    }

    #[track_caller]
    fn takes(&mut self, record: &[u8]) {
        let opened = self.open(record);
        assert!(matches!(opened, Opened::Telegram(_)), "{opened:?}");
    }

    #[track_caller]
    fn skips(&mut self, record: &[u8], counted_as: &str) {
        match self.open(record) {
            Opened::Skipped(why) => assert_eq!(why.counted_as(), counted_as, "{why}"),
            opened => panic!("{opened:?}"),
        }
    }

    #[track_caller]
    fn waits(&mut self, record: &[u8]) -> String {
        match self.open(record) {
            Opened::Waiting(why) => why.to_string(),
            opened => panic!("{opened:?}"),
        }
    }
}

const WRONG_TAG: &str = "with a tag that does not verify";
const OLD_COUNTER: &str = "with an old frame counter";
const NOT_ENCRYPTED: &str = "not encrypted";

#[test]
fn a_key_is_waited_for_until_one_frame_has_opened_and_the_next_that_does_not_is_damage() {
    let mut damaged = unverified(7);
    damaged[30] ^= 1;
    let mut reader = Reader::with(keys());
    assert!(reader.waits(&damaged).contains("decryption_key"));
    reader.takes(&telegram(1));
    // A plain telegram shows nothing of the key.
    reader.waits(&damaged);
    reader.takes(&unverified(7));
    reader.skips(&damaged, "undecryptable");
}

#[test]
fn without_a_key_frames_wait_or_are_skipped() {
    let frame = genuine(7);
    let open = |on_undecryptable| match Reader::skipping_or_waiting(None, on_undecryptable).open(&frame) {
        Opened::Waiting(why) => (true, why),
        Opened::Skipped(why) => (false, why),
        opened => panic!("{opened:?}"),
    };
    assert_eq!(open(OnTrouble::Wait), (true, Undecryptable::NoKey));
    assert_eq!(open(OnTrouble::Skip), (false, Undecryptable::NoKey));
}

#[test]
fn with_an_authentication_key_that_verifies_nothing_all_waits_and_the_way_on_is_said() {
    let mut reader = Reader::with(keys_with_authentication());
    for record in [unverified(7), changed(8), unverified(9)] {
        let why = reader.waits(&record);
        assert!(why.contains("remove authentication_key to read"), "{why}");
    }
    let why = reader.waits(&telegram(1));
    assert!(why.contains("remove authentication_key to read"), "{why}");

    let mut skipping = Reader::skipping_or_waiting(Some(keys_with_authentication()), OnTrouble::Skip);
    skipping.skips(&unverified(7), WRONG_TAG);
    skipping.skips(&telegram(1), NOT_ENCRYPTED);
    skipping.takes(&genuine(8));
}

#[test]
fn with_an_authentication_key_only_genuine_frames_are_taken() {
    let mut reader = Reader::with(keys_with_authentication());
    reader.takes(&genuine(7));
    reader.skips(&changed(8), WRONG_TAG);
    reader.skips(&unverified(8), WRONG_TAG);
    reader.skips(&telegram(1), NOT_ENCRYPTED);
    reader.takes(&genuine(8));
}

#[test]
fn without_one_tags_are_required_from_the_first_that_verifies_on() {
    let mut reader = Reader::with(keys());
    reader.takes(&telegram(1));
    reader.takes(&unverified(5));
    reader.takes(&changed(6));
    assert!(!reader.decryption.requires_tags_by_itself());
    reader.takes(&genuine(7));
    assert!(reader.decryption.requires_tags_by_itself());
    reader.skips(&changed(8), WRONG_TAG);
    reader.skips(&unverified(8), WRONG_TAG);
    reader.skips(&telegram(1), NOT_ENCRYPTED);
    reader.takes(&genuine(8));
}

#[test]
fn a_meter_whose_tags_never_verify_is_read() {
    let mut reader = Reader::with(keys());
    for counter in 1..100 {
        reader.takes(&unverified(counter));
    }
}

#[test]
fn a_frame_that_says_that_it_has_no_tag_is_refused() {
    for keys in [keys(), keys_with_authentication()] {
        let mut reader = Reader::with(keys);
        reader.takes(&genuine(7));
        for security_control in [0x20, 0x10, 0x00, 0x31, 0x32, 0x70, 0xB0] {
            let mut frame = changed(8);
            frame[13] = security_control;
            reader.skips(&frame, "undecryptable");
        }
        reader.takes(&genuine(8));
    }
}

#[test]
fn what_is_required_stays_required_however_much_is_refused() {
    let mut reader = Reader::with(keys());
    reader.takes(&genuine(7));
    let changed = changed(8);
    for _ in 0..1_000 {
        reader.skips(&changed, WRONG_TAG);
    }
    reader.skips(&telegram(1), NOT_ENCRYPTED);
    reader.skips(&genuine(7), OLD_COUNTER);
    reader.takes(&genuine(8));
}

#[test]
fn a_frame_that_was_taken_or_is_older_is_refused_and_later_ones_are_not() {
    for of_meter in [genuine, unverified] {
        let mut reader = Reader::with(keys());
        reader.takes(&of_meter(7));
        reader.skips(&of_meter(7), OLD_COUNTER);
        reader.takes(&of_meter(9));
        for old in [1, 7, 8, 9, 9, 9] {
            reader.skips(&of_meter(old), OLD_COUNTER);
        }
        reader.takes(&of_meter(10));
    }
}

#[test]
fn a_counter_that_wraps_is_refused_and_told() {
    let mut reader = Reader::with(keys());
    reader.takes(&genuine(u32::MAX));
    for counter in [0, 1, u32::MAX] {
        match reader.open(&genuine(counter)) {
            Opened::Skipped(why) => assert!(why.to_string().contains("4294967295"), "{why}"),
            opened => panic!("{opened:?}"),
        }
    }
}

#[test]
fn nobody_without_the_key_moves_the_counter() {
    for keys in [keys(), keys_with_authentication()] {
        let mut reader = Reader::with(keys);
        reader.takes(&genuine(7));
        let mut highest = genuine(8);
        highest[14..18].copy_from_slice(&u32::MAX.to_be_bytes());
        reader.skips(&highest, "undecryptable");
        reader.skips(&forged(&highest, &telegram(8), &telegram(1)), "undecryptable");
        let mut changed = changed(1_000);
        reader.skips(&changed, WRONG_TAG);
        changed[14..18].copy_from_slice(&u32::MAX.to_be_bytes());
        reader.skips(&changed, "undecryptable");
        reader.takes(&genuine(8));
    }
}

#[test]
fn each_meter_has_its_own_counter() {
    let other = |counter| frame_of(*b"EXCHANGE", &telegram(counter), &keys(), counter);
    let mut reader = Reader::with(keys());
    reader.takes(&genuine(1_000));
    reader.takes(&other(1));
    reader.takes(&other(2));
    reader.skips(&other(2), OLD_COUNTER);
    reader.skips(&genuine(999), OLD_COUNTER);
    reader.takes(&genuine(1_001));
}

#[test]
fn system_titles_without_end_are_not_kept() {
    let mut reader = Reader::with(keys());
    reader.takes(&genuine(7));
    for number in 0..1_000_u64 {
        let mut invented = genuine(8);
        invented[2..10].copy_from_slice(&number.to_be_bytes());
        reader.skips(&invented, "undecryptable");
    }
    assert_eq!(reader.decryption.counters.len(), 1);
    for number in 0..1_000_u64 {
        reader.takes(&frame_of(number.to_be_bytes(), &telegram(8), &keys(), 8));
        assert!(reader.decryption.counters.len() <= MOST_METERS);
    }
    reader.skips(
        &frame_of(999_u64.to_be_bytes(), &telegram(8), &keys(), 8),
        OLD_COUNTER,
    );
}

#[test]
fn to_peek_changes_nothing() {
    let mut reader = Reader::with(keys());
    assert_eq!(
        reader.decryption.peek(&genuine(100), 100),
        Some(telegram(100).into())
    );
    reader.takes(&unverified(7));
    assert_eq!(
        reader.decryption.peek(&unverified(7), reader.sequence),
        Some(telegram(7).into()),
        "it was taken last"
    );
    assert_eq!(
        reader.decryption.peek(&unverified(7), reader.sequence + 1),
        None,
        "it came again"
    );
    reader.takes(&genuine(8));
    assert_eq!(reader.decryption.peek(&changed(9), 100), None);
    assert_eq!(reader.decryption.peek(&telegram(9), 100), None);
}

#[test]
fn refusals_are_told_once_a_minute_for_each_reason() {
    let mut refusals = Refusals::default();
    let old = |counter| Undecryptable::OldCounter {
        meter: "SYSTEMID".to_owned(),
        counter,
        last: u32::MAX,
    };
    let mut told = 0;
    for second in 0..120 {
        for _ in 0..100 {
            told += u32::from(refusals.tell(Duration::from_secs(second), second, &old(second as u32)));
            told +=
                u32::from(refusals.tell(Duration::from_secs(second), second, &Undecryptable::NotEncrypted));
        }
    }
    assert_eq!(told, 4);
}
