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
//! AES-128-GCM; nonce = system title + frame counter, additional data = `30` + authentication key. The
//! authentication key that is documented does not verify on many meters in the field. Their frames are
//! opened by counter mode alone, and the CRC of the telegram inside is what shows that it is whole.

use std::borrow::Cow;

use aes::Aes128;
use aes::cipher::consts::U12;
use aes::cipher::{KeyIvInit, StreamCipher};
use aes_gcm::AesGcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use ctr::Ctr32BE;
use shared::config::{CrcPolicy, OnTrouble};
use shared::telegram::assembler::{Found, find_all};

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
    /// `authentication_key`; the documented one where the configuration has none.
    pub authentication: Key,
}

impl Keys {
    /// The decryption key with the documented authentication key.
    pub fn new(decryption: Key) -> Self {
        Self {
            decryption,
            authentication: DOCUMENTED_AUTHENTICATION_KEY,
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(not shown)")
    }
}

/// Why a frame could not be opened.
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
    /// It is no frame.
    #[error("an encrypted frame of {bytes} bytes is cut short or malformed")]
    Malformed {
        /// Its length.
        bytes: usize,
    },
}

/// Whether these bytes are an encrypted frame, by their first two.
pub fn is_encrypted(telegram: &[u8]) -> bool {
    telegram.starts_with(&[0xDB, 0x08])
}

/// Opens one frame.
pub fn decrypt(frame: &[u8], keys: &Keys) -> Result<Vec<u8>, Undecryptable> {
    let parts = Parts::of(frame).ok_or(Undecryptable::Malformed { bytes: frame.len() })?;
    parts
        .authenticated(keys)
        .or_else(|| parts.by_the_crc_inside(keys))
        .ok_or_else(|| Undecryptable::WrongKey { meter: parts.meter() })
}

/// A frame taken apart.
struct Parts<'f> {
    system_title: &'f [u8],
    security_control: u8,
    frame_counter: &'f [u8],
    ciphertext: &'f [u8],
    tag: &'f [u8],
}

impl<'f> Parts<'f> {
    fn of(frame: &'f [u8]) -> Option<Self> {
        let (system_title, rest) = frame.strip_prefix(&[0xDB, 0x08])?.split_at_checked(8)?;
        let (&length, rest) = rest.strip_prefix(&[0x82])?.split_first_chunk()?;
        if usize::from(u16::from_be_bytes(length)) != rest.len() {
            return None;
        }
        let (&security_control, rest) = rest.split_first()?;
        let (frame_counter, rest) = rest.split_at_checked(4)?;
        let (ciphertext, tag) = rest.split_at_checked(rest.len().checked_sub(12)?)?;
        Some(Self {
            system_title,
            security_control,
            frame_counter,
            ciphertext,
            tag,
        })
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        let bytes = self.system_title.iter().chain(self.frame_counter);
        nonce
            .iter_mut()
            .zip(bytes)
            .for_each(|(place, byte)| *place = *byte);
        nonce
    }

    /// The telegram, where the tag shows that it is what the meter sent.
    fn authenticated(&self, keys: &Keys) -> Option<Vec<u8>> {
        let cipher = Aes128Gcm96::new_from_slice(&keys.decryption).ok()?;
        let additional: Vec<u8> = [self.security_control]
            .iter()
            .chain(&keys.authentication)
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
            return String::from_utf8_lossy(self.system_title).into_owned();
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

/// Opens records as they come, and knows what to do with those that do not open.
#[derive(Debug)]
pub struct Decryption {
    keys: Option<Keys>,
    on_undecryptable: OnTrouble,
    has_opened: bool,
}

/// A record that was looked into.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened<'r> {
    /// The telegram.
    Telegram(Cow<'r, [u8]>),
    /// It does not open and is passed over.
    Skipped(Undecryptable),
    /// It does not open; nothing may pass until it does.
    Waiting(Undecryptable),
}

impl Decryption {
    /// With the keys of the configuration, if it has any.
    pub fn new(keys: Option<Keys>, on_undecryptable: OnTrouble) -> Self {
        Self {
            keys,
            on_undecryptable,
            has_opened: false,
        }
    }

    /// The telegram of a record. A frame that does not open is waited for while none has opened yet, since
    /// the key may be wrong; once one has, it is damage and passed over.
    pub(crate) fn open<'r>(&mut self, telegram: &'r [u8]) -> Opened<'r> {
        if !is_encrypted(telegram) {
            return Opened::Telegram(Cow::Borrowed(telegram));
        }
        let opened = self
            .keys
            .as_ref()
            .ok_or(Undecryptable::NoKey)
            .and_then(|keys| decrypt(telegram, keys));
        match opened {
            Ok(telegram) => {
                self.has_opened = true;
                Opened::Telegram(Cow::Owned(telegram))
            }
            Err(why) if self.has_opened || self.on_undecryptable == OnTrouble::Skip => Opened::Skipped(why),
            Err(why) => Opened::Waiting(why),
        }
    }
}

#[cfg(test)]
mod tests;
