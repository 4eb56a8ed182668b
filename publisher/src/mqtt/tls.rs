//! TLS: whom to trust and who we are. Built once, from files that are checked at the start, with the
//! ring provider named here, so that the library's own default (which panics where the platform has
//! no certificates) is never asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use shared::regular_file;
use zeroize::Zeroizing;

/// The files that TLS is configured with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities to trust; the platform's where none.
    pub authority: Option<PathBuf>,
    /// Our certificate with the chain up to the authority.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{key}: {path}: {reason}")]
    File {
        /// The key in the configuration.
        key: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nobody to trust.
    #[error(
        "this machine has no certificates of authorities: install ca-certificates, or name the \
         broker's authority as mqtt.ca_file{reason}"
    )]
    NoPlatformRoots {
        /// What the platform said, with a leading blank; empty where it said nothing.
        reason: String,
    },
    /// Certificate and key do not go together.
    #[error("mqtt.client_cert_file and mqtt.client_key_file: {0}")]
    Client(rustls::Error),
    /// One of the two is missing.
    #[error("{present} is set but {missing} is not: a client certificate needs both")]
    Half {
        /// What is there.
        present: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// The provider does not do what is asked.
    #[error("TLS: {0}")]
    Provider(rustls::Error),
}

/// Reads the files.
///
/// # Errors
/// [`TlsError`] names the configuration's key and the file.
pub fn configure(files: &TlsFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &files.authority {
        Some(path) => authority(path)?,
        None => platform()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_root_certificates(roots);
    let config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("mqtt.client_cert_file", certificate)?;
            let key = read("mqtt.client_key_file", key, PrivateKeyDer::from_pem_slice)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(TlsError::Client)?
        }
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => {
            return Err(TlsError::Half {
                present: "mqtt.client_cert_file",
                missing: "mqtt.client_key_file",
            });
        }
        (None, Some(_)) => {
            return Err(TlsError::Half {
                present: "mqtt.client_key_file",
                missing: "mqtt.client_cert_file",
            });
        }
    };
    Ok(Arc::new(config))
}

fn authority(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("mqtt.ca_file", path)? {
        roots.add(certificate).map_err(|error| TlsError::File {
            key: "mqtt.ca_file",
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn platform() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reason = found
            .errors
            .first()
            .map(|error| format!(" ({error})"))
            .unwrap_or_default();
        return Err(TlsError::NoPlatformRoots { reason });
    }
    Ok(roots)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = read(key, path, |bytes| CertificateDer::pem_slice_iter(bytes).collect())?;
    if found.is_empty() {
        return Err(TlsError::File {
            key,
            path: path.display().to_string(),
            reason: "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned(),
        });
    }
    Ok(found)
}

/// What is made of the bytes of a regular file.
fn read<T>(
    key: &'static str,
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, rustls::pki_types::pem::Error>,
) -> Result<T, TlsError> {
    regular_file::read(path, LONGEST_FILE_BYTES)
        .map_err(rustls::pki_types::pem::Error::Io)
        .and_then(|(bytes, _)| parse(&Zeroizing::new(bytes)))
        .map_err(|error| file_error(key, path, &error))
}

/// Longest file of certificates, in bytes: all authorities of a platform are a quarter of that.
const LONGEST_FILE_BYTES: u64 = 1024 * 1024;

fn file_error(key: &'static str, path: &Path, error: &rustls::pki_types::pem::Error) -> TlsError {
    use rustls::pki_types::pem::Error;
    let reason = match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "holds no key in PEM form (-----BEGIN PRIVATE KEY-----)".to_owned(),
        other => format!("is not valid PEM: {other:?}"),
    };
    TlsError::File {
        key,
        path: path.display().to_string(),
        reason,
    }
}
