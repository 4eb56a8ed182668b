//! Frames, and what the three outcomes of opening one depend on.

use super::*;

const TELEGRAM: &[u8] = b"/EST5\\253710000_A\r\n\r\n1-0:1.8.0(006545766*Wh)\r\n!";

/// The telegram with its CRC.
fn telegram() -> Vec<u8> {
    let crc = shared_crc(TELEGRAM);
    [TELEGRAM, format!("{crc:04X}\r\n").as_bytes()].concat()
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
    let system_title = *b"SYSTEMID";
    let nonce: [u8; 12] = [&system_title[..], &frame_counter.to_be_bytes()]
        .concat()
        .try_into()
        .expect("12 bytes");
    let cipher = Aes128Gcm96::new_from_slice(&keys.decryption).expect("a key");
    let additional = [&[0x30], &keys.authentication[..]].concat();
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

fn keys() -> Keys {
    Keys::new([0x42; 16])
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
        authentication: [9; 16],
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
    let other_authentication = Keys {
        authentication: [0; 16],
        ..Keys::new([0xAA; 16])
    };
    assert_eq!(decrypt(&packet, &other_authentication), Ok(inside));
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
        // A flipped tag or security control leaves the telegram as it was, and its CRC shows that. Behind the
        // `!` the case of a digit can change, which leaves the CRC the same number.
        let is_in_the_telegram = place / 8 != 13 && place / 8 < 18 + TELEGRAM.len();
        assert!(!is_in_the_telegram || found.is_err(), "bit {place}");
        assert!(
            found.is_err() || found.is_ok_and(|opened| opened.starts_with(TELEGRAM)),
            "bit {place}"
        );
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
fn a_key_is_waited_for_until_one_frame_has_opened_and_the_next_that_does_not_is_damage() {
    let whole = frame(&telegram(), &keys(), 7);
    let mut damaged = whole.clone();
    damaged[30] ^= 1;
    let mut decryption = Decryption::new(Some(keys()), OnTrouble::Wait);
    assert!(matches!(
        decryption.open(&damaged),
        Opened::Waiting(Undecryptable::WrongKey { .. })
    ));
    assert!(
        matches!(decryption.open(TELEGRAM), Opened::Telegram(_)),
        "a plain telegram shows nothing of the key"
    );
    assert!(matches!(decryption.open(&damaged), Opened::Waiting(_)));
    assert_eq!(decryption.open(&whole), Opened::Telegram(telegram().into()));
    assert!(matches!(
        decryption.open(&damaged),
        Opened::Skipped(Undecryptable::WrongKey { .. })
    ));
}

#[test]
fn without_a_key_frames_wait_or_are_passed_over() {
    let whole = frame(&telegram(), &keys(), 7);
    let open = |on_undecryptable| Decryption::new(None, on_undecryptable).open(&whole);
    assert_eq!(open(OnTrouble::Wait), Opened::Waiting(Undecryptable::NoKey));
    assert_eq!(open(OnTrouble::Skip), Opened::Skipped(Undecryptable::NoKey));
}

#[test]
fn keys_are_not_shown() {
    assert_eq!(format!("{:?}", keys()), "Keys(not shown)");
}
