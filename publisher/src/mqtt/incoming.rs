//! What the broker may send, decided by the first bytes of a packet: its type and length (MQTT 3.1.1 and 5, 2.1).
//! A run subscribes to nothing, so nothing but an answer is ever asked for, and answers are small. Whatever else comes
//! ends the connection before it is read, held or understood, so that a hostile broker costs no memory.

use std::fmt;

use bytes::BytesMut;

/// The largest packet that is taken, header included. MQTT 5 brokers are told.
pub(super) const LARGEST_INCOMING: usize = 4 * 1024;

/// A type of packet that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    ConnAck,
    PubAck,
    PingResp,
    Disconnect,
    SubAck,
    Publish,
}

/// Why the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unexpected {
    /// A packet of this type, which was not asked for.
    NotAsked(u8),
    /// One that claims to be so large.
    TooLarge(usize),
    /// Not MQTT.
    Malformed,
}

/// Takes the first packet off the front, if it is whole and among those expected.
pub(super) fn next_packet(
    bytes: &mut BytesMut,
    expected: &[Expected],
) -> Result<Option<BytesMut>, Unexpected> {
    let Some(first) = bytes.first() else {
        return Ok(None);
    };
    let kind = first >> 4;
    if !expected.iter().any(|expected| expected.number() == kind) {
        return Err(Unexpected::NotAsked(kind));
    }
    // None of the others has flags.
    if kind != Expected::Publish.number() && first & 0x0f != 0 {
        return Err(Unexpected::Malformed);
    }
    let mut remaining = 0;
    for position in 1..=4 {
        let Some(byte) = bytes.get(position) else {
            return Ok(None);
        };
        remaining |= usize::from(byte & 0x7f) << (7 * (position - 1));
        if byte & 0x80 == 0 {
            let length = 1 + position + remaining;
            if length > LARGEST_INCOMING {
                return Err(Unexpected::TooLarge(length));
            }
            return Ok((bytes.len() >= length).then(|| bytes.split_to(length)));
        }
    }
    Err(Unexpected::Malformed)
}

impl Expected {
    fn number(self) -> u8 {
        match self {
            Self::ConnAck => 2,
            Self::PubAck => 4,
            Self::PingResp => 13,
            Self::Disconnect => 14,
            Self::SubAck => 9,
            Self::Publish => 3,
        }
    }
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked(kind) => write!(
                f,
                "the broker sent {}, which was not asked for",
                NAMES
                    .get(usize::from(*kind))
                    .unwrap_or(&"a packet of no known type")
            ),
            Self::TooLarge(bytes) => write!(
                f,
                "the broker sent a packet of {bytes} bytes, and nothing of more than {LARGEST_INCOMING} was asked for"
            ),
            Self::Malformed => f.write_str("the broker sent what is not MQTT"),
        }
    }
}

const NAMES: [&str; 16] = [
    "a packet of type 0",
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "PINGREQ",
    "PINGRESP",
    "DISCONNECT",
    "AUTH",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWERS: [Expected; 2] = [Expected::PubAck, Expected::PingResp];

    fn packet(bytes: &[u8]) -> Result<Option<Vec<u8>>, Unexpected> {
        next_packet(&mut BytesMut::from(bytes), &ANSWERS).map(|found| found.map(|found| found.to_vec()))
    }

    #[test]
    fn a_packet_is_taken_when_it_is_whole() {
        let whole = [0x40, 2, 0, 1];
        for length in 0..whole.len() {
            assert_eq!(packet(&whole[..length]), Ok(None));
        }
        assert_eq!(packet(&[&whole[..], &[0xd0]].concat()), Ok(Some(whole.to_vec())));
        assert_eq!(packet(&[0xd0, 0]), Ok(Some(vec![0xd0, 0])));
    }

    #[test]
    fn what_was_not_asked_for_is_refused_by_its_first_byte() {
        for kind in [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15] {
            assert_eq!(packet(&[kind << 4]), Err(Unexpected::NotAsked(kind)));
        }
        assert_eq!(
            Unexpected::NotAsked(3).to_string(),
            "the broker sent PUBLISH, which was not asked for"
        );
    }

    #[test]
    fn what_claims_to_be_large_is_refused_before_it_comes() {
        assert_eq!(packet(&[0x40, 0x80, 0x20]), Err(Unexpected::TooLarge(4_099)));
        assert_eq!(
            packet(&[0x40, 0xff, 0xff, 0xff, 0x7f]),
            Err(Unexpected::TooLarge(268_435_460))
        );
        assert_eq!(
            packet(&[0x40, 0xff, 0xff, 0xff, 0xff, 0x01]),
            Err(Unexpected::Malformed)
        );
        assert_eq!(packet(&[0x40, 0xfd, 0x1f]), Ok(None), "4,096 bytes are taken");
    }

    proptest! {
        #[test]
        fn whatever_comes_no_more_than_one_packet_is_held(bytes in proptest::collection::vec(any::<u8>(), 0..9_000)) {
            let mut bytes = BytesMut::from(&bytes[..]);
            while let Ok(Some(packet)) = next_packet(&mut bytes, &ANSWERS) {
                prop_assert!(packet.len() <= LARGEST_INCOMING);
            }
            if next_packet(&mut bytes, &ANSWERS) == Ok(None) {
                prop_assert!(bytes.len() < LARGEST_INCOMING);
            }
        }
    }
}
