//! Figures as a person reads them.

/// A number with its thousands apart: `2,592,000`.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing: `1 telegram`, `2,592,000 telegrams`.
pub fn counted(count: u64, thing: &str) -> String {
    counted_as(count, thing, &format!("{thing}s"))
}

/// The same of a thing whose plural is not formed by an `s`.
pub fn counted_as(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_thing_is_singular() {
        for (count, text) in [(0, "0 telegrams"), (1, "1 telegram"), (2_000, "2,000 telegrams")] {
            assert_eq!(counted(count, "telegram"), text);
        }
    }

    #[test]
    fn the_thousands_of_a_number_are_apart() {
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(value), text);
        }
    }
}
