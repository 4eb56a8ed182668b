//! A number of bytes as people write it.

/// What a size may look like, for a message.
pub const FORM: &str = "a size such as 512KiB, 64MiB or 1GiB (or MB, GB; a bare number is bytes)";

/// Bytes of `512KiB`, `1 GiB`, `10MB` or `1048576`; none where it is no such text or does not fit.
///
/// `KiB`, `MiB`, `GiB`, `TiB` are powers of 1024, and so are `K`, `M`, `G`, `T`, as in docker's options;
/// `kB`, `MB`, `GB`, `TB` are powers of 1000. Case does not count.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A size in the largest unit of 1024 that divides it: `512KiB`.
pub fn in_words(bytes: u64) -> String {
    [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| bytes != 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(
            || format!("{bytes} bytes"),
            |(unit, shift)| format!("{}{unit}", bytes >> shift),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1_048_576),
            ("512KiB", 524_288),
            ("512 kib", 524_288),
            ("1GiB", 1 << 30),
            ("2g", 2 << 30),
            ("64M", 64 << 20),
            ("10MB", 10_000_000),
            ("1 TB", 1_000_000_000_000),
        ] {
            assert_eq!(parse(text), Some(bytes), "for {text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "GiB",
            "-1",
            "1.5GiB",
            "1GiBs",
            "1e6",
            "0x10",
            "99999999999999999999",
            "99999999TiB",
        ] {
            assert_eq!(parse(text), None, "for {text}");
        }
    }

    #[test]
    fn a_size_in_words_reads_back_as_itself() {
        for (bytes, words) in [
            (1 << 30, "1GiB"),
            (524_288, "512KiB"),
            (3 << 20, "3MiB"),
            (1500, "1500 bytes"),
        ] {
            assert_eq!(in_words(bytes), words);
        }
    }
}
