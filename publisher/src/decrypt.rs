//! Opens the frames of meters that encrypt: Luxembourg, and some operators in Austria.
//!
//! # Bytes of a frame
//!
//! ```text
//!  0  1  DB             general-glo-ciphering (DLMS/COSEM Green Book, 9.2.7.2.4.5)
//!  1  1  08             length of the system title
//!  2  8  system title
//! 10  1  82             length in two bytes follows
//! 11  2  L              big endian; what follows is L bytes
//! 13  1  30             security control: authenticated and encrypted
//! 14  4  frame counter  big endian
//! 18     ciphertext     L - 17 bytes
//!    12  tag
//! ```
//!
//! AES-128-GCM; nonce = system title + frame counter, additional data = `30` + authentication key. Other security
//! controls are refused: one that says "encrypted only" would make a frame without a tag of every frame.
//!
//! The authentication key that is documented does not verify on many meters in the field. If none is configured,
//! frames are then opened by counter mode only, and the CRC of the telegram inside is what shows that it is whole. It
//! does not show who made it: whoever knows what a frame says can change it and its CRC without any key.

mod trust;

use aes::Aes128;
use aes::cipher::consts::U12;
use aes::cipher::{KeyIvInit, StreamCipher};
use aes_gcm::AesGcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use ctr::Ctr32BE;
use shared::config::CrcPolicy;
use shared::telegram::assembler::{Found, find_all};
use zeroize::Zeroize;

pub use trust::Decryption;
pub(crate) use trust::{Opened, Refusals};

type Aes128Gcm96 = AesGcm<Aes128, U12, U12>;

/// A 128-bit key.
pub type Key = [u8; 16];

/// The authentication key that Luxembourg's operators publish.
pub const DOCUMENTED_AUTHENTICATION_KEY: Key = [
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF,
];

/// The keys of one meter.
#[derive(Clone)]
pub struct Keys {
    /// `decryption_key`.
    pub decryption: Key,
    /// `authentication_key`. If there is one, no frame opens without a tag that verifies with it; if there is none, the
    /// documented one is tried.
    pub authentication: Option<Key>,
}

impl Keys {
    /// The decryption key without an authentication key.
    pub fn new(decryption: Key) -> Self {
        Self {
            decryption,
            authentication: None,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.decryption.zeroize();
        self.authentication.zeroize();
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(not shown)")
    }
}

/// Why a telegram is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecryptable {
    /// There is no key.
    #[error(
        "the meter encrypts its telegrams, and the configuration has no decryption_key: ask the grid operator \
         for the key of this meter (32 hex digits) and set it"
    )]
    NoKey,
    /// The frame does not open with the key.
    #[error(
        "an encrypted frame of meter {meter} does not open with the configured decryption_key: it belongs to \
         another meter, or the frame is damaged"
    )]
    WrongKey {
        /// The system title of the frame, as text where it is some.
        meter: String,
    },
    /// The frame opens, and not one tag has verified yet with the authentication key of the configuration.
    #[error(
        "an encrypted frame of meter {meter} opens with decryption_key, and its tag does not verify with the \
         configured authentication_key. Many meters make their tags with another key than the published one: set \
         the right one, or remove authentication_key to read this meter without proof that its telegrams are genuine"
    )]
    WrongAuthenticationKey {
        /// As above.
        meter: String,
    },
    /// The frame opens, but tags have verified before, and its does not.
    #[error(
        "the tag of an encrypted frame of meter {meter} does not verify, and tags have verified before: the frame is \
         damaged or forged"
    )]
    WrongTag {
        /// As above.
        meter: String,
    },
    /// The frame, or a later one, has been taken before.
    #[error(
        "an encrypted frame of meter {meter} has the frame counter {counter}, which is not above {last}, the last one \
         of that meter: somebody has sent or imported it again, or the meter counts against the standard"
    )]
    OldCounter {
        /// As above.
        meter: String,
        /// Its counter.
        counter: u32,
        /// The counter of the last frame of this system title that was taken.
        last: u32,
    },
    /// It is no frame, and tags have verified before.
    #[error(
        "it is not encrypted, and telegrams before it were, with tags that verify: it is forged, or another meter has \
         taken the place (for one that does not encrypt remove decryption_key and authentication_key)"
    )]
    NotEncrypted,
    /// It is no frame, and only a frame has the tag that the authentication key of the configuration asks for.
    #[error(
        "it is not encrypted, so it has no tag, and with authentication_key every telegram needs one: remove \
         authentication_key to read telegrams that are not encrypted"
    )]
    NoTag,
    /// The frame says that it is protected in another way.
    #[error(
        "an encrypted frame has the security control {found:02X}; expected 30 (suite 0, authenticated and encrypted)"
    )]
    SecurityControl {
        /// What it says.
        found: u8,
    },
    /// It is no frame.
    #[error("an encrypted frame of {bytes} bytes is cut short or malformed")]
    Malformed {
        /// Its length.
        bytes: usize,
    },
}

impl Undecryptable {
    /// What it is counted as: `12 undecryptable`.
    pub fn counted_as(&self) -> &'static str {
        match self {
            Self::NoKey | Self::WrongKey { .. } | Self::SecurityControl { .. } | Self::Malformed { .. } => {
                "undecryptable"
            }
            Self::WrongAuthenticationKey { .. } | Self::WrongTag { .. } => "with a tag that does not verify",
            Self::OldCounter { .. } => "with an old frame counter",
            Self::NotEncrypted | Self::NoTag => "not encrypted",
        }
    }
}

/// Whether these bytes are an encrypted frame, by their first two.
pub fn is_encrypted(telegram: &[u8]) -> bool {
    telegram.starts_with(&[0xDB, 0x08])
}

/// Opens one frame, without regard to others.
pub fn decrypt(frame: &[u8], keys: &Keys) -> Result<Vec<u8>, Undecryptable> {
    let inside = Parts::of(frame)?.open(keys)?;
    Ok(inside.telegram)
}

/// A frame taken apart.
struct Parts<'f> {
    system_title: [u8; 8],
    security_control: u8,
    frame_counter: u32,
    ciphertext: &'f [u8],
    tag: &'f [u8],
}

/// What was in a frame.
struct Inside {
    telegram: Vec<u8>,
    /// Whether the tag shows that it is what the meter sent.
    is_authentic: bool,
}

/// Suite 0, authenticated and encrypted.
const SECURITY_CONTROL: u8 = 0x30;

impl<'f> Parts<'f> {
    fn of(frame: &'f [u8]) -> Result<Self, Undecryptable> {
        let parts = Self::cut(frame).ok_or(Undecryptable::Malformed { bytes: frame.len() })?;
        match parts.security_control {
            SECURITY_CONTROL => Ok(parts),
            found => Err(Undecryptable::SecurityControl { found }),
        }
    }

    fn cut(frame: &'f [u8]) -> Option<Self> {
        let (&system_title, rest) = frame.strip_prefix(&[0xDB, 0x08])?.split_first_chunk()?;
        let (&length, rest) = rest.strip_prefix(&[0x82])?.split_first_chunk()?;
        if usize::from(u16::from_be_bytes(length)) != rest.len() {
            return None;
        }
        let (&security_control, rest) = rest.split_first()?;
        let (&frame_counter, rest) = rest.split_first_chunk()?;
        let (ciphertext, tag) = rest.split_at_checked(rest.len().checked_sub(12)?)?;
        Some(Self {
            system_title,
            security_control,
            frame_counter: u32::from_be_bytes(frame_counter),
            ciphertext,
            tag,
        })
    }

    fn open(&self, keys: &Keys) -> Result<Inside, Undecryptable> {
        if let Some(telegram) = self.authenticated(keys) {
            let is_authentic = true;
            return Ok(Inside {
                telegram,
                is_authentic,
            });
        }
        let meter = self.meter();
        match self.by_the_crc_inside(keys) {
            None => Err(Undecryptable::WrongKey { meter }),
            Some(_) if keys.authentication.is_some() => Err(Undecryptable::WrongAuthenticationKey { meter }),
            Some(telegram) => Ok(Inside {
                telegram,
                is_authentic: false,
            }),
        }
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        let bytes = self
            .system_title
            .into_iter()
            .chain(self.frame_counter.to_be_bytes());
        nonce
            .iter_mut()
            .zip(bytes)
            .for_each(|(place, byte)| *place = byte);
        nonce
    }

    /// The telegram, where the tag shows that it is what the meter sent.
    fn authenticated(&self, keys: &Keys) -> Option<Vec<u8>> {
        let cipher = Aes128Gcm96::new_from_slice(&keys.decryption).ok()?;
        let additional: Vec<u8> = [self.security_control]
            .iter()
            .chain(
                keys.authentication
                    .as_ref()
                    .unwrap_or(&DOCUMENTED_AUTHENTICATION_KEY),
            )
            .copied()
            .collect();
        let mut telegram = self.ciphertext.to_vec();
        let tag = self.tag.try_into().ok()?;
        cipher
            .decrypt_inout_detached(
                &self.nonce().into(),
                &additional,
                telegram.as_mut_slice().into(),
                tag,
            )
            .ok()?;
        Some(telegram)
    }

    /// The telegram, where its own CRC shows that it is whole.
    fn by_the_crc_inside(&self, keys: &Keys) -> Option<Vec<u8>> {
        let mut counter = [0; 16];
        let start = self.nonce().into_iter().chain([0, 0, 0, 2]);
        counter
            .iter_mut()
            .zip(start)
            .for_each(|(place, byte)| *place = byte);
        let mut telegram = self.ciphertext.to_vec();
        Ctr32BE::<Aes128>::new_from_slices(&keys.decryption, &counter)
            .ok()?
            .apply_keystream(&mut telegram);
        has_valid_crc(&telegram).then_some(telegram)
    }

    fn meter(&self) -> String {
        if self.system_title.iter().all(u8::is_ascii_graphic) {
            return String::from_utf8_lossy(&self.system_title).into_owned();
        }
        self.system_title
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect()
    }
}

/// Whether this is a telegram with a valid CRC, from its first byte on.
fn has_valid_crc(telegram: &[u8]) -> bool {
    let found = find_all(telegram, CrcPolicy::Required);
    matches!(found.first(), Some(Found::Telegram(telegram)) if telegram.position == 0)
}

#[cfg(test)]
pub(crate) mod tests;
