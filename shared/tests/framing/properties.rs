//! Any chunking, any truncation, any flipped bit, any noise.

use proptest::prelude::*;
use shared::config::CrcPolicy;
use shared::telegram::assembler::{Found, find_all};

use crate::meter::{
    assembler, assert_covers, checks, frame, noise, old_telegram, telegram, telegrams, with_parity,
};

/// One piece of a stream.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u32..999_999).prop_map(telegram),
        2 => (0u32..99_999).prop_map(old_telegram),
        2 => (0u32..99_999).prop_map(|n| with_parity(&telegram(n))),
        1 => (0u32..99_999).prop_map(|n| with_parity(&old_telegram(n))),
        2 => (1u16..900, any::<u64>()).prop_map(|(bytes, seed)| frame(bytes, seed)),
        2 => (0usize..200, any::<u64>()).prop_map(|(bytes, seed)| noise(bytes, seed)),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"!\r\n".to_vec()),
        1 => Just(b"\n/".to_vec()),
        1 => Just(b"\xdb\x08SYSTEMID\x82\x0a\x00\x30".to_vec()),
        2 => (0u32..999, 0usize..500).prop_map(|(n, cut)| telegram(n)[..cut.min(telegram(n).len())].to_vec()),
        1 => (any::<u64>(), 0usize..800).prop_map(|(seed, cut)| frame(700, seed)[..cut.min(700)].to_vec()),
    ]
}

fn policy() -> impl Strategy<Value = CrcPolicy> {
    prop_oneof![
        Just(CrcPolicy::Auto),
        Just(CrcPolicy::Required),
        Just(CrcPolicy::Off)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_the_same_and_covers_the_stream(
        pieces in proptest::collection::vec(piece(), 0..12),
        chunks in proptest::collection::vec(1usize..700, 1..40),
        policy in policy(),
    ) {
        let stream = pieces.concat();
        let at_once = find_all(&stream, policy);
        let mut in_chunks = Vec::new();
        let mut assembler = assembler(policy);
        let mut rest = stream.as_slice();
        for chunk in chunks.iter().cycle() {
            let (now, later) = rest.split_at((*chunk).min(rest.len()));
            assembler.push(now, &mut in_chunks);
            rest = later;
            if rest.is_empty() { break }
        }
        assembler.finish(&mut in_chunks);
        prop_assert_eq!(&at_once, &in_chunks);
        assert_covers(&stream, &at_once);
    }

    /// Noise that holds no CR, LF or `/` at a line's start cannot pass for more than noise; noise that does
    /// is in the property above.
    #[test]
    fn noise_before_and_after_costs_no_telegram_of_any_kind(
        seeds in proptest::collection::vec((any::<u64>(), 0usize..300, 0u8..6), 1..10),
        is_within_a_line: bool,
    ) {
        let mut stream = Vec::new();
        let mut sent = Vec::new();
        for (seed, bytes, kind) in seeds {
            stream.extend(noise(bytes, seed).into_iter().filter(|byte| !b"\r\n\x8d".contains(byte)));
            if !is_within_a_line { stream.extend(b"\r\n") }
            let n = (seed % 90_000) as u32;
            let whole = match kind {
                0 | 1 => telegram(n),
                2 => old_telegram(n),
                3 => with_parity(&telegram(n)),
                4 => with_parity(&old_telegram(n)),
                _ => frame(600, seed),
            };
            stream.extend(&whole);
            sent.push(whole);
        }
        stream.extend(noise(50, 1));
        let found = find_all(&stream, CrcPolicy::Auto);
        assert_covers(&stream, &found);
        prop_assert_eq!(telegrams(&found), sent);
    }

    #[test]
    fn whatever_comes_nothing_is_lost_and_the_next_telegram_is_found(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        policy in prop_oneof![Just(CrcPolicy::Auto), Just(CrcPolicy::Required)],
    ) {
        let stream = [bytes.as_slice(), b"\r\n", &telegram(1), &telegram(2)].concat();
        let found = find_all(&stream, policy);
        assert_covers(&stream, &found);
        prop_assert!(telegrams(&found).ends_with(&[&telegram(1), &telegram(2)]), "{found:?}");
    }
}

/// A kind of telegram, how many of it to feed first, and whether its beginning can be seen without a CRC.
fn kinds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("with CRC", telegram(1)),
        ("without CRC", old_telegram(1)),
        ("with CRC and parity", with_parity(&telegram(1))),
        ("without CRC, with parity", with_parity(&old_telegram(1))),
        ("encrypted", frame(480, 77)),
    ]
}

#[test]
fn a_telegram_cut_at_any_byte_costs_only_itself() {
    for (kind, whole) in kinds() {
        for (next_kind, next) in kinds() {
            for cut in 0..whole.len() {
                let stream = [telegram(900).as_slice(), &whole[..cut], &next, &telegram(901)].concat();
                let found = find_all(&stream, CrcPolicy::Auto);
                assert_covers(&stream, &found);
                let mut expected = vec![telegram(900), next.clone(), telegram(901)];
                // Nothing but decryption can tell that the last byte of a frame belongs to what follows.
                let lacks_one = kind == "encrypted" && cut + 1 == whole.len();
                // What lacks no more than its line end is whole.
                let lacks_line_end = match kind {
                    "with CRC" | "with CRC and parity" => cut + 2 >= whole.len(),
                    "without CRC" | "without CRC, with parity" => cut + 1 == whole.len(),
                    _ => false,
                };
                if lacks_one {
                    expected.insert(1, [&whole[..cut], &next[..1]].concat());
                } else if lacks_line_end {
                    expected.insert(1, whole[..cut].to_vec());
                }
                assert_eq!(
                    telegrams(&found),
                    expected,
                    "{kind} cut at {cut} of {}, then {next_kind}",
                    whole.len()
                );
            }
        }
    }
}

/// From `/` to `!`. Under `crc: off` it cannot hold, since nothing is looked at, and for a telegram without
/// CRC neither, except where it came with parity bits; there the next test says what can be said.
#[test]
fn every_single_flipped_bit_of_a_telegram_with_a_crc_is_rejected() {
    for (kind, whole) in kinds()
        .into_iter()
        .filter(|(kind, _)| kind.contains("with CRC") || kind.contains("parity"))
    {
        let mark = whole
            .iter()
            .position(|&byte| byte == b'!')
            .expect("it has an end");
        for policy in [CrcPolicy::Auto, CrcPolicy::Required] {
            for bit in 0..(mark + 1) * 8 {
                let mut damaged = whole.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let stream = [damaged.as_slice(), &telegram(2)].concat();
                let found = find_all(&stream, policy);
                assert_eq!(
                    telegrams(&found),
                    [telegram(2)],
                    "{kind}, bit {bit} under {policy:?}"
                );
                assert_covers(&stream, &found);
            }
        }
    }
}

#[test]
fn a_flipped_bit_of_a_telegram_without_crc_costs_no_other_telegram() {
    let whole = old_telegram(1);
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let stream = [telegram(1), damaged, telegram(2)].concat();
        let found = find_all(&stream, CrcPolicy::Auto);
        let seen = telegrams(&found);
        assert_eq!(
            (seen.first(), seen.last()),
            (Some(&telegram(1).as_slice()), Some(&telegram(2).as_slice())),
            "bit {bit}"
        );
        assert!(seen.len() <= 3, "bit {bit}: {found:?}");
    }
}

#[test]
fn each_kind_is_found_alone_and_in_any_order() {
    for (first, a) in kinds() {
        for (second, b) in kinds() {
            let stream = [a.as_slice(), &b, &a].concat();
            let found = find_all(&stream, CrcPolicy::Auto);
            assert_eq!(
                telegrams(&found),
                [a.as_slice(), &b, &a],
                "{first}, then {second}"
            );
            assert_eq!(checks(&found).len(), 3);
            assert!(found.iter().all(|found| matches!(found, Found::Telegram(_))));
        }
    }
}
