//! Kamstrup as in Sweden: totals of eight digits, reactive power of each phase, no tariffs, no gas.

use super::super::sheet::Sheet;
use super::super::{Settings, State};
use super::blocks::{self, Number};

pub(super) fn write(settings: &Settings, state: &State) -> Sheet {
    let phases = settings.phases;
    let mut sheet = Sheet::begin("KAM5", state.at);
    sheet.time(state.at);
    blocks::total_registers(&mut sheet, state, 8);
    blocks::reactive_registers(&mut sheet, state, 8, "kVArh");
    blocks::total_power(
        &mut sheet,
        state,
        Number {
            prefix: "1-0",
            digits: 4,
            decimals: 3,
        },
    );
    blocks::reactive_power(&mut sheet, state, 4, "kVAr");
    blocks::phase_power(&mut sheet, state, phases, 4);
    blocks::reactive_phase_power(&mut sheet, state, phases, 4, "kVAr");
    blocks::voltage(&mut sheet, state, phases, 3);
    blocks::current(&mut sheet, state, phases, 3, 1);
    sheet
}
