//! Figures on their way from a measurement to the table: one JSON object a line.

use std::collections::BTreeMap;

/// Prints a figure. Its name ends in its unit.
pub fn figure(what: &str, value: f64) {
    println!("{}", serde_json::json!({ "what": what, "value": value }));
}

/// Figures by name. Of a name that comes twice the last counts.
#[derive(Debug, Clone, Default)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Reads lines of figures. Lines that are none are passed over: a program may say other things.
    pub fn read(text: &str) -> Self {
        let figures = text.lines().filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            Some((line["what"].as_str()?.to_owned(), line["value"].as_f64()?))
        });
        Self(figures.collect())
    }

    /// The figure of this name, where it was measured.
    pub fn value(&self, what: &str) -> Option<f64> {
        self.0.get(what).copied()
    }

    /// The names that begin with this.
    pub fn named<'f>(&'f self, prefix: &'f str) -> impl Iterator<Item = (&'f str, f64)> {
        self.0
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), *value))
    }
}

/// The middle of these; sorts them.
pub fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of them lies; sorts them.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * share) as usize;
    values
        .get(place.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}
