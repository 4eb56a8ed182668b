//! What draws power in a home: a base load, a fridge that cycles, and appliances that are switched on
//! at hours when people switch them on.

use super::random::Random;

/// The appliances of one home and what is running.
#[derive(Debug, Clone)]
pub struct Appliances {
    phases: usize,
    base_w: i64,
    fridge_seconds: i64,
    running: Vec<Running>,
}

#[derive(Debug, Clone)]
struct Running {
    phase: usize,
    watts: i64,
    seconds_left: i64,
}

/// An appliance: its power, how long it runs, and how often a day it is started in each sixth of the
/// day, in tenths.
struct Appliance {
    watts: (i64, i64),
    seconds: (i64, i64),
    starts_a_day: [u64; 6],
    is_three_phase: bool,
}

/// Sixths of the day: 0 to 4 o'clock, 4 to 8, …
const APPLIANCES: [Appliance; 6] = [
    // A kettle.
    Appliance {
        watts: (1_900, 2_200),
        seconds: (90, 240),
        starts_a_day: [2, 15, 20, 15, 20, 10],
        is_three_phase: false,
    },
    // A cooker.
    Appliance {
        watts: (900, 3_400),
        seconds: (600, 2_400),
        starts_a_day: [0, 3, 4, 4, 14, 2],
        is_three_phase: false,
    },
    // A washing machine heating its water.
    Appliance {
        watts: (1_800, 2_100),
        seconds: (900, 1_500),
        starts_a_day: [1, 2, 5, 4, 3, 2],
        is_three_phase: false,
    },
    // Lights and screens.
    Appliance {
        watts: (20, 180),
        seconds: (1_800, 9_000),
        starts_a_day: [5, 20, 10, 10, 40, 30],
        is_three_phase: false,
    },
    // A toaster or a hair dryer.
    Appliance {
        watts: (700, 1_600),
        seconds: (120, 420),
        starts_a_day: [0, 20, 10, 5, 10, 5],
        is_three_phase: false,
    },
    // A car, where there are three phases to charge it from.
    Appliance {
        watts: (3_600, 3_700),
        seconds: (3_600, 14_400),
        starts_a_day: [2, 0, 1, 1, 3, 3],
        is_three_phase: true,
    },
];

/// Above this no further appliance is switched on: the fuse of a phase is 25 A.
const PHASE_LIMIT_W: i64 = 5_400;

impl Appliances {
    /// A home with this many phases.
    pub fn new(phases: usize, random: &mut Random) -> Self {
        Self {
            phases,
            base_w: random.between(60, 240),
            fridge_seconds: random.between(0, 3_600),
            running: Vec::new(),
        }
    }

    /// Watts drawn on each phase during the next `period` seconds, at this hour.
    pub fn draw(&mut self, hour: i64, period: i64, random: &mut Random) -> [i64; 3] {
        let mut drawn = [0; 3];
        self.fridge_seconds = (self.fridge_seconds + period) % 3_600;
        drawn[0] = self.base_w + if self.fridge_seconds < 1_200 { 85 } else { 0 };
        for running in &self.running {
            drawn[running.phase] += running.watts;
        }
        for appliance in &APPLIANCES {
            let starts = appliance.starts_a_day[(hour / 4) as usize];
            if (appliance.is_three_phase && self.phases != 3)
                || !random.happens(starts * period as u64, 6 * 14_400)
            {
                continue;
            }
            let watts = random.between(appliance.watts.0, appliance.watts.1);
            let seconds_left = random.between(appliance.seconds.0, appliance.seconds.1);
            let first = random.below(self.phases as u64) as usize;
            let phases = if appliance.is_three_phase {
                0..3
            } else {
                first..first + 1
            };
            if phases.clone().all(|phase| drawn[phase] + watts < PHASE_LIMIT_W) {
                self.running.extend(phases.map(|phase| Running {
                    phase,
                    watts,
                    seconds_left,
                }));
            }
        }
        for running in &mut self.running {
            running.seconds_left -= period;
        }
        self.running.retain(|running| running.seconds_left > 0);
        // Nothing in a home draws exactly the same from one second to the next.
        for phase in drawn.iter_mut().take(self.phases) {
            *phase += random.between(0, 3 + *phase / 100);
        }
        drawn
    }
}
