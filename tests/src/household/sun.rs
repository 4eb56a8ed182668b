//! What solar panels give: a parabola over the day, longer and higher in summer, with clouds that come
//! and go.

use super::calendar::Civil;
use super::random::Random;

#[derive(Debug, Clone)]
pub(crate) struct Sun {
    peak_w: i64,
    /// Thousandths of a clear sky.
    clearness: i64,
}

/// Local sunrise and sunset in minutes of the day and thousandths of the peak at noon, by month, at 52°
/// north.
const DAYS: [(i64, i64, i64); 12] = [
    (525, 1_015, 250),
    (475, 1_075, 400),
    (420, 1_125, 600),
    (410, 1_235, 800),
    (350, 1_285, 920),
    (320, 1_320, 1_000),
    (335, 1_310, 980),
    (380, 1_260, 880),
    (430, 1_190, 720),
    (480, 1_110, 480),
    (470, 1_005, 300),
    (515, 990, 200),
];

impl Sun {
    pub(crate) fn new(peak_w: i64) -> Self {
        Self {
            peak_w,
            clearness: 700,
        }
    }

    /// Watts during the next `period` seconds, at this local time.
    pub(crate) fn shine(&mut self, local: Civil, period: i64, random: &mut Random) -> i64 {
        let drift = 2 * period.min(10);
        self.clearness = (self.clearness + random.between(-drift, drift)).clamp(80, 1_000);
        let (rise, set, noon) = DAYS[(local.month - 1) as usize];
        let since_rise = (local.hour * 60 + local.minute - rise) * 60 + local.second;
        let length = (set - rise) * 60;
        if self.peak_w == 0 || since_rise <= 0 || since_rise >= length {
            return 0;
        }
        let parabola = 4_000 * since_rise * (length - since_rise) / (length * length);
        self.peak_w * noon / 1_000 * parabola / 1_000 * self.clearness / 1_000
    }
}
