//! An exact decimal as the household computes it: a whole number of units and where the point stands.

use rust_decimal::Decimal;

/// `units` divided by ten to the power of `decimals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    units: i64,
    decimals: u32,
}

impl Amount {
    /// `units` divided by ten to the power of `decimals`.
    pub fn new(units: i64, decimals: u32) -> Self {
        Self { units, decimals }
    }

    /// A whole number.
    pub fn whole(units: i64) -> Self {
        Self::new(units, 0)
    }

    /// Thousandths: W as kW, Wh as kWh, dm³ as m³.
    pub fn thousandths(units: i64) -> Self {
        Self::new(units, 3)
    }

    /// The number without its point.
    pub fn units(self) -> i64 {
        self.units
    }

    /// The same number with this many places behind the point; digits beyond are cut off.
    pub fn with_decimals(self, decimals: u32) -> Self {
        let units = if decimals >= self.decimals {
            self.units * 10_i64.pow(decimals - self.decimals)
        } else {
            self.units / 10_i64.pow(self.decimals - decimals)
        };
        Self { units, decimals }
    }

    /// As a meter writes it: at least this many digits before the point.
    pub fn padded(self, whole_digits: usize) -> String {
        let divisor = 10_i64.pow(self.decimals);
        let (whole, fraction) = (self.units / divisor, self.units % divisor);
        if self.decimals == 0 {
            format!("{whole:0whole_digits$}")
        } else {
            format!(
                "{whole:0whole_digits$}.{fraction:0width$}",
                width = self.decimals as usize
            )
        }
    }

    /// As the readings carry it: no leading zeros, no trailing zeros of a fraction.
    pub fn plain(self) -> String {
        let mut text = self.padded(1);
        if text.contains('.') {
            text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
        }
        text
    }

    /// As a JSON number, digit for digit.
    pub fn json(self) -> serde_json::Value {
        serde_json::Value::Number(self.plain().parse().expect("a decimal is a JSON number"))
    }

    /// As a decimal to reckon with.
    pub fn decimal(self) -> Decimal {
        Decimal::new(self.units, self.decimals)
    }
}

#[cfg(test)]
mod tests {
    use super::Amount;

    #[test]
    fn it_is_written_as_meters_write_and_as_json_does() {
        assert_eq!(Amount::thousandths(3_369).padded(6), "000003.369");
        assert_eq!(Amount::thousandths(180).padded(2), "00.180");
        assert_eq!(Amount::thousandths(180).plain(), "0.18");
        assert_eq!(Amount::thousandths(0).plain(), "0");
        assert_eq!(Amount::thousandths(20_000).plain(), "20");
        assert_eq!(Amount::whole(100).plain(), "100");
        assert_eq!(Amount::thousandths(1_190).with_decimals(2).padded(4), "0001.19");
    }
}
