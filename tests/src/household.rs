//! A simulated household and its meter: seeded, with appliances, sun, gas and two tariffs. It writes
//! the telegrams of every dialect and says beside each what must come out of it.
//!
//! It is not noise. Power is drawn by appliances and given back by the sun; the registers are the sum
//! of that power over time, in watt-seconds, so that they only rise and agree with it exactly; the
//! tariff follows the clock; gas is read every five minutes or every hour as the dialect has it.
//!
//! Always holds: everything is whole numbers, the same settings give the same telegrams on every
//! machine, and no value of [`Truth`] was obtained by reading a telegram.

pub mod amount;
pub mod appliances;
pub mod calendar;
pub mod crc;
pub mod dialect;
pub mod disturbance;
pub mod encryption;
pub mod random;
mod sheet;
mod sun;
mod truth;

pub use dialect::Dialect;
pub use truth::{KEYS_OF_THE_ARRIVAL, Truth};

use appliances::Appliances;
use encryption::Encryption;
use random::Random;
use sun::Sun;

/// What a household is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Decides everything that is not set here.
    pub seed: u64,
    /// What the meter speaks.
    pub dialect: Dialect,
    /// 1 or 3.
    pub phases: usize,
    /// What the panels give at best, in watts; 0 without panels.
    pub solar_peak_w: i64,
    /// M-Bus channel of the gas meter.
    pub gas_channel: Option<u8>,
    /// M-Bus channel of a water meter.
    pub water_channel: Option<u8>,
    /// When the first period begins, in seconds since 1970-01-01T00:00:00Z.
    pub starts_at: i64,
    /// Seconds of the household's time between two telegrams.
    pub period_seconds: i64,
    /// Text that the meter shows (0-0:96.13.0); empty for none.
    pub text: String,
    /// How it encrypts, where it does.
    pub encryption: Option<Encryption>,
}

impl Settings {
    /// A household drawn from the seed, with the dialect's own period. It starts on a Thursday in
    /// April, somewhere in its first twelve hours.
    pub fn seeded(seed: u64, dialect: Dialect) -> Self {
        let mut random = Random::new(seed ^ 0x5EED);
        let phases = if dialect.has_one_phase() {
            1
        } else {
            *random.pick(&[1, 3, 3])
        };
        let solar_peak_w = *random.pick(&[0, 2_400, 4_800, 9_600]);
        let mut channels = vec![1, 2, 3, 4];
        let gas_channel = channels.remove(random.below(4) as usize);
        let water_channel = channels.remove(random.below(3) as usize);
        let has_water = dialect.may_have_water() && random.happens(1, 2);
        Self {
            seed,
            dialect,
            phases,
            solar_peak_w,
            gas_channel: dialect.may_have_gas().then_some(gas_channel),
            water_channel: has_water.then_some(water_channel),
            starts_at: calendar::seconds(2026, 4, 16, 0, 0, 0) + random.below(12 * 3_600 / 10) as i64 * 10,
            period_seconds: dialect.period_seconds(),
            text: String::new(),
            encryption: None,
        }
    }
}

/// A telegram with the truth about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Telegram {
    /// The bytes as the meter sends them.
    pub bytes: Vec<u8>,
    /// What must come out.
    pub truth: Truth,
}

/// The household: an endless iterator of telegrams.
#[derive(Debug, Clone)]
pub struct Household {
    settings: Settings,
    random: Random,
    appliances: Appliances,
    sun: Sun,
    state: State,
    frame_counter: u32,
}

/// What the meter knows at the end of a period.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// UTC, in seconds since 1970-01-01T00:00:00Z.
    pub(crate) at: i64,
    /// 1 or 2, by the clock.
    pub(crate) tariff: usize,
    /// Watt-seconds by tariff; a Wh is 3600 of them.
    pub(crate) import_ws: [i64; 2],
    pub(crate) export_ws: [i64; 2],
    /// Import is positive.
    pub(crate) power_w: i64,
    pub(crate) phase_w: [i64; 3],
    /// Reactive power by phase, import positive, and its registers in var-seconds.
    pub(crate) phase_var: [i64; 3],
    pub(crate) reactive_import_vars: i64,
    pub(crate) reactive_export_vars: i64,
    /// Tenths of a volt.
    pub(crate) voltage_dv: [i64; 3],
    pub(crate) sags: [i64; 3],
    pub(crate) swells: [i64; 3],
    pub(crate) failures: i64,
    pub(crate) long_failures: i64,
    /// End and seconds of the long failures, newest first, ten at most.
    pub(crate) failure_log: Vec<(i64, i64)>,
    pub(crate) gas: Volume,
    pub(crate) water: Volume,
    pub(crate) heat: Volume,
    pub(crate) demand: Demand,
}

/// A meter behind the meter: it counts all the time and is read now and then.
#[derive(Debug, Clone, Default)]
pub(crate) struct Volume {
    /// Thousandths of the unit that is read.
    counted: i64,
    /// When it was read last, UTC seconds.
    pub(crate) read_at: i64,
    /// What was read: litres of gas and of water, MJ of heat.
    pub(crate) reading: i64,
}

impl Volume {
    fn begin(counted: i64, at: i64, every: i64) -> Self {
        Self {
            counted,
            read_at: at - at.rem_euclid(every),
            reading: counted / 1_000,
        }
    }

    fn count(&mut self, amount: i64, at: i64, every: i64) {
        self.counted += amount;
        let boundary = at - at.rem_euclid(every);
        if boundary > self.read_at {
            self.read_at = boundary;
            self.reading = self.counted / 1_000;
        }
    }
}

/// Quarter-hour demand as Belgian meters keep it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Demand {
    quarter: i64,
    imported_ws: i64,
    /// End of the quarter of the month's peak and its average in watts.
    pub(crate) peak: (i64, i64),
    /// First moment of the month, and the time and watts of its predecessor's peak; oldest first, 13 at most.
    pub(crate) history: Vec<(i64, i64, i64)>,
}

impl Demand {
    /// The running quarter's average so far, over the whole quarter, in watts.
    pub(crate) fn current_w(&self) -> i64 {
        self.imported_ws / 900
    }

    fn take(&mut self, imported_ws: i64, at: i64) {
        // A period belongs to the quarter that it ends in: the one up to and including its boundary.
        let quarter = (at - 1).div_euclid(900);
        if quarter != self.quarter {
            let average = self.imported_ws / 900;
            let end = (self.quarter + 1) * 900;
            if average > self.peak.1 || self.peak.0 == 0 {
                self.peak = (end, average);
            }
            let (before, now) = (calendar::local(end - 1), calendar::local(at - 1));
            if (before.year, before.month) != (now.year, now.month) {
                let month = at - seconds_into_month(at);
                self.history.push((month, self.peak.0, self.peak.1));
                if self.history.len() > 13 {
                    self.history.remove(0);
                }
                self.peak = (month, 0);
            }
            self.quarter = quarter;
            self.imported_ws = 0;
        }
        self.imported_ws += imported_ws;
    }
}

/// Seconds since local midnight of the month's first day, where no clock change falls between.
fn seconds_into_month(at: i64) -> i64 {
    let now = calendar::local(at);
    ((now.day - 1) * 24 + now.hour) * 3_600 + now.minute * 60 + now.second
}

impl Household {
    /// The household of these settings, just before its first telegram.
    pub fn new(settings: Settings) -> Self {
        assert!(
            matches!(settings.phases, 1 | 3),
            "{} phases: expected 1 or 3",
            settings.phases
        );
        let mut random = Random::new(settings.seed);
        let at = settings.starts_at;
        let long_failures = random.between(0, 3);
        let failure_log = (0..long_failures).map(|n| {
            (
                at - (n + 1) * 8_000_000 - random.between(0, 90_000),
                random.between(181, 9_000),
            )
        });
        let failure_log: Vec<_> = failure_log.collect();
        let mut state = State {
            at,
            tariff: tariff(at, settings.dialect),
            import_ws: [
                random.between(1, 9_000_000) * 3_600,
                random.between(1, 9_000_000) * 3_600,
            ],
            export_ws: [0, 0],
            power_w: 0,
            phase_w: [0; 3],
            phase_var: [0; 3],
            reactive_import_vars: random.between(0, 900_000) * 3_600,
            reactive_export_vars: random.between(0, 900_000) * 3_600,
            voltage_dv: [2_300, 2_310, 2_295],
            sags: [random.between(0, 9), random.between(0, 9), random.between(0, 9)],
            swells: [random.between(0, 2), 0, random.between(0, 2)],
            failures: long_failures + random.between(0, 9),
            long_failures,
            failure_log,
            gas: Volume::begin(
                random.between(0, 9_000_000) * 1_000,
                at,
                settings.dialect.gas_every_seconds(),
            ),
            water: Volume::begin(
                random.between(0, 900_000) * 1_000,
                at,
                settings.dialect.gas_every_seconds(),
            ),
            heat: Volume::begin(
                random.between(0, 90_000) * 1_000,
                at,
                settings.dialect.gas_every_seconds(),
            ),
            demand: Demand {
                quarter: at.div_euclid(900),
                ..Demand::default()
            },
        };
        if settings.solar_peak_w > 0 {
            state.export_ws = [
                random.between(1, 4_000_000) * 3_600,
                random.between(1, 4_000_000) * 3_600,
            ];
        }
        state.demand.peak = (at - at.rem_euclid(900), random.between(500, 3_000));
        let mut month = at - seconds_into_month(at);
        for _ in 0..random.between(0, 12) {
            let peak_at = month - random.between(1, 2_000) * 900;
            state
                .demand
                .history
                .insert(0, (month, peak_at, random.between(500, 9_000)));
            // Noon of the day before is in the month before, whatever the clocks do in between.
            let before = month - 43_200;
            month = before - seconds_into_month(before);
            month += calendar::utc_offset(before) - calendar::utc_offset(month);
        }
        let sun = Sun::new(settings.solar_peak_w);
        let appliances = Appliances::new(settings.phases, &mut random);
        Self {
            settings,
            random,
            appliances,
            sun,
            state,
            frame_counter: 1,
        }
    }

    /// What it is like.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The meter's clock, UTC seconds: the end of the last period.
    pub fn now(&self) -> i64 {
        self.state.at
    }

    /// The lights go out for that long: no telegrams, and afterwards an entry in the failure log where it
    /// was more than three minutes.
    pub fn power_failure(&mut self, seconds: i64) {
        self.state.at += seconds;
        self.state.failures += 1;
        if seconds > 180 {
            self.state.long_failures += 1;
            self.state.failure_log.insert(0, (self.state.at, seconds));
            self.state.failure_log.truncate(10);
        }
    }

    /// The meter's clock is set, forwards or back. Nothing was drawn in between.
    pub fn set_clock(&mut self, at: i64) {
        self.state.at = at;
    }

    /// The text that the meter shows from now on.
    pub fn show_text(&mut self, text: &str) {
        self.settings.text = text.to_owned();
    }

    /// The next telegram as it is before it is encrypted.
    pub fn telegram_without_encryption(&mut self) -> Telegram {
        self.live();
        dialect::write(&self.settings, &self.state)
    }

    /// Lives through one period and gives the telegram of its end.
    pub fn telegram(&mut self) -> Telegram {
        let mut telegram = self.telegram_without_encryption();
        if let Some(encryption) = &self.settings.encryption {
            telegram.bytes = encryption.frame(self.frame_counter, &telegram.bytes);
            self.frame_counter += 1;
        }
        telegram
    }

    /// The telegrams of so many periods.
    pub fn telegrams(&mut self, count: usize) -> Vec<Telegram> {
        (0..count).map(|_| self.telegram()).collect()
    }

    fn live(&mut self) {
        let Self {
            settings,
            random,
            appliances,
            sun,
            state,
            ..
        } = self;
        let period = settings.period_seconds;
        state.at += period;
        state.tariff = tariff(state.at, settings.dialect);

        let local = calendar::local(state.at);
        let mut drawn = appliances.draw(local.hour, period, random);
        let sun_w = sun.shine(local, period, random);
        for phase in drawn.iter_mut().take(settings.phases) {
            *phase -= sun_w / settings.phases as i64;
        }
        let step = settings.dialect.power_step_w();
        for (phase, drawn) in drawn.into_iter().enumerate().take(settings.phases) {
            state.phase_w[phase] = drawn / step * step;
            state.phase_var[phase] = drawn.abs() / 8 - 60;
        }
        state.power_w = state.phase_w.iter().sum();
        let energy = state.power_w * period;
        let register = if energy >= 0 {
            &mut state.import_ws
        } else {
            &mut state.export_ws
        };
        register[state.tariff - 1] += energy.abs();
        let reactive: i64 = state.phase_var.iter().sum();
        let register = if reactive >= 0 {
            &mut state.reactive_import_vars
        } else {
            &mut state.reactive_export_vars
        };
        *register += reactive.abs() * period;
        state.demand.take(energy.max(0), state.at);

        for phase in 0..settings.phases {
            let wandering = state.voltage_dv[phase].clamp(2_250, 2_380) + random.between(-4, 4);
            let pull = (2_305 - wandering) / 20;
            state.voltage_dv[phase] = wandering + pull;
            if random.happens(period as u64, 40_000) {
                state.sags[phase] += 1;
                state.voltage_dv[phase] = 1_930;
            } else if random.happens(period as u64, 90_000) {
                state.swells[phase] += 1;
                state.voltage_dv[phase] = 2_540;
            }
        }

        let every = settings.dialect.gas_every_seconds();
        // The boiler heats in the first third of each hour, more in the morning and the evening.
        let is_heating = local.minute < 20 || (6..9).contains(&local.hour) && local.minute < 40;
        let gas = if is_heating { random.between(350, 450) } else { 0 };
        state.gas.count(gas * period, state.at, every);
        let water = if random.happens(1, 40) {
            random.between(50, 160)
        } else {
            0
        };
        state.water.count(water * period, state.at, every);
        state
            .heat
            .count(i64::from(is_heating) * 10 * period, state.at, every);
    }
}

impl Iterator for Household {
    type Item = Telegram;

    fn next(&mut self) -> Option<Telegram> {
        Some(self.telegram())
    }
}

/// Tariff by the clock: the night from 23 to 7 and the weekend, and the day. Belgium numbers them the
/// other way round.
fn tariff(at: i64, dialect: Dialect) -> usize {
    let local = calendar::local(at);
    let is_night = !(7..23).contains(&local.hour) || matches!(local.weekday, 0 | 6);
    if is_night != dialect.numbers_day_first() {
        1
    } else {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_settings_give_the_same_telegrams() {
        let settings = Settings::seeded(7, Dialect::Dsmr5);
        let one = Household::new(settings.clone()).telegrams(500);
        assert_eq!(one, Household::new(settings.clone()).telegrams(500));
        let other = Household::new(Settings { seed: 8, ..settings }).telegrams(500);
        assert_ne!(one, other);
    }

    #[test]
    fn registers_only_rise_and_agree_with_the_power_drawn() {
        for seed in 0..20 {
            let mut household = Household::new(Settings::seeded(seed, Dialect::Dsmr5));
            let before = household.state.clone();
            let (mut imported, mut exported) = (0, 0);
            for _ in 0..20_000 {
                let last = household.state.clone();
                household.live();
                let now = &household.state;
                assert!(
                    now.import_ws
                        .iter()
                        .zip(&last.import_ws)
                        .all(|(now, last)| now >= last)
                );
                assert!(
                    now.export_ws
                        .iter()
                        .zip(&last.export_ws)
                        .all(|(now, last)| now >= last)
                );
                assert!(now.gas.reading >= last.gas.reading);
                assert_eq!(now.power_w, now.phase_w.iter().sum::<i64>());
                imported += now.power_w.max(0) * household.settings.period_seconds;
                exported += (-now.power_w).max(0) * household.settings.period_seconds;
            }
            let sum = |ws: &[i64; 2]| ws.iter().sum::<i64>();
            assert_eq!(
                sum(&household.state.import_ws) - sum(&before.import_ws),
                imported,
                "seed {seed}"
            );
            assert_eq!(
                sum(&household.state.export_ws) - sum(&before.export_ws),
                exported,
                "seed {seed}"
            );
        }
    }

    #[test]
    fn a_day_of_a_home_with_panels_imports_exports_switches_tariff_and_burns_gas() {
        let settings = Settings {
            solar_peak_w: 4_800,
            gas_channel: Some(1),
            ..Settings::seeded(1, Dialect::Dsmr5)
        };
        let mut household = Household::new(settings);
        let before = household.state.clone();
        (0..86_400).for_each(|_| household.live());
        let after = &household.state;
        for tariff in 0..2 {
            assert!(
                after.import_ws[tariff] > before.import_ws[tariff],
                "import in tariff {}",
                tariff + 1
            );
        }
        assert!(after.export_ws[1] > before.export_ws[1], "export by day");
        let imported_kwh =
            (after.import_ws.iter().sum::<i64>() - before.import_ws.iter().sum::<i64>()) / 3_600_000;
        assert!((2..60).contains(&imported_kwh), "{imported_kwh} kWh in a day");
        let gas_m3 = (after.gas.reading - before.gas.reading) / 1_000;
        assert!((1..20).contains(&gas_m3), "{gas_m3} m3 of gas in a day");
        assert!(after.demand.peak.1 > 0);
    }
}
