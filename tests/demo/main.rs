//! The demo: a household whose meter sends telegrams, the real `capture` and `publisher` of this source
//! as two processes, a broker, and a subscriber, in a terminal, in half a minute. In the middle the
//! broker goes away for ten seconds; at the end every telegram is counted.
//!
//! It ends with 0 only if no telegram was lost and no reading differs from what the household produced.
//!
//! One `cargo run` builds all of it: the two programs are libraries with a `main` of three lines each, which are
//! linked into the demo too. It starts itself under their names ([`stage::program`]).

#![allow(clippy::print_stderr, reason = "a demo speaks to its terminal")]

mod acts;
mod count;
mod options;
mod screen;
mod stage;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::Parser;
use options::Options;
use screen::Screen;
use shared::exit::Exit;

fn main() -> ExitCode {
    if let Some(code) = stage::as_program() {
        return code;
    }
    let arguments = shared::config::flags::normalize(std::env::args_os());
    let options = match Options::try_parse_from(arguments) {
        Ok(options) => options,
        Err(error) => return Exit::after_clap(error).into(),
    };
    // A panic becomes a sentence below; what unwinding drops ends both programs and removes the folder.
    panic::set_hook(Box::new(|_| {}));
    let mut screen = Screen::of_this_terminal();
    let ending = panic::catch_unwind(AssertUnwindSafe(|| acts::perform(&options, &mut screen)));
    match ending {
        Ok(Ok(acts::Ending::NothingLost)) => ExitCode::SUCCESS,
        Ok(Ok(acts::Ending::SomethingWrong)) => ExitCode::FAILURE,
        Ok(Ok(acts::Ending::Interrupted)) => {
            screen.end_live();
            screen.say("Stopped. Both processes are ended, the scratch folder is removed.");
            ExitCode::from(130)
        }
        Ok(Err(error)) => {
            screen.complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            screen.complain(&format!(
                "the demo itself failed: {}",
                text.unwrap_or("no reason given")
            ));
            ExitCode::FAILURE
        }
    }
}
