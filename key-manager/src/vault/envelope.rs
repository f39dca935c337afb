//! The form of every authenticated record.
//!
//! ```text
//! format 2   {"format":2,"generation":2,"tag":"...","record":{...}}
//! re-sealed  {"format":2,"generation":2,"tag":"...","resealed":{"mark":"...","root":1,"tag":"..."},"record":{...}}
//! format 1   {"format":1,"tag":"...","record":{...}}                         generation 1; still read
//! ```
//!
//! The tag is over the record's bytes as they stand in the store, so nothing is ever serialised again to be verified.
//!
//! What a head names is a record's *mark*: the tag that it was written with. Re-sealing makes another tag and leaves the mark, so heads and epoch stay.
//! That the new tag stands for the mark is authenticated with the root's data key, as the heads are: who has a tenant's data key alone
//! cannot put a record in the place of another.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::VaultError;
use crate::seal::{FIRST, RecordBinding, Ring, SealError, TAG_LEN};

/// The format that is written.
const FORMAT: u32 = 2;

/// The format before there were generations.
const WITHOUT_GENERATION: u32 = 1;

/// The tag of a record.
pub(super) type Tag = [u8; TAG_LEN];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    format: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<u32>,
    tag: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resealed: Option<Resealed>,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// That a record was re-sealed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resealed {
    /// The tag that it was written with.
    mark: String,
    /// The generation of the root's data key.
    root: u32,
    /// Under that, over mark and tag.
    tag: String,
}

/// What an envelope says of the keys that it stands under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    /// What heads name.
    pub(super) mark: Tag,
    /// The generation of its owner's data key.
    pub(super) generation: u32,
    /// That of the root's, where it was re-sealed.
    pub(super) root: Option<u32>,
}

/// Writes `record` for the place that `binding` names.
pub(super) fn write<T: Serialize>(
    ring: &Ring,
    binding: RecordBinding<'_>,
    record: &T,
) -> Result<(Vec<u8>, Sealed), VaultError> {
    let damaged = |error| VaultError::damaged(binding.name, error);
    let record = serde_json::value::to_raw_value(record).map_err(damaged)?;
    put(ring, binding, &record)
}

fn put(
    ring: &Ring,
    binding: RecordBinding<'_>,
    record: &RawValue,
) -> Result<(Vec<u8>, Sealed), VaultError> {
    let tag = ring.tag(binding, record.get().as_bytes());
    let envelope = Envelope {
        format: FORMAT,
        generation: Some(ring.present()),
        tag: jose::base64url::encode(tag),
        resealed: None,
        record,
    };
    let sealed = Sealed {
        mark: tag,
        generation: ring.present(),
        root: None,
    };
    Ok((envelope.bytes(binding.name)?, sealed))
}

/// Writes `record` once more for the same place, under the present generations of its owner and the root, with the mark that it has.
pub(super) fn write_resealed<T: Serialize>(
    rings: Rings<'_>,
    binding: RecordBinding<'_>,
    record: &T,
    mark: Tag,
) -> Result<(Vec<u8>, Sealed), VaultError> {
    let damaged = |error| VaultError::damaged(binding.name, error);
    let record = serde_json::value::to_raw_value(record).map_err(damaged)?;
    let tag = rings.owner.tag(binding, record.get().as_bytes());
    let resealed = Resealed {
        mark: jose::base64url::encode(mark),
        root: rings.root.present(),
        tag: jose::base64url::encode(rings.root.tag(link(binding), &linked(&mark, &tag))),
    };
    let envelope = Envelope {
        format: FORMAT,
        generation: Some(rings.owner.present()),
        tag: jose::base64url::encode(tag),
        resealed: Some(resealed),
        record: &record,
    };
    let sealed = Sealed {
        mark,
        generation: rings.owner.present(),
        root: Some(rings.root.present()),
    };
    Ok((envelope.bytes(binding.name)?, sealed))
}

/// The rings that a record of a tenant may stand under.
#[derive(Clone, Copy)]
pub(super) struct Rings<'a> {
    pub(super) owner: &'a Ring,
    pub(super) root: &'a Ring,
}

/// Reads what [`write`] wrote for the same place; `revision` says which write the record claims to be.
pub(super) fn read<T: DeserializeOwned>(
    ring: &Ring,
    place: RecordBinding<'_>,
    revision: impl Fn(&T) -> u64,
    bytes: &[u8],
) -> Result<(T, Sealed), VaultError> {
    let envelope = parse(place, bytes)?;
    if envelope.resealed.is_some() {
        return Err(damaged(place, &"has a mark"));
    }
    verified(ring, place, revision, &envelope).map(|(record, _, sealed)| (record, sealed))
}

/// As [`read`], for records that [`write_resealed`] may have written.
pub(super) fn read_resealed<T: DeserializeOwned>(
    rings: Rings<'_>,
    place: RecordBinding<'_>,
    revision: impl Fn(&T) -> u64,
    bytes: &[u8],
) -> Result<(T, Sealed), VaultError> {
    let envelope = parse(place, bytes)?;
    let (record, binding, sealed) = verified(rings.owner, place, revision, &envelope)?;
    let Some(resealed) = &envelope.resealed else {
        return Ok((record, sealed));
    };
    let mark = decode(&resealed.mark).ok_or_else(|| damaged(place, &"was altered"))?;
    let tag = decode(&resealed.tag).ok_or_else(|| damaged(place, &"was altered"))?;
    let over = linked(&mark, &sealed.mark);
    let genuine = rings.root.verify(resealed.root, link(binding), &over, &tag);
    genuine.map_err(|error| refused(place, error))?;
    let sealed = Sealed {
        mark,
        root: Some(resealed.root),
        ..sealed
    };
    Ok((record, sealed))
}

/// The same record under the present generation; `None` where it stands under it.
pub(super) fn reseal<T: DeserializeOwned>(
    ring: &Ring,
    place: RecordBinding<'_>,
    revision: impl Fn(&T) -> u64,
    bytes: &[u8],
) -> Result<Option<Vec<u8>>, VaultError> {
    let envelope = parse(place, bytes)?;
    if envelope.generation() == ring.present() {
        return Ok(None);
    }
    let (_, binding, _) = verified(ring, place, revision, &envelope)?;
    put(ring, binding, envelope.record).map(|(bytes, _)| Some(bytes))
}

/// The record, before anything of it is proved.
pub(super) fn peek<T: DeserializeOwned>(
    place: RecordBinding<'_>,
    bytes: &[u8],
) -> Result<T, VaultError> {
    let envelope = parse(place, bytes)?;
    serde_json::from_str(envelope.record.get()).map_err(|error| damaged(place, &error))
}

/// The generation that a record says, before it is proved; `None` for what is no record.
pub(super) fn generation_of(bytes: &[u8]) -> Option<u32> {
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).ok()?;
    Some(envelope.generation())
}

type Verified<'a, T> = (T, RecordBinding<'a>, Sealed);

fn verified<'a, T: DeserializeOwned>(
    ring: &Ring,
    place: RecordBinding<'a>,
    revision: impl Fn(&T) -> u64,
    envelope: &Envelope<'_>,
) -> Result<Verified<'a, T>, VaultError> {
    let text = envelope.record.get();
    let record: T = serde_json::from_str(text).map_err(|error| damaged(place, &error))?;
    let tag = decode(&envelope.tag).ok_or_else(|| damaged(place, &"was altered"))?;
    let binding = RecordBinding {
        revision: revision(&record),
        ..place
    };
    let generation = envelope.generation();
    let genuine = ring.verify(generation, binding, text.as_bytes(), &tag);
    genuine.map_err(|error| refused(place, error))?;
    let sealed = Sealed {
        mark: tag,
        generation,
        root: None,
    };
    Ok((record, binding, sealed))
}

fn parse<'a>(place: RecordBinding<'_>, bytes: &'a [u8]) -> Result<Envelope<'a>, VaultError> {
    let envelope: Envelope<'_> =
        serde_json::from_slice(bytes).map_err(|error| damaged(place, &error))?;
    let sound = match envelope.format {
        FORMAT => envelope.generation.is_some(),
        WITHOUT_GENERATION => envelope.generation.is_none() && envelope.resealed.is_none(),
        unknown => {
            let problem = format!("has format {unknown}, which this version does not know");
            return Err(damaged(place, &problem));
        }
    };
    sound
        .then_some(envelope)
        .ok_or_else(|| damaged(place, &"is in no format"))
}

impl Envelope<'_> {
    fn generation(&self) -> u32 {
        self.generation.unwrap_or(FIRST)
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, VaultError> {
        serde_json::to_vec(self).map_err(|error| VaultError::damaged(name, error))
    }
}

/// What links a tag to a mark belongs to the record that both belong to.
fn link(binding: RecordBinding<'_>) -> RecordBinding<'_> {
    RecordBinding {
        kind: "resealed",
        ..binding
    }
}

fn linked(mark: &Tag, tag: &Tag) -> Vec<u8> {
    [mark.as_slice(), tag.as_slice()].concat()
}

fn decode(text: &str) -> Option<Tag> {
    let mut tag = [0; TAG_LEN];
    let len = jose::base64url::decode_slice(text, &mut tag).unwrap_or_default();
    (len == tag.len()).then_some(tag)
}

fn refused(place: RecordBinding<'_>, error: SealError) -> VaultError {
    match error {
        SealError::Generation(_) => VaultError::Seal(error),
        _ => damaged(place, &"was altered"),
    }
}

fn damaged(place: RecordBinding<'_>, problem: &dyn std::fmt::Display) -> VaultError {
    let entry = format!("{} {}/{}", place.kind, place.tenant, place.name);
    VaultError::damaged(&entry, problem)
}
