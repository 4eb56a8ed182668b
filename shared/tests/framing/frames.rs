//! Encrypted frames, true and false ones, among telegrams and noise.

use shared::config::CrcPolicy;
use shared::telegram::assembler::{Check, find_all};

use crate::meter::{
    assembler, assert_covers, checks, frame, noise, old_telegram, telegram, telegrams, with_crc, with_parity,
};

/// A head that noise has made: it claims `length` bytes.
fn false_head(length: u16) -> Vec<u8> {
    [
        b"\xdb\x08\x01\x02\x03\x04\x05\x06\x07\x08\x82".as_slice(),
        &(length - 13).to_be_bytes(),
        &[0x30],
    ]
    .concat()
}

#[test]
fn a_frame_goes_out_with_its_last_byte_in_all_but_a_few_cases() {
    let mut waited = 0;
    for seed in 0..2000 {
        let whole = frame(494, seed);
        let mut assembler = assembler(CrcPolicy::Auto);
        let mut found = Vec::new();
        assembler.push(&whole, &mut found);
        if found.is_empty() {
            waited += 1;
            // Then it goes out with the first bytes of the next, and both are whole.
            let next = frame(494, 1);
            assembler.push(&next[..14], &mut found);
            assert_eq!(telegrams(&found), [whole.as_slice()], "seed {seed}");
            assembler.push(&next[14..], &mut found);
            assert_eq!(telegrams(&found), [whole, next], "seed {seed}");
        } else {
            assert_eq!(telegrams(&found), [whole], "seed {seed}");
        }
    }
    assert!(
        (1..=20).contains(&waited),
        "{waited} of 2000 waited: about one in 200 ends like the start of a telegram"
    );
}

#[test]
fn a_telegram_inside_a_false_frame_wins_wherever_the_frame_ends() {
    let inside = telegram(1);
    for lead in [0, 1, 30] {
        for length in 31..(14 + lead + inside.len() + 60) {
            let stream = [
                false_head(length as u16),
                noise(lead, 9),
                b"\r\n".to_vec(),
                inside.clone(),
                telegram(2),
                telegram(3),
            ];
            let stream = stream.concat();
            let found = find_all(&stream, CrcPolicy::Auto);
            assert_covers(&stream, &found);
            let seen = telegrams(&found);
            assert!(
                seen.ends_with(&[&inside, &telegram(2), &telegram(3)]),
                "frame of {length}, noise {lead}: {found:?}"
            );
            // A false frame that ends before the telegram, or with its first byte, cannot be told from a true one.
            let begins_inside = length > 14 + lead + 2 + 1;
            assert_eq!(
                seen.len(),
                if begins_inside { 3 } else { 4 },
                "frame of {length}, noise {lead}"
            );
        }
    }
}

#[test]
fn telegrams_of_every_kind_inside_a_false_frame_of_the_greatest_length_win() {
    let kinds = [
        telegram(1),
        old_telegram(2),
        with_parity(&telegram(3)),
        with_parity(&old_telegram(4)),
    ];
    for kind in &kinds {
        let stream = [
            false_head(16_384).as_slice(),
            b"\x9c\x01\r\n",
            kind,
            kind,
            &telegram(9),
        ]
        .concat();
        let found = find_all(&stream, CrcPolicy::Auto);
        assert_eq!(telegrams(&found), [kind.as_slice(), kind, &telegram(9)]);
        assert_covers(&stream, &found);
    }
}

#[test]
fn a_false_head_inside_a_telegram_costs_nothing() {
    // In the identification line, which holds any byte, and so that the frame ends inside the telegram, at
    // its end, or far behind it.
    for length in [40, 100, 200, 16_384] {
        let mut body = b"/ISK5\x02".to_vec();
        body.extend(false_head(length));
        body.extend(&crate::meter::body(5).as_bytes()[17..]);
        let whole = with_crc(&body);
        let stream = [whole.clone(), telegram(2)].concat();
        let found = find_all(&stream, CrcPolicy::Auto);
        assert_eq!(telegrams(&found), [whole, telegram(2)], "frame of {length}");
    }
}

#[test]
fn a_true_frame_inside_a_false_one_wins() {
    for lead in 0..60 {
        let stream = [false_head(600), noise(lead, 3), frame(480, 4), frame(480, 5)].concat();
        let found = find_all(&stream, CrcPolicy::Auto);
        assert_eq!(telegrams(&found), [frame(480, 4), frame(480, 5)], "noise {lead}");
        assert_covers(&stream, &found);
    }
}

#[test]
fn ciphertext_that_looks_like_lines_does_not_break_a_frame() {
    let lines = b"\n!\n!\r\n!AB\n/ISK5\r\n!0000\r\n/\n/ABC\n!1234\n\r\n!FFFF\r\n\xaf\n!\n";
    let mut whole = frame(480, 6);
    whole[100..100 + lines.len()].copy_from_slice(lines);
    whole[300..300 + lines.len()].copy_from_slice(lines);
    for policy in [CrcPolicy::Auto, CrcPolicy::Required, CrcPolicy::Off] {
        let found = find_all(&[whole.clone(), telegram(1)].concat(), policy);
        assert_eq!(telegrams(&found), [whole.clone(), telegram(1)], "{policy:?}");
        assert_eq!(checks(&found)[0], Check::EncryptedFrame);
    }
}

#[test]
fn a_frame_that_is_cut_by_the_end_of_the_stream_is_rejected() {
    let whole = frame(480, 6);
    for cut in 1..whole.len() {
        assert_eq!(
            telegrams(&find_all(&whole[..cut], CrcPolicy::Auto)),
            [b""; 0],
            "cut at {cut}"
        );
    }
}

#[test]
fn a_false_frame_that_ends_with_the_first_byte_of_a_telegram_costs_nothing_whatever_it_holds() {
    // Endings inside the frame, directly before its end among them.
    for inside in [
        b"\r\n!\r\n".as_slice(),
        b"\n!00",
        b"!",
        b"\n!1234\r\n",
        b"/x\n!\r\n/\r\n",
        b"\r\n!\r",
    ] {
        let mut length = 14 + 20 + inside.len() + 2 + 1;
        length = length.max(31);
        let head = [false_head(length as u16), noise(20, 8)].concat();
        let stream = [&head, inside, b"\r\n", &telegram(1), &telegram(2)].concat();
        let found = find_all(&stream, CrcPolicy::Auto);
        assert_eq!(
            checks(&found),
            [Check::EncryptedFrame, Check::Arc, Check::Arc],
            "{inside:?}: {found:?}"
        );
        assert_covers(&stream, &found);
    }
}
