//! The command line of the publisher.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use shared::commands::{self, command};
use shared::config::flags::{Flags, normalize};
use shared::config::{ConfigError, Loaded};
use shared::container;
use shared::exit::Exit;
use shared::moment::Moment;
use shared::privacy;

use crate::replay::{ReplayError, ReplayOptions};
use crate::run::RunError;
use crate::status::{MaxLag, PublisherStatus};

/// Publishes the telegrams that capture has stored to an MQTT broker, without losing one.
///
/// Reads capture's queue through its socket, makes JSON of the telegrams of an interval and delivers
/// it; its place in the queue moves only after the broker's acknowledgement. While the broker is away
/// nothing is lost: it goes on where it was.
#[derive(Debug, Parser)]
#[command(name = "publisher", version, after_help = EXAMPLES, subcommand_value_name = "COMMAND")]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Subcommands>,

    /// With --check: publish an empty array of readings too, and see whether the broker delivers it
    #[arg(long, requires = "check")]
    deliver: bool,

    #[command(flatten)]
    flags: Flags,
}

const EXAMPLES: &str = "\
Examples:
  publisher --config /etc/smartmeter-reader/smartmeter-reader.yml
  publisher --mqtt_address mqtts://broker.lan --check
  publisher replay --from \"2026-11-20 08:00\" --to \"2026-11-20 12:00\"
  publisher status --max-lag 10m

Exit codes: 0 done, 1 a check or an input failed, 64 usage,
75 try again later, 78 configuration";

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Parses, aggregates and delivers until SIGINT or SIGTERM
    ///
    /// This is what publisher does without a command.
    #[command(after_help = "Example:\n  publisher run --config /etc/smartmeter-reader/smartmeter-reader.yml")]
    Run,
    /// Publishes stored intervals again, byte for byte, beside a running publisher
    ///
    /// The publisher's place in the queue is not moved. The range is rounded outwards to whole intervals.
    /// Nothing is retained, and state and availability are left alone. Ends with 0 when the broker has
    /// acknowledged everything; interrupted, it ends with 75 and says where to go on from.
    Replay(ReplayArguments),
    /// Prints the readings of the telegrams in files as one JSON array
    ///
    /// What is not a valid telegram is named on standard error with its position and the reason. Ends with 1
    /// if there is anything of the kind, or no telegram at all in a file.
    Parse(ParseArguments),
    /// Shows how the running publisher is doing: its broker and its lag
    ///
    /// Ends with 1 if no publisher runs, or if the lag is larger than --max-lag.
    Status(StatusArguments),
}

#[derive(Debug, Args)]
#[command(after_help = REPLAY_EXAMPLES)]
struct ReplayArguments {
    /// Begin here, by capture's clock: a time (2026-11-20T08:00:00Z), a local date or time
    /// (2026-11-20, "2026-11-20 08:00"), a span ago (2h, "3 days") or a sequence (#12345)
    #[arg(long, value_name = "FROM", allow_hyphen_values = true)]
    from: String,
    /// End here; the newest telegram without it. A time is itself left out, a sequence is included
    #[arg(long, value_name = "TO", allow_hyphen_values = true)]
    to: Option<String>,
    /// Publish only the readings, on this topic instead of the configured one
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
}

const REPLAY_EXAMPLES: &str = "\
Examples:
  publisher replay --from 2h
  publisher replay --from 2026-11-20 --to 2026-11-21 --topic again
  publisher replay --from \"#12345\"";

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  publisher parse telegram.txt\n  capture export --from 1h | publisher parse -"
)]
struct ParseArguments {
    /// Files that hold telegrams, as a serial port gives them; - is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  publisher status\n  publisher status --json --max-lag 10m   # for a health check"
)]
struct StatusArguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Fail if the lag is larger: a number of telegrams (1000), or the age of the oldest telegram that is
    /// not published yet (10m), beyond send_interval
    #[arg(long, value_name = "LAG")]
    max_lag: Option<MaxLag>,
}

/// Runs what the arguments ask for; the first is the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    privacy::keep_to_itself();
    let line = match commands::parse::<CommandLine>(normalize(arguments)) {
        Ok(line) => line,
        Err(error) => {
            let exit = Exit::after_clap(error);
            container::wait_before(exit, &Flags::default());
            return exit;
        }
    };
    let flags = line.flags.clone();
    let is_service = matches!(line.command, None | Some(Subcommands::Run)) && !flags.check;
    match carry_out(line) {
        Ok(exit) => exit,
        Err(failure) => {
            if is_service {
                // A service's words belong into its log.
                shared::logging::start(false);
                for line in failure.words.lines() {
                    tracing::error!("{line}");
                }
                container::wait_before(failure.exit, &flags);
            } else {
                tell(&failure.words);
            }
            failure.exit
        }
    }
}

/// Words for standard error, and how to end.
struct Failure {
    words: String,
    exit: Exit,
}

impl Failure {
    fn new(exit: Exit, words: impl ToString) -> Self {
        Self {
            words: words.to_string(),
            exit,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Configuration, error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let exit = match error {
            RunError::Settings(_) => Exit::Configuration,
            RunError::System(_) | RunError::Stuck(_) => Exit::TryAgain,
        };
        Self::new(exit, error)
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        let exit = match error {
            ReplayError::Settings(_) => Exit::Configuration,
            ReplayError::Undecryptable { .. } | ReplayError::AnotherQueue(_) => Exit::Failed,
            ReplayError::System(_) | ReplayError::Capture(_) | ReplayError::Stuck(_) => Exit::TryAgain,
        };
        Self::new(exit, error)
    }
}

fn carry_out(line: CommandLine) -> Result<Exit, Failure> {
    let loaded = shared::config::load(&line.flags)?;
    if line.flags.check {
        return crate::check::check(&loaded, line.deliver, &mut io::stdout().lock())
            .map(|()| Exit::Done)
            .map_err(|words| Failure::new(Exit::Failed, words));
    }
    match line.command {
        None | Some(Subcommands::Run) => {
            begin(&loaded);
            Ok(crate::run::run(&loaded.config)?)
        }
        Some(Subcommands::Replay(arguments)) => {
            begin(&loaded);
            replay(&loaded, &arguments)
        }
        Some(Subcommands::Status(arguments)) => status(&loaded, &arguments),
        Some(Subcommands::Parse(arguments)) => parse(&loaded, &arguments.files),
    }
}

/// Starts the log, with what the configuration has to say first.
fn begin(loaded: &Loaded) {
    shared::logging::start(loaded.config.debug);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
}

fn replay(loaded: &Loaded, arguments: &ReplayArguments) -> Result<Exit, Failure> {
    let moment = |text: &str| Moment::parse_now(text).map_err(|error| Failure::new(Exit::Usage, error));
    let topic = arguments.topic.as_deref().map(|topic| {
        shared::config::topic::topic(topic)
            .map_err(|error| Failure::new(Exit::Usage, format!("--topic: `{topic}` {error}")))
    });
    let options = ReplayOptions {
        from: moment(&arguments.from)?,
        to: arguments.to.as_deref().map(moment).transpose()?,
        topic: topic.transpose()?,
    };
    Ok(crate::replay::replay(&loaded.config, &options, io::stderr())?)
}

fn parse(loaded: &Loaded, files: &[PathBuf]) -> Result<Exit, Failure> {
    let (keys, _) = crate::settings::keys(&loaded.config.decryption)
        .map_err(|error| Failure::new(Exit::Configuration, error))?;
    let settings = crate::parse::Settings {
        crc: loaded.config.port.crc,
        keys,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let exit = crate::parse::run(
        files,
        &settings,
        &mut io::stdin().lock(),
        &mut out,
        &mut io::stderr(),
    )?;
    out.flush()?;
    Ok(exit)
}

fn status(loaded: &Loaded, arguments: &StatusArguments) -> Result<Exit, Failure> {
    let config = &loaded.config;
    let status = PublisherStatus::ask(&config.queue.socket, &config.mqtt.consumer, Timestamp::now())
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    let mut out = io::stdout().lock();
    if arguments.json {
        let json = format!("{:#}", status.to_json());
        writeln!(out, "{}", shared::outside::escaped_json(&json))?;
    } else {
        write!(out, "{}", status.to_text())?;
    }
    let send_interval = Duration::from_secs(config.send_interval_seconds.into());
    Ok(if status.is_well(arguments.max_lag, send_interval) {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn tell(words: &str) {
    // Nobody is left to be told where standard error has gone.
    let words = format!("{}: {words}", command("publisher"));
    let _ = writeln!(io::stderr(), "{}", shared::outside::escaped_lines(&words));
}
