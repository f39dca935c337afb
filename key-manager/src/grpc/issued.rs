//! Records of issued tokens, between messages and what takes and gives them.

use crypto_proto::keys::v1 as proto;
use keyring::Time;
use service_kit::identity::Caller;

use super::{encode, fields::Fields, status::Failure};
use crate::issued::{Counted, Frames, Listed, Page, Place, Shipment};

/// Frames in one request: each holds many entries.
const MOST_FRAMES: usize = 4_096;

/// Decodes what an instance ships.
pub(super) fn shipment(
    caller: &Caller,
    message: proto::ShipIssuedRequest,
) -> Result<Shipment, Failure> {
    let mut fields = Fields::default();
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if message.nonce.len() != 32 || !message.nonce.bytes().all(digit) {
        fields.wrong("nonce", "must be 32 lower-case hexadecimal digits");
    }
    let complete_until = fields.time("complete_until", message.complete_until);
    let frames = message.frames.map(|frames| Frames {
        header: frames.header,
        first: frames.first_frame,
        bodies: frames.frames,
    });
    if frames
        .as_ref()
        .is_some_and(|frames| frames.bodies.len() > MOST_FRAMES)
    {
        fields.wrong("frames.frames", "must be at most 4096");
    }
    fields.finish(Shipment {
        caller: caller.name().to_owned(),
        nonce: message.nonce,
        frames,
        complete_until,
        finished: message.finished,
        unrecorded: message.unrecorded,
    })
}

/// Reads a page token. Empty = from the start.
pub(super) fn place(fields: &mut Fields, token: &str) -> Option<Place> {
    let mut parts = token.split('|');
    let read = || {
        let (store, at, row) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Place {
            store: store.to_owned(),
            at: at.parse().ok()?,
            row: row.parse().ok()?,
        })
    };
    let mut read = read;
    let place = read();
    if place.is_none() && !token.is_empty() {
        fields.wrong("page_token", "must be empty, or that of the answer before");
    }
    place
}

/// Encodes a page.
pub(super) fn page(page: Page) -> proto::ListIssuedResponse {
    let token = |place: Place| {
        jose::base64url::encode(format!("{}|{}|{}", place.store, place.at, place.row))
    };
    proto::ListIssuedResponse {
        next_page_token: page.next.map(token).unwrap_or_default(),
        entries: page.entries.into_iter().map(entry).collect(),
        total_count: page.counts.iter().map(|counted| counted.count).sum(),
        counts: page.counts.into_iter().map(count).collect(),
        count_capped: page.capped,
        complete_until: Some(encode::timestamp(page.complete_until)),
        behind: page
            .behind
            .into_iter()
            .map(|behind| proto::IssuedBehind {
                subscriber: behind.subscriber,
                complete_until: Some(encode::timestamp(behind.complete_until)),
            })
            .collect(),
        unrecorded: page.unrecorded,
        store: page.store,
    }
}

fn count(counted: Counted) -> proto::IssuedCount {
    proto::IssuedCount {
        key_set: counted.key_set,
        kid: counted.kid,
        count: counted.count,
    }
}

fn entry(listed: Listed) -> proto::IssuedEntry {
    let entry = listed.entry;
    let hex = |bytes: [u8; 16]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let seconds = |at: u64| encode::timestamp(Time::from_millis(at.saturating_mul(1_000)));
    proto::IssuedEntry {
        id: listed.id,
        issued_at: Some(encode::timestamp(Time::from_millis(entry.at))),
        tenant: entry.tenant,
        key_set: entry.key_set,
        kid: entry.kid,
        caller: entry.caller,
        jti: entry.jti,
        subject: entry.subject.map(hex).unwrap_or_default(),
        expires_at: entry.expires_at.map(seconds),
    }
}
