//! Every form of a CRC line, of line ends, of parity and of policy, as a table.

use std::collections::BTreeSet;

use shared::config::CrcPolicy::{Auto, Off, Required};
use shared::telegram::assembler::{Check, Found, MAX_TELEGRAM_BYTES, Reason, find_all};
use shared::telegram::seven_bit;

use crate::meter::{
    arc, assembler, assert_covers, body, checks, old_telegram, rejected, telegram, telegrams, with_crc,
    with_parity, with_x25,
};

/// A telegram whose CRC begins with a zero, as one in sixteen does.
fn telegram_with_leading_zero() -> (Vec<u8>, u16) {
    (0..1000)
        .map(|n| body(n).into_bytes())
        .map(|body| (arc(&body), body))
        .find(|(crc, _)| {
            (0x00A0..0x0FFF).contains(crc) && format!("{crc:X}").contains(|digit: char| digit.is_alphabetic())
        })
        .map(|(crc, body)| (body, crc))
        .expect("one in sixteen begins with a zero")
}

#[test]
fn a_crc_is_compared_as_a_number_whatever_its_case_and_padding_and_line_end() {
    let (body, crc) = telegram_with_leading_zero();
    for digits in [
        format!("{crc:04X}"),
        format!("{crc:04x}"),
        format!("{crc:X}"),
        format!("{crc:x}"),
    ] {
        for line_end in ["\r\n", "\n", "\r\n\r\n", ""] {
            let stream = [&body, digits.as_bytes(), line_end.as_bytes()].concat();
            let found = find_all(&stream, Auto);
            assert_eq!(checks(&found), [Check::Arc], "{digits:?} {line_end:?}");
            assert!(telegrams(&found)[0].starts_with(&body));
            assert_eq!(rejected(&found), [], "a blank line between telegrams is nothing");
            assert_covers(&stream, &found);
        }
    }
}

#[test]
fn a_telegram_goes_out_with_the_last_byte_of_its_line_end_and_not_before() {
    let new = telegram(1);
    let unix = [
        body(1).as_bytes(),
        format!("{:04X}\n", arc(body(1).as_bytes())).as_bytes(),
    ]
    .concat();
    for whole in [
        new.clone(),
        with_parity(&new),
        unix,
        old_telegram(1),
        with_parity(&old_telegram(1)),
    ] {
        let mut assembler = assembler(Auto);
        let mut found = Vec::new();
        let (last, before) = whole.split_last().expect("a telegram is not empty");
        assembler.push(before, &mut found);
        assert_eq!(found, [], "before its last byte");
        assembler.push(&[*last], &mut found);
        assert_eq!(telegrams(&found), [whole], "with its last byte");
    }
}

#[test]
fn telegrams_that_follow_without_a_line_end_are_both_taken() {
    let first = [
        body(1).as_bytes(),
        format!("{:04X}", arc(body(1).as_bytes())).as_bytes(),
    ]
    .concat();
    for second in [telegram(2), with_parity(&telegram(2))] {
        for between in [b"".as_slice(), b"\r"] {
            let stream = [first.as_slice(), between, &second].concat();
            let found = find_all(&stream, Auto);
            assert_eq!(
                telegrams(&found),
                [[first.as_slice(), between].concat(), second.clone()]
            );
        }
    }
}

#[test]
fn noise_in_the_line_end_does_not_cost_a_telegram_whose_crc_is_right() {
    let first = [
        body(1).as_bytes(),
        format!("{:04X}", arc(body(1).as_bytes())).as_bytes(),
    ]
    .concat();
    let stream = [first.as_slice(), b"\x8c\x00\n", &telegram(2)].concat();
    let found = find_all(&stream, Auto);
    assert_eq!(telegrams(&found), [first.clone(), telegram(2)]);
    let wrong = [body(1).as_bytes(), b"0000\x8c\n", &telegram(2)].concat();
    let found = find_all(&wrong, Auto);
    assert_eq!(telegrams(&found), [telegram(2)]);
    assert_eq!(rejected(&found)[0].2, Reason::MalformedCrc);
}

#[test]
fn a_slash_at_the_start_of_a_line_restarts_at_once_whatever_follows_it() {
    // Neither the cut telegram nor the new one needs an end, or a line that looks like a meter's.
    let cut = &telegram(1)[..telegram(1).len() - 20];
    let mut assembler = assembler(Auto);
    let mut found = Vec::new();
    assembler.push(&[cut, b"\r\n/"].concat(), &mut found);
    assert_eq!(
        rejected(&found),
        [(0, cut.len() as u64 + 2, Reason::Truncated)],
        "with the slash itself"
    );

    let strange = b"/-no-meter-\x02\r\n1-0:1.7.0(00.193*kW)\r\n!";
    for whole in [[strange.as_slice(), b"\r\n"].concat(), with_crc(strange)] {
        for line_end in [b"\r\n".as_slice(), b"\n", b"\r"] {
            let stream = [cut, line_end, &whole].concat();
            let found = find_all(&stream, Auto);
            assert_eq!(telegrams(&found), [whole.as_slice()]);
            assert_eq!(
                rejected(&found),
                [(0, (cut.len() + line_end.len()) as u64, Reason::Truncated)]
            );
        }
        // The wrong CRC is that of the new one alone.
        let damaged = [cut, b"\r\n", strange, b"0001\r\n"].concat();
        let reason = Reason::WrongCrc {
            given: 1,
            computed: arc(strange),
        };
        assert_eq!(rejected(&find_all(&damaged, Auto))[1].2, reason);
    }
}

#[test]
fn what_is_no_end_is_data() {
    let (text, whole) = {
        let text = body(3).replace(
            "0-0:96.13.0()",
            "0-0:96.13.0(test-/-test !ABCD\r\n !\r\n(!0000)(/ISK5)",
        );
        (text.clone(), with_crc(text.as_bytes()))
    };
    assert!(text.contains("/-") && text.contains("/ISK5"));
    let found = find_all(&whole, Auto);
    assert_eq!(telegrams(&found), [whole.as_slice()]);
    let longer = body(4).replace("0-0:96.13.0()\r\n", "0-0:96.13.0()\r\n!12345\r\n!xyz\r\n");
    assert_eq!(
        telegrams(&find_all(&with_crc(longer.as_bytes()), Auto)),
        [with_crc(longer.as_bytes())]
    );
}

#[test]
fn identification_lines_hold_any_byte() {
    for byte in (0..=255).filter(|byte| !b"\r\n".contains(byte)) {
        let mut bytes = body(5).into_bytes();
        bytes[6] = byte;
        bytes[10] = byte;
        let whole = with_crc(&bytes);
        let stream = [telegram(1), whole.clone(), telegram(2)].concat();
        assert_eq!(
            telegrams(&find_all(&stream, Auto)),
            [telegram(1), whole, telegram(2)],
            "{byte:#04x}"
        );
    }
}

#[test]
fn telegrams_without_crc_are_taken_by_policy_and_by_what_the_meter_sent_before() {
    let old = old_telegram(1);
    assert_eq!(checks(&find_all(&old, Auto)), [Check::None]);
    assert_eq!(checks(&find_all(&old, Off)), [Check::None]);
    let required = find_all(&old, Required);
    assert_eq!(rejected(&required), [(0, old.len() as u64, Reason::MissingCrc)]);

    // The same meter with a CRC, and then without: it must have been lost on the way.
    let with = with_crc(old.strip_suffix(b"\r\n").expect("it ends with a line end"));
    let other = telegram(7);
    let stream = [old.as_slice(), &other, &old, &with, &old].concat();
    let mut first = assembler(Auto);
    let mut found = Vec::new();
    first.push(&stream, &mut found);
    assert_eq!(checks(&found), [Check::None, Check::Arc, Check::None, Check::Arc]);
    assert_eq!(
        rejected(&found).last().map(|last| last.2),
        Some(Reason::MissingCrc)
    );

    // Remembered across a restart.
    let remembered = BTreeSet::from([b"KMP5 ZABF001587315111".to_vec(), b"ISK5\\2M550T-1012".to_vec()]);
    assert_eq!(first.meters_with_crc(), &remembered);
    let mut second = shared::telegram::assembler::Assembler::new(Auto, remembered);
    found.clear();
    second.push(&with_parity(&old), &mut found);
    second.push(&old, &mut found);
    assert_eq!(checks(&found), []);
    assert!(
        rejected(&found)
            .iter()
            .all(|(_, _, reason)| *reason == Reason::MissingCrc)
    );
}

#[test]
fn without_policy_a_crc_is_not_looked_at() {
    let wrong = [body(1).as_bytes(), b"0000\r\n"].concat();
    assert_eq!(checks(&find_all(&wrong, Off)), [Check::None]);
    let Reason::WrongCrc { given, computed } = rejected(&find_all(&wrong, Auto))[0].2 else {
        panic!("not rejected")
    };
    assert_eq!((given, computed), (0, arc(body(1).as_bytes())));
}

#[test]
fn a_line_with_parity_read_without_is_understood_and_kept_as_it_came() {
    let (new, old) = (with_parity(&telegram(1)), with_parity(&old_telegram(1)));
    assert_eq!((new[0], new[new.len() - 2]), (0xAF, 0x8D));
    let stream = [new.as_slice(), &old, &telegram(2), &new].concat();
    let found = find_all(&stream, Auto);
    assert_eq!(telegrams(&found), [new.as_slice(), &old, &telegram(2), &new]);
    assert_eq!(checks(&found), [Check::Arc, Check::None, Check::Arc, Check::Arc]);
    assert_eq!(seven_bit::stripped(telegrams(&found)[0]), telegram(1));
}

#[test]
fn x25_is_taken_after_three_telegrams_in_a_row_have_needed_it_and_lets_no_flipped_bit_pass() {
    let meter = |n: u32| with_x25(body(n).replace("ISK5\\2M550T-1012", "HOL5\\D545").as_bytes());
    let mut assembler = assembler(Auto);
    let mut found = Vec::new();
    for n in 0..6 {
        assembler.push(&meter(n), &mut found);
    }
    assert_eq!(rejected(&found).len(), 3);
    assert!(
        rejected(&found)
            .iter()
            .all(|(_, _, reason)| matches!(reason, Reason::WrongCrc { .. }))
    );
    assert_eq!(checks(&found), [Check::X25; 3]);
    assert_eq!(telegrams(&found), [meter(3), meter(4), meter(5)]);

    let whole = meter(7);
    let mark = whole
        .iter()
        .position(|&byte| byte == b'!')
        .expect("it has an end");
    for bit in 0..(mark + 1) * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        found.clear();
        assembler.push(&damaged, &mut found);
        assembler.push(&meter(8), &mut found);
        assert_eq!(telegrams(&found), [meter(8)], "bit {bit}");
    }
    // A meter that stopped in the middle of a line.
    found.clear();
    assembler.push(&meter(9)[..200], &mut found);
    assembler.push(&meter(10), &mut found);
    assert_eq!(telegrams(&found), [meter(10)]);
}

#[test]
fn one_damaged_telegram_that_happens_to_fit_x25_is_rejected() {
    let mut found = Vec::new();
    let mut assembler = assembler(Auto);
    for n in 0..50 {
        assembler.push(&telegram(n), &mut found);
        assembler.push(&with_x25(body(n).as_bytes()), &mut found);
    }
    assert_eq!(checks(&found), [Check::Arc; 50]);
    assert_eq!(rejected(&found).len(), 50);
}

#[test]
fn the_longest_telegram_passes_and_one_byte_more_is_rejected_with_its_length() {
    let head = "/ISK5\\2M550T-1012\r\n\r\n0-0:96.13.0(";
    let tail = ")\r\n!";
    for (length, is_taken) in [
        (MAX_TELEGRAM_BYTES, true),
        (MAX_TELEGRAM_BYTES + 1, false),
        (100_000, false),
    ] {
        let text = "30".repeat(length)[..length - head.len() - tail.len() - 6].to_owned();
        let whole = with_crc(format!("{head}{text}{tail}").as_bytes());
        assert_eq!(whole.len(), length);
        let stream = [telegram(1), whole.clone(), telegram(2)].concat();
        let found = find_all(&stream, Auto);
        assert_covers(&stream, &found);
        if is_taken {
            assert_eq!(telegrams(&found), [telegram(1), whole, telegram(2)]);
        } else {
            assert_eq!(telegrams(&found), [telegram(1), telegram(2)]);
            assert_eq!(
                rejected(&found),
                [(telegram(1).len() as u64, length as u64, Reason::TooLong)]
            );
            let Some(Found::Rejected(rejected)) = found.get(1) else {
                panic!("{found:?}")
            };
            assert_eq!(
                rejected.bytes.len(),
                MAX_TELEGRAM_BYTES,
                "its first bytes, within the bound"
            );
        }
    }
}

#[test]
fn without_a_crc_damage_shows_where_a_byte_is_no_text_or_a_parity_bit_is_wrong() {
    let mut old = old_telegram(1);
    old[60] = 0;
    assert_eq!(
        rejected(&find_all(&old, Auto))[0].2,
        Reason::NotText { byte: 0, offset: 60 }
    );
    let mut parity = with_parity(&old_telegram(1));
    parity[60] ^= 4;
    parity[61] ^= 1;
    assert_eq!(
        rejected(&find_all(&parity, Auto))[0].2,
        Reason::WrongParity { characters: 2 }
    );
}

#[test]
fn a_stream_that_broke_off_gives_no_telegram_that_was_not_whole() {
    let whole = telegram(1);
    let digits = whole.len() - 2;
    let old = old_telegram(1);
    for (bytes, taken, taken_at_the_end_of_a_file) in [
        (&whole[..digits], 1, 1),
        (&whole[..digits - 1], 0, 0),
        (&whole[..digits - 4], 0, 1),
        (&old[..old.len() - 1], 1, 1),
        (&old[..old.len() - 2], 0, 1),
    ] {
        for (is_file, expected) in [(false, taken), (true, taken_at_the_end_of_a_file)] {
            let mut assembler = assembler(Auto);
            let mut found = Vec::new();
            assembler.push(bytes, &mut found);
            if is_file {
                assembler.finish(&mut found)
            } else {
                assembler.interrupt(&mut found)
            }
            assert_eq!(
                telegrams(&found).len(),
                expected,
                "file {is_file}, {} of {}",
                bytes.len(),
                whole.len()
            );
            // Another stream follows, from its middle.
            assembler.push(
                &[&telegram(2)[300..], telegram(3).as_slice()].concat(),
                &mut found,
            );
            assert_eq!(telegrams(&found).last().copied(), Some(telegram(3).as_slice()));
        }
    }
}

#[test]
fn a_line_end_with_a_parity_bit_is_none_in_a_telegram_without() {
    let stream = [b"xx/ABC5 \x8d!\r\n".as_slice(), &telegram(1)].concat();
    for policy in [Auto, Off] {
        assert_eq!(telegrams(&find_all(&stream, policy)), [telegram(1)]);
    }
}
