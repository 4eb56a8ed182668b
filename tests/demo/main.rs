//! The demo: a household whose meter sends telegrams, the real `capture` and `publisher` of this source
//! as two processes, a broker, and a subscriber, in a terminal, in half a minute. In the middle the
//! broker goes away for ten seconds; at the end every telegram is counted.
//!
//! It ends with 0 only if no telegram was lost and no reading differs from what the household produced.

#![allow(clippy::print_stderr, reason = "a demo speaks to its terminal")]

mod acts;
mod count;
mod options;
mod screen;
mod stage;

use std::process::ExitCode;

use clap::Parser;
use options::Options;
use screen::Screen;

fn main() -> ExitCode {
    let arguments = shared::config::flags::normalize(std::env::args_os());
    let options = Options::parse_from(arguments);
    let mut screen = Screen::of_this_terminal();
    match acts::perform(&options, &mut screen) {
        Ok(acts::Ending::NothingLost) => ExitCode::SUCCESS,
        Ok(acts::Ending::SomethingWrong) => ExitCode::FAILURE,
        Ok(acts::Ending::Interrupted) => {
            screen.say("Stopped. Both processes are ended, the scratch folder is removed.");
            ExitCode::from(130)
        }
        Err(error) => {
            screen.complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
