//! Who is at the other end of a Unix socket: the only file that names the crate that asks the kernel.
//!
//! The kernel notes the user when the connection is made (`SO_PEERCRED` of `unix(7)`), so that nothing a peer sends can
//! change it. In a user namespace that does not know the user it is the overflow user, 65534.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// The number of the user at the other end.
///
/// # Errors
/// If the kernel does not tell.
pub fn user(stream: &UnixStream) -> io::Result<u32> {
    Ok(getsockopt(stream.as_raw_fd(), PeerCredentials)?.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_of_a_pair_of_our_own_is_ours() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(user(&one).unwrap(), rustix::process::geteuid().as_raw());
    }
}
