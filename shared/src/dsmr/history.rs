//! The two logs that a telegram carries: long power failures, and in Belgium the peaks of past months.

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::bounds;
use super::obis::Quantity;
use super::object::groups;
use super::time::moment;
use super::value::{Number, in_unit};

/// An entry of the power-failure log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerFailure {
    /// When it ended.
    pub ended: Timestamp,
    /// How long it lasted, in seconds.
    pub seconds: Decimal,
}

/// The highest quarter-hour of a past month.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DemandPeak {
    /// When the month was closed.
    pub period: Timestamp,
    /// When the peak was; none in a month without one.
    pub time: Option<Timestamp>,
    /// The peak, in kW.
    pub demand_kw: Decimal,
}

/// A log that was read, and whether that is all that the object says.
pub(super) struct Log<T> {
    pub(super) entries: Vec<T>,
    pub(super) is_whole: bool,
}

/// `(count)(0-0:96.7.19)` and per failure `(time of its end)(seconds*s)`, in either order. Entries without a time, which
/// meters make up for failures before their clock was set, are left out.
pub(super) fn power_failures(contents: &[u8]) -> Log<PowerFailure> {
    let mut groups = groups(contents);
    let count = groups.next().and_then(whole_number);
    let mut is_whole = matches!(groups.next(), None | Some(b"0-0:96.7.19" | b""));
    let mut entries = Vec::new();
    let mut seen = 0_u64;
    while let Some(one) = groups.next() {
        let other = groups.next().unwrap_or_default();
        seen += 1;
        let timed = |time, length| moment(time).zip(seconds(length));
        match timed(one, other).or_else(|| timed(other, one)) {
            Some((ended, seconds)) => entries.push(PowerFailure { ended, seconds }),
            None => is_whole = false,
        }
    }
    is_whole &= count == Some(seen);
    Log { entries, is_whole }
}

/// `(count)(1-0:1.6.0)(1-0:1.6.0)` and per month `(month)(time of its peak)(kW)`, the number in any place. None where
/// the object does not begin like that: Hungary uses the same reference for a monthly bill.
pub(super) fn demand_peaks(contents: &[u8]) -> Option<Log<DemandPeak>> {
    let mut groups = groups(contents);
    let count = groups.next().and_then(whole_number)?;
    for _ in 0..2 {
        if groups.next()? != b"1-0:1.6.0" {
            return None;
        }
    }
    let mut entries = Vec::new();
    let mut is_whole = true;
    let mut seen = 0_u64;
    while let Some(first) = groups.next() {
        let [second, third] = [(); 2].map(|()| groups.next().unwrap_or_default());
        seen += 1;
        let demand = |group| in_unit(group, Quantity::MaximumDemandMonth).ok();
        let (period, time, demand) = if let Some(demand) = demand(third) {
            (first, second, Some(demand))
        } else if let Some(demand) = demand(second) {
            (first, third, Some(demand))
        } else {
            (second, third, demand(first))
        };
        let time = moment(time);
        is_whole &= time.is_some();
        match (moment(period), demand) {
            (Some(period), Some(demand_kw)) => entries.push(DemandPeak {
                period,
                time,
                demand_kw,
            }),
            _ => is_whole = false,
        }
    }
    is_whole &= count == seen;
    Some(Log { entries, is_whole })
}

fn whole_number(text: &[u8]) -> Option<u64> {
    u64::try_from(in_unit(text, Quantity::LongPowerFailures).ok()?).ok()
}

fn seconds(text: &[u8]) -> Option<Decimal> {
    let Number { value, unit, .. } = Number::read(text)?;
    let is_seconds = unit.is_none_or(|unit| unit.eq_ignore_ascii_case(b"s"));
    (value.scale() == 0 && is_seconds && bounds::SECONDS.contain(value)).then_some(value)
}
