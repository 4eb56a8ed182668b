//! The intake thread: opens the port, reads it, cuts it, hands on what is whole; opens it again when it is
//! gone. One log line per change of state.

use std::time::Duration;

use shared::backoff::Backoff;
use shared::config::{PortAddress, PortConfig};
use shared::outside;
use shared::rate::Rate;
use shared::telegram::assembler::{Assembler, Check, Found, Rejected, Telegram};
use shared::telegram::{identification, seven_bit};
use tracing::{debug, info, warn};

use super::budget::{Budget, Change, RATE_BYTES};
use super::ledger::Ledger;
use super::outages::Outages;
use super::rejections::Rejections;
use super::{AcceptedTelegram, Arrived, Memory, NobodyTakes, Take, WAITING};
use crate::clock;
use crate::port::line_search::{BURST_OVER, LineSearch, SILENCE};
use crate::port::pacing::Pacing;
use crate::port::stop::Stop;
use crate::port::trouble::Trouble;
use crate::port::{Came, Line, Port};

/// Several periods of the slowest meter.
const TCP_SILENCE: Duration = Duration::from_secs(60);

/// The delays before a port is opened again. An adapter that is plugged in is seen within seconds.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// More than the kernel keeps of a serial line, and a good piece of a file.
const BUFFER_BYTES: usize = 16 * 1024;

/// Why reading one open port ended.
enum End {
    /// Capture is to stop, or nobody takes telegrams any more.
    Stopped,
    /// Everything was read.
    OfFile,
    /// Open it again.
    Trouble(Trouble),
}

/// Everything that the intake thread owns.
pub(super) struct Reader {
    port: PortConfig,
    take: Take,
    ledger: Ledger,
    stop: Stop,
    /// How long a TCP connection may say nothing before it is made anew.
    tcp_silence: Duration,
    assembler: Assembler,
    found: Vec<Found>,
    search: LineSearch,
    pacing: Pacing,
    /// Kept over connections, so that one that is made again has no more.
    budget: Budget,
    /// How often a peer that sends fast, then slowly, makes a line.
    fast_peers: Rate,
    /// Whether it was said that the peer is fast.
    is_told_fast: bool,
    rejections: Rejections,
    memory: Memory,
    /// The identification line of the last telegram.
    meter: Option<Vec<u8>>,
    /// What was said to be wrong with the port, so that it is not said again.
    outages: Outages,
    /// How often a peer that sends under many names makes a line.
    other_meters: Rate,
    /// Since the port was opened, or its line set, nothing has been decided yet: what comes first is the
    /// tail of a telegram, and no fault.
    is_at_start: bool,
    /// Since the port was opened a telegram has come.
    is_proven: bool,
}

impl Reader {
    pub(super) fn new(port: PortConfig, memory: Memory, take: Take, ledger: Ledger, stop: Stop) -> Self {
        Self {
            assembler: Assembler::new(port.crc, memory.meters_with_crc.clone()),
            search: LineSearch::new(port.line, memory.line),
            found: Vec::new(),
            pacing: Pacing::default(),
            budget: Budget::new(clock::uptime()),
            fast_peers: Rate::new(1),
            is_told_fast: false,
            rejections: Rejections::default(),
            meter: None,
            tcp_silence: TCP_SILENCE,
            outages: Outages::default(),
            other_meters: Rate::new(1),
            is_at_start: true,
            is_proven: false,
            port,
            take,
            ledger,
            stop,
            memory,
        }
    }

    pub(super) fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        while !self.stop.is_asked() {
            let trouble = match Port::open(&self.port.address, self.search.line(), &self.stop) {
                Ok(mut port) => {
                    self.opened();
                    let end = self.read(&mut port);
                    if self.is_proven {
                        backoff.reset();
                    }
                    match end {
                        End::Stopped => break,
                        End::OfFile => return self.ended(),
                        End::Trouble(trouble) => trouble,
                    }
                }
                Err(trouble) => trouble,
            };
            if self.stop.is_asked() {
                break;
            }
            if self.has_end() {
                return self.unreadable(&trouble);
            }
            self.say(&trouble);
            let random = clock::uptime().subsec_nanos().wrapping_mul(2_654_435_761);
            self.stop.wait(backoff.next_delay(random));
        }
        self.ledger.port_is("closed".to_owned());
    }

    /// Reads an open port until something ends that.
    fn read(&mut self, port: &mut Port) -> End {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut silence = Silence::begin();
        let end = loop {
            if self.stop.is_asked() {
                break End::Stopped;
            }
            let longest = match self.allowance(port) {
                Ok(longest) => longest.min(BUFFER_BYTES),
                Err(pause) => {
                    self.stop.wait(pause);
                    continue;
                }
            };
            let buffer = buffer.get_mut(..longest).unwrap_or_default();
            let pause = if self.paces() {
                self.pacing.pause(clock::uptime())
            } else {
                Duration::ZERO
            };
            let came = if pause > Duration::ZERO && !self.stop.wait(pause) {
                port.read_now(buffer)
            } else {
                port.read(buffer, self.next_wait(silence.lasted), &self.stop)
            };
            let line = match came {
                Ok(Came::Bytes(bytes)) => {
                    let before = silence.go_on();
                    // Where nobody woke up for the end of a telegram's burst, it is noticed now.
                    if self.search.is_burst_told() && silence.lasted >= BURST_OVER {
                        let _ = self.silent(before, silence.lasted);
                    }
                    silence = Silence::begin();
                    if matches!(port, Port::Tcp(_)) {
                        self.spend(bytes);
                    }
                    match self.take(buffer.get(..bytes).unwrap_or_default()) {
                        Ok(line) => line,
                        Err(NobodyTakes) => break End::Stopped,
                    }
                }
                Ok(Came::Nothing) => {
                    let before = silence.go_on();
                    if matches!(port, Port::Tcp(_)) && silence.lasted >= self.tcp_silence {
                        break End::Trouble(Trouble::Silent {
                            seconds: self.tcp_silence.as_secs(),
                        });
                    }
                    self.silent(before, silence.lasted)
                }
                Ok(Came::End) if self.has_end() => {
                    self.assembler.finish(&mut self.found);
                    break End::OfFile;
                }
                Ok(Came::End) => break End::Trouble(Trouble::Closed),
                Err(trouble) => break End::Trouble(trouble),
            };
            if let Some(line) = line {
                if let Err(trouble) = self.set_line(port, line) {
                    break End::Trouble(trouble);
                }
                silence = Silence::begin();
            }
        };
        // Where reading a file is stopped, what is pending is whole there at the next start.
        if !matches!(self.port.address, PortAddress::File(_)) {
            self.assembler.interrupt(&mut self.found);
        }
        self.pacing.forget();
        match self.hand_on() {
            Ok(_) => end,
            Err(NobodyTakes) => End::Stopped,
        }
    }

    /// How many bytes may be read now; if none, how long that is to be waited for.
    fn allowance(&mut self, port: &Port) -> Result<usize, Duration> {
        match port {
            Port::Tcp(_) => self.budget.allowance(clock::uptime()),
            _ => Ok(BUFFER_BYTES),
        }
    }

    /// So many bytes came over TCP.
    fn spend(&mut self, bytes: usize) {
        let Some(change) = self.budget.read(bytes) else {
            return;
        };
        self.ledger.port_is(self.open_state());
        let address = &self.port.address;
        match change {
            Change::UsedUp => {
                if let Some(more) = self.fast_peers.say(clock::uptime()) {
                    self.is_told_fast = true;
                    warn!(
                        "{address} sends faster than any meter: it is read at {} KiB a second from now on, and waits \
                         meanwhile{more}",
                        RATE_BYTES / 1024
                    );
                }
            }
            Change::Recovered if std::mem::take(&mut self.is_told_fast) => {
                info!("{address} sends as slowly as a meter again");
            }
            Change::Recovered => {}
        }
    }

    /// A file and standard input are read once.
    fn has_end(&self) -> bool {
        matches!(self.port.address, PortAddress::File(_) | PortAddress::Stdin)
    }

    /// Only a real serial line trickles.
    fn paces(&self) -> bool {
        matches!(self.port.address, PortAddress::Serial(_))
    }

    /// How long to wait for bytes: until the next thing that silence decides.
    fn next_wait(&self, silence: Duration) -> Duration {
        let next = match self.port.address {
            PortAddress::Serial(_) if silence < BURST_OVER && !self.search.is_burst_told() => BURST_OVER,
            PortAddress::Serial(_) if !self.search.is_settled() && silence < SILENCE => SILENCE,
            PortAddress::Tcp { .. } => self.tcp_silence,
            _ => return Duration::from_secs(60),
        };
        // A millisecond more, so that it has passed by any rounding.
        next.saturating_sub(silence) + Duration::from_millis(1)
    }

    /// Nothing has come for `silence`, where it was `before` at the last look. The line's setting to use
    /// from now on, where it is another.
    fn silent(&mut self, before: Duration, silence: Duration) -> Option<Line> {
        let reached = |mark: Duration| before < mark && silence >= mark;
        if !self.paces() {
            None
        } else if reached(BURST_OVER) {
            self.pacing.paused();
            self.search.burst_over()
        } else if reached(SILENCE) {
            self.search.silence()
        } else {
            None
        }
    }

    /// Bytes came. The line's setting to use from now on, where it is another.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<Line>, NobodyTakes> {
        self.assembler.push(bytes, &mut self.found);
        let telegrams = self.hand_on()?;
        if !self.paces() {
            return Ok(None);
        }
        self.pacing.received(clock::uptime(), bytes.len(), telegrams > 0);
        Ok(self.search.bytes(bytes))
    }

    /// Hands on what was found, and gives how many telegrams that was.
    fn hand_on(&mut self) -> Result<usize, NobodyTakes> {
        let mut telegrams = 0;
        for found in std::mem::take(&mut self.found) {
            match found {
                Found::Telegram(telegram) => {
                    telegrams += 1;
                    self.accept(telegram)?;
                }
                Found::Rejected(rejected) => self.reject(&rejected),
            }
            self.is_at_start = false;
        }
        Ok(telegrams)
    }

    fn accept(&mut self, telegram: Telegram) -> Result<(), NobodyTakes> {
        let (captured_at_us, uptime) = (clock::now_us(), clock::uptime());
        let Telegram { bytes, check, .. } = telegram;
        debug!("telegram of {} bytes ({check:?}): {}", bytes.len(), shown(&bytes));
        self.works();
        self.rejections.accepted();
        let is_new_setting = self.search.telegram();
        self.introduce(&bytes, check);
        if is_new_setting && self.paces() {
            info!("the line of {} is {}", self.port.address, self.search.line());
            self.ledger.port_is(self.open_state());
        }
        let uptime_us = u64::try_from(uptime.as_micros()).unwrap_or(u64::MAX);
        self.send(Arrived::Telegram(AcceptedTelegram {
            captured_at_us,
            uptime_us,
            telegram: bytes,
        }))?;
        self.ledger.accepted(uptime);
        let line = if self.paces() {
            Some(self.search.line())
        } else {
            self.memory.line
        };
        if line != self.memory.line || self.assembler.meters_with_crc() != &self.memory.meters_with_crc {
            self.memory = Memory {
                line,
                meters_with_crc: self.assembler.meters_with_crc().clone(),
            };
            self.send(Arrived::Learnt(self.memory.clone()))?;
        }
        Ok(())
    }

    /// One line for the first telegram, and for the first of another meter.
    fn introduce(&mut self, telegram: &[u8], check: Check) {
        // A frame says nothing of its meter but the system title.
        let key = match check {
            Check::EncryptedFrame => telegram.get(2..10).unwrap_or_default().to_vec(),
            _ => identification::key(telegram),
        };
        if self.meter.as_ref() == Some(&key) {
            return;
        }
        let how = match check {
            Check::Arc => "with a CRC",
            Check::X25 => "with a CRC of the kind X-25",
            Check::None => "without a CRC",
            Check::EncryptedFrame => "encrypted: the publisher needs its key",
        };
        let is_first = self.meter.is_none();
        let key = self.meter.insert(key);
        let from = outside::quoted(&shown(key));
        if is_first {
            info!("first telegram, from {from}, {how}");
        } else if let Some(more) = self.other_meters.say(clock::uptime()) {
            info!("first telegram of another meter, from {from}, {how}{more}");
        }
    }

    fn reject(&mut self, rejected: &Rejected) {
        let first: Vec<u8> = rejected.bytes.iter().copied().take(96).collect();
        debug!(
            "rejected {} bytes at {}: {}: {}",
            rejected.length,
            rejected.position,
            rejected.reason,
            shown(&first)
        );
        self.ledger.rejected(rejected, clock::now_us());
        // Where reading began in the middle of a telegram, nothing is wrong; while the line's setting is
        // looked for, that is said below.
        if self.is_at_start {
            return;
        }
        if let Some(line) = self
            .rejections
            .rejected(&rejected.reason, rejected.meaning(), clock::uptime())
        {
            warn!("{}: {line}", self.port.address);
        }
    }

    fn send(&mut self, arrived: Arrived) -> Result<(), NobodyTakes> {
        (self.take)(arrived)
    }

    fn set_line(&mut self, port: &mut Port, line: Line) -> Result<(), Trouble> {
        debug!("no telegram from {}: trying {line}", self.port.address);
        // What is pending came at the other setting. It goes out with what comes next.
        self.assembler.interrupt(&mut self.found);
        self.is_at_start = true;
        if let Port::Serial(port) = port {
            port.set_line(line)?;
        }
        self.ledger.port_is(self.open_state());
        Ok(())
    }

    fn open_state(&self) -> String {
        match &self.port.address {
            PortAddress::Serial(_) if self.search.is_settled() => format!("open at {}", self.search.line()),
            PortAddress::Serial(_) => format!("open, trying {}: no telegram yet", self.search.line()),
            PortAddress::Tcp { .. } if self.budget.is_used_up() => {
                "connected, sends faster than any meter".to_owned()
            }
            PortAddress::Tcp { .. } => "connected".to_owned(),
            PortAddress::File(_) | PortAddress::Stdin => "being read".to_owned(),
        }
    }

    fn opened(&mut self) {
        let state = self.open_state();
        debug!("{}: {state}", self.port.address);
        self.ledger.port_is(state);
        self.is_at_start = true;
        self.is_proven = false;
    }

    /// A telegram came. A port that opens and says nothing, or something else (as a terminal server does
    /// whose line is in use), has not been mended yet.
    fn works(&mut self) {
        self.is_proven = true;
        if self.outages.works(clock::uptime()) {
            info!("{} works again: {}", self.port.address, self.open_state());
        }
    }

    fn ended(&mut self) {
        info!("{} has been read to its end", self.port.address);
        self.ledger.port_is("read to its end".to_owned());
        // Nobody is left to tell where this fails.
        let _ = self.send(Arrived::Ended);
    }

    fn unreadable(&mut self, trouble: &Trouble) {
        warn!("{trouble}");
        self.ledger.port_is(trouble.to_string());
        // Nobody is left to tell where this fails.
        let _ = self.send(Arrived::Unreadable(trouble.to_string()));
    }

    /// Says what is wrong, if that is news.
    fn say(&mut self, trouble: &Trouble) {
        let words = trouble.to_string();
        self.ledger.port_is(format!("{WAITING}{words}"));
        if let Some(line) = self.outages.failed(&words, clock::uptime()) {
            let address = self.port.address.to_string();
            // Most say which port it is.
            let which = if words.contains(&address) {
                String::new()
            } else {
                format!("{address}: ")
            };
            warn!("{which}{line}");
        }
    }
}

/// How long nothing has come.
struct Silence {
    since: Duration,
    lasted: Duration,
}

impl Silence {
    fn begin() -> Self {
        Self {
            since: clock::uptime(),
            lasted: Duration::ZERO,
        }
    }

    /// Looks at the clock, and gives how long it had lasted at the last look.
    fn go_on(&mut self) -> Duration {
        std::mem::replace(&mut self.lasted, clock::uptime().saturating_sub(self.since))
    }
}

/// Bytes for a log line: text as it is, everything else as an escape.
fn shown(bytes: &[u8]) -> String {
    seven_bit::stripped(bytes)
        .iter()
        .map(|&byte| match byte {
            b' '..=b'~' => char::from(byte).to_string(),
            _ => byte.escape_ascii().to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use shared::config::{CrcPolicy, SerialSetting};

    use super::*;

    #[test]
    fn log_lines_show_text_as_it_is_and_no_control_characters() {
        assert_eq!(
            shown(b"/ISK5\\2M\x02\xab\r\n\x1b[2J"),
            "/ISK5\\2M\\x02\\xab\\r\\n\\x1b[2J"
        );
    }

    #[test]
    fn a_connection_that_stands_and_says_nothing_is_made_anew_again_and_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = PortAddress::Tcp {
            host: "127.0.0.1".to_owned(),
            port,
        };
        let config = PortConfig {
            address,
            line: SerialSetting::Auto,
            crc: CrcPolicy::Auto,
        };
        let (ledger, stop) = (Ledger::new(String::new()), Stop::new().unwrap());
        let mut reader = Reader::new(
            config,
            Memory::default(),
            Box::new(|_| Ok(())),
            ledger.clone(),
            stop.clone(),
        );
        reader.tcp_silence = Duration::from_millis(50);
        let running = std::thread::spawn(move || reader.run());
        for _ in 0..3 {
            let (mut peer, _) = listener.accept().unwrap();
            assert_eq!(
                peer.read(&mut [0]).unwrap(),
                0,
                "it says nothing either, and closes"
            );
        }
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while !ledger.status().port_state.contains("nothing came for") {
            assert!(std::time::Instant::now() < until, "{:?}", ledger.status());
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.ask();
        running.join().unwrap();
    }
}
