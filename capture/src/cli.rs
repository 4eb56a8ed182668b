//! The command line: arguments become checked values once, and results become exit codes.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use shared::commands;
use shared::config::flags::{Flags, normalize};
use shared::config::{self, Loaded, duration};
use shared::container;
use shared::exit::Exit;
use shared::logging;
use shared::moment::Moment;
use shared::outside;
use shared::privacy;

use crate::export::{Format, Range, Screen};
use crate::failure::Failure;
use crate::status::Wanted;
use crate::{check, export, forget, import, panics, renew, run, status};

/// Reads a P1 smart meter into a durable queue, and serves that queue on a Unix socket.
///
/// Without a command it runs: it takes every valid telegram from the meter and keeps it until it has been
/// published, and longer for replay.
#[derive(Debug, Parser)]
#[command(name = "capture", version, after_help = EXAMPLES, subcommand_value_name = "COMMAND")]
struct Arguments {
    #[command(flatten)]
    flags: Flags,

    /// If the port is a file: end when all of it is durable
    #[arg(long)]
    once: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reads the meter and serves the queue until SIGINT or SIGTERM
    ///
    /// This is what capture does without a command.
    #[command(after_help = "Example:\n  capture run --usb /dev/ttyUSB0 --queue /var/lib/smartmeter/queue")]
    Run {
        /// If the port is a file: end when all of it is durable
        #[arg(long)]
        once: bool,
    },
    /// Prints stored telegrams, also while capture runs
    ///
    /// FROM and TO are capture's time: RFC 3339, a local date or time (2026-11-20, "2026-11-20 08:00",
    /// 08:00), or a span ago (2h, "3 days"); or # and a sequence. A time TO is itself left out, a sequence
    /// TO is included. Interrupted, it ends with 75 and says where to go on from.
    #[command(after_help = "Examples:\n  capture export --from 2h > last-two-hours.txt\n  \
        capture export --from 2026-11-01 --format jsonl > since-then.jsonl\n  \
        capture export --from '#1000' --to '#1999'")]
    Export {
        /// Begin here; the oldest telegram without it
        #[arg(long, value_name = "FROM", value_parser = Moment::parse_now)]
        from: Option<Moment>,
        /// End here; the newest telegram without it
        #[arg(long, value_name = "TO", value_parser = Moment::parse_now)]
        to: Option<Moment>,
        /// How telegrams are printed
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Takes raw captures and exports into a queue
    ///
    /// What the same file has given already is not taken twice, also when it has grown since. Telegrams of
    /// a raw capture are dated by their own time line.
    #[command(
        after_help = "Examples:\n  capture import --queue ./old-queue 2024.txt 2025.jsonl\n  \
        capture import --append missed.txt\n  \
        capture import --damaged queue/damaged-20261120T080000Z"
    )]
    Import {
        /// Raw captures, or JSON lines as `export --format jsonl` prints them
        #[arg(value_name = "FILE", required_unless_present = "damaged")]
        files: Vec<PathBuf>,
        /// Into the queue of the running capture, through its socket
        #[arg(long)]
        append: bool,
        /// Bring back what is whole in a queue folder that could not be opened
        #[arg(long, value_name = "FOLDER", conflicts_with = "files")]
        damaged: Option<PathBuf>,
    },
    /// Shows how the running capture is doing
    ///
    /// Ends with 1 if capture is not reachable, or if the last telegram is older than --max-age.
    #[command(
        after_help = "Examples:\n  capture status\n  capture status --max-age 1m   # for a health check\n  \
        capture status --rejected     # what a bad cable sends"
    )]
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Fail if the last telegram is older than this, such as 30s or 5m
        #[arg(long, value_name = "AGE", value_parser = parse_duration)]
        max_age: Option<Duration>,
        /// Show also the last few rejected stretches of input as they came
        #[arg(long)]
        rejected: bool,
    },
    /// Removes a consumer that is gone for good
    ///
    /// Telegrams that only it had not committed are no longer kept for it.
    #[command(after_help = "Example:\n  capture forget old-broker")]
    Forget {
        /// Name of the consumer, as `capture status` shows it
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Gives the queue a new identity, after a copy of its folder was put back
    ///
    /// Capture must not be running. From the next telegram on the queue has another identity, so that no Queue and
    /// Sequence name two telegrams. Everything stored stays as it is, and so do the consumers.
    #[command(after_help = "Example:\n  capture renew --queue /var/lib/smartmeter-reader/queue")]
    Renew,
}

const EXAMPLES: &str = "Examples:
  capture --usb /dev/ttyUSB0
  capture --config smartmeter-config.yml --check
  capture --usb file:old-capture.txt --once
  capture status

Exit codes: 0 done, 1 a check or an input failed, 64 usage, 74 storage,
75 try again later, 78 configuration";

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| format!("expected {}", duration::FORM))
}

/// Runs the command line; how the program ends.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    privacy::keep_to_itself();
    panics::keep_quiet_about_the_database();
    // A limit on the size of files (`ulimit -f`) is then an error of the write, and not the end.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let arguments = match commands::parse::<Arguments>(normalize(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let exit = Exit::after_clap(error);
            container::wait_before(exit, &Flags::default());
            return exit;
        }
    };
    let command = arguments.command.unwrap_or(Command::Run { once: false });
    let is_run = matches!(command, Command::Run { .. });
    let done = config::load(&arguments.flags)
        .map_err(Failure::from)
        .and_then(|loaded| {
            logging::start(loaded.config.debug);
            if arguments.flags.check {
                return check::check(&loaded, &mut io::stdout());
            }
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            carry_out(command, arguments.once, &loaded)
        });
    match done {
        Ok(()) => Exit::Done,
        Err(failure) => {
            if is_run && !arguments.flags.check {
                // A service's words belong into its log.
                logging::start(false);
                for line in failure.to_string().lines() {
                    tracing::error!("{line}");
                }
                container::wait_before(failure.exit, &arguments.flags);
            } else {
                let failure = format!("{}: {failure}", commands::command("capture"));
                let _ = writeln!(io::stderr(), "{}", outside::escaped_lines(&failure));
            }
            failure.exit
        }
    }
}

fn carry_out(command: Command, once: bool, loaded: &Loaded) -> Result<(), Failure> {
    let config = &loaded.config;
    let output = &mut io::stdout();
    match command {
        Command::Run { once: also } => run::run(config, once || also),
        Command::Export { from, to, format } => {
            let (range, is_screen) = (Range { from, to }, output.is_terminal());
            match format {
                Format::Raw if is_screen => export::export(config, range, format, Screen(output.lock())),
                _ => export::export(config, range, format, output.lock()),
            }
        }
        Command::Import {
            files,
            append,
            damaged: None,
        } => import::import(config, &files, append, output),
        Command::Import {
            append,
            damaged: Some(folder),
            ..
        } => import::damaged(config, &folder, append, output),
        Command::Status {
            json,
            max_age,
            rejected,
        } => status::status(
            config,
            Wanted {
                is_json: json,
                max_age,
                has_rejected: rejected,
            },
            output,
        ),
        Command::Forget { name } => forget::forget(config, &name, output),
        Command::Renew => renew::renew(config, output),
    }
}
