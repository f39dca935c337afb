//! The form of every authenticated record: `{"format":1,"tag":"...","record":{...}}`.
//!
//! The tag is over the record's bytes as they stand in the store, so nothing is ever serialised again to be verified.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::VaultError;
use crate::seal::{DataKey, RecordBinding};

/// The one format so far.
const FORMAT: u32 = 1;

/// The tag of a record.
pub(super) type Tag = [u8; 32];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    format: u32,
    tag: String,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// Writes `record` for the place that `binding` names.
pub(super) fn write<T: Serialize>(
    key: &DataKey,
    binding: RecordBinding<'_>,
    record: &T,
) -> Result<(Vec<u8>, Tag), VaultError> {
    let damaged = |error| VaultError::damaged(binding.name, error);
    let record = serde_json::value::to_raw_value(record).map_err(damaged)?;
    let tag = key.tag(binding, record.get().as_bytes());
    let envelope = Envelope {
        format: FORMAT,
        tag: jose::base64url::encode(tag),
        record: &record,
    };
    Ok((serde_json::to_vec(&envelope).map_err(damaged)?, tag))
}

/// Reads what [`write`] wrote for the same place; `revision` says which write the record claims to be.
pub(super) fn read<T: DeserializeOwned>(
    key: &DataKey,
    place: RecordBinding<'_>,
    revision: impl Fn(&T) -> u64,
    bytes: &[u8],
) -> Result<(T, Tag), VaultError> {
    let damaged = |problem: &dyn std::fmt::Display| {
        VaultError::damaged(
            &format!("{} {}/{}", place.kind, place.tenant, place.name),
            problem,
        )
    };
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
    if envelope.format != FORMAT {
        return Err(damaged(&format_args!(
            "has format {}, which this version does not know",
            envelope.format
        )));
    }
    let text = envelope.record.get();
    let record: T = serde_json::from_str(text).map_err(|error| damaged(&error))?;
    let mut tag = [0; 32];
    let len = jose::base64url::decode_slice(&envelope.tag, &mut tag).unwrap_or_default();
    let binding = RecordBinding {
        revision: revision(&record),
        ..place
    };
    let genuine = len == tag.len() && key.verify(binding, text.as_bytes(), &tag).is_ok();
    genuine
        .then_some((record, tag))
        .ok_or_else(|| damaged(&"was altered"))
}
