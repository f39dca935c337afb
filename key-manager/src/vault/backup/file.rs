//! The form of a backup.
//!
//! ```text
//! "CKeBKUP\n"  version (u32)  length of the header (u32)  header (JSON)
//! frame*       last (one byte: 1 in the last frame, else 0)  length (u32)  ciphertext and its tag of 16
//! SHA-256 of all that
//! ```
//!
//! - Numbers are big-endian. The header is readable without a key; every frame has its digest in the associated data, so it cannot be changed.
//! - The key of the frames is fresh for each file, and wrapped by the key-encryption key. The nonce of a frame is its number, and number and `last` are
//!   associated data: frames that are left out, moved, repeated or of another file do not open, nor does a file that ends early.
//! - In a frame: length of the key (u16), key, length of the value (u32), value; as often as it holds records. Keys rise strictly over the file.
//! - The digest at the end needs no key: it tells a file that was damaged on its way from one that is sealed with another key.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{Context, SHA256, digest},
};
use serde::{Deserialize, Serialize};

use super::belongs_to_the_moment;
use crate::{
    seal::{KekError, Keks, SealError, UnwrapError, bind, fresh_key},
    store::{MAX_KEY, Pair},
};

const MAGIC: &[u8; 8] = b"CKeBKUP\n";

/// The one format so far.
pub(crate) const VERSION: u32 = 1;

/// Whose data key the key of a file is for a key-encryption key: no tenant has a slash.
const OWNER: &str = "backup/v1";

/// A frame is closed when its records have grown to this, in bytes.
const FRAME: usize = 128 * 1024;

/// The longest frame and value that are read, in bytes.
const MAX_FRAME: usize = 8 * 1024 * 1024;
const MAX_HEADER: usize = 64 * 1024;
const TAG: usize = 16;
const DIGEST: usize = 32;

/// What a backup holds, as its header says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// When it was taken, in milliseconds since 1970.
    pub created_at: u64,
    /// The epoch of the store.
    pub epoch: u64,
    /// Tenants with key sets.
    pub tenants: u64,
    /// Key sets.
    pub key_sets: u64,
    /// Keys with private material.
    pub keys: u64,
    /// Revocations of tokens.
    pub token_revocations: u64,
    /// Entries of the store.
    pub entries: u64,
    /// Where the key-encryption key came from, for people.
    pub kek: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    header: Header,
    /// The key of the frames, wrapped.
    key: String,
}

/// Why a file is no backup that can be restored. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It is something else.
    #[error("the file is no backup")]
    NoBackup,
    /// A later version wrote it.
    #[error(
        "the file has format {0}, which this version does not know: restore it with the version that wrote it, or a later one"
    )]
    Newer(u32),
    /// It is not as it was written.
    #[error("the file was altered or damaged: {0}")]
    Altered(&'static str),
    /// It ends early.
    #[error("the file was cut off: it has no end")]
    CutOff,
    /// Its key does not unwrap.
    #[error(
        "the file is sealed with another key-encryption key than this key-manager has: give it the one that the header names"
    )]
    Kek,
    /// The key-encryption key cannot be used at present.
    #[error(transparent)]
    Away(Box<KekError>),
    /// The crypto library failed.
    #[error("the crypto library failed")]
    Engine,
}

/// Seals entries as a file, piece by piece.
pub(super) struct Sealer {
    key: LessSafeKey,
    bound: [u8; DIGEST],
    count: u64,
    records: Vec<u8>,
    digest: Context,
    size: u64,
}

impl Sealer {
    /// Begins a file, and gives its first bytes.
    pub(super) async fn begin(keks: &Keks, header: &Header) -> Result<(Self, Vec<u8>), SealError> {
        let key = fresh_key()?;
        let written = Written {
            header: header.clone(),
            key: jose::base64url::encode(keks.wrap(OWNER, &key).await?),
        };
        let header = serde_json::to_vec(&written).map_err(|_never| SealError::Engine)?;
        let len = u32::try_from(header.len()).map_err(|_long| SealError::Engine)?;
        let start = [
            MAGIC.as_slice(),
            &VERSION.to_be_bytes(),
            &len.to_be_bytes(),
            &header,
        ]
        .concat();
        let mut sealer = Self {
            key: frame_key(key.as_slice()).ok_or(SealError::Engine)?,
            bound: sha256(&start),
            count: 0,
            records: Vec::new(),
            digest: Context::new(&SHA256),
            size: 0,
        };
        sealer.wrote(&start);
        Ok((sealer, start))
    }

    /// Takes an entry in. Gives a frame where one is full.
    pub(super) fn add(&mut self, key: &str, value: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        let key_len = u16::try_from(key.len()).map_err(|_long| SealError::Engine)?;
        let value_len = u32::try_from(value.len()).map_err(|_long| SealError::Engine)?;
        if value.len() > MAX_FRAME - FRAME - MAX_KEY - TAG {
            return Err(SealError::Engine);
        }
        self.records.extend_from_slice(&key_len.to_be_bytes());
        self.records.extend_from_slice(key.as_bytes());
        self.records.extend_from_slice(&value_len.to_be_bytes());
        self.records.extend_from_slice(value);
        match self.records.len() >= FRAME {
            true => self.frame(false).map(Some),
            false => Ok(None),
        }
    }

    /// The last bytes of the file, its size and its digest.
    pub(super) fn end(mut self) -> Result<(Vec<u8>, u64, [u8; DIGEST]), SealError> {
        let last = self.frame(true)?;
        let whole = array(self.digest.clone().finish().as_ref());
        let end = [last.as_slice(), &whole].concat();
        self.wrote(&whole);
        let sha256 = array(self.digest.finish().as_ref());
        Ok((end, self.size, sha256))
    }

    fn frame(&mut self, last: bool) -> Result<Vec<u8>, SealError> {
        let mut text = std::mem::take(&mut self.records);
        let (nonce, aad) = place(&self.bound, self.count, last);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut text)
            .map_err(|_engine| SealError::Engine)?;
        self.count = self.count.saturating_add(1);
        let len = u32::try_from(text.len() + TAG).map_err(|_long| SealError::Engine)?;
        let frame = [
            &[u8::from(last)],
            len.to_be_bytes().as_slice(),
            &text,
            tag.as_ref(),
        ]
        .concat();
        self.wrote(&frame);
        Ok(frame)
    }

    fn wrote(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.size = self
            .size
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }
}

/// Opens a file as its bytes come. What it gives is genuine, but the file may still end early: only [`Opener::finish`] says that it is whole.
pub(super) struct Opener {
    /// Bytes that are not yet a whole part.
    waiting: Vec<u8>,
    opened: Option<Opened>,
    digest: Context,
    whole: Context,
    at: At,
}

struct Opened {
    header: Header,
    key: LessSafeKey,
    bound: [u8; DIGEST],
    count: u64,
    last_key: String,
    entries: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Header,
    Frames,
    Digest,
    End,
}

impl Opener {
    pub(super) fn new() -> Self {
        Self {
            waiting: Vec::new(),
            opened: None,
            digest: Context::new(&SHA256),
            whole: Context::new(&SHA256),
            at: At::Header,
        }
    }

    /// Takes the next bytes in, and gives the records that are whole with them.
    pub(super) async fn push(&mut self, keks: &Keks, bytes: &[u8]) -> Result<Vec<Pair>, FileError> {
        self.whole.update(bytes);
        self.waiting.extend_from_slice(bytes);
        if self.at == At::Header && !self.read_header(keks).await? {
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        while self.at == At::Frames {
            match self.read_frame()? {
                Some(more) => records.extend(more),
                None => return Ok(records),
            }
        }
        self.read_digest()?;
        Ok(records)
    }

    /// The header, and the digest of the whole file.
    pub(super) fn finish(self) -> Result<(Header, [u8; DIGEST]), FileError> {
        match (self.at, self.opened) {
            (At::End, Some(opened)) if opened.entries == opened.header.entries => {
                Ok((opened.header, array(self.whole.finish().as_ref())))
            }
            (At::End, _) => Err(FileError::Altered("it does not hold what its header says")),
            _ => Err(FileError::CutOff),
        }
    }

    async fn read_header(&mut self, keks: &Keks) -> Result<bool, FileError> {
        let known = self.waiting.len().min(MAGIC.len());
        if self.waiting.get(..known) != MAGIC.get(..known) {
            return Err(FileError::NoBackup);
        }
        let Some(version) = number(&self.waiting, MAGIC.len()) else {
            return Ok(false);
        };
        match version {
            VERSION => {}
            0 => return Err(FileError::NoBackup),
            newer => return Err(FileError::Newer(newer)),
        }
        let begin = MAGIC.len() + 8;
        let Some(len) = number(&self.waiting, MAGIC.len() + 4).and_then(size) else {
            return Ok(false);
        };
        if len > MAX_HEADER {
            return Err(FileError::Altered("its header"));
        }
        let Some(header) = self.waiting.get(begin..begin + len) else {
            return Ok(false);
        };
        let written: Written =
            serde_json::from_slice(header).map_err(|_form| FileError::Altered("its header"))?;
        let wrapped = jose::base64url::decode(&written.key)
            .map_err(|_form| FileError::Altered("its header"))?;
        let key = keks.unwrap_unnamed(OWNER, &wrapped).await;
        let key = key.map_err(|error| match error {
            UnwrapError::Seal(SealError::Engine) => FileError::Engine,
            UnwrapError::Kek(away) if away.is_unavailable() => FileError::Away(Box::new(away)),
            _ => FileError::Kek,
        })?;
        let start = self.taken(begin + len);
        self.opened = Some(Opened {
            header: written.header,
            key: frame_key(key.as_slice()).ok_or(FileError::Engine)?,
            bound: sha256(&start),
            count: 0,
            last_key: String::new(),
            entries: 0,
        });
        self.at = At::Frames;
        Ok(true)
    }

    fn read_frame(&mut self) -> Result<Option<Vec<Pair>>, FileError> {
        let (Some(last), Some(len)) = (
            self.waiting.first().copied(),
            number(&self.waiting, 1).and_then(size),
        ) else {
            return Ok(None);
        };
        if !(TAG..=MAX_FRAME).contains(&len) || last > 1 {
            return Err(FileError::Altered("the length of a frame"));
        }
        if self.waiting.len() < 5 + len {
            return Ok(None);
        }
        let mut frame = self.taken(5 + len);
        let opened = self.opened.as_mut().ok_or(FileError::Engine)?;
        let (nonce, aad) = place(&opened.bound, opened.count, last == 1);
        let text = frame.get_mut(5..).unwrap_or_default();
        let text = opened
            .key
            .open_in_place(nonce, Aad::from(aad), text)
            .map_err(|_altered| FileError::Altered("a frame does not open in its place"))?;
        let records = opened.records(text)?;
        opened.count = opened.count.saturating_add(1);
        if last == 1 {
            self.at = At::Digest;
        }
        Ok(Some(records))
    }

    fn read_digest(&mut self) -> Result<(), FileError> {
        if self.at == At::Digest && self.waiting.len() >= DIGEST {
            let expected = self.digest.clone().finish();
            if self.waiting.get(..DIGEST) != Some(expected.as_ref()) {
                return Err(FileError::Altered("its digest"));
            }
            let _digest = self.taken(DIGEST);
            self.at = At::End;
        }
        match self.at == At::End && !self.waiting.is_empty() {
            true => Err(FileError::Altered("something stands behind its end")),
            false => Ok(()),
        }
    }

    /// The next bytes, which are then no longer waited with.
    fn taken(&mut self, len: usize) -> Vec<u8> {
        let rest = self.waiting.split_off(len.min(self.waiting.len()));
        let taken = std::mem::replace(&mut self.waiting, rest);
        self.digest.update(&taken);
        taken
    }
}

impl Opened {
    fn records(&mut self, mut text: &[u8]) -> Result<Vec<Pair>, FileError> {
        let mut records = Vec::new();
        while !text.is_empty() {
            let (key, value, rest) = record(text).ok_or(FileError::Altered("a record"))?;
            let sound = !key.is_empty() && key.len() <= MAX_KEY && !belongs_to_the_moment(key);
            if !sound || key <= self.last_key.as_str() {
                return Err(FileError::Altered("the order of its records"));
            }
            key.clone_into(&mut self.last_key);
            self.entries = self.entries.saturating_add(1);
            records.push((key.to_owned(), value.to_vec()));
            text = rest;
        }
        Ok(records)
    }
}

fn record(text: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let (len, rest) = text.split_first_chunk::<2>()?;
    let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(size(u32::from_be_bytes(*len))?)?;
    Some((std::str::from_utf8(key).ok()?, value, rest))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let (number, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
    Some(u32::from_be_bytes(*number))
}

fn size(number: u32) -> Option<usize> {
    usize::try_from(number).ok()
}

fn frame_key(key: &[u8]) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
    Some(LessSafeKey::new(key))
}

fn place(bound: &[u8; DIGEST], count: u64, last: bool) -> (Nonce, Vec<u8>) {
    let mut nonce = [0; NONCE_LEN];
    for (out, byte) in nonce
        .iter_mut()
        .skip(NONCE_LEN - 8)
        .zip(count.to_be_bytes())
    {
        *out = byte;
    }
    let parts = [bound.as_slice(), &count.to_be_bytes(), &[u8::from(last)]];
    (
        Nonce::assume_unique_for_key(nonce),
        bind("crypto-service/backup/v1", &parts),
    )
}

fn sha256(bytes: &[u8]) -> [u8; DIGEST] {
    array(digest(&SHA256, bytes).as_ref())
}

fn array(bytes: &[u8]) -> [u8; DIGEST] {
    let mut array = [0; DIGEST];
    for (out, byte) in array.iter_mut().zip(bytes) {
        *out = *byte;
    }
    array
}
