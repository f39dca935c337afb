//! Sealing and opening.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    agreement::{PrivateKey, UnparsedPublicKey, X25519, agree},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use zeroize::Zeroizing;

use crate::{Entry, Recipient, RecipientKey, keys::random, read_entries};

/// The length of a header, in bytes.
pub const HEADER_LEN: usize = 77;

const MAGIC: &[u8; 5] = b"CISG\x01";
const INFO: &[u8] = b"crypto-issued-v1/segment\0";
/// No frame follows.
const LAST: u8 = 1;

/// The engine failed, or the system has no randomness. Nothing is said about why, because the library says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a segment cannot be sealed")]
pub struct SealFailed;

impl SealFailed {
    pub(crate) fn of<E>(_nothing: E) -> Self {
        Self
    }
}

/// What stands at the beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Names the key that it is sealed to.
    pub recipient: [u8; 8],
    ephemeral: [u8; 32],
    /// Names the segment.
    pub segment: [u8; 16],
    /// The process that wrote it: the nonce of its feed.
    pub process: [u8; 16],
}

impl Header {
    /// Reads a header; what stands behind it is left alone.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (recipient, rest) = rest.split_first_chunk()?;
        let (ephemeral, rest) = rest.split_first_chunk()?;
        let (segment, rest) = rest.split_first_chunk()?;
        let (process, _frames) = rest.split_first_chunk()?;
        Some(Self {
            recipient: *recipient,
            ephemeral: *ephemeral,
            segment: *segment,
            process: *process,
        })
    }

    /// As it stands in the file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [
            MAGIC.as_slice(),
            &self.recipient,
            &self.ephemeral,
            &self.segment,
            &self.process,
        ]
        .concat()
    }
}

/// Seals the frames of one segment.
pub struct Sealer {
    key: LessSafeKey,
    header: Header,
    next: u32,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// Begins a segment.
    ///
    /// # Errors
    /// [`SealFailed`], also for a public key that agrees on nothing.
    pub fn begin(recipient: &Recipient, process: [u8; 16]) -> Result<Self, SealFailed> {
        let private = PrivateKey::generate(&X25519).map_err(SealFailed::of)?;
        let ephemeral = private.compute_public_key().map_err(SealFailed::of)?;
        let header = Header {
            recipient: recipient.id(),
            ephemeral: ephemeral.as_ref().try_into().map_err(SealFailed::of)?,
            segment: random()?,
            process,
        };
        let key = derive(&private, recipient.public(), &header, recipient)?;
        Ok(Self {
            key,
            header,
            next: 0,
        })
    }

    /// What the file begins with.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The number of the next frame.
    #[must_use]
    pub fn next_frame(&self) -> u32 {
        self.next
    }

    /// Seals the next frame; behind the last one there is none. Gives its body.
    ///
    /// # Errors
    /// [`SealFailed`]. The number is used up either way: no two texts are ever sealed under one.
    pub fn seal(&mut self, mut text: Vec<u8>, last: bool) -> Result<Vec<u8>, SealFailed> {
        let number = self.next;
        self.next = number.checked_add(1).ok_or(SealFailed)?;
        let flags = if last { LAST } else { 0 };
        let aad = additional(number, flags);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(number), Aad::from(aad), &mut text)
            .map_err(SealFailed::of)?;
        Ok([&[flags], text.as_slice(), tag.as_ref()].concat())
    }
}

/// Why a frame is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// The segment's header is none, or names another key.
    #[error("the segment is not sealed to this key-manager's key")]
    Recipient,
    /// It is not the frame of this place, or it was altered.
    #[error("a frame does not open")]
    Frame,
}

/// What a frame held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its entries.
    pub entries: Vec<Entry>,
    /// No frame follows.
    pub last: bool,
}

/// Opens the frames of one segment.
pub struct Opener {
    key: LessSafeKey,
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener(redacted)")
    }
}

impl Opener {
    /// For the segment with that header.
    ///
    /// # Errors
    /// [`Unopened::Recipient`].
    pub fn new(key: &RecipientKey, header: &Header) -> Result<Self, Unopened> {
        let recipient = key.recipient();
        if recipient.id() != header.recipient {
            return Err(Unopened::Recipient);
        }
        let key = derive(&key.private, &header.ephemeral, header, &recipient)
            .map_err(|_failed| Unopened::Recipient)?;
        Ok(Self { key })
    }

    /// Opens the frame of that number from its body.
    ///
    /// # Errors
    /// [`Unopened::Frame`].
    pub fn open(&self, number: u32, body: &[u8]) -> Result<Opened, Unopened> {
        let (flags, sealed) = body.split_first().ok_or(Unopened::Frame)?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let aad = additional(number, *flags);
        let opened = self
            .key
            .open_in_place(nonce(number), Aad::from(aad), &mut text)
            .map_err(|_altered| Unopened::Frame)?;
        let entries = read_entries(opened).map_err(|_malformed| Unopened::Frame)?;
        Ok(Opened {
            entries,
            last: *flags & LAST != 0,
        })
    }
}

/// Whether a body says that no frame follows. It is authenticated when it is opened.
pub(crate) fn is_last(body: &[u8]) -> bool {
    body.first().is_some_and(|flags| flags & LAST != 0)
}

fn nonce(number: u32) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    for (out, byte) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
        *out = byte;
    }
    // A key seals one segment, and numbers do not repeat in it.
    Nonce::assume_unique_for_key(nonce)
}

fn additional(number: u32, flags: u8) -> [u8; 5] {
    let [a, b, c, d] = number.to_be_bytes();
    [a, b, c, d, flags]
}

struct Key32;

impl KeyType for Key32 {
    fn len(&self) -> usize {
        32
    }
}

/// `theirs` is the other side's public key: the recipient's for who seals, the ephemeral one for who opens.
fn derive(
    private: &PrivateKey,
    theirs: &[u8; 32],
    header: &Header,
    recipient: &Recipient,
) -> Result<LessSafeKey, SealFailed> {
    let salt = [header.ephemeral, *recipient.public()].concat();
    let info = header.bytes();
    let peer = UnparsedPublicKey::new(&X25519, theirs);
    agree(private, peer, SealFailed, |shared| {
        let mut key = Zeroizing::new([0; 32]);
        Salt::new(HKDF_SHA256, &salt)
            .extract(shared)
            .expand(&[INFO, &info], Key32)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .map_err(SealFailed::of)?;
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(SealFailed::of)?;
        Ok(LessSafeKey::new(key))
    })
}
