//! From the checked configuration to what each part needs, with the secrets and certificates read
//! from their files.

use shared::config::credentials::{Credentials, CredentialsError};
use shared::config::secret::{self, KeyError};
use shared::config::{BrokerAddress, Config, DecryptionConfig, KeySource, MqttConfig};

use crate::decrypt::Keys;
use crate::flow::FlowSettings;
use crate::mqtt::{self, Login, MqttSettings, TlsError, TlsFiles, Topics, Will, configure_tls};
use crate::source::SourceSettings;

/// A file that the configuration names does not do.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// `mqtt.cred_file`.
    #[error("mqtt.cred_file: {0}")]
    Credentials(#[from] CredentialsError),
    /// `decryption_key` or `authentication_key`.
    #[error("{key}: {source}")]
    Key {
        /// Which.
        key: &'static str,
        /// Why not.
        source: KeyError,
    },
    /// TLS files.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Settings with what a person should be warned of.
pub type Warned<T> = (T, Vec<String>);

/// Where messages go, with topics of their own where the kind is on.
pub fn topics(config: &MqttConfig) -> Topics {
    Topics {
        readings: config.topic.clone(),
        summary: config.summary_topic.clone(),
        state: config.state_topic.clone(),
        availability: config.availability_topic.clone(),
    }
}

/// The connection to the broker, its will included.
///
/// # Errors
/// Where the credentials file or one of the TLS files does not do.
pub fn mqtt(config: &MqttConfig) -> Result<Warned<MqttSettings>, SettingsError> {
    let mut warnings = Vec::new();
    let mut login = None;
    if let Some(path) = &config.credentials_file {
        let (credentials, of_file) = Credentials::load(path)?;
        warnings.extend(of_file);
        let password = credentials
            .password
            .as_ref()
            .map_or("", |password| password.expose());
        login = Some(Login {
            user: credentials.user.clone(),
            password: password.to_owned(),
        });
        warnings.extend(in_clear_text(&config.brokers));
    }
    let has_tls = config.brokers.iter().any(|broker| broker.is_tls);
    let files = TlsFiles {
        authority: config.ca_file.clone(),
        certificate: config.client_certificate_file.clone(),
        key: config.client_key_file.clone(),
    };
    if !has_tls && files != TlsFiles::default() {
        warnings.push(
            "mqtt.ca_file, client_cert_file and client_key_file have no effect: no address in mqtt.address \
             is mqtts://"
                .to_owned(),
        );
    }
    let tls = has_tls.then(|| configure_tls(&files)).transpose()?;
    warnings.extend(files.key.as_deref().filter(|_| has_tls).and_then(secret::warning));
    let settings = MqttSettings {
        brokers: config.brokers.clone(),
        order: config.broker_order,
        version: config.version,
        client_id: config.client_id.clone(),
        login,
        tls,
        will: Some(will(config)),
        topics: topics(config),
    };
    Ok((settings, warnings))
}

/// A warning if credentials go to another machine without TLS.
fn in_clear_text(brokers: &[BrokerAddress]) -> Option<String> {
    let open = brokers
        .iter()
        .filter(|broker| !broker.is_tls && !broker.is_this_machine());
    let names: Vec<String> = open.map(mqtt::address).collect();
    (!names.is_empty()).then(|| {
        format!(
            "user and password of mqtt.cred_file go to {} in clear text, for everybody on the way to read: name the \
             broker as mqtts:// in mqtt.address, and its authority as mqtt.ca_file unless it is a public one",
            names.join(", ")
        )
    })
}

/// `offline` on the availability topic; without one, what the Go program left behind.
fn will(config: &MqttConfig) -> Will {
    match &config.availability_topic {
        Some(topic) => Will {
            topic: topic.clone(),
            payload: "offline".to_owned(),
            is_retained: true,
        },
        None => Will {
            topic: format!("will:{}", config.topic),
            payload: "GoingDown".to_owned(),
            is_retained: false,
        },
    }
}

/// The keys of meters that encrypt; none where none is configured.
///
/// # Errors
/// Where a key's file cannot be read or holds no key.
pub fn keys(config: &DecryptionConfig) -> Result<Warned<Option<Keys>>, SettingsError> {
    let mut warnings = Vec::new();
    let mut load = |key: &'static str, source: &Option<KeySource>| match source {
        None => Ok::<_, SettingsError>(None),
        Some(source) => {
            let (secret, of_file) = source
                .load()
                .map_err(|source| SettingsError::Key { key, source })?;
            warnings.extend(of_file);
            Ok(Some(*secret.bytes()))
        }
    };
    let decryption = load("decryption_key", &config.decryption_key)?;
    let authentication = load("authentication_key", &config.authentication_key)?;
    let keys = decryption.map(|decryption| Keys {
        decryption,
        authentication,
    });
    Ok((keys, warnings))
}

/// What shapes the messages and their delivery.
pub fn flow(config: &Config, keys: Option<Keys>) -> FlowSettings {
    FlowSettings {
        interval_seconds: config.send_interval_seconds,
        max_payload_bytes: config.mqtt.max_payload_bytes,
        topics: topics(&config.mqtt),
        client_id: config.mqtt.client_id.clone(),
        on_rejected: config.mqtt.on_rejected,
        meter_timeout: config.meter_timeout,
        keys,
        on_undecryptable: config.decryption.on_undecryptable,
        socket: config.queue.socket.clone(),
    }
}

/// The session with capture.
pub fn source(config: &Config) -> SourceSettings {
    SourceSettings {
        socket: config.queue.socket.clone(),
        consumer: config.mqtt.consumer.clone(),
        start: config.mqtt.start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: &str) -> Config {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.yml");
        std::fs::write(&file, yaml).expect("a file");
        let flags = shared::config::flags::Flags {
            config: Some(file),
            ..Default::default()
        };
        shared::config::load(&flags)
            .expect("a valid configuration")
            .config
    }

    #[test]
    fn without_an_availability_topic_the_go_programs_will_stays() {
        let (settings, _) = mqtt(&config("mqtt: {topic: home/meter}").mqtt).expect("settings");
        let expected = Will {
            topic: "will:home/meter".to_owned(),
            payload: "GoingDown".to_owned(),
            is_retained: false,
        };
        assert_eq!(settings.will, Some(expected));
        assert_eq!((settings.topics.summary, settings.topics.state), (None, None));
    }

    #[test]
    fn with_one_the_will_says_offline_there() {
        let (settings, _) = mqtt(&config("mqtt: {topic: home/meter, availability_topic: home/online}").mqtt)
            .expect("settings");
        let expected = Will {
            topic: "home/online".to_owned(),
            payload: "offline".to_owned(),
            is_retained: true,
        };
        assert_eq!(settings.will, Some(expected));
    }

    /// Warnings of a configuration of mqtt that names these brokers.
    fn warnings_of(brokers: &str, has_credentials: bool) -> Vec<String> {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("credentials");
        std::fs::write(&file, "user=a\npassword=b\n").expect("a file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        let credentials = if has_credentials {
            format!("cred_file: {}", file.display())
        } else {
            String::new()
        };
        let yaml = format!("mqtt:\n  address: [{brokers}]\n  {credentials}\n");
        mqtt(&config(&yaml).mqtt).expect("settings").1
    }

    #[test]
    fn credentials_in_clear_text_to_another_machine_get_one_warning() {
        let warnings = warnings_of(
            "'broker:1883', 'localhost:1883', '192.168.1.2', 'mqtts://safe'",
            true,
        );
        let [warning] = &warnings[..] else {
            panic!("{warnings:?}")
        };
        assert!(
            warning.contains("broker:1883, 192.168.1.2:1883 in clear text"),
            "{warning}"
        );
        assert!(warning.contains("mqtts://"), "{warning}");
        for (brokers, has_credentials) in [
            ("'localhost:1883', '127.0.0.1', ':1883', '[::1]:1883'", true),
            ("'mqtts://broker'", true),
            ("'broker:1883'", false),
        ] {
            assert_eq!(
                warnings_of(brokers, has_credentials),
                Vec::<String>::new(),
                "{brokers}"
            );
        }
    }

    #[test]
    fn a_missing_credentials_file_is_named_with_its_key() {
        let Err(error) = mqtt(&config("mqtt: {credfile: /no/such/file}").mqtt) else {
            panic!("there is no such file")
        };
        let words = error.to_string();
        assert!(
            words.contains("mqtt.cred_file") && words.contains("/no/such/file"),
            "{words}"
        );
    }
}
