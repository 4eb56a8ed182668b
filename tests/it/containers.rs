//! The images and compositions in a real engine, as a user would run them. They need one, the images,
//! and root to look into the containers from outside: `tests/containers` sees to that and runs these.
//!
//! * [`images`]: what an image promises, whatever runs in it.
//! * [`hardening`]: what a container may not do, whatever meter it reads.
//! * [`delivery`]: nothing is lost while containers and the broker are stopped, killed and made anew.
//! * [`upgrading`]: a new image goes on with an old volume, an old one leaves a newer volume alone.
//! * [`mistakes`]: what a user gets wrong is said, once, in the log.
//! * [`secrets`]: the broker's password comes as a secret and shows nowhere; keys are the publisher's only.
//! * [`house`]: a broker that is opened to the house asks for a password, or does not start.
//! * [`files`]: what the files themselves must agree on; needs no engine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::deadline::{SOON, wait_for};
use tests::folder::Folder;
use tests::ports;
use tests::process::{Process, Ran, run};
use tests::subscriber::Subscriber;

/// Long enough for an engine to make, start or stop containers on a busy machine.
const A_WHILE: Duration = Duration::from_secs(120);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn docker(arguments: &[&str]) -> Ran {
    run(Command::new("docker").args(arguments), b"", A_WHILE)
}

/// The user that a program's container runs as.
fn user(program: &str) -> u32 {
    match program {
        "capture" => 65532,
        "publisher" => 65533,
        _ => panic!("{program} is none of the two programs"),
    }
}

/// The group of both, which may open the socket.
const GROUP: u32 = 65532;

fn inspect(name: &str) -> Value {
    docker(&["inspect", name]).done().json()[0].clone()
}

/// Stops a container as `docker stop` does, and tells how long it took and its exit code.
fn stop(id: &str) -> (Duration, i64) {
    let begun = jiff::Timestamp::now();
    docker(&["stop", "-t", "10", id]).done();
    let state = inspect(id)["State"].clone();
    let ended: jiff::Timestamp = state["FinishedAt"].as_str().unwrap().parse().unwrap();
    (
        ended.duration_since(begun).unsigned_abs(),
        state["ExitCode"].as_i64().unwrap(),
    )
}

/// Lays out a folder with what the composition needs of the project, as a user has it, and gives the composition's
/// file. A configuration is put beside the example where there is one.
fn laid_out(folder: &Folder, configuration: Option<&str>) -> PathBuf {
    for place in ["compose", "config"] {
        fs::create_dir(folder.join(place)).unwrap();
    }
    for name in [
        "compose/docker-compose.yml",
        "compose/docker-compose.override.example.yml",
        "compose/demo.yml",
        "compose/mosquitto.conf",
        "compose/mosquitto.sh",
        "config/smartmeter-reader.example.yml",
    ] {
        fs::copy(root().join(name), folder.join(name)).unwrap();
    }
    if let Some(text) = configuration {
        folder.write("config/smartmeter-reader.yml", text);
    }
    folder.join("compose/docker-compose.yml")
}

/// A composition under a name of its own, taken down with its volumes at the end.
struct Composition {
    name: String,
    files: Vec<PathBuf>,
    /// The broker's port on this machine.
    port: u16,
    _folder: Folder,
}

impl Composition {
    /// Brings up `compose/<file>` for each, and over them what `further` says in compose's language.
    fn up(files: &[&str], further: &str) -> Self {
        Self::up_with(files, further, |_| {})
    }

    fn up_with(files: &[&str], further: &str, prepare: impl FnOnce(&Folder)) -> Self {
        let composition = Self::new(files, further, prepare);
        composition.compose(&["up", "-d", "--no-build"]).done();
        composition
    }

    /// Brings up the broker first, so that the subscriber hears the first message.
    fn up_and_subscribe(
        files: &[&str],
        further: &str,
        filter: &str,
        prepare: impl FnOnce(&Folder),
    ) -> (Self, Subscriber) {
        let composition = Self::new(files, further, prepare);
        composition
            .compose(&["up", "-d", "--no-build", "mosquitto"])
            .done();
        let subscriber = Subscriber::start(composition.port, filter);
        composition.compose(&["up", "-d", "--no-build"]).done();
        (composition, subscriber)
    }

    fn new(files: &[&str], further: &str, prepare: impl FnOnce(&Folder)) -> Self {
        let port = ports::free();
        let folder = Folder::new();
        prepare(&folder);
        let mut files: Vec<PathBuf> = files
            .iter()
            .map(|file| root().join("compose").join(file))
            .collect();
        if !further.is_empty() {
            let further = further.replace("FOLDER", &folder.path().display().to_string());
            files.push(folder.write("test.yml", further));
        }
        Self {
            name: format!("smartmeter-test-{port}"),
            files,
            port,
            _folder: folder,
        }
    }

    /// `docker compose`, or its predecessor where that is what there is.
    fn compose(&self, arguments: &[&str]) -> Ran {
        let program = std::env::var("SMARTMETER_COMPOSE").unwrap_or_else(|_| "docker compose".to_owned());
        let mut words = program.split_whitespace();
        let mut command = Command::new(words.next().expect("SMARTMETER_COMPOSE names a program"));
        command.args(words).args(["-p", &self.name]);
        for file in &self.files {
            command.arg("-f").arg(file);
        }
        command
            .args(arguments)
            .env("MQTT_PORT", self.port.to_string())
            .env("P1_DEVICE", "/dev/null");
        run(&mut command, b"", A_WHILE)
    }

    /// The identity of a service's container.
    fn container(&self, service: &str) -> String {
        let id = self
            .compose(&["ps", "-q", service])
            .done()
            .text()
            .trim()
            .to_owned();
        assert!(!id.is_empty(), "{service} has no container");
        id
    }

    fn inspect(&self, service: &str) -> Value {
        inspect(&self.container(service))
    }

    /// The process that runs in a service's container, as this machine numbers it.
    fn process(&self, service: &str) -> u64 {
        let id = self.container(service);
        wait_for(&format!("{service} to run"), A_WHILE, || {
            let state = inspect(&id)["State"].clone();
            match state["Pid"].as_u64() {
                Some(pid) if pid != 0 && state["Running"] == true => Ok(pid),
                _ => Err(format!("{state}\n{}", self.said(service))),
            }
        })
    }

    /// Runs a program in a service's container.
    fn exec(&self, service: &str, arguments: &[&str]) -> Ran {
        docker(&[&["exec", &self.container(service)], arguments].concat())
    }

    fn said(&self, service: &str) -> String {
        let ran = docker(&["logs", &self.container(service)]);
        format!("{}{}", ran.text(), ran.errors)
    }

    fn capture_status(&self) -> Result<Value, String> {
        let ran = self.exec("capture", &["/usr/local/bin/capture", "status", "--json"]);
        serde_json::from_slice(&ran.output).map_err(|_| format!("{}\n{}", ran.errors, self.said("capture")))
    }

    /// Highest durable sequence.
    fn head(&self) -> u64 {
        wait_for("capture's status", A_WHILE, || {
            let status = self.capture_status()?;
            status["head"].as_u64().ok_or_else(|| status.to_string())
        })
    }
}

impl Drop for Composition {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for service in ["capture", "publisher", "mosquitto"] {
                let logs = self.compose(&["logs", "--no-color", "--tail", "40", service]);
                println!("--- {service}\n{}{}", logs.text(), logs.errors);
            }
        }
        self.compose(&["down", "-v", "--remove-orphans", "-t", "5"]);
    }
}

mod images {
    use super::*;

    const IMAGES: [&str; 2] = ["capture", "publisher"];

    fn image(program: &str) -> Value {
        inspect(&format!("smartmeter-{program}"))
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn an_image_is_small_not_root_and_makes_no_volume_of_its_configuration() {
        for program in IMAGES {
            let image = image(program);
            let size = image["Size"].as_u64().unwrap();
            assert!(size < 40_000_000, "{program} takes {size} bytes");
            let config = &image["Config"];
            assert_eq!(config["User"], format!("{}:{GROUP}", user(program)), "{program}");
            assert!(
                config["Volumes"].get("/config").is_none(),
                "{program}: {}",
                config["Volumes"]
            );
            let check = config["Healthcheck"]["Test"].to_string();
            let wanted = format!("[\"CMD\",\"/usr/local/bin/{program}\",\"status\"");
            assert!(
                check.starts_with(&wanted),
                "{program}'s health is told by {check}"
            );
            for label in ["title", "description", "licenses", "version", "source"] {
                let label = format!("org.opencontainers.image.{label}");
                assert!(
                    config["Labels"][&label]
                        .as_str()
                        .is_some_and(|text| !text.is_empty()),
                    "{program}: {label}"
                );
            }
        }
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn the_authorities_of_the_web_are_in_the_image() {
        let container = docker(&["create", "smartmeter-publisher"]).done().text();
        let copied = docker(&[
            "cp",
            "-L",
            &format!("{}:/etc/ssl/certs/ca-certificates.crt", container.trim()),
            "-",
        ]);
        docker(&["rm", "-f", "-v", container.trim()]).done();
        assert!(copied.done().text().contains("BEGIN CERTIFICATE"));
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn command_lines_of_the_go_images_users_work() {
        let folder = Folder::new();
        folder.write(
            "smartmeter-reader.yml",
            "usb: file:-\nmqtt:\n  topic: \"dev.sample.topic\"\n",
        );
        let config = format!("{}:/config:ro", folder.path().display());
        let check = |program: &str, arguments: &[&str]| {
            let image = format!("smartmeter-{program}");
            let begin = ["run", "--rm", "--network", "none", "-v", &config, &image];
            docker(&[&begin, arguments].concat())
        };
        for program in IMAGES {
            for arguments in [
                &[
                    "-config",
                    "/config/smartmeter-reader.yml",
                    "-interval",
                    "7",
                    "-check",
                ][..],
                &["-config=/config/smartmeter-reader.yml", "-interval=7", "-check"],
                &["-config /config/smartmeter-reader.yml -interval 7 -check"],
                &["-interval 7", "-check"],
                &["-interval", "7", "-check"],
                &["-interval 7 -mqtt_address mqtt.example:1883 -debug -check"],
            ] {
                let ran = check(program, arguments);
                let listing = ran.text();
                let has = |value: &str| {
                    let mut lines = listing.lines().map(str::trim);
                    lines.any(|line| line.starts_with(value) && line.contains("# flag"))
                };
                assert!(
                    has("send_interval: 7") && listing.contains("/config/smartmeter-reader.yml"),
                    "{program} {arguments:?}: {listing}{}",
                    ran.errors
                );
                if arguments[0].contains("-debug") {
                    assert!(
                        has("address: mqtt.example:1883") && has("debug: true"),
                        "{program} {arguments:?}: {listing}"
                    );
                }
            }
        }
        let missing = docker(&["run", "--rm", "smartmeter-capture", "-config", "/config/none.yml"]);
        assert_eq!(missing.code, Some(78), "{}", missing.errors);
        let usage = docker(&["run", "--rm", "smartmeter-capture", "-no_such_flag"]);
        assert_eq!(usage.code, Some(64), "{}", usage.errors);
    }

    /// Also alone, each without the other, they do nothing but wait.
    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn without_an_argument_they_run_with_the_file_in_config_and_stop_within_a_second() {
        let folder = Folder::new();
        folder.write("smartmeter-reader.yml", "usb: tcp://127.0.0.1:1\n");
        let config = format!("{}:/config:ro", folder.path().display());
        for (program, words) in [
            ("capture", "port tcp://127.0.0.1:1"),
            ("publisher", "/run/smartmeter-reader/queue.sock"),
        ] {
            let image = format!("smartmeter-{program}");
            let id = docker(&["run", "-d", "-v", &config, &image]).done().text();
            let id = id.trim();
            wait_for(&format!("{program} to run"), A_WHILE, || {
                let said = docker(&["logs", id]).errors;
                if said.contains(words) { Ok(()) } else { Err(said) }
            });
            let (took, code) = stop(id);
            docker(&["rm", "-f", "-v", id]).done();
            assert_eq!(code, 0, "{program}");
            assert!(took < Duration::from_secs(1), "{program} took {took:?} to stop");
        }
    }
}

mod hardening {
    use super::*;

    /// A field of `/proc/PID/status`.
    fn status_field(pid: u64, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap_or_else(|| panic!("no {field} in {status}"))
            .trim()
            .to_owned()
    }

    fn assert_confined(composition: &Composition, service: &str) {
        let pid = composition.process(service);
        for field in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
            assert_eq!(status_field(pid, field), "0000000000000000", "{service}: {field}");
        }
        assert_eq!(status_field(pid, "NoNewPrivs"), "1", "{service}");
        for (field, expected) in [("Uid", user(service)), ("Gid", GROUP)] {
            let ids = status_field(pid, field);
            assert!(
                ids.split_whitespace().all(|id| id == expected.to_string()),
                "{service}: {field} {ids}"
            );
        }

        // As root, which no permission stops: only that the file system is read-only does.
        for place in ["", "etc", "usr/local/bin", "tmp"] {
            let path = format!("/proc/{pid}/root/{place}/written");
            let error = fs::write(&path, "").expect_err(&path);
            let is_stopped = matches!(
                error.kind(),
                std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::NotFound
            );
            assert!(is_stopped, "{service}: {path}: {error}");
        }
        let host = &composition.inspect(service)["HostConfig"];
        assert_eq!(host["ReadonlyRootfs"], true, "{service}");
        assert_eq!(host["Privileged"], false, "{service}");
        assert!(
            host["Memory"].as_u64().is_some_and(|bytes| bytes > 0),
            "{service} has no memory limit"
        );
        assert!(
            host["PidsLimit"].as_i64().is_some_and(|count| count > 0),
            "{service} has no limit of processes"
        );
        assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped", "{service}");
        let logs = &host["LogConfig"];
        assert_eq!(logs["Type"], "json-file", "{service}");
        for bound in ["max-size", "max-file"] {
            assert!(
                logs["Config"][bound].is_string(),
                "{service} keeps logs without end"
            );
        }
    }

    /// The network interfaces that a process sees.
    fn interfaces(pid: u64) -> Vec<String> {
        let table = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
        table
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim().to_owned())
            .collect()
    }

    /// Where something is mounted, and whether it may be written to.
    fn mounts(pid: u64) -> BTreeMap<String, bool> {
        let table = fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
        let mount = |line: &str| {
            let fields: Vec<&str> = line.split(' ').collect();
            (
                fields[1].to_owned(),
                fields[3].split(',').any(|option| option == "rw"),
            )
        };
        table.lines().map(mount).collect()
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn with_a_serial_meter_each_container_has_what_it_needs_and_no_more() {
        let composition = Composition::up(&["docker-compose.yml"], "");
        for service in ["capture", "publisher"] {
            assert_confined(&composition, service);
        }

        let capture = composition.process("capture");
        assert_eq!(interfaces(capture), ["lo"], "capture has no network");
        assert_eq!(
            composition.inspect("capture")["HostConfig"]["NetworkMode"],
            "none"
        );
        let devices = composition.inspect("capture")["HostConfig"]["Devices"].clone();
        assert_eq!(devices.as_array().map(Vec::len), Some(1), "{devices}");

        let publisher = composition.process("publisher");
        let devices = composition.inspect("publisher")["HostConfig"]["Devices"].clone();
        assert!(devices.as_array().is_none_or(Vec::is_empty), "{devices}");
        let mounts = mounts(publisher);
        assert!(
            !mounts.keys().any(|place| place.starts_with("/queue")),
            "{mounts:?}"
        );
        assert!(!Path::new(&format!("/proc/{publisher}/root/queue")).exists());
        assert_eq!(mounts.get("/"), Some(&false), "{mounts:?}");
        for place in [
            "/config",
            "/etc/smartmeter-reader/smartmeter-reader.yml",
            "/run/smartmeter-reader",
        ] {
            assert_eq!(mounts.get(place), Some(&false), "{mounts:?}");
        }

        // The socket is there, for the two of them only. Its folder is capture's, so that nobody else puts another one
        // in its place.
        let socket = format!("/proc/{publisher}/root/run/smartmeter-reader/queue.sock");
        let metadata = wait_for("the socket", A_WHILE, || {
            fs::metadata(&socket).map_err(|error| error.to_string())
        });
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        assert_eq!(
            (
                metadata.permissions().mode() & 0o777,
                metadata.uid(),
                metadata.gid()
            ),
            (0o660, user("capture"), GROUP)
        );
        let folder = fs::metadata(Path::new(&socket).parent().unwrap()).unwrap();
        assert_eq!(
            (folder.permissions().mode() & 0o777, folder.uid()),
            (0o750, user("capture"))
        );
        let error = fs::remove_file(&socket).expect_err("the socket can be removed");
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        wait_for("the publisher at the socket", A_WHILE, || {
            let status = composition.capture_status()?;
            match &status["consumers"][0]["is_running"] {
                Value::Bool(true) => Ok(()),
                _ => Err(format!("{status}\n{}", composition.said("publisher"))),
            }
        });
    }

    /// The engine copies no pty's device into a container, so this one comes as a mount, under another name.
    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn a_serial_meter_is_read_by_its_group_and_without_a_network() {
        use std::os::unix::fs::{PermissionsExt, chown};
        use tests::household::{Dialect, Household, Settings};
        use tests::meter::{Meter, PtyMeter};

        let folder = Folder::new();
        let mut meter = PtyMeter::plug_in(&folder.join("ttyUSB0"));
        let device = fs::read_link(folder.join("ttyUSB0")).unwrap();
        chown(&device, Some(0), Some(20)).unwrap();
        fs::set_permissions(&device, fs::Permissions::from_mode(0o660)).unwrap();
        let over = format!(
            "services:\n  capture:\n    volumes: ['{}:/dev/meter']\n    environment: {{SMARTMETER_USB: /dev/meter}}\n",
            device.display()
        );
        let composition = Composition::up(&["docker-compose.yml"], &over);
        assert_confined(&composition, "capture");
        assert_eq!(interfaces(composition.process("capture")), ["lo"]);
        let mut household = Household::new(Settings::seeded(5, Dialect::Dsmr5));
        wait_for("telegrams of the serial meter", A_WHILE, || {
            meter
                .send_within(&household.telegram().bytes, Duration::from_secs(5))
                .map_err(|error| format!("{error}\n{}", composition.said("capture")))?;
            match composition.capture_status()? {
                status if status["head"].as_u64() >= Some(5) => Ok(()),
                status => Err(status.to_string()),
            }
        });
        let check = composition.exec("capture", &["/usr/local/bin/capture", "--check"]);
        assert_eq!(check.code, Some(0), "{}{}", check.text(), check.errors);
        assert!(check.text().contains("/dev/meter"), "{}", check.text());
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn a_meter_on_the_network_is_read_with_the_settings_of_the_example() {
        let name = format!("smartmeter-test-adapter-{}", std::process::id());
        let run = [
            "run",
            "-d",
            "--rm",
            "--name",
            &name,
            "smartmeter-demo-meter",
            "--listen",
            "0.0.0.0:2001",
        ];
        docker(&run).done();
        let _adapter = Removed(name.clone());
        let address = inspect(&name)["NetworkSettings"]["IPAddress"]
            .as_str()
            .unwrap()
            .to_owned();
        let folder = Folder::new();
        let file = laid_out(&folder, None);
        let example = fs::read_to_string(root().join("compose/.env.example")).unwrap();
        let settings: String = example
            .lines()
            .skip_while(|line| !line.starts_with("#P1_ADDRESS"))
            .take(3)
            .map(|line| format!("{}\n", &line[1..]))
            .collect();
        assert!(settings.contains("P1_DEVICE=/dev/null"), "{settings}");
        folder.write("compose/.env", settings.replace("192.0.2.10", &address));
        let composition = Composition::up(&[file.to_str().unwrap()], "");
        let subscriber = Subscriber::start(composition.port, "energy/smartmeter/state");
        subscriber.wait_for("the meter's values at the broker", A_WHILE, |messages| {
            if messages.is_empty() {
                Err(composition.said("capture") + &composition.said("publisher"))
            } else {
                Ok(())
            }
        });
        assert_confined(&composition, "capture");
        assert_eq!(
            composition.inspect("capture")["HostConfig"]["NetworkMode"],
            "bridge"
        );
    }

    /// A container that is removed when this is dropped.
    struct Removed(String);

    impl Drop for Removed {
        fn drop(&mut self) {
            docker(&["rm", "-f", "-v", &self.0]);
        }
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn the_logger_alone_is_as_confined() {
        let composition = Composition::up(&["capture-only.yml"], "");
        assert_confined(&composition, "capture");
        assert_eq!(interfaces(composition.process("capture")), ["lo"]);
    }
}

mod upgrading {
    use std::os::unix::fs::chown;

    use super::*;

    /// A queue of 700 telegrams and a consumer at the 650th, as the first version has left it.
    const OLD_QUEUE: &str = "capture/tests/fixtures/queue-1";

    /// Copies it to where the container's user may write.
    fn old_queue(folder: &Folder) {
        let copied = folder.join("queue");
        let mut command = Command::new("cp");
        command.arg("-r").arg(root().join(OLD_QUEUE)).arg(&copied);
        run(&mut command, b"", A_WHILE).done();
        for path in walk(&copied) {
            chown(path, Some(65532), Some(65532)).unwrap();
        }
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A folder and everything in it.
    fn walk(folder: &Path) -> Vec<PathBuf> {
        let mut found = vec![folder.to_owned()];
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(walk(&path));
            } else {
                found.push(path);
            }
        }
        found
    }

    fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        walk(folder)
            .into_iter()
            .filter(|path| path.is_file())
            .map(|path| {
                let bytes = fs::read(&path).unwrap();
                (path, bytes)
            })
            .collect()
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn a_new_image_goes_on_with_an_old_volume() {
        let over = "services: {capture: {volumes: ['FOLDER/queue:/queue']}}\n";
        let composition = Composition::up_with(&["capture-only.yml"], over, old_queue);
        let status = wait_for("capture's status", A_WHILE, || composition.capture_status());
        assert_eq!(status["head"], 700, "{status}");
        assert!(status.to_string().contains("650"), "the cursor is gone: {status}");
        let export = ["/usr/local/bin/capture", "export", "--format", "jsonl"];
        let export = composition.exec("capture", &export).done().text();
        assert_eq!(export.lines().count(), 700);
    }

    /// Once both programs ran as one user, and the publisher might write to the socket's folder.
    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn volumes_of_one_user_are_gone_on_with_by_two() {
        use std::os::unix::fs::PermissionsExt;
        use tests::ledger::Ledger;
        let over = "\
services:
  publisher:
    user: '65532:65532'
    volumes: ['socket:/run/smartmeter-reader:rw']
";
        let files = ["docker-compose.yml", "demo.yml"];
        let (mut composition, subscriber) =
            Composition::up_and_subscribe(&files, over, "energy/smartmeter", |_| {});
        let all =
            |subscriber: &Subscriber, composition: &Composition, up_to: u64| {
                subscriber.wait_for(&format!("every reading up to {up_to}"), A_WHILE, |messages| {
                    match Ledger::of(messages.iter().map(|message| message.payload.as_slice())).missing(up_to)
                    {
                        missing if missing.is_empty() => Ok(()),
                        missing => Err(format!(
                            "{missing:?} are missing\n{}",
                            composition.said("publisher")
                        )),
                    }
                });
            };
        all(&subscriber, &composition, composition.head().max(1));
        composition.compose(&["stop"]).done();
        for volume in ["queue", "socket"] {
            let volume = format!("{}_{volume}", composition.name);
            let folder = docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &volume]).done();
            let folder = folder.text().trim().to_owned();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }

        composition.files.pop();
        composition.compose(&["rm", "-f", "-v"]).done();
        composition.compose(&["up", "-d", "--no-build"]).done();
        for service in ["capture", "publisher"] {
            let status = format!("/proc/{}/status", composition.process(service));
            let status = fs::read_to_string(status).unwrap();
            assert!(
                status.contains(&format!("\nUid:\t{}\t", user(service))),
                "{status}"
            );
        }
        all(&subscriber, &composition, composition.head() + 3);
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn an_old_image_refuses_a_newer_volume_and_leaves_it_as_it_was() {
        let folder = Folder::new();
        old_queue(&folder);
        let queue = folder.join("queue");
        // As a later version would have sealed it: see the mark's documentation.
        let mark = queue.join("mark");
        let mut bytes = fs::read(&mark).unwrap();
        let slot = &mut bytes[4096..];
        assert_eq!(slot[..4], *b"P1M\x01");
        slot[3] = 2;
        let length = u32::from_le_bytes(slot[4..8].try_into().unwrap()) as usize;
        let checksum = crc32(&[&[2], &slot[12..12 + length]].concat());
        slot[8..12].copy_from_slice(&checksum.to_le_bytes());
        fs::write(&mark, bytes).unwrap();
        let before = contents(&queue);

        let volume = format!("{}:/queue", queue.display());
        let ran = docker(&["run", "--rm", "--read-only", "-v", &volume, "smartmeter-capture"]);
        assert_eq!(ran.code, Some(74), "{}", ran.errors);
        assert!(ran.errors.contains("newer version of capture"), "{}", ran.errors);
        assert_eq!(contents(&queue), before);
    }

    /// CRC-32 (IEEE), bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 * (crc & 1))
            })
        })
    }
}

mod delivery {
    use std::time::Instant;

    use tests::ledger::Ledger;
    use tests::subscriber::Received;

    use super::*;

    const TOPIC: &str = "energy/smartmeter";

    fn ledger(messages: &[Received], topic: &str) -> Ledger {
        Ledger::of(
            messages
                .iter()
                .filter(|message| message.topic == topic)
                .map(|message| message.payload.as_slice()),
        )
    }

    fn kill(pid: u64) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    /// Waits until everything up to this sequence has come.
    fn wait_for_all(subscriber: &Subscriber, up_to: u64) -> Ledger {
        subscriber.wait_for(&format!("every reading up to {up_to}"), A_WHILE, |messages| {
            let ledger = ledger(messages, TOPIC);
            let missing = ledger.missing(up_to);
            match missing.is_empty() {
                true => Ok(ledger),
                false => Err(format!(
                    "{} are missing, such as {:?}",
                    missing.len(),
                    &missing[..missing.len().min(5)]
                )),
            }
        })
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn nothing_is_lost_while_broker_and_containers_come_and_go() {
        let files = ["docker-compose.yml", "demo.yml"];
        let (composition, subscriber) =
            Composition::up_and_subscribe(&files, "", &format!("{TOPIC}/#"), |_| {});
        let head = wait_for("twelve telegrams", A_WHILE, || match composition.head() {
            head if head >= 12 => Ok(head),
            head => Err(format!("{head}\n{}", composition.said("capture"))),
        });
        wait_for_all(&subscriber, head);

        // The broker away, with telegrams coming.
        stop(&composition.container("mosquitto"));
        let before = composition.head();
        let while_away = wait_for(
            "telegrams while the broker is away",
            A_WHILE,
            || match composition.head() {
                head if head >= before + 5 => Ok(head),
                head => Err(head.to_string()),
            },
        );
        docker(&["start", &composition.container("mosquitto")]).done();
        wait_for_all(&subscriber, while_away);

        // Each stopped, which takes a second at most, and started again.
        for service in ["publisher", "capture"] {
            let (took, code) = stop(&composition.container(service));
            assert_eq!(
                code,
                0,
                "{service} ended with {code}: {}",
                composition.said(service)
            );
            assert!(took < Duration::from_secs(1), "{service} took {took:?} to stop");
            docker(&["start", &composition.container(service)]).done();
        }
        let head = composition.head() + 3;
        wait_for_all(&subscriber, head);

        // Each killed as the system kills what takes too much memory: the engine starts it again by itself.
        for service in ["publisher", "capture"] {
            let (id, pid) = (composition.container(service), composition.process(service));
            let restarts = |state: &Value| state["RestartCount"].as_u64().unwrap();
            let before = restarts(&inspect(&id));
            kill(pid);
            wait_for(&format!("{service} to be started again"), A_WHILE, || {
                let now = inspect(&id);
                if restarts(&now) == before + 1 && now["State"]["Running"] == true {
                    Ok(())
                } else {
                    Err(now["State"].to_string())
                }
            });
            assert_ne!(composition.process(service), pid);
        }
        let head = composition.head() + 3;
        wait_for_all(&subscriber, head);

        // All made anew over the same volumes.
        let volumes_before = composition.head();
        // Taken away first, with the volumes that have no name: made anew in one step, nobody would remove those.
        composition.compose(&["rm", "-s", "-f", "-v"]).done();
        composition.compose(&["up", "-d", "--no-build"]).done();
        let head = wait_for(
            "telegrams after all was made anew",
            A_WHILE,
            || match composition.head() {
                head if head >= volumes_before + 5 => Ok(head),
                head => Err(format!("{head}, before it was {volumes_before}")),
            },
        );
        let ledger = wait_for_all(&subscriber, head);

        // What came is what was captured: the telegrams' own CRCs, one by one.
        let export = composition
            .exec(
                "capture",
                &["/usr/local/bin/capture", "export", "--format", "jsonl"],
            )
            .done()
            .text();
        let mut compared = 0;
        for line in export.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let (sequence, telegram) = (
                record["sequence"].as_u64().unwrap(),
                record["telegram"].as_str().unwrap(),
            );
            let crc = telegram.rsplit('!').next().unwrap().trim();
            let Some((_, reading)) = ledger.readings().iter().find(|(known, _)| *known == sequence) else {
                continue;
            };
            assert_eq!(reading["Crc_string"].as_str(), Some(crc), "at {sequence}");
            compared += 1;
        }
        assert!(compared >= head, "{compared} of {head} were compared");

        // A replay gives the same readings again.
        let replay = [
            "/usr/local/bin/publisher",
            "replay",
            "--from",
            "#1",
            "--to",
            "#20",
            "--topic",
            "energy/smartmeter/replayed",
        ];
        composition.exec("publisher", &replay).done();
        let replayed = subscriber.wait_for("the replay", A_WHILE, |messages| {
            let replayed = self::ledger(messages, "energy/smartmeter/replayed");
            if replayed.missing(20).is_empty() {
                Ok(replayed)
            } else {
                Err(format!("{} readings", replayed.len()))
            }
        });
        for (sequence, reading) in replayed.readings() {
            let original = ledger.readings().iter().find(|(known, _)| known == sequence);
            assert_eq!(
                original.map(|(_, reading)| reading),
                Some(reading),
                "at {sequence}"
            );
        }

        // The shipped configuration's further topics, and the health that the engine shows.
        for topic in [
            "energy/smartmeter/summary",
            "energy/smartmeter/state",
            "energy/smartmeter/availability",
        ] {
            assert!(
                subscriber.messages().iter().any(|message| message.topic == topic),
                "nothing came on {topic}"
            );
        }
        for service in ["capture", "publisher"] {
            let started = Instant::now();
            wait_for(&format!("{service} to be healthy"), A_WHILE, || {
                let health = composition.inspect(service)["State"]["Health"].clone();
                if health["Status"] == "healthy" {
                    Ok(())
                } else {
                    Err(format!("{:?}: {health}", started.elapsed()))
                }
            });
        }
    }
}

mod secrets {
    use super::*;

    const PASSWORD: &str = "correct-horse-battery";
    const WARNING: &str = "every user of this machine can read it";

    /// Over the demo: a broker that wants a password, and the most that is ever logged.
    const WITH_PASSWORD: &str = "\
services:
  publisher:
    environment:
      SMARTMETER_DEBUG: 'true'
  mosquitto:
    volumes:
      - FOLDER/passwords:/mosquitto/config/passwords:ro
";

    fn prepare(folder: &Folder) {
        use std::os::unix::fs::PermissionsExt;
        let passwords = folder.write("passwords", "");
        let mut command = Command::new("mosquitto_passwd");
        run(
            command.arg("-b").arg(&passwords).args(["meter", PASSWORD]),
            b"",
            A_WHILE,
        )
        .done();
        fs::set_permissions(&passwords, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// As the example of what is laid over the composition tells.
    fn publishers_only(file: &Path) {
        use std::os::unix::fs::{PermissionsExt, chown};
        chown(file, Some(user("publisher")), None).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o400)).unwrap();
    }

    /// The composition with the example of what is laid over it, and what that names beside it: credentials for the
    /// container's user only.
    fn with_credentials(folder: &Folder) -> [PathBuf; 2] {
        let file = laid_out(folder, None);
        folder.write(
            "compose/mosquitto.local.conf",
            "listener 1883\nallow_anonymous false\npassword_file /mosquitto/config/passwords\n",
        );
        let credentials = folder.write(
            "compose/mqtt-credentials.properties",
            format!("user=meter\npassword={PASSWORD}\n"),
        );
        publishers_only(&credentials);
        [file, folder.join("compose/docker-compose.override.example.yml")]
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn the_password_is_used_and_shows_nowhere() {
        let project = Folder::new();
        let [file, over] = with_credentials(&project);
        let files = [file.to_str().unwrap(), over.to_str().unwrap(), "demo.yml"];
        let composition = Composition::up_with(&files, WITH_PASSWORD, prepare);
        let subscriber = Subscriber::start_at(
            "127.0.0.1",
            composition.port,
            "energy/smartmeter",
            Some(("meter", PASSWORD)),
        );
        subscriber.wait_for(
            "readings from a broker with a password",
            A_WHILE,
            |messages| match messages {
                [] => Err(composition.said("publisher")),
                _ => Ok(()),
            },
        );
        let status = composition.exec("publisher", &["/usr/local/bin/publisher", "status", "--json"]);
        let check = composition.exec("publisher", &["/usr/local/bin/publisher", "--check"]);
        assert!(check.text().contains("debug: true"), "{}", check.text());
        for (place, text) in [
            ("publisher's log", composition.said("publisher")),
            ("capture's log", composition.said("capture")),
            ("docker inspect", composition.inspect("publisher").to_string()),
            ("publisher status", status.text() + &status.errors),
            ("publisher --check", check.text() + &check.errors),
        ] {
            assert!(!text.is_empty(), "{place} is empty");
            assert!(!text.contains(PASSWORD), "{place} shows the password:\n{text}");
        }
        assert!(!composition.said("publisher").contains(WARNING));

        // Where every user can read the file that is said, and still not what is in it; nor is a password that
        // the broker refuses.
        let folder = Folder::new();
        let credentials = folder.write("mqtt.properties", "user=meter\npassword=wrong-horse\n");
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&credentials, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = docker(&[
            "run",
            "--rm",
            "--network",
            &format!("{}_default", composition.name),
            "-v",
            &format!("{}:/run/secrets/mqtt_credentials:ro", credentials.display()),
            "-e",
            "SMARTMETER_MQTT_CRED_FILE=/run/secrets/mqtt_credentials",
            "-e",
            "SMARTMETER_MQTT_ADDRESS=mosquitto:1883",
            "smartmeter-publisher",
            "--check",
        ]);
        let text = refused.text() + &refused.errors;
        assert_eq!(refused.code, Some(1), "{text}");
        assert!(text.contains(WARNING), "{text}");
        assert!(!text.contains("wrong-horse"), "{text}");

        // A file that is still of the user that both programs once had.
        std::os::unix::fs::chown(&credentials, Some(65532), Some(0)).unwrap();
        fs::set_permissions(&credentials, fs::Permissions::from_mode(0o400)).unwrap();
        let secret = format!("{}:/run/secrets/mqtt_credentials:ro", credentials.display());
        let variable = "SMARTMETER_MQTT_CRED_FILE=/run/secrets/mqtt_credentials";
        let refused = docker(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            &secret,
            "-e",
            variable,
            "smartmeter-publisher",
            "--check",
        ]);
        let text = refused.text() + &refused.errors;
        let words = "it is of user 65532, group 0, mode 400; this program runs as user 65533, group 65532";
        assert!(text.contains(words), "{text}");
    }

    /// A meter that encrypts: the configuration that both programs read names the key's file, and only the publisher
    /// has that.
    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn a_key_is_the_publishers_only() {
        use tests::household::encryption::Encryption;
        use tests::household::{Dialect, Household, Settings};

        let encryption = Encryption::with_key([0x5A; 16]);
        let mut household = Household::new(Settings {
            encryption: Some(encryption.clone()),
            ..Settings::seeded(7, Dialect::Dsmr5)
        });
        let telegrams: Vec<u8> = (0..30).flat_map(|_| household.telegram().bytes).collect();

        let project = Folder::new();
        let file = laid_out(
            &project,
            Some(
                "decryption_key: file:/run/secrets/decryption_key\nsend_interval: 0\n\
                 mqtt: {topic: energy/smartmeter}\n",
            ),
        );
        publishers_only(&project.write("compose/decryption.key", encryption.key_text()));
        // What the example says is to be taken in.
        let example = fs::read_to_string(root().join("compose/docker-compose.override.example.yml")).unwrap();
        let taken_in = example
            .replace("      #- decryption_key", "      - decryption_key")
            .replace("  #decryption_key:\n  #  file:", "  decryption_key:\n    file:");
        let over = project.write("compose/over.yml", taken_in);
        assert_ne!(fs::read_to_string(&over).unwrap(), example);
        publishers_only(&project.write("compose/mqtt-credentials.properties", "user=meter\n"));
        fs::copy(
            project.join("compose/mosquitto.conf"),
            project.join("compose/mosquitto.local.conf"),
        )
        .unwrap();
        let further = "\
services:
  capture:
    environment: {SMARTMETER_USB: 'file:/meter'}
    volumes: ['FOLDER/meter:/meter:ro']
";
        let files = [file.to_str().unwrap(), over.to_str().unwrap()];
        let (composition, subscriber) =
            Composition::up_and_subscribe(&files, further, "energy/smartmeter", |folder| {
                use std::os::unix::fs::PermissionsExt;
                folder.write("meter", &telegrams);
                fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            });
        subscriber.wait_for(
            "readings of the meter that encrypts",
            A_WHILE,
            |messages| match messages {
                [] => Err(composition.said("capture") + &composition.said("publisher")),
                _ => Ok(()),
            },
        );

        let of = |service: &str| format!("/proc/{}/root", composition.process(service));
        let key = format!("{}/run/secrets/decryption_key", of("publisher"));
        assert_eq!(fs::read_to_string(key).unwrap(), encryption.key_text());
        assert!(!Path::new(&format!("{}/run/secrets", of("capture"))).exists());
        let capture = composition.inspect("capture")["Mounts"].to_string();
        assert!(!capture.contains("decryption"), "{capture}");
        // Without it capture runs as it is to, and finds nothing wrong.
        let check = composition.exec("capture", &["/usr/local/bin/capture", "--check"]);
        assert_eq!(check.code, Some(0), "{}{}", check.text(), check.errors);
    }
}

mod house {
    use super::*;

    const NOT_STARTED: &str = "mosquitto is not started: MQTT_BIND=0.0.0.0 opens it to other machines";

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn a_broker_opened_to_the_house_waits_for_a_password() {
        let project = Folder::new();
        let file = laid_out(&project, None);
        project.write("compose/.env", "MQTT_BIND=0.0.0.0\n");
        let mut composition = Composition::up(&[file.to_str().unwrap(), "demo.yml"], "");
        let id = composition.container("mosquitto");
        wait_for("the broker to say why it does not start", A_WHILE, || {
            let state = inspect(&id)["State"].clone();
            match composition.said("mosquitto") {
                said if said.contains(NOT_STARTED) && state["ExitCode"] == 78 => Ok(()),
                said => Err(format!("{state}\n{said}")),
            }
        });

        // What the example says is to be done.
        let conf = fs::read_to_string(project.join("compose/mosquitto.conf")).unwrap();
        let with_password = "allow_anonymous false\npassword_file /mosquitto/data/passwords";
        project.write(
            "compose/mosquitto.local.conf",
            conf.replace("allow_anonymous true", with_password),
        );
        let over = "\
services:
  publisher:
    environment: {SMARTMETER_MQTT_CRED_FILE: /credentials}
    volumes: ['FOLDER/credentials:/credentials:ro']
  mosquitto:
    volumes: ['FOLDER/mosquitto.local.conf:/mosquitto/config/mosquitto.conf:ro']
";
        project.write("compose/credentials", "user=meter\npassword=correct-horse\n");
        let folder = project.join("compose");
        let over = over.replace("FOLDER", folder.to_str().unwrap());
        composition.files.push(project.write("compose/over.yml", over));
        composition
            .compose(&[
                "run",
                "--rm",
                "--no-deps",
                "--entrypoint",
                "mosquitto_passwd",
                "mosquitto",
                "-b",
                "-c",
                "/mosquitto/data/passwords",
                "meter",
                "correct-horse",
            ])
            .done();
        composition.compose(&["up", "-d", "--no-build"]).done();
        let credentials = Some(("meter", "correct-horse"));
        let subscribe = |credentials, deadline| {
            Subscriber::try_start_at(
                "127.0.0.1",
                composition.port,
                "energy/smartmeter",
                credentials,
                deadline,
            )
        };
        let subscriber = subscribe(credentials, A_WHILE)
            .unwrap_or_else(|error| panic!("{error}\n{}", composition.said("mosquitto")));
        let error = match subscribe(None, Duration::from_secs(5)) {
            Ok(_) => panic!("the broker lets everybody in"),
            Err(error) => error,
        };
        assert!(error.contains("NotAuthorized"), "{error}");
        subscriber.wait_for("readings", A_WHILE, |messages| match messages {
            [] => Err(composition.said("publisher")),
            _ => Ok(()),
        });
    }
}

mod mistakes {
    use super::*;

    const METER: &str = "usb: tcp://127.0.0.1:2001\nsend_interval: 1\n";

    fn up(folder: &Folder, configuration: &str) -> Composition {
        let file = laid_out(folder, Some(configuration));
        Composition::up(&[file.to_str().unwrap(), "demo.yml"], "")
    }

    fn wait_to_say(composition: &Composition, service: &str, words: &str) {
        wait_for(&format!("{service} to say {words:?}"), A_WHILE, || {
            let said = composition.said(service);
            if said.contains(words) { Ok(()) } else { Err(said) }
        });
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn a_wrong_configuration_is_said_once_and_mended_by_mending_the_file() {
        let folder = Folder::new();
        let composition = up(&folder, "usbb: /dev/ttyUSB0\n");
        for service in ["capture", "publisher"] {
            wait_to_say(&composition, service, "usbb");
            wait_to_say(
                &composition,
                service,
                "waiting until ./smartmeter-config.yml or /config/smartmeter-reader.yml",
            );
            let state = composition.inspect(service);
            assert_eq!(state["State"]["Running"], true, "{service}: {}", state["State"]);
            assert_eq!(state["RestartCount"], 0, "{service}");
            assert_eq!(composition.said(service).matches("usbb").count(), 1, "{service}");
        }
        folder.write("config/smartmeter-reader.yml", METER);
        wait_for("telegrams", A_WHILE, || match composition.head() {
            0 => Err(composition.said("capture")),
            _ => Ok(()),
        });
        assert_eq!(composition.inspect("capture")["RestartCount"], 1);
        let (took, _) = stop(&composition.container("publisher"));
        assert!(took < Duration::from_secs(1), "{took:?}");
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn a_configuration_that_is_a_folder_is_said_to_be_one() {
        let folder = Folder::new();
        let file = laid_out(&folder, None);
        fs::create_dir(folder.join("config/smartmeter-reader.yml")).unwrap();
        let composition = Composition::up(&[file.to_str().unwrap()], "");
        for service in ["capture", "publisher"] {
            wait_to_say(
                &composition,
                service,
                "/config/smartmeter-reader.yml is a folder; the container engine makes one",
            );
        }
    }

    #[test]
    #[ignore = "needs a container engine: tests/containers"]
    fn localhost_is_said_to_be_the_container_and_what_waits_is_unhealthy() {
        let folder = Folder::new();
        let composition = up(&folder, &format!("{METER}mqtt:\n  address: localhost:1883\n"));
        let words =
            "in a container localhost is the container itself: write the name of the service in mqtt.address";
        wait_to_say(&composition, "publisher", words);
        let check = composition.exec("publisher", &["/usr/local/bin/publisher", "--check"]);
        assert_eq!(check.code, Some(1), "{}", check.text());
        assert!(
            (check.text() + &check.errors).contains(words),
            "{}{}",
            check.text(),
            check.errors
        );

        let status = |bound: &str| {
            let command = ["/usr/local/bin/publisher", "status", "--max-lag", bound];
            composition.exec("publisher", &command).code
        };
        wait_for(
            "telegrams that wait for longer than 2 s",
            A_WHILE,
            || match status("2s") {
                Some(1) => Ok(()),
                other => Err(format!("{other:?}")),
            },
        );
        assert_eq!(status("1h"), Some(0), "they do not wait for an hour");
        let check = composition.inspect("publisher")["Config"]["Healthcheck"]["Test"].clone();
        assert_eq!(check[4], "10m", "{check}");
    }
}

mod files {
    use super::*;

    /// What the README and the compositions tell people to write is theirs: an update by git must not touch it.
    #[test]
    fn what_people_edit_is_not_tracked_and_has_an_example() {
        let is_ignored = |name: &str| {
            let mut git = Command::new("git");
            git.args([
                "-c",
                "safe.directory=*",
                "check-ignore",
                "--quiet",
                "--no-index",
                name,
            ]);
            run(git.current_dir(root()), b"", A_WHILE).code == Some(0)
        };
        for (name, example) in [
            (
                "config/smartmeter-reader.yml",
                "config/smartmeter-reader.example.yml",
            ),
            ("compose/.env", "compose/.env.example"),
            (
                "compose/docker-compose.override.yml",
                "compose/docker-compose.override.example.yml",
            ),
            ("compose/mosquitto.local.conf", "compose/mosquitto.conf"),
            (
                "compose/mqtt-credentials.properties",
                "compose/docker-compose.override.example.yml",
            ),
            (
                "compose/decryption.key",
                "compose/docker-compose.override.example.yml",
            ),
        ] {
            assert!(is_ignored(name), "{name} is tracked");
            assert!(root().join(example).exists() && !is_ignored(example), "{example}");
        }
    }

    /// What starts the broker, with a real one, and with configurations that people may come to.
    #[test]
    fn a_broker_that_other_machines_reach_and_that_lets_everybody_in_is_not_started() {
        const OPEN: &str = "allow_anonymous true";
        for (bind, configuration, included, is_started) in [
            (Some("127.0.0.1"), OPEN, "", true),
            (Some("[::1]"), OPEN, "", true),
            (Some("0.0.0.0"), OPEN, "", false),
            (Some("192.0.2.1"), OPEN, "", false),
            (Some("[::]"), OPEN, "", false),
            (Some(""), OPEN, "", false),
            (None, OPEN, "", false),
            (Some("0.0.0.0"), "  allow_anonymous  1 ", "", false),
            (Some("0.0.0.0"), "allow_anonymous true\r\n", "", false),
            (
                Some("0.0.0.0"),
                "allow_anonymous false\nallow_anonymous true",
                "",
                false,
            ),
            (Some("0.0.0.0"), "include_dir FOLDER/more", OPEN, false),
            (Some("0.0.0.0"), "include_dir FOLDER/more\r\n", OPEN, false),
            (Some("0.0.0.0"), "# allow_anonymous true", "", true),
            (Some("0.0.0.0"), "allow_anonymous false\r\n", "", true),
            (
                Some("0.0.0.0"),
                "allow_anonymous 0\nmax_keepalive 60",
                "# none",
                true,
            ),
        ] {
            let folder = Folder::new();
            let port = ports::free();
            fs::create_dir(folder.join("more")).unwrap();
            folder.write("more/more.conf", included);
            let configuration = configuration.replace("FOLDER", folder.path().to_str().unwrap());
            let file = folder.write(
                "mosquitto.conf",
                format!("listener {port} 127.0.0.1\nuser root\n{configuration}"),
            );
            let mut command = Command::new("sh");
            command
                .arg(root().join("compose/mosquitto.sh"))
                .args(["mosquitto", "-c"])
                .arg(&file)
                .env_remove("MQTT_BIND")
                .env("PATH", "/usr/sbin:/usr/local/sbin:/usr/bin:/bin");
            if let Some(bind) = bind {
                command.env("MQTT_BIND", bind);
            }
            let told = format!("{bind:?} {configuration:?} {included:?}");
            let mut broker = Process::start("mosquitto", &mut command);
            if is_started {
                wait_for(
                    &format!("mosquitto with {told}"),
                    A_WHILE,
                    || match std::net::TcpStream::connect(("127.0.0.1", port)) {
                        Ok(_) => Ok(()),
                        Err(error) => Err(format!("{error}: {}", broker.said())),
                    },
                );
                broker.terminate();
            } else {
                assert_eq!(broker.wait(SOON).code(), Some(78), "{told}: {}", broker.said());
                assert!(broker.said().contains("mosquitto is not started"), "{told}");
            }
        }
    }

    /// Every variable of the compositions is in the example, and none that they do not have.
    #[test]
    fn the_example_of_settings_is_complete() {
        let example = read("compose/.env.example");
        let mut told: Vec<&str> = example
            .lines()
            .filter_map(|line| line.strip_prefix('#')?.split_once('='))
            .map(|(name, _)| name)
            .filter(|name| {
                name.chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
            })
            .collect();
        let compositions = ["compose/docker-compose.yml", "compose/capture-only.yml"]
            .map(read)
            .concat();
        let mut used: Vec<&str> = compositions
            .split("${")
            .skip(1)
            .filter_map(|rest| rest.split_once(":-"))
            .map(|(name, _)| name)
            .collect();
        for list in [&mut told, &mut used] {
            list.sort_unstable();
            list.dedup();
        }
        assert_eq!(told, used);
    }

    fn read(name: &str) -> String {
        fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The stages of a Dockerfile before the last.
    fn stages(dockerfile: &str) -> String {
        let begin = dockerfile.find("\nFROM ").expect("a first stage");
        let end = dockerfile.rfind("\nFROM ").expect("a last stage");
        assert!(begin < end, "there is but one stage");
        dockerfile[begin..end].to_owned()
    }

    #[test]
    fn both_images_are_built_from_the_same_layers() {
        assert_eq!(
            stages(&read("Dockerfile.capture")),
            stages(&read("Dockerfile.publisher"))
        );
    }

    /// The simulated meter's differs in what it builds, and in nothing before that.
    #[test]
    fn the_meters_image_is_built_from_the_same_layers_up_to_the_dependencies() {
        let up_to_the_source = |name: &str| {
            let stages = stages(&read(name));
            let end = stages
                .find("\nCOPY capture capture")
                .expect("the source is copied");
            stages[..end].to_owned()
        };
        assert_eq!(
            up_to_the_source("compose/Dockerfile.meter"),
            up_to_the_source("Dockerfile.capture")
        );
    }

    #[test]
    fn the_images_carry_the_programs_version() {
        let version = format!(
            "org.opencontainers.image.version=\"{}\"",
            env!("CARGO_PKG_VERSION")
        );
        for name in ["Dockerfile.capture", "Dockerfile.publisher"] {
            assert!(read(name).contains(&version), "{name} lacks {version}");
        }
    }

    #[test]
    fn every_base_image_is_pinned_and_known_to_the_stand_ins() {
        let stand_ins = read("tests/base-images");
        for name in [
            "Dockerfile.capture",
            "Dockerfile.publisher",
            "compose/Dockerfile.meter",
        ] {
            let text = read(name);
            let own: Vec<&str> = text
                .lines()
                .filter_map(|line| line.split_once(" AS ").map(|(_, stage)| stage))
                .collect();
            let bases = text.lines().filter_map(|line| line.strip_prefix("FROM "));
            for base in bases.map(|line| {
                line.split_whitespace()
                    .find(|word| !word.starts_with("--"))
                    .unwrap()
            }) {
                // Made of nothing: there is nothing to pin.
                if own.contains(&base) || base == "scratch" {
                    continue;
                }
                let (_, tag) = base
                    .rsplit_once(':')
                    .unwrap_or_else(|| panic!("{name}: {base} has no tag"));
                assert_ne!(tag, "latest", "{name}");
                assert!(
                    stand_ins.contains(base),
                    "{name}: tests/base-images does not know {base}"
                );
            }
        }
    }
}
