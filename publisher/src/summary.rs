//! The summary of an interval: where each register began and ended, and how each gauge moved between.
//!
//! It is filled telegram by telegram and holds a few numbers for each register and gauge, however long the
//! interval. Only what the meter sent is in it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::{Decimal, RoundingStrategy};
use shared::dsmr::Readings;

use crate::measurement::{Name, measurements, meter_name};
use crate::payload::json::ObjectWriter;

/// The readings of an interval, summed up.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    telegrams: u64,
    first_sequence: u64,
    last_sequence: u64,
    equipment_id: Option<String>,
    registers: BTreeMap<Name, RegisterSpan>,
    gauges: BTreeMap<Name, GaugeSpan>,
}

/// The registers of the last telegram before an interval.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Before {
    registers: BTreeMap<Name, (Decimal, String)>,
}

/// A register from the interval's first telegram to its last.
#[derive(Debug)]
struct RegisterSpan {
    first: Decimal,
    last: Decimal,
    /// What the delta counts from, where there was a telegram before.
    before: Option<Decimal>,
    /// Identifier of the meter that counts.
    meter: String,
    /// Sequence of the telegram that `last` is from.
    sequence: u64,
}

/// A gauge over an interval.
#[derive(Debug)]
struct GaugeSpan {
    min: Decimal,
    max: Decimal,
    last: Decimal,
    /// None beyond what a decimal holds.
    sum: Option<Decimal>,
    count: u64,
    /// Most digits behind the point that any of the numbers came with.
    resolution: u32,
}

/// Digits behind the point that a mean has at least.
const LEAST_RESOLUTION: u32 = 3;

impl Before {
    /// What this telegram leaves to the interval after it.
    pub(crate) fn of(readings: &Readings<'_>) -> Self {
        let registers = measurements(readings)
            .filter_map(|measured| Some((measured.name, (measured.value, measured.register_of?.to_owned()))))
            .collect();
        Self { registers }
    }

    /// The register, where the same meter counted it.
    fn register(&self, name: Name, meter: &str) -> Option<Decimal> {
        let (value, before) = self.registers.get(&name)?;
        (before == meter).then_some(*value)
    }
}

impl Summary {
    /// Takes in the next telegram of the interval. `before` is the last telegram before the interval.
    pub(crate) fn add(&mut self, readings: &Readings<'_>, sequence: u64, before: &Before) {
        if self.telegrams == 0 {
            self.first_sequence = sequence;
        }
        self.telegrams += 1;
        self.last_sequence = sequence;
        if let Some(id) = meter_name(readings) {
            self.equipment_id = Some(id);
        }
        for measured in measurements(readings) {
            match measured.register_of {
                Some(meter) => self.add_register(measured.name, measured.value, meter, before),
                None => match self.gauges.get_mut(&measured.name) {
                    Some(span) => span.add(measured.value),
                    None => {
                        self.gauges
                            .insert(measured.name, GaugeSpan::begin(measured.value));
                    }
                },
            }
        }
    }

    fn add_register(&mut self, name: Name, value: Decimal, meter: &str, before: &Before) {
        let sequence = self.last_sequence;
        match self.registers.get_mut(&name) {
            Some(span) if span.meter == meter => {
                span.last = value;
                span.sequence = sequence;
            }
            // The first of the interval, or another meter: what one counted says nothing about the other.
            _ => {
                let span = RegisterSpan {
                    first: value,
                    last: value,
                    before: before.register(name, meter),
                    meter: meter.to_owned(),
                    sequence,
                };
                self.registers.insert(name, span);
            }
        }
    }

    /// What the interval leaves to the one after it, whose record before is that of `last_sequence`: the
    /// registers of that telegram alone, which is all that a reader knows who begins there.
    pub(crate) fn before_next(&self, last_sequence: u64) -> Before {
        let registers = self
            .registers
            .iter()
            .filter(|(_, span)| span.sequence == last_sequence)
            .map(|(name, span)| (*name, (span.last, span.meter.clone())))
            .collect();
        Before { registers }
    }

    /// The JSON object.
    pub(crate) fn to_payload(&self, interval_start: Timestamp, interval_end: Timestamp) -> Vec<u8> {
        let mut out = Vec::new();
        let mut object = ObjectWriter::begin(&mut out);
        object.moment("interval_start", interval_start);
        object.moment("interval_end", interval_end);
        object.integer("telegrams", self.telegrams);
        object.integer("first_sequence", self.first_sequence);
        object.integer("last_sequence", self.last_sequence);
        if let Some(id) = &self.equipment_id {
            object.text("equipment_id", id);
        }
        let mut registers = object.object("registers");
        for (name, span) in &self.registers {
            let mut register = registers.object(&name.text());
            register.number("first", span.first);
            register.number("last", span.last);
            if let Some(delta) = span.last.checked_sub(span.before.unwrap_or(span.first)) {
                register.number("delta", delta);
            }
            if span.before.is_none() {
                register.text("delta_from", "first");
            }
            register.end();
        }
        registers.end();
        let mut gauges = object.object("gauges");
        for (name, span) in &self.gauges {
            let mut gauge = gauges.object(&name.text());
            gauge.number("min", span.min);
            if let Some(mean) = span.mean() {
                gauge.number("mean", mean);
            }
            gauge.number("max", span.max);
            gauge.number("last", span.last);
            gauge.end();
        }
        gauges.end();
        object.end();
        out
    }
}

impl GaugeSpan {
    fn begin(value: Decimal) -> Self {
        let resolution = value.scale().max(LEAST_RESOLUTION);
        Self {
            min: value,
            max: value,
            last: value,
            sum: Some(value),
            count: 1,
            resolution,
        }
    }

    fn add(&mut self, value: Decimal) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.last = value;
        self.sum = self.sum.and_then(|sum| sum.checked_add(value));
        self.count += 1;
        self.resolution = self.resolution.max(value.scale());
    }

    fn mean(&self) -> Option<Decimal> {
        let mean = self.sum?.checked_div(Decimal::from(self.count))?;
        Some(mean.round_dp_with_strategy(self.resolution, RoundingStrategy::MidpointNearestEven))
    }
}

#[cfg(test)]
mod tests;
