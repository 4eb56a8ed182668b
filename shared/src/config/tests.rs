//! The configuration as a whole: files as people write them, what wins over what, and every mistake with
//! its file, key, value and expectation.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// The configuration file of the Go program, as its users have it.
const GO_FILE: &str = "\
send_interval: 60 # Seconds
debug: true
usb: /dev/ttyUSB0
mqtt:
  address: \"localhost:1883\"
  topic: \"dev.sample.topic\"
  # credfile: \"\"
";

/// A folder with the configuration file in its place.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn with(text: &str) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(place.path(), text).unwrap();
        place
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("smartmeter-config.yml")
    }

    fn load(&self, flags: &Flags, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        load_from(flags, &variables(environment), &[self.path()], "pi")
    }
}

fn variables(environment: &[(&str, &str)]) -> Environment {
    environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())))
        .collect()
}

/// What a file alone gives.
fn loaded(text: &str) -> Loaded {
    Place::with(text)
        .load(&Flags::default(), &[])
        .unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn config(text: &str) -> Config {
    loaded(text).config
}

/// The mistakes of a file, without the file's name before each.
fn mistakes(text: &str) -> Vec<String> {
    match Place::with(text).load(&Flags::default(), &[]) {
        Err(ConfigError::Mistakes(Mistakes(mistakes))) => mistakes
            .iter()
            .map(|mistake| format!("{}: {}", mistake.key, mistake.fault))
            .collect(),
        other => panic!("no mistakes in {text:?}: {other:?}"),
    }
}

#[track_caller]
fn assert_mistake(text: &str, expected: &[&str]) {
    let mistakes = mistakes(text);
    assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
    for part in expected {
        assert!(
            mistakes[0].contains(part),
            "{text}: {:?} lacks {part:?}",
            mistakes[0]
        );
    }
}

fn flags(arguments: &[&str]) -> Flags {
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
    }
    let normal = flags::normalize(["x"].iter().chain(arguments).map(std::ffi::OsString::from));
    <Program as clap::Parser>::try_parse_from(normal)
        .unwrap_or_else(|error| panic!("{error}"))
        .flags
}

mod files_that_work {
    use super::*;

    #[test]
    fn the_file_of_the_go_program_is_read_as_it_is() {
        let loaded = loaded(GO_FILE);
        assert_eq!(loaded.warnings, Vec::<String>::new());
        let expected = Config {
            debug: true,
            ..config("")
        };
        assert_eq!(loaded.config, expected);
        assert_eq!(loaded.config.mqtt.topic, "dev.sample.topic");
    }

    #[test]
    fn another_consumer_has_another_client_id_unless_that_is_given() {
        let client_id = |mqtt: &str| config(&format!("mqtt: {{{mqtt}}}")).mqtt.client_id;
        assert_eq!(client_id("consumer: mqtt"), "smartmeter-reader@pi-{queue}");
        assert_eq!(client_id("consumer: attic"), "smartmeter-reader-attic@pi-{queue}");
        assert_eq!(client_id("consumer: attic, client_id: mine"), "mine");
        let listing = loaded("mqtt: {consumer: attic}").effective.to_string();
        assert!(
            listing.contains("client_id: \"smartmeter-reader-attic@pi-{queue}\""),
            "{listing}"
        );
    }

    #[test]
    fn every_default_is_the_documented_one() {
        let Config {
            send_interval_seconds,
            debug,
            port,
            decryption,
            meter_timeout,
            mqtt,
            queue,
        } = config("");
        assert_eq!((send_interval_seconds, debug), (60, false));
        assert_eq!(port.address, PortAddress::Serial("/dev/ttyUSB0".into()));
        assert_eq!((port.line, port.crc), (SerialSetting::Auto, CrcPolicy::Auto));
        assert_eq!(
            (decryption.decryption_key, decryption.authentication_key),
            (None, None)
        );
        assert_eq!(decryption.on_undecryptable, OnTrouble::Wait);
        assert_eq!(meter_timeout, Duration::from_secs(120));
        assert_eq!(
            mqtt.brokers,
            [BrokerAddress {
                host: "localhost".into(),
                port: 1883,
                is_tls: false
            }]
        );
        assert_eq!(
            (mqtt.version, mqtt.topic.as_str()),
            (MqttVersion::Auto, "dev.sample.topic")
        );
        let files = [
            mqtt.credentials_file,
            mqtt.ca_file,
            mqtt.client_certificate_file,
            mqtt.client_key_file,
        ];
        assert_eq!(files, [const { None }; 4]);
        assert_eq!(
            (mqtt.max_payload_bytes, mqtt.on_rejected),
            (512 * 1024, OnTrouble::Wait)
        );
        assert_eq!(
            (mqtt.consumer.as_str(), mqtt.start),
            ("mqtt", crate::wire::Start::Oldest)
        );
        assert_eq!(mqtt.client_id, "smartmeter-reader@pi-{queue}");
        assert_eq!(mqtt.broker_order, BrokerOrder::Listed);
        assert_eq!(
            [mqtt.summary_topic, mqtt.state_topic, mqtt.availability_topic],
            [const { None }; 3]
        );
        assert_eq!(queue.path, Path::new("./smartmeter-queue"));
        assert_eq!(queue.socket, Path::new("./smartmeter-queue.sock"));
        assert_eq!(queue.retention, Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(
            (queue.max_size_bytes, queue.flush_interval),
            (1 << 30, Duration::ZERO)
        );
    }

    #[test]
    fn every_key_is_checked_and_listed() {
        let listed = loaded("").effective.paths();
        let all: Vec<&str> = key::ALL.iter().map(|key| key.path).collect();
        assert_eq!(listed, all);
    }

    #[test]
    fn every_key_can_be_set() {
        let text = "\
send_interval: 0
debug: on
usb: tcp://p1.local:3333
serial: 9600-7E1
crc: required
decryption_key: 00112233445566778899AABBCCDDEEFF
authentication_key: file:/etc/auth
on_undecryptable: skip
meter_timeout: 30s
mqtt:
  address: [broker:1883, 'mqtts://[fd00::2]']
  address_order: random
  version: 3.1.1
  topic: energy/smartmeter
  cred_file: /run/secrets/mqtt
  ca_file: /etc/ca.pem
  client_cert_file: /etc/cert.pem
  client_key_file: /etc/key.pem
  max_payload: 64KiB
  on_rejected: skip
  consumer: cloud
  start: newest
  client_id: my-meter
  summary_topic: energy/smartmeter/summary
  state_topic: energy/smartmeter/state
  availability_topic: energy/smartmeter/availability
queue:
  path: /data/queue
  socket: /run/queue.sock
  writers: [root, 65533]
  retention: forever
  max_size: 2GiB
  flush_interval: 10s
";
        let key: Vec<u8> = (0..16).map(|n| n * 0x11).collect();
        let expected = Config {
            send_interval_seconds: 0,
            debug: true,
            port: PortConfig {
                address: PortAddress::Tcp {
                    host: "p1.local".into(),
                    port: 3333,
                },
                line: SerialSetting::Baud9600,
                crc: CrcPolicy::Required,
            },
            decryption: DecryptionConfig {
                decryption_key: Some(KeySource::Key(SecretKey::from(
                    <[u8; 16]>::try_from(key).unwrap(),
                ))),
                authentication_key: Some(KeySource::File("/etc/auth".into())),
                on_undecryptable: OnTrouble::Skip,
            },
            meter_timeout: Duration::from_secs(30),
            mqtt: MqttConfig {
                brokers: vec![
                    BrokerAddress {
                        host: "broker".into(),
                        port: 1883,
                        is_tls: false,
                    },
                    BrokerAddress {
                        host: "fd00::2".into(),
                        port: 8883,
                        is_tls: true,
                    },
                ],
                broker_order: BrokerOrder::Random,
                version: MqttVersion::V311,
                topic: "energy/smartmeter".into(),
                credentials_file: Some("/run/secrets/mqtt".into()),
                ca_file: Some("/etc/ca.pem".into()),
                client_certificate_file: Some("/etc/cert.pem".into()),
                client_key_file: Some("/etc/key.pem".into()),
                max_payload_bytes: 65_536,
                on_rejected: OnTrouble::Skip,
                consumer: "cloud".into(),
                start: crate::wire::Start::Newest,
                client_id: "my-meter".into(),
                summary_topic: Some("energy/smartmeter/summary".into()),
                state_topic: Some("energy/smartmeter/state".into()),
                availability_topic: Some("energy/smartmeter/availability".into()),
            },
            queue: QueueConfig {
                path: "/data/queue".into(),
                socket: "/run/queue.sock".into(),
                writers: vec![0, 65533],
                retention: None,
                max_size_bytes: 2 << 30,
                flush_interval: Duration::from_secs(10),
            },
        };
        assert_eq!(config(text), expected);
        for key in key::ALL {
            let name = key.path.rsplit('.').next().unwrap();
            assert!(
                text.contains(&format!("{name}: ")),
                "{} is not in this test",
                key.path
            );
        }
    }

    #[test]
    fn nothing_given_is_nothing_given() {
        for text in [
            "",
            "\n",
            "# only a comment\n",
            "---\n",
            "mqtt:\n",
            "mqtt: {}\nqueue: ~\n",
            "usb:\nmqtt:\n  topic: null\n",
        ] {
            assert_eq!(config(text), config("---\n"), "for {text:?}");
        }
        for text in [
            "mqtt: {summary_topic: ''}",
            "mqtt: {credfile: \"\"}",
            "decryption_key: ''",
        ] {
            assert_eq!(
                config(text),
                config(""),
                "{text}: an empty text turns off what is off by default"
            );
        }
    }

    #[test]
    fn switches_are_written_in_every_way_of_yaml() {
        for word in ["true", "True", "yes", "Yes", "on", "ON", "y", "'yes'"] {
            assert!(config(&format!("debug: {word}")).debug, "{word}");
        }
        for word in ["false", "no", "NO", "off", "n"] {
            assert!(!config(&format!("debug: {word}")).debug, "{word}");
        }
        assert_eq!(config("crc: off").port.crc, CrcPolicy::Off);
    }

    #[test]
    fn a_number_is_text_where_text_is_expected_and_keeps_its_digits() {
        for (written, topic) in [
            ("1883", "1883"),
            ("1.10", "1.10"),
            ("0x1F", "0x1F"),
            ("007", "007"),
            ("1e3", "1e3"),
            ("true", "true"),
        ] {
            assert_eq!(config(&format!("mqtt: {{topic: {written}}}")).mqtt.topic, topic);
        }
        assert_eq!(config("mqtt: {version: 5}").mqtt.version, MqttVersion::V5);
        assert_eq!(config("send_interval: '10'").send_interval_seconds, 10);
        assert_eq!(
            config("queue: {max_size: 1073741824}").queue.max_size_bytes,
            1 << 30
        );
        let key = "decryption_key: 00000000000000000000000000000001";
        assert!(
            matches!(config(key).decryption.decryption_key, Some(KeySource::Key(key)) if key.bytes()[15] == 1)
        );
    }

    #[test]
    fn several_brokers_are_a_list_or_have_commas_between() {
        let brokers = |text| {
            config(text)
                .mqtt
                .brokers
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(brokers("mqtt: {address: [a, 'b:1884']}"), ["a:1883", "b:1884"]);
        assert_eq!(
            brokers("mqtt:\n  address:\n    - a\n    - ssl://b\n"),
            ["a:1883", "mqtts://b:8883"]
        );
        assert_eq!(brokers("mqtt: {address: 'a, b:1884'}"), ["a:1883", "b:1884"]);
        assert_eq!(brokers("mqtt:\n  address: :1884\n"), ["localhost:1884"]);
    }

    #[test]
    fn yaml_of_other_machines_is_read() {
        assert!(config("\u{feff}debug: true\r\nusb: /dev/x\r\n").debug);
        assert!(config("%YAML 1.1\n---\ndebug: yes\n...\n").debug);
        let aliased = config("mqtt:\n  topic: &t a/b\n  summary_topic: c\nqueue:\n  path: *t\n");
        assert_eq!(aliased.queue.path, Path::new("a/b"));
    }
}

mod what_wins {
    use super::*;

    #[test]
    fn the_file_wins_over_a_flag_and_that_over_the_environment() {
        let place = Place::with("usb: /dev/file\n");
        let given = flags(&["-usb", "/dev/flag", "-mqtt_topic", "flag", "-interval=5"]);
        let environment = [
            ("SMARTMETER_USB", "/dev/environment"),
            ("SMARTMETER_MQTT_TOPIC", "environment"),
            ("SMARTMETER_MQTT_ADDRESS", "environment:1"),
        ];
        let loaded = place.load(&given, &environment).unwrap();
        assert_eq!(
            loaded.config.port.address,
            PortAddress::Serial("/dev/file".into()),
            "the file wins"
        );
        assert_eq!(
            loaded.config.mqtt.topic, "flag",
            "a flag applies to what the file leaves out"
        );
        assert_eq!(loaded.config.send_interval_seconds, 5);
        assert_eq!(loaded.config.mqtt.brokers[0].host, "environment");
        assert_eq!(loaded.config.queue, config("").queue, "and the rest is default");
        let file = place.path();
        let file = file.display();
        assert_eq!(
            loaded.warnings,
            [
                format!("environment variable SMARTMETER_USB is ignored: {file} sets usb"),
                format!("flag --usb is ignored: {file} sets usb"),
            ]
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_flag_that_says_what_the_file_says_is_not_worth_a_warning() {
        let loaded = Place::with(GO_FILE)
            .load(&flags(&["-usb", "/dev/ttyUSB0", "-debug"]), &[])
            .unwrap();
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }

    #[test]
    fn every_flag_has_its_environment_variable() {
        let environment = [
            ("SMARTMETER_DEBUG", "yes"),
            ("SMARTMETER_INTERVAL", "7"),
            ("SMARTMETER_MQTT_ADDRESS", "b:1"),
            ("SMARTMETER_MQTT_CRED_FILE", "/c"),
            ("SMARTMETER_MQTT_TOPIC", "t"),
            ("SMARTMETER_USB", "/dev/u"),
            ("SMARTMETER_QUEUE", "/q"),
            ("SMARTMETER_SOCKET", "/s"),
        ];
        let config = Place::with("")
            .load(&Flags::default(), &environment)
            .unwrap()
            .config;
        assert!(config.debug);
        assert_eq!(config.send_interval_seconds, 7);
        assert_eq!(config.mqtt.brokers[0].to_string(), "b:1");
        assert_eq!(config.mqtt.credentials_file, Some("/c".into()));
        assert_eq!(config.mqtt.topic, "t");
        assert_eq!(config.port.address, PortAddress::Serial("/dev/u".into()));
        assert_eq!(
            (config.queue.path, config.queue.socket),
            ("/q".into(), "/s".into())
        );
    }

    #[test]
    fn users_are_given_by_name_and_by_number_one_or_several_and_by_default_there_are_none() {
        let writers = |text: &str| config(text).queue.writers;
        assert_eq!(writers("queue: {writers: root}"), [0]);
        assert_eq!(writers("queue: {writers: 65533}"), [65533]);
        assert_eq!(writers("queue: {writers: [root, 65533, '7']}"), [0, 65533, 7]);
        assert_eq!(writers("queue: {writers: 'root, 65533'}"), [0, 65533]);
        for nobody in [
            "",
            "queue: {writers: []}",
            "queue: {writers: ''}",
            "queue: {writers: ~}",
        ] {
            assert!(writers(nobody).is_empty(), "{nobody}");
        }
        let environment = [("SMARTMETER_QUEUE_WRITERS", "65533,root")];
        let loaded = Place::with("").load(&Flags::default(), &environment).unwrap();
        assert_eq!(loaded.config.queue.writers, [65533, 0]);
        let flagged = Place::with("")
            .load(&flags(&["-queue_writers", "7"]), &environment)
            .unwrap();
        assert_eq!(flagged.config.queue.writers, [7]);
        let both = Place::with("queue: {writers: 5}")
            .load(&flags(&["--queue-writers", "7"]), &[])
            .unwrap();
        assert_eq!((both.config.queue.writers, both.warnings.len()), (vec![5], 1));
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let environment = [
            ("SMARTMETER_USB", ""),
            ("SMARTMETER_MQTT_CRED_FILE", ""),
            ("SMARTMETER_QUEUE_WRITERS", ""),
            ("SMARTMETER_CONFIG", ""),
        ];
        let loaded = Place::with("").load(&Flags::default(), &environment).unwrap();
        assert_eq!(loaded.config, config(""));
        let cleared = Place::with("").load(
            &flags(&["-mqtt_cred_file", ""]),
            &[("SMARTMETER_MQTT_CRED_FILE", "/c")],
        );
        assert_eq!(cleared.unwrap().config.mqtt.credentials_file, Some("/c".into()));
    }

    #[test]
    fn a_misspelt_variable_gets_a_warning() {
        let environment = [("SMARTMETER_MQTT_ADRESS", "b"), ("PATH", "/bin")];
        let loaded = Place::with("").load(&Flags::default(), &environment).unwrap();
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
        assert!(
            loaded.warnings[0].contains("did you mean SMARTMETER_MQTT_ADDRESS?"),
            "{:?}",
            loaded.warnings
        );
    }

    #[test]
    fn the_named_file_is_read_and_no_other() {
        let (named, place) = (Place::with("usb: /dev/named"), Place::with("usb: /dev/place"));
        let path = named.path();
        let path = path.to_str().unwrap();
        for (given, environment) in [
            (flags(&["-config", path]), vec![]),
            (Flags::default(), vec![("SMARTMETER_CONFIG", path)]),
            (
                flags(&["-config", path]),
                vec![("SMARTMETER_CONFIG", "/nonexistent")],
            ),
        ] {
            let loaded = place.load(&given, &environment).unwrap();
            assert_eq!(
                loaded.config.port.address,
                PortAddress::Serial("/dev/named".into())
            );
            assert_eq!(loaded.file, Some(named.path()));
        }
    }

    #[test]
    fn a_named_file_that_is_missing_is_an_error() {
        for (given, environment) in [
            (flags(&["-config", "/nonexistent/x.yml"]), vec![]),
            (
                Flags::default(),
                vec![("SMARTMETER_CONFIG", "/nonexistent/x.yml")],
            ),
        ] {
            let error = Place::with("")
                .load(&given, &environment)
                .expect_err("the file is missing")
                .to_string();
            assert!(error.contains("/nonexistent/x.yml does not exist"), "{error}");
        }
    }

    #[test]
    fn without_a_name_the_first_place_with_a_file_counts_and_none_is_fine() {
        let (first, second) = (Place::with("usb: /dev/first"), Place::with("usb: /dev/second"));
        let load =
            |places: &[PathBuf]| load_from(&Flags::default(), &Environment::new(), places, "pi").unwrap();
        let missing = PathBuf::from("/nonexistent/x.yml");
        let places = [missing.clone(), first.path(), second.path()];
        assert_eq!(load(&places).file, Some(first.path()));
        let none = load(&[missing]);
        assert_eq!((none.file, none.config), (None, config("")));
    }
}

mod mistakes {
    use super::*;

    #[test]
    fn an_unknown_key_gets_a_suggestion() {
        assert_mistake(
            "mqtt: {adress: 'b:1'}",
            &["mqtt.adress: unknown key", "did you mean `mqtt.address`?"],
        );
        assert_mistake("send-interval: 5", &["did you mean `send_interval`?"]);
        assert_mistake("topic: x", &["did you mean `mqtt.topic`?"]);
        assert_mistake(
            "interval: 10",
            &["interval: unknown key; did you mean `send_interval`?"],
        );
        assert_mistake("mqtt: {interval: 10}", &["did you mean `send_interval`?"]);
        assert_mistake("mqtt-cred-file: x", &["did you mean `mqtt.cred_file`?"]);
        assert_mistake("socket: x", &["did you mean `queue.socket`?"]);
        assert_mistake("mqtt: {usb: /dev/x}", &["did you mean `usb`?"]);
        assert_mistake(
            "mqqt: {topic: x, address: y}",
            &["mqqt: unknown key; did you mean `mqtt`?"],
        );
        assert_mistake("influxdb: {url: x}", &["influxdb: unknown key", "README"]);
        assert_mistake("<<: {usb: x}", &["<<: unknown key"]);
        assert_mistake(
            "mqtt.topic: x",
            &["mqtt.topic: unknown key", "write `topic:` below `mqtt:`"],
        );
    }

    #[test]
    fn credentials_in_the_wrong_place_are_led_to_the_right_one_and_not_shown() {
        let text = "mqtt: {password: hunter2}";
        assert_mistake(text, &["mqtt.password", "mqtt.cred_file"]);
        assert!(!mistakes(text)[0].contains("hunter2"));
        let text = "mqtt: {address: 'mqtt://me:hunter2@broker:1883'}";
        assert_mistake(text, &["mqtt.cred_file", "@broker:1883"]);
        assert!(!mistakes(text)[0].contains("hunter2"));
    }

    #[test]
    fn a_key_that_stands_twice_is_a_mistake() {
        assert_mistake("usb: /dev/a\nusb: /dev/b\n", &["usb: stands twice"]);
        assert_mistake(
            "mqtt: {cred_file: /a, credfile: /b}",
            &["mqtt.credfile: stands twice, also as `cred_file`"],
        );
        assert_mistake("mqtt: {topic: a}\nmqtt: {address: b}\n", &["mqtt: stands twice"]);
    }

    #[test]
    fn a_mistake_in_the_file_names_its_line() {
        let lines = |text: &str| -> Vec<String> {
            let place = Place::with(text);
            match place.load(&Flags::default(), &[]) {
                Err(ConfigError::Mistakes(Mistakes(mistakes))) => {
                    let path = place.path().display().to_string();
                    let cut = |mistake: &Mistake| mistake.to_string().replacen(&path, "", 1);
                    mistakes
                        .iter()
                        .map(|mistake| cut(mistake).split(": ").take(2).collect::<Vec<_>>().join(" "))
                        .collect()
                }
                other => panic!("no mistakes in {text:?}: {other:?}"),
            }
        };
        for (text, expected) in [
            ("interval: 10\n", &[":1 interval"][..]),
            (
                "# a comment\n\nmqtt:\n  # adress: x\n  topic: ok\n  adress: b\nusb: []\n",
                &[":6 mqtt.adress", ":7 usb"],
            ),
            (
                "mqtt:\n  topic: a\ntopic: x\nqueue: {path: q,\n  max_size: 1}\n",
                &[":3 topic", ":5 queue.max_size"],
            ),
            ("mqtt:\n  credfile: [a]\n", &[":2 mqtt.cred_file"]),
            (
                "usb: /dev/a\nusb: /dev/b\nmqtt:\n  topic: a\n  topic: b\n",
                &[":2 usb", ":5 mqtt.topic"],
            ),
            ("mqtt: {topic: a}\nmqtt.topic: x\n", &[":2 mqtt.topic"]),
            ("\u{feff}usb: [a, b]\n", &[":1 usb"]),
            (
                "notes: |\n  adress: x\nmqtt:\n  adress: x\n",
                &[":1 notes", ":4 mqtt.adress"],
            ),
        ] {
            assert_eq!(lines(text), expected, "{text}");
        }
        assert_eq!(lines("- a\n"), [" holds no keys; expected lines such as `usb"]);
    }

    #[test]
    fn wrong_types_say_what_is_expected() {
        assert_mistake("usb: [a, b]", &["usb: is a list; expected one value"]);
        assert_mistake("usb: {a: b}", &["usb: is a section"]);
        assert_mistake(
            "mqtt: broker:1883",
            &["mqtt: is a section; expected keys below it"],
        );
        assert_mistake("queue: [a]", &["queue: is a section"]);
        assert_mistake(
            "mqtt: {address: {host: a}}",
            &["mqtt.address: is a section", "localhost:1883"],
        );
        assert_mistake(
            "mqtt: {address: [a, [b]]}",
            &["mqtt.address: is a list of something else"],
        );
        assert_mistake("mqtt: {address: []}", &["mqtt.address: is an empty list"]);
        assert_mistake("just text", &["holds no keys"]);
        assert_mistake("- a\n- b\n", &["holds no keys"]);
    }

    #[test]
    fn impossible_values_name_the_value_and_what_is_expected() {
        for (text, parts) in [
            (
                "send_interval: sixty",
                ["send_interval: `sixty`", "expected seconds from 0 to 2678400"],
            ),
            ("send_interval: -1", ["`-1`", "expected seconds"]),
            ("send_interval: 1.5", ["`1.5`", "expected seconds"]),
            ("send_interval: 500ms", ["`500ms`", "expected seconds"]),
            (
                "send_interval: 99999999999999999999",
                ["`99999999999999999999`", "expected seconds"],
            ),
            ("debug: maybe", ["debug: `maybe`", "expected true or false"]),
            ("usb: ''", ["usb: ``", "/dev/ttyUSB0"]),
            ("usb: ttyUSB0", ["usb: `ttyUSB0`", "/dev/ttyUSB0"]),
            ("usb: tcp://host", ["`tcp://host`", "names no port"]),
            ("usb: ~/meter", ["`~/meter`", "only a shell"]),
            (
                "serial: 19200-8N1",
                ["serial: `19200-8N1`", "auto, 115200-8N1, 9600-7E1"],
            ),
            ("crc: maybe", ["crc: `maybe`", "auto, required, off"]),
            ("on_undecryptable: drop", ["`drop`", "wait, skip"]),
            ("meter_timeout: 0", ["meter_timeout: `0`", "expected 1s to 31d"]),
            ("meter_timeout: soon", ["`soon`", "a bare number is seconds"]),
            (
                "mqtt: {address: 'broker:99999'}",
                ["mqtt.address: `broker:99999`", "1 to 65535"],
            ),
            ("mqtt: {address: 'ws://b'}", ["`ws://b`", "mqtts://"]),
            ("mqtt: {version: 4}", ["mqtt.version: `4`", "auto, 5, 3.1.1"]),
            ("mqtt: {topic: ''}", ["mqtt.topic: ``", "is empty"]),
            ("mqtt: {topic: 'a/#'}", ["`a/#`", "wildcard"]),
            (
                "mqtt: {summary_topic: a/+}",
                ["mqtt.summary_topic: `a/+`", "wildcard"],
            ),
            ("mqtt: {topic: \"a\\0b\"}", ["mqtt.topic: ", "control character"]),
            (
                "mqtt: {max_payload: 1}",
                ["mqtt.max_payload: `1`", "expected 1KiB to 16MiB"],
            ),
            ("mqtt: {max_payload: 1GiB}", ["`1GiB`", "expected 1KiB to 16MiB"]),
            ("mqtt: {max_payload: big}", ["`big`", "512KiB"]),
            ("mqtt: {on_rejected: retry}", ["`retry`", "wait, skip"]),
            ("mqtt: {address_order: any}", ["`any`", "listed, random"]),
            (
                "mqtt: {consumer: a/b}",
                ["mqtt.consumer: `a/b`", "letters, digits"],
            ),
            ("mqtt: {start: middle}", ["`middle`", "oldest, newest"]),
            ("mqtt: {client_id: ''}", ["mqtt.client_id: ``", "is empty"]),
            ("queue: {path: ''}", ["queue.path: ``", "expected a path"]),
            (
                "queue: {writers: [0, nobody-of-this-name]}",
                [
                    "queue.writers: `nobody-of-this-name` is no user",
                    "expected the name",
                ],
            ),
            (
                "queue: {writers: 4294967295}",
                ["queue.writers: `4294967295`", "numeric user id"],
            ),
            (
                "queue: {writers: {a: 1}}",
                ["queue.writers: is a section", "or a list"],
            ),
            (
                "queue: {retention: eternal}",
                ["queue.retention: `eternal`", "or `forever`"],
            ),
            (
                "queue: {retention: 200000w}",
                ["queue.retention: `200000w`", "or `forever`"],
            ),
            (
                "queue: {max_size: 1MiB}",
                ["queue.max_size: `1MiB`", "expected 8MiB to"],
            ),
            (
                "queue: {flush_interval: 1h}",
                ["queue.flush_interval: `1h`", "expected 0s to 10m"],
            ),
        ] {
            assert_mistake(text, &parts);
        }
        let long = format!("queue: {{socket: /{}}}", "s".repeat(107));
        assert_mistake(&long, &["queue.socket", "108 bytes long"]);
    }

    #[test]
    fn impossible_combinations_are_mistakes() {
        let tls = "address: mqtts://b";
        for (text, parts) in [
            (
                format!("mqtt: {{{tls}, client_cert_file: /c}}"),
                ["mqtt.client_cert_file: stands alone", "mqtt.client_key_file"],
            ),
            (
                format!("mqtt: {{{tls}, client_key_file: /k}}"),
                ["mqtt.client_key_file: stands alone", "mqtt.client_cert_file"],
            ),
            (
                "mqtt: {ca_file: /ca}".into(),
                ["mqtt.ca_file: is for TLS", "mqtts://"],
            ),
            (
                "authentication_key: file:/k".into(),
                ["authentication_key: stands alone", "decryption_key"],
            ),
            (
                "mqtt: {topic: a, state_topic: a}".into(),
                ["mqtt.state_topic: is the same topic as mqtt.topic", "expected"],
            ),
            (
                "queue: {path: /q, socket: /q}".into(),
                ["queue.socket: is the same path as queue.path", "expected"],
            ),
        ] {
            assert_mistake(&text, &parts);
        }
        config("mqtt: {address: [a, mqtts://b], ca_file: /ca}");
    }

    #[test]
    fn a_secret_is_never_in_a_mistake() {
        for text in [
            "decryption_key: 00112233445566778899AABBCCDDEE",
            "decryption_key: [00112233445566778899AABBCCDDEE]",
            "authentication_key: {a: 00112233445566778899AABBCCDDEE}",
            "decryption_key: !!int 00112233445566778899AABBCCDDEE",
            "decryption_key: !!binary 00112233445566778899AABBCCDDEE",
        ] {
            let error = Place::with(text).load(&Flags::default(), &[]).expect_err(text);
            assert!(!format!("{error} {error:?}").contains("2233"), "{error}");
        }
        assert_mistake(
            "decryption_key: abc",
            &["decryption_key: is 3 characters", "32 hex digits"],
        );
    }

    #[test]
    fn what_may_be_a_secret_is_never_printed_however_it_is_spelt() {
        // What the secret of each is, so that every spelling of it can be looked for.
        let passwords = [
            "hunter2",
            "hunter@2",
            "hunter/2",
            "hunter#2",
            "hunter,2",
            "hunter%402",
            "hunter:2",
            "83726457",
        ];
        let spellings = [
            "me:SECRET@broker:1883",
            "me:SECRET@broker",
            "mqtt://me:SECRET@broker:1883",
            "mqtts://SECRET@broker",
            "broker?password=SECRET",
            "mqtt://broker:1883/?password=SECRET",
            "mqtt://broker?user=me&pass=SECRET",
            "broker:1883#SECRET@x",
            "me:SECRET:broker:1883",
            "me:SECRET",
            "other://me:SECRET@broker",
            "password=SECRET",
            "me:SECRET@",
            "a,me:SECRET@broker,b",
        ];
        let keys = [
            "mqtt.address",
            "usb",
            "mqtt.cred_file",
            "mqtt.ca_file",
            "mqtt.client_key_file",
            "decryption_key",
        ];
        for spelling in spellings {
            for password in passwords {
                let value = spelling.replace("SECRET", password);
                // No part of it, as a comma or a slash may leave behind; `2` alone is no secret.
                let parts = ["hunter", "83726457"];
                for key in keys {
                    let text = match key.split_once('.') {
                        Some((section, name)) => {
                            format!("{section}: {{{name}: {value:?}}}\n{section}x: {value:?}\n{value:?}: 1")
                        }
                        None => format!("{key}: {value:?}\n"),
                    };
                    let printed = match Place::with(&text).load(&Flags::default(), &[]) {
                        Ok(loaded) => format!("{} {:?}", loaded.effective, loaded.warnings),
                        Err(error) => format!("{error} {error:?}"),
                    };
                    assert!(
                        !parts.iter().any(|part| printed.contains(part)),
                        "{text}: {printed}"
                    );
                }
                for (flag, variable) in [
                    ("-mqtt_address", "SMARTMETER_MQTT_ADDRESS"),
                    ("-usb", "SMARTMETER_USB"),
                    ("-mqtt_cred_file", "SMARTMETER_MQTT_CRED_FILE"),
                ] {
                    let place = Place::with("debug: false\n");
                    let by_flag = place.load(&flags(&[flag, &value]), &[]);
                    let by_variable = place.load(&Flags::default(), &[(variable, &value)]);
                    for loaded in [by_flag, by_variable] {
                        let printed = match loaded {
                            Ok(loaded) => format!("{} {:?}", loaded.effective, loaded.warnings),
                            Err(error) => format!("{error} {error:?}"),
                        };
                        assert!(
                            !parts.iter().any(|part| printed.contains(part)),
                            "{flag} {value}: {printed}"
                        );
                    }
                }
            }
        }
        let key = "00112233445566778899AABBCCDDEE";
        for text in [
            format!("decryption_key: file:{key}"),
            format!("crc: {key}"),
            format!("send_interval: '{key}'"),
            format!("mqtt: {{cred_file: {key}}}"),
            format!("'{key}': 1"),
            format!("authentication_key: {key}{key}"),
        ] {
            let error = Place::with(&text).load(&Flags::default(), &[]).expect_err(&text);
            assert!(!format!("{error} {error:?}").contains("2233"), "{error}");
        }
        assert_mistake(
            "mqtt: {address: 'ws://broker:80'}",
            &["`ws://broker:80` has a scheme"],
        );
        assert_mistake(
            "mqtt: {address: 'broker:mqtt'}",
            &["`broker:…` has no port number"],
        );
        config("usb: /dev/serial/by-id/usb-maker@1:2-if00\nmqtt: {cred_file: /run/secrets/mqtt_password}");
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_before_it_costs_time() {
        let many = 10_000;
        let staircase: String = (0..300)
            .map(|depth| format!("{}a:\n", " ".repeat(depth)))
            .collect();
        let deep = [
            "[".repeat(many),
            "{a: ".repeat(many),
            "- ".repeat(many),
            "? ".repeat(many),
            format!("a: {}", "[\n".repeat(many)),
            format!("{}{}", "[".repeat(many), "]".repeat(many)),
            staircase,
        ];
        let begun = std::time::Instant::now();
        for text in deep {
            let error = Place::with(&text)
                .load(&Flags::default(), &[])
                .expect_err("it is deep")
                .to_string();
            assert!(error.contains("is nested deeper than 32 levels"), "{error}");
            assert!(error.len() < 300, "{error}");
        }
        let elapsed = begun.elapsed();
        assert!(elapsed < std::time::Duration::from_secs(1), "{elapsed:?}");
        let many = "x:\n".repeat(20_000);
        let error = Place::with(&many)
            .load(&Flags::default(), &[])
            .expect_err("it is wrong")
            .to_string();
        assert!(error.len() < 10_000, "{} bytes", error.len());
    }

    #[test]
    fn all_mistakes_are_reported_at_once_with_the_file() {
        let place =
            Place::with("usbb: x\nsend_interval: sixty\nmqtt:\n  topic: 'a/#'\n  version: 4\nqueue: 5\n");
        let error = place.load(
            &flags(&["-mqtt_address", "ws://x"]),
            &[("SMARTMETER_DEBUG", "perhaps")],
        );
        let error = error.expect_err("seven mistakes").to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(
            lines.first(),
            Some(&"7 mistakes in the configuration:"),
            "{error}"
        );
        let file = place.path().display().to_string();
        for expected in [
            format!("{file}:1: usbb: "),
            format!("{file}:6: queue: "),
            format!("{file}:2: send_interval: "),
            "environment variable SMARTMETER_DEBUG: debug: `perhaps`".into(),
            "flag --mqtt_address: mqtt.address: `ws://x`".into(),
            format!("{file}:5: mqtt.version: "),
            format!("{file}:4: mqtt.topic: "),
        ] {
            assert!(
                lines.iter().any(|line| line.trim_start().starts_with(&expected)),
                "{expected} not in {error}"
            );
        }
    }

    #[test]
    fn a_file_that_is_no_yaml_is_named_with_the_place() {
        for (text, part) in [
            ("usb: [a\n", "line"),
            ("usb: a\n  debug: b\n", "line 2"),
            ("mqtt:\n\ttopic: a\n", "line 2 is indented with a tab"),
            ("usb: a\n---\nusb: b\n", "more than one document"),
            ("usb: !include x.yml\n", "tags"),
            ("? [a]\n: b\n", "only text"),
        ] {
            let place = Place::with(text);
            let error = place.load(&Flags::default(), &[]).expect_err(text).to_string();
            assert!(error.contains(&place.path().display().to_string()), "{error}");
            assert!(error.contains(part), "{text:?}: {error}");
        }
        let place = Place::with("");
        std::fs::write(place.path(), b"usb: \xff\n").unwrap();
        let error = place
            .load(&Flags::default(), &[])
            .expect_err("not UTF-8")
            .to_string();
        assert!(error.contains("byte 5 is not UTF-8"), "{error}");
    }

    #[test]
    fn a_folder_or_an_endless_file_is_no_configuration() {
        let place = Place::with("");
        for path in [place.folder.path().to_str().unwrap(), "/dev/zero"] {
            let error = place
                .load(&flags(&["-config", path]), &[])
                .expect_err(path)
                .to_string();
            assert!(error.contains(path), "{error}");
        }
    }

    #[test]
    fn a_variable_that_is_no_text_is_a_mistake() {
        let environment = Environment::from([("SMARTMETER_USB".to_owned(), None)]);
        let error = load_from(&Flags::default(), &environment, &[], "pi")
            .expect_err("not UTF-8")
            .to_string();
        assert!(
            error.contains("SMARTMETER_USB") && error.contains("UTF-8"),
            "{error}"
        );
    }
}

mod what_is_in_effect {
    use super::*;

    const MIXED: &str = "\
usb: tcp://p1:1
mqtt:
  address: [a, mqtts://b]
  topic: 'meter één: 1'
  credfile: /run/secrets/mqtt
queue: {retention: forever}
";

    #[test]
    fn the_listing_names_every_value_and_where_it_came_from() {
        let place = Place::with(MIXED);
        let loaded = place
            .load(&flags(&["-interval", "5"]), &[("SMARTMETER_QUEUE", "/q")])
            .unwrap();
        let listing = loaded.effective.to_string();
        let file = place.path().display().to_string();
        for (line, origin) in [
            ("send_interval: 5", "flag --interval"),
            ("debug: false", "default"),
            ("usb: tcp://p1:1", file.as_str()),
            ("decryption_key:", "default"),
            ("mqtt:", ""),
            ("  address: [a:1883, mqtts://b:8883]", file.as_str()),
            ("  topic: \"meter één: 1\"", file.as_str()),
            ("  cred_file: /run/secrets/mqtt", file.as_str()),
            ("  client_id: \"smartmeter-reader@pi-{queue}\"", "default"),
            ("  path: /q", "environment variable SMARTMETER_QUEUE"),
            ("  retention: forever", file.as_str()),
        ] {
            let found = listing.lines().any(|printed| {
                let (value, from) = printed.split_once(" # ").unwrap_or((printed, ""));
                value.trim_end() == line && from == origin
            });
            assert!(found, "{line} # {origin} not in\n{listing}");
        }
    }

    #[test]
    fn the_listing_is_itself_a_configuration_file() {
        for text in [
            "",
            GO_FILE,
            MIXED,
            "mqtt: {topic: '- #'}".replace(" #", "").as_str(),
            "mqtt: {topic: 'null', client_id: \"a 'b' \\\"c\\\"\"}",
        ] {
            let loaded = loaded(text);
            assert_eq!(
                config(&loaded.effective.to_string()),
                loaded.config,
                "for\n{}",
                loaded.effective
            );
        }
    }

    #[test]
    fn secrets_are_not_listed() {
        let loaded =
            loaded("decryption_key: 00112233445566778899AABBCCDDEEFF\nauthentication_key: file:/etc/key\n");
        let everything = format!("{} {loaded:?}", loaded.effective);
        assert!(
            !everything.contains("2233") && !everything.contains("AABB"),
            "{everything}"
        );
        assert!(
            everything.contains("decryption_key: (given, not shown)"),
            "{everything}"
        );
        assert!(
            everything.contains("authentication_key: file:/etc/key"),
            "{everything}"
        );
    }

    #[test]
    fn a_file_with_a_key_that_everyone_reads_gets_a_warning() {
        let place = Place::with("decryption_key: 00112233445566778899AABBCCDDEEFF\n");
        for (mode, expected) in [(0o644, 1), (0o600, 0)] {
            std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let warnings = place.load(&Flags::default(), &[]).unwrap().warnings;
            assert_eq!(warnings.len(), expected, "{warnings:?}");
        }
        let open = Place::with(GO_FILE);
        std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            open.load(&Flags::default(), &[]).unwrap().warnings,
            Vec::<String>::new()
        );
    }
}
