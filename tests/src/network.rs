//! Networks of a test's own: two hosts with a cable between them, each in a network namespace, so that a slow link or
//! an address that does not answer is a real one and nothing outside notices. Needs root and `ip`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

/// The address of the near host on the cable.
pub const NEAR: &str = "10.77.0.1";
/// An address of the network of the cable that takes packets and never answers.
pub const SILENT: &str = "2001:db8::99";

/// Two hosts.
#[derive(Debug)]
pub struct Network {
    near: String,
    far: String,
}

impl Network {
    /// None, and said so, without root: in CI that is a failure.
    pub fn of_its_own(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var_os("CI").is_none(),
                "a network of its own needs root, as CI has it"
            );
            println!("SKIPPED: a network of its own needs root");
            return None;
        }
        let id = std::process::id();
        let network = Self {
            near: format!("sm-{name}-near-{id}"),
            far: format!("sm-{name}-far-{id}"),
        };
        for host in [&network.near, &network.far] {
            ip(&["netns", "add", host]);
            ip(&["-n", host, "link", "set", "lo", "up"]);
        }
        let (near, far) = (&*network.near, &*network.far);
        ip(&[
            "-n", near, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", far,
        ]);
        for (host, address, address_6) in [
            (near, "10.77.0.1/24", "2001:db8::1/64"),
            (far, "10.77.0.2/24", "2001:db8::2/64"),
        ] {
            ip(&["-n", host, "address", "add", address, "dev", "cable"]);
            ip(&["-n", host, "address", "add", address_6, "dev", "cable", "nodad"]);
            ip(&["-n", host, "link", "set", "cable", "up"]);
            // A neighbour that the cable leads to and that is not there.
            ip(&[
                "-n",
                host,
                "neigh",
                "add",
                SILENT,
                "lladdr",
                "02:00:00:00:00:99",
                "dev",
                "cable",
            ]);
        }
        Some(network)
    }

    /// Lets no more through from the far host to the near one.
    pub fn slow_down(&self, rate: &str) {
        ip(&[
            "netns", "exec", &self.far, "tc", "qdisc", "add", "dev", "cable", "root", "tbf", "rate", rate,
            "burst", "3000", "latency", "2s",
        ]);
    }

    /// What both hosts know by name.
    pub fn name(&self, hosts: &str) {
        for host in [&self.near, &self.far] {
            let folder = PathBuf::from("/etc/netns").join(host);
            fs::create_dir_all(&folder).expect("root can make it");
            fs::write(folder.join("hosts"), hosts).expect("root can write it");
        }
    }

    /// Runs this with the near host's network: what it starts and listens on is there.
    pub fn near<T: Send>(&self, test: impl FnOnce() -> T + Send) -> T {
        let namespace = fs::File::open(PathBuf::from("/run/netns").join(&self.near)).expect("it was made");
        thread::scope(|scope| {
            let moved = scope.spawn(move || {
                rustix::thread::move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&namespace),
                    Some(rustix::thread::LinkNameSpaceType::Network),
                )
                .expect("root can move into a network namespace");
                test()
            });
            moved
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// This command on the near host, with the names that it knows.
    pub fn on_near(&self, command: &Command) -> Command {
        on(&self.near, command)
    }

    /// This command on the far host.
    pub fn on_far(&self, command: &Command) -> Command {
        on(&self.far, command)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "delete", host]).status();
            let _ = fs::remove_dir_all(PathBuf::from("/etc/netns").join(host));
        }
    }
}

fn on(host: &str, command: &Command) -> Command {
    let mut there = Command::new("ip");
    there
        .args(["netns", "exec", host])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        there.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => there.env(name, value),
            None => there.env_remove(name),
        };
    }
    there
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("ip: {error}: is iproute2 installed?"));
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
