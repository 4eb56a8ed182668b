//! Addresses of one host, raced as RFC 8305 (Happy Eyeballs) says: IPv6 and IPv4 in turn, beginning with the
//! family that the resolver put first (section 4), a new attempt a quarter of a second after the last one or as
//! soon as that has failed, and the first connection wins (section 5). The resolver hands out all addresses at
//! once, so there is no resolution delay (section 3).

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

/// RFC 8305, section 5: the recommended delay between two attempts.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the first address that answers within this time. The connection does not block.
///
/// # Errors
/// That of the address that failed last; [`io::ErrorKind::TimedOut`] if one had not answered by then.
pub fn race(addresses: &[SocketAddr], within: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + within;
    let mut waiting = in_turn(addresses).into_iter();
    let mut attempts: Vec<OwnedFd> = Vec::new();
    let mut next_attempt = Instant::now();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let now = Instant::now();
        if attempts.is_empty() || now >= next_attempt {
            match waiting.next().map(begin) {
                Some(Ok(attempt)) => {
                    attempts.push(attempt);
                    next_attempt = now + ATTEMPT_DELAY;
                }
                Some(Err(error)) => {
                    failure = error;
                    continue;
                }
                None if attempts.is_empty() => return Err(failure),
                None => next_attempt = deadline,
            }
        }
        if now >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let wait = next_attempt.min(deadline).saturating_duration_since(now);
        for (position, answer) in answers(&attempts, wait)?.into_iter().rev() {
            let attempt = attempts.remove(position);
            match answer {
                Ok(()) => return Ok(attempt.into()),
                Err(error) => {
                    failure = error.into();
                    next_attempt = Instant::now();
                }
            }
        }
    }
}

/// The addresses with their families in turn.
fn in_turn(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .iter()
        .partition(|address| address.is_ipv6() == is_first_ipv6);
    let longest = first.len().max(second.len());
    let pairs = (0..longest).flat_map(|at| [first.get(at), second.get(at)]);
    pairs.flatten().copied().collect()
}

/// A connection under way, or established if it is on this machine.
fn begin(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let attempt = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&attempt, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(attempt),
        Err(error) => Err(error.into()),
    }
}

/// The attempts that have come to an end within this time, by their position.
fn answers(attempts: &[OwnedFd], wait: Duration) -> io::Result<Vec<(usize, Result<(), Errno>)>> {
    let mut polled: Vec<_> = attempts
        .iter()
        .map(|attempt| PollFd::new(attempt, PollFlags::OUT))
        .collect();
    let timeout = Timespec::try_from(wait).ok();
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let ended = polled.iter().zip(attempts).enumerate();
    let ended = ended.filter(|(_, (polled, _))| !polled.revents().is_empty());
    ended
        .map(|(position, (_, attempt))| Ok((position, sockopt::socket_error(attempt)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::net::{bind, getsockname, listen};

    use super::*;

    /// An address of this machine that takes no connection and refuses none: its queue of connections is full.
    struct Silent {
        address: SocketAddr,
        _listener: OwnedFd,
        _waiting: Vec<OwnedFd>,
    }

    impl Silent {
        fn new(at: &str) -> Self {
            let address: SocketAddr = at.parse().unwrap();
            let family = if address.is_ipv6() {
                AddressFamily::INET6
            } else {
                AddressFamily::INET
            };
            let listener = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
            bind(&listener, &address).unwrap();
            listen(&listener, 0).unwrap();
            let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
            let waiting: Vec<_> = (0..3).map(|_| begin(address).unwrap()).collect();
            Self {
                address,
                _listener: listener,
                _waiting: waiting,
            }
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns_beginning_with_the_one_that_the_resolver_prefers() {
        let [six_1, six_2, six_3] = ["[::1]:1", "[::2]:1", "[::3]:1"].map(address);
        let [four_1, four_2] = ["10.0.0.1:1", "10.0.0.2:1"].map(address);
        assert_eq!(
            in_turn(&[six_1, six_2, six_3, four_1, four_2]),
            [six_1, four_1, six_2, four_2, six_3]
        );
        assert_eq!(in_turn(&[four_1, four_2, six_1]), [four_1, six_1, four_2]);
        assert_eq!(in_turn(&[]), []);
    }

    #[test]
    fn addresses_that_do_not_answer_delay_the_one_that_does_by_a_quarter_of_a_second_each() {
        let silent = [Silent::new("127.0.0.1:0"), Silent::new("127.0.0.2:0")];
        let live = TcpListener::bind("127.0.0.1:0").unwrap();
        let live = live.local_addr().unwrap();
        let began = Instant::now();
        let addresses = [silent[0].address, silent[1].address, live];
        let connection = race(&addresses, Duration::from_secs(10)).unwrap();
        assert_eq!(connection.peer_addr().unwrap(), live);
        let took = began.elapsed();
        assert!(
            took >= 2 * ATTEMPT_DELAY && took < Duration::from_secs(3),
            "{took:?}"
        );
    }

    #[test]
    fn an_address_that_refuses_costs_no_time() {
        let refusing = TcpListener::bind("127.0.0.1:0")
            .and_then(|it| it.local_addr())
            .unwrap();
        let live = TcpListener::bind("127.0.0.1:0").unwrap();
        let live = live.local_addr().unwrap();
        let began = Instant::now();
        let addresses = [vec![refusing; 20], vec![live]].concat();
        assert_eq!(
            race(&addresses, Duration::from_secs(10))
                .unwrap()
                .peer_addr()
                .unwrap(),
            live
        );
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "20 delays would take 5 s"
        );
    }

    #[test]
    fn silence_ends_in_time_and_a_refusal_is_told() {
        let silent = Silent::new("127.0.0.1:0");
        let began = Instant::now();
        let error = race(&[silent.address], Duration::from_millis(400)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < Duration::from_secs(3));
        let refusing = TcpListener::bind("127.0.0.1:0")
            .and_then(|it| it.local_addr())
            .unwrap();
        let error = race(&[refusing], Duration::from_secs(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(race(&[], Duration::from_secs(10)).is_err());
    }
}
