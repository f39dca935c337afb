//! `keyset update`: the rules of a key set.

use client_admin::{AdminClient, Change, UpdateKeySet};

use crate::{
    args::{Global, Update},
    connect::failed,
    error::Error,
    keyset::{published, set_json, set_text},
    output::answer,
};

pub(crate) async fn execute(
    global: &Global,
    admin: &AdminClient,
    update: Update,
) -> Result<(), Error> {
    let changes = [
        update.record_issued.map(Change::RecordIssued),
        update.issuer.map(Change::Issuer),
        update
            .publish
            .map(|publish| Change::Publish(published(publish))),
        update.max_lifetime.map(Change::MaxLifetime),
        update.alg.map(Change::Algorithm),
    ];
    let mut changes = changes.into_iter().flatten();
    let first = changes
        .next()
        .ok_or_else(|| Error::usage("name what to change, such as --record-issued true"))?;
    let request = changes.fold(UpdateKeySet::new(update.name, first), UpdateKeySet::and);
    let mut request = request
        .tenant(&global.tenant)
        .expected_revision(update.guard.expected_revision);
    if let Some(id) = update.guard.request_id {
        request = request.request_id(id);
    }
    let updated = admin.update(&request).await;
    let set = updated.map_err(|error| failed(&global.keys_endpoint, &error))?;
    answer(global.output, &set_json(&set), || set_text(&set))
}
