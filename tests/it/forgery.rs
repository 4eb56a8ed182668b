//! Somebody on the line of a meter that encrypts, who knows every telegram and no key: what he sends is not published,
//! is counted, and holds nothing up; before and after a restart, and in a replay.

use serde_json::Value;
use tests::deadline::{SOON, wait_for};
use tests::household::encryption::Encryption;
use tests::household::{Dialect, Household, Settings, crc};
use tests::ledger::Ledger;
use tests::subscriber::Subscriber;

use crate::installation::{Installation, assert_readings_are_true, household};

const DECRYPTION_KEY: [u8; 16] = [0xCD; 16];

fn encryption() -> Encryption {
    Encryption::with_key(DECRYPTION_KEY)
}

/// A household in Luxembourg that encrypts so.
fn encrypting(encryption: Encryption) -> Household {
    Household::new(Settings {
        encryption: Some(encryption),
        ..household(7, Dialect::Luxembourg).settings().clone()
    })
}

fn keys(encryption: &Encryption) -> String {
    format!("decryption_key: \"{}\"", encryption.key_text())
}

fn authentication_key(key: [u8; 16]) -> String {
    let digits: String = key.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("authentication_key: \"{digits}\"")
}

/// The attacker: what he knows of the last telegram, encrypted and not.
struct Attacker {
    frame: Vec<u8>,
    telegram: Vec<u8>,
    sent: u64,
}

impl Attacker {
    /// Listens until the household's next telegram, which is sent.
    fn listens(house: &mut Installation) -> Self {
        let mut reader = house.household.clone();
        house.send(1);
        let telegram = reader.telegram_without_encryption().bytes;
        let frame = house.sent.last().expect("one").bytes.clone();
        Self {
            frame,
            telegram,
            sent: 0,
        }
    }

    /// The telegram with another power and the CRC that belongs to it.
    fn telegram_of_17_kilowatts(&self) -> Vec<u8> {
        const POWER: &[u8] = b"1-0:1.7.0(";
        let mut telegram = self.telegram.clone();
        let at = telegram
            .windows(POWER.len())
            .position(|bytes| bytes == POWER)
            .expect("a power")
            + POWER.len();
        telegram[at..at + 6].copy_from_slice(b"17.250");
        let end = telegram.iter().rposition(|byte| *byte == b'!').expect("an end") + 1;
        let digits = format!("{:04X}", crc::arc(&telegram[..end]));
        telegram[end..end + 4].copy_from_slice(digits.as_bytes());
        telegram
    }

    /// The last frame made to say that.
    fn forged(&self) -> Vec<u8> {
        let mut frame = self.frame.clone();
        let wanted = self.telegram_of_17_kilowatts();
        for (byte, (known, wanted)) in frame[18..].iter_mut().zip(self.telegram.iter().zip(&wanted)) {
            *byte ^= known ^ wanted;
        }
        frame
    }

    /// Sends one of everything.
    fn attacks(&mut self, house: &mut Installation) {
        let mut highest = self.forged();
        highest[14..18].copy_from_slice(&u32::MAX.to_be_bytes());
        let mut stranger = self.forged();
        stranger[2..10].copy_from_slice(b"STRANGER");
        for bytes in [
            self.forged(),
            self.frame.clone(),
            highest,
            self.telegram_of_17_kilowatts(),
            stranger,
        ] {
            house.meter.send(&bytes);
            self.sent += 1;
        }
    }
}

/// What the publisher reports as skipped, once that is `count` in all.
fn wait_for_skipped(house: &Installation, count: u64) -> Value {
    wait_for("the publisher to report what it has refused", SOON, || {
        let skipped = house.publisher(&["status", "--json"]).json()["skipped"].clone();
        let sum: u64 = skipped
            .as_object()
            .map_or(0, |reasons| reasons.values().filter_map(Value::as_u64).sum());
        if sum == count {
            Ok(skipped)
        } else {
            Err(skipped.to_string())
        }
    })
}

#[test]
fn what_is_forged_or_sent_again_is_not_published_before_and_after_a_restart() {
    let configurations = [
        keys(&encryption()),
        keys(&encryption()) + "\n" + &authentication_key(encryption().authentication_key),
    ];
    for configuration in configurations {
        let mut house = Installation::with(encrypting(encryption()));
        house.configure(0, &configuration, "");
        let _capture = house.start_capture();
        let mut publisher = house.start_publisher();
        house.send(10);
        house.wait_for_reading(10, SOON);
        let mut refused = 0;
        for _ in 0..2 {
            let mut attacker = Attacker::listens(&mut house);
            attacker.attacks(&mut house);
            house.send(5);
            let head = house.wait_for_the_last();
            let ledger = house.wait_for_reading(head, SOON);
            refused += attacker.sent;
            assert_eq!(ledger.len() as u64 + refused, head);
            assert_readings_are_true(&ledger, house.truths());
            let skipped = wait_for_skipped(&house, attacker.sent);
            for reason in [
                "with a tag that does not verify",
                "with an old frame counter",
                "not encrypted",
                "undecryptable",
            ] {
                assert!(skipped[reason].as_u64() > Some(0), "{reason}: {skipped}");
            }
            publisher.terminate();
            publisher = house.start_publisher();
        }
    }
}

#[test]
fn an_authentication_key_that_verifies_nothing_says_how_to_go_on_and_nothing_is_lost() {
    let with_another_key = Encryption {
        authentication_key: [0x77; 16],
        ..encryption()
    };
    let mut house = Installation::with(encrypting(with_another_key));
    let key = keys(&encryption());
    house.configure(0, &format!("{key}\n{}", authentication_key([0x11; 16])), "");
    let _capture = house.start_capture();
    let mut publisher = house.start_publisher();
    house.send(20);
    house.wait_for_head(20);
    let said = publisher.wait_to_say("remove authentication_key to read this meter", SOON);
    assert!(said.contains("nothing is published until it opens"), "{said}");
    publisher.terminate();
    assert!(house.ledger().is_empty());

    for configuration in [key.clone(), format!("{key}\n{}", authentication_key([0x77; 16]))] {
        house.configure(0, &configuration, "");
        let mut publisher = house.start_publisher();
        house.send(20);
        let head = house.wait_for_the_last();
        let ledger = house.wait_for_reading(head, SOON);
        assert_eq!(ledger.len() as u64, head);
        assert_readings_are_true(&ledger, house.truths());
        publisher.terminate();
    }
}

#[test]
fn a_replay_refuses_what_was_refused_and_finds_the_same_intervals() {
    let mut house = Installation::with(encrypting(encryption()));
    house.configure(86_400, &keys(&encryption()), "");
    let _capture = house.start_capture();
    let mut publisher = house.start_publisher();
    house.send(10);
    // A plain telegram of another day would end the day's interval if it were taken.
    let mut another_day = household(7, Dialect::Luxembourg);
    another_day.set_clock(house.household.now() + 86_400);
    house.meter.send(&another_day.telegram().bytes);
    house.send(300);
    house.household.set_clock(house.household.now() + 86_400);
    house.send(1);
    let head = house.wait_for_the_last();
    let day = house.wait_for_reading(head - 1, SOON);
    publisher.terminate();
    assert_readings_are_true(&day, house.truths());
    assert_eq!(day.missing(head - 1), [11]);

    // The interval is looked for 256 telegrams before: from the one that was refused on.
    let again = Subscriber::start(house.broker.port(), "again/#");
    let from = format!("#{}", 11 + 256);
    house
        .publisher(&["replay", "--from", &from, "--topic", "again/x"])
        .done();
    again.wait_for("the same day", SOON, |messages| {
        let again = Ledger::of(messages.iter().map(|message| &*message.payload));
        if again.readings() == day.readings() {
            Ok(())
        } else {
            let missing = again.missing(head - 1);
            Err(format!("missing in {} messages: {missing:?}", messages.len()))
        }
    });
}
