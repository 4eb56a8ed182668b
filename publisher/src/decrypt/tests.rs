//! Frames, whole, damaged and forged.

use super::*;

const TELEGRAM: &[u8] = b"/EST5\\253710000_A\r\n\r\n1-0:1.8.0(006545766*Wh)\r\n!";

/// The telegram with its CRC.
fn telegram() -> Vec<u8> {
    with_crc(TELEGRAM)
}

/// A telegram up to its `!`, with its CRC.
pub(crate) fn with_crc(telegram: &[u8]) -> Vec<u8> {
    let crc = shared_crc(telegram);
    [telegram, format!("{crc:04X}\r\n").as_bytes()].concat()
}

/// CRC-16/ARC by its definition, independent of the code under test: the remainder of the message, bits
/// reversed, by x¹⁶ + x¹⁵ + x² + 1.
fn shared_crc(bytes: &[u8]) -> u16 {
    let bits = bytes
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1))
        .chain([0; 16]);
    let remainder = bits.fold(0_u32, |remainder, bit| {
        let shifted = remainder << 1 | u32::from(bit);
        if shifted >> 16 == 1 {
            shifted ^ 0x1_8005
        } else {
            shifted
        }
    });
    (remainder as u16).reverse_bits()
}

fn frame(telegram: &[u8], keys: &Keys, frame_counter: u32) -> Vec<u8> {
    frame_of(*b"SYSTEMID", telegram, keys, frame_counter)
}

/// What somebody without any key makes of a frame whose telegram is known: another telegram of the same length.
pub(crate) fn forged(frame: &[u8], known: &[u8], wanted: &[u8]) -> Vec<u8> {
    assert_eq!(known.len(), wanted.len());
    let mut forged = frame.to_vec();
    for (byte, (known, wanted)) in forged[18..].iter_mut().zip(known.iter().zip(wanted)) {
        *byte ^= known ^ wanted;
    }
    forged
}

/// The frame that the meter with this system title makes of a telegram.
pub(crate) fn frame_of(system_title: [u8; 8], telegram: &[u8], keys: &Keys, frame_counter: u32) -> Vec<u8> {
    let nonce: [u8; 12] = [&system_title[..], &frame_counter.to_be_bytes()]
        .concat()
        .try_into()
        .expect("12 bytes");
    let cipher = Aes128Gcm96::new_from_slice(&keys.decryption).expect("a key");
    let authentication = keys.authentication.unwrap_or(DOCUMENTED_AUTHENTICATION_KEY);
    let additional = [&[0x30], &authentication[..]].concat();
    let mut bytes = telegram.to_vec();
    let tag = cipher
        .encrypt_inout_detached(&nonce.into(), &additional, bytes.as_mut_slice().into())
        .expect("it is short");
    let length = u16::try_from(17 + bytes.len())
        .expect("it is short")
        .to_be_bytes();
    let head = [
        &[0xDB, 0x08],
        &system_title[..],
        &[0x82],
        &length,
        &[0x30],
        &frame_counter.to_be_bytes(),
    ]
    .concat();
    [&head[..], &bytes, &tag].concat()
}

pub(crate) fn keys() -> Keys {
    Keys::new([0x42; 16])
}

/// With the documented authentication key in the configuration.
pub(crate) fn keys_with_authentication() -> Keys {
    Keys {
        authentication: Some(DOCUMENTED_AUTHENTICATION_KEY),
        ..keys()
    }
}

#[test]
fn a_frame_opens_with_its_keys() {
    assert_eq!(decrypt(&frame(&telegram(), &keys(), 7), &keys()), Ok(telegram()));
}

#[test]
fn an_authenticated_telegram_needs_no_crc_of_its_own() {
    let without_crc = b"/X\r\n\r\n1-0:1.7.0(1*kW)\r\n!\r\n";
    assert_eq!(
        decrypt(&frame(without_crc, &keys(), 7), &keys()),
        Ok(without_crc.to_vec())
    );
}

#[test]
fn a_frame_whose_authentication_key_is_another_opens_by_the_crc_inside() {
    let sender = Keys {
        authentication: Some([9; 16]),
        ..keys()
    };
    assert_eq!(decrypt(&frame(&telegram(), &sender, 7), &keys()), Ok(telegram()));
    let without_crc = b"/X\r\n\r\n1-0:1.7.0(1*kW)\r\n!\r\n";
    let found = decrypt(&frame(without_crc, &sender, 7), &keys());
    assert_eq!(
        found,
        Err(Undecryptable::WrongKey {
            meter: "SYSTEMID".into()
        })
    );
}

#[test]
fn the_sample_packet_opens() {
    let corpus = std::env::var("P1_CORPUS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/telegrams").into());
    let path = std::path::Path::new(&corpus);
    if !path.is_dir() {
        eprintln!("skipped: no telegrams in {corpus}");
        return;
    }
    let packet = std::fs::read(path.join("esphome-dsmr_parser__ENCRYPTED_packet.bin")).expect("the packet");
    let inside = std::fs::read(path.join("ndokter__TELEGRAM_SAGEMCOM_T210_D_R.txt")).expect("its telegram");
    assert_eq!(decrypt(&packet, &Keys::new([0xAA; 16])), Ok(inside.clone()));
    let with = |authentication| {
        let authentication = Some(authentication);
        Keys {
            authentication,
            ..Keys::new([0xAA; 16])
        }
    };
    assert_eq!(decrypt(&packet, &with(DOCUMENTED_AUTHENTICATION_KEY)), Ok(inside));
    let found = decrypt(&packet, &with([0; 16]));
    assert!(matches!(found, Err(Undecryptable::WrongAuthenticationKey { .. })));
    let other = Keys::new([0xAB; 16]);
    assert_eq!(
        decrypt(&packet, &other),
        Err(Undecryptable::WrongKey {
            meter: "SYSTEMID".into()
        })
    );
}

#[test]
fn a_frame_with_any_bit_flipped_does_not_open() {
    let whole = frame(&telegram(), &keys(), 7);
    for place in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[place / 8] ^= 1 << (place % 8);
        let found = decrypt(&damaged, &keys());
        // A flipped tag leaves the telegram as it was, and its CRC shows that. Behind the `!` the case of a digit can
        // change, which leaves the CRC the same number.
        let is_in_the_telegram = place / 8 < 18 + TELEGRAM.len();
        assert!(!is_in_the_telegram || found.is_err(), "bit {place}");
        assert!(
            found.is_err() || found.is_ok_and(|opened| opened.starts_with(TELEGRAM)),
            "bit {place}"
        );
        let found = decrypt(&damaged, &keys_with_authentication());
        assert!(found.is_err(), "bit {place} and an authentication key");
    }
}

#[test]
fn with_an_authentication_key_a_forged_frame_does_not_open() {
    let power = |kilowatts: &str| {
        with_crc(format!("/EST5\\253710000_A\r\n\r\n1-0:1.7.0({kilowatts}*kW)\r\n!").as_bytes())
    };
    let (sent, wanted) = (power("00.250"), power("17.250"));
    let forged = forged(&frame(&sent, &keys(), 7), &sent, &wanted);
    assert_eq!(
        decrypt(&forged, &keys()),
        Ok(wanted),
        "without one its CRC is all there is"
    );
    let meter = "SYSTEMID".to_owned();
    assert_eq!(
        decrypt(&forged, &keys_with_authentication()),
        Err(Undecryptable::WrongAuthenticationKey { meter })
    );
}

#[test]
fn with_an_authentication_key_a_tag_that_is_cut_short_does_not_open() {
    let whole = frame(&telegram(), &keys(), 7);
    for missing in 1..=whole.len() - 18 {
        let mut cut = whole[..whole.len() - missing].to_vec();
        let length = u16::try_from(cut.len() - 13).expect("it is short");
        cut[11..13].copy_from_slice(&length.to_be_bytes());
        assert!(decrypt(&cut, &keys_with_authentication()).is_err(), "{missing}");
    }
}

#[test]
fn a_frame_that_says_that_it_is_protected_in_another_way_is_refused() {
    let whole = frame(&telegram(), &keys(), 7);
    for found in (0..=u8::MAX).filter(|found| *found != 0x30) {
        let mut other = whole.clone();
        other[13] = found;
        for keys in [keys(), keys_with_authentication()] {
            assert_eq!(
                decrypt(&other, &keys),
                Err(Undecryptable::SecurityControl { found })
            );
        }
    }
}

#[test]
fn a_frame_of_any_length_but_its_own_is_malformed() {
    let whole = frame(&telegram(), &keys(), 7);
    for length in 0..whole.len() {
        let found = decrypt(&whole[..length], &keys());
        assert_eq!(found, Err(Undecryptable::Malformed { bytes: length }));
    }
    assert!(decrypt(&[&whole[..], b"\r\n"].concat(), &keys()).is_err());
}

#[test]
fn keys_are_not_shown() {
    assert_eq!(format!("{:?}", keys()), "Keys(not shown)");
}

#[test]
fn keys_that_are_dropped_are_cleared() {
    use std::os::unix::fs::FileExt;
    // Many, since the allocator writes to the beginning of what is given back.
    let many: Vec<Keys> = (0..64).map(|_| Keys::new([0x5A; 16])).collect();
    let (start, length) = (many.as_ptr() as u64, std::mem::size_of_val(many.as_slice()));
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    // Taken before: afterwards it could be the very memory.
    let mut bytes = vec![0; length];
    let mut longest_run = || {
        memory.read_exact_at(&mut bytes, start).unwrap();
        bytes.split(|byte| *byte != 0x5A).map(<[u8]>::len).max()
    };
    assert!(
        longest_run() >= Some(16),
        "the keys are found while they are there"
    );
    drop(many);
    assert!(longest_run() < Some(4));
}
