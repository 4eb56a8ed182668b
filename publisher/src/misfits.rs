//! What a person has been told of values that do not fit: each object and cause once, however often it comes.

use std::collections::BTreeSet;

use shared::dsmr::{Cause, Misfit};

/// The objects and causes that have been told.
#[derive(Debug, Default)]
pub(crate) struct Told(BTreeSet<(String, Cause)>);

/// More are not told: there are fewer references that have a value, but many ways to write each.
const MOST: usize = 256;

impl Told {
    /// Whether this object has not been told for this cause; then it counts as told.
    pub(crate) fn is_news(&mut self, misfit: &Misfit<'_>) -> bool {
        self.0.len() < MOST
            && self
                .0
                .insert((misfit.object.reference().into_owned(), misfit.cause))
    }
}

#[cfg(test)]
mod tests {
    use shared::dsmr;

    use super::*;

    #[test]
    fn an_object_is_told_once_for_each_cause() {
        let mut told = Told::default();
        let mut is_news = |line: &str| {
            let telegram = format!("/X\r\n\r\n{line}\r\n!\r\n");
            let readings = dsmr::parse(telegram.as_bytes());
            let [misfit] = &readings.misfits[..] else {
                panic!("{line}: {:?}", readings.misfits)
            };
            told.is_news(misfit)
        };
        assert!(is_news("1-0:1.7.0(300*kW)"));
        assert!(!is_news("1-0:1.7.0(301*kW)"));
        assert!(is_news("1-0:1.7.0(300*V)"));
        assert!(is_news("1-0:2.7.0(300*kW)"));
        assert!(!is_news("1-0:1.7.0(99*V)"));
    }

    #[test]
    fn there_is_an_end_to_what_is_told() {
        const ZEROS: [&str; 3] = ["", "0", "00"];
        let lines = (0..729_usize).map(|number| {
            let zeros = |digit: u32| ZEROS[number / 3_usize.pow(digit) % 3];
            let quantity = 1 + number / 243 % 2;
            let [a, b, c, d, e] = [zeros(0), zeros(1), zeros(2), zeros(3), zeros(4)];
            format!("{a}1-{b}0:{c}{quantity}.{d}7.{e}0(300*hp)")
        });
        let mut told = Told::default();
        let news = lines.filter(|line| {
            let telegram = format!("/X\r\n\r\n{line}\r\n!\r\n");
            let readings = dsmr::parse(telegram.as_bytes());
            assert_eq!(readings.misfits.len(), 1, "{line}");
            readings.misfits.iter().any(|misfit| told.is_news(misfit))
        });
        assert_eq!(news.count(), MOST);
    }
}
