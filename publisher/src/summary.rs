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
use crate::registers::{Registers, Step};

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

/// A register from the interval's first value to its last.
#[derive(Debug)]
struct RegisterSpan {
    first: Decimal,
    last: Decimal,
    /// What it grew by, over every meter that counted it; none beyond what a decimal holds.
    delta: Option<Decimal>,
    /// Whether a meter is new in the interval, so that nothing is known of its time before.
    is_from_first: bool,
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

impl Summary {
    /// Takes in the next telegram of the interval, and its registers into `registers`.
    pub(crate) fn add(
        &mut self,
        readings: &Readings<'_>,
        sequence: u64,
        time: Timestamp,
        registers: &mut Registers,
    ) {
        if self.telegrams == 0 {
            self.first_sequence = sequence;
        }
        self.telegrams += 1;
        self.last_sequence = sequence;
        if let Some(id) = meter_name(readings) {
            self.equipment_id = Some(id);
        }
        registers.begin(readings, sequence, time);
        for measured in measurements(readings) {
            let (name, value) = (measured.name, measured.value);
            match measured.meter {
                Some(meter) => {
                    let step = registers.count(name, meter, value);
                    self.add_register(name, value, step);
                }
                None => match self.gauges.get_mut(&name) {
                    Some(span) => span.add(value),
                    None => {
                        self.gauges.insert(name, GaugeSpan::begin(value));
                    }
                },
            }
        }
    }

    fn add_register(&mut self, name: Name, value: Decimal, step: Step) {
        if step == Step::Held {
            return;
        }
        let span = self.registers.entry(name).or_insert(RegisterSpan {
            first: value,
            last: value,
            delta: Some(Decimal::ZERO),
            is_from_first: false,
        });
        span.last = value;
        match step {
            Step::First => {
                span.first = value;
                span.is_from_first = true;
            }
            Step::Grown(by) => {
                span.delta = (span.delta.zip(by)).and_then(|(delta, by)| delta.checked_add(by));
            }
            Step::Held => {}
        }
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
            if let Some(delta) = span.delta {
                register.number("delta", delta);
            }
            if span.is_from_first {
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
