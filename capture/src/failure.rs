//! How a command fails: words for a person, and the exit code that fits.

use shared::config::ConfigError;
use shared::exit::Exit;
use shared::wire::Refusal;
use shared::wire::client::ClientError;

use crate::queue::OpenError;
use crate::server::socket::SocketError;

/// A command that did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// What happened, and what to do.
    pub words: String,
}

impl Failure {
    /// A failure with this exit code and these words.
    pub fn new(exit: Exit, words: impl Into<String>) -> Self {
        Self {
            exit,
            words: words.into(),
        }
    }

    /// An input or a check that failed.
    pub fn failed(words: impl Into<String>) -> Self {
        Self::new(Exit::Failed, words)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Configuration, error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match &error {
            OpenError::Locked { .. } => Exit::TryAgain,
            // The path itself is wrong: it leads through a file, or to one.
            OpenError::System { source, .. }
                if matches!(
                    source.kind(),
                    std::io::ErrorKind::NotADirectory
                        | std::io::ErrorKind::AlreadyExists
                        | std::io::ErrorKind::InvalidInput
                ) =>
            {
                Exit::Configuration
            }
            _ => Exit::Storage,
        };
        let hint = match &error {
            OpenError::System { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                ": run capture as the user that owns it, or give another queue.path"
            }
            OpenError::Locked { .. } => ": is capture running on it already?",
            OpenError::NotOwn { .. } => ": remove it, or put what it leads to in its place",
            OpenError::Later { .. } => {
                ": nothing in it was changed. Start the newer version again, or give another queue.path"
            }
            _ => "",
        };
        Self::new(exit, format!("cannot open the queue: {error}{hint}"))
    }
}

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        let exit = match &error {
            SocketError::Live { .. } => Exit::TryAgain,
            _ => Exit::Configuration,
        };
        Self::new(exit, format!("cannot serve the queue: {error}"))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match error.refusal() {
            None | Some(Refusal::Storage | Refusal::Busy) => Exit::TryAgain,
            Some(_) => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}
