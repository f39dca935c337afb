//! `issued`: what key sets have issued, of one key-manager or merged from several.

use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use client_admin::{AdminClient, IssuedCount, IssuedEntry, IssuedPage, IssuedQuery};
use serde_json::{Value, json};

use crate::{
    args::{Global, Issued, IssuedWhich},
    connect::{channel, failed},
    error::Error,
    output::{answer, note},
    token::rfc3339,
};

/// Entries in one answer.
const PAGE: usize = 1_000;

pub(crate) async fn execute(global: &Global, command: Issued) -> Result<(), Error> {
    match command {
        Issued::List { which, limit } => list(global, which, limit).await,
        Issued::Count { which } => count(global, which).await,
    }
}

/// What is known of all that were asked.
#[derive(Debug, Default)]
struct Known {
    complete_until: Option<SystemTime>,
    behind: Vec<(String, Option<SystemTime>)>,
    unrecorded: u64,
    stores: Vec<(String, String)>,
}

impl Known {
    /// Several answers are complete together up to when each of them is.
    fn add(&mut self, endpoint: &str, page: &IssuedPage) {
        self.complete_until = match (self.complete_until, page.complete_until) {
            (Some(known), Some(this)) => Some(known.min(this)),
            (known, this) => known.or(this),
        };
        let behind = page.behind.iter();
        self.behind
            .extend(behind.map(|behind| (behind.subscriber.clone(), behind.complete_until)));
        self.unrecorded = self.unrecorded.max(page.unrecorded);
        self.stores.push((endpoint.to_owned(), page.store.clone()));
    }

    fn json(&self) -> Value {
        let behind = self.behind.iter().map(|(subscriber, until)| {
            json!({"subscriber": subscriber, "complete_until": until.and_then(rfc3339)})
        });
        let stores = self
            .stores
            .iter()
            .map(|(endpoint, store)| json!({"endpoint": endpoint, "store": store}));
        json!({
            "complete_until": self.complete_until.and_then(rfc3339), "behind": behind.collect::<Vec<_>>(),
            "unrecorded": self.unrecorded, "replicas": stores.collect::<Vec<_>>(),
        })
    }

    /// What a reader must not overlook, beside the answer.
    fn say(&self) {
        let until = self.complete_until.and_then(rfc3339).unwrap_or_default();
        note(&format!(
            "complete until {until}, as far as instances ship to the key-managers that were asked"
        ));
        for (subscriber, until) in &self.behind {
            let until = until.and_then(rfc3339).unwrap_or_default();
            note(&format!(
                "behind: {subscriber} has shipped what it issued until {until}"
            ));
        }
        if self.unrecorded > 0 {
            note(&format!(
                "{} tokens were signed without a record",
                self.unrecorded
            ));
        }
        let names: HashSet<_> = self.stores.iter().map(|(_, store)| store).collect();
        if names.len() < self.stores.len() {
            note("two of the key-managers that were asked are the same one");
        }
    }
}

fn query(global: &Global, which: &IssuedWhich) -> IssuedQuery {
    let text = |given: &Option<String>| given.clone().unwrap_or_default();
    IssuedQuery {
        tenant: global.tenant.clone(),
        key_set: text(&which.key_set),
        kid: text(&which.kid),
        caller: text(&which.caller),
        sub: text(&which.sub),
        issued_after: which.issued_after.map(Into::into),
        issued_before: which.issued_before.map(Into::into),
        ..IssuedQuery::default()
    }
}

fn replicas(global: &Global, which: &IssuedWhich) -> Vec<String> {
    match which.replica.is_empty() {
        true => vec![global.keys_endpoint.clone()],
        false => which.replica.clone(),
    }
}

async fn page(global: &Global, endpoint: &str, query: &IssuedQuery) -> Result<IssuedPage, Error> {
    let admin = AdminClient::new(channel(global, endpoint, "admin")?);
    let page = admin.issued(query).await;
    page.map_err(|error| failed(endpoint, &error))
}

/// Every entry of one key-manager, up to `limit`.
async fn entries(
    global: &Global,
    endpoint: &str,
    mut query: IssuedQuery,
    limit: usize,
    known: &mut Known,
) -> Result<(Vec<IssuedEntry>, u64), Error> {
    let (mut found, mut total) = (Vec::new(), 0);
    while found.len() < limit {
        let wanted = limit.saturating_sub(found.len()).min(PAGE);
        query.page_size = i32::try_from(wanted).unwrap_or(1_000);
        let page = page(global, endpoint, &query).await?;
        if query.page_token.is_empty() {
            known.add(endpoint, &page);
            total = page.total_count;
        }
        found.extend(page.entries);
        if page.next_page_token.is_empty() {
            break;
        }
        query.page_token = page.next_page_token;
    }
    Ok((found, total))
}

async fn list(global: &Global, which: IssuedWhich, limit: usize) -> Result<(), Error> {
    let query = query(global, &which);
    let (mut known, mut merged, mut total) = (Known::default(), BTreeMap::new(), 0_u64);
    for endpoint in replicas(global, &which) {
        let (found, all) = entries(global, &endpoint, query.clone(), limit, &mut known).await?;
        total = total.saturating_add(all);
        // What was sent again to another replica is the same entry.
        let keyed = found
            .into_iter()
            .map(|entry| ((entry.issued_at, entry.id.clone()), entry));
        merged.extend(keyed);
    }
    let shown: Vec<_> = merged.into_values().take(limit).collect();
    let mut document = known.json();
    if let Some(members) = document.as_object_mut() {
        let listed = shown.iter().map(entry_json).collect();
        members.insert("entries".to_owned(), Value::Array(listed));
        members.insert("total".to_owned(), json!(total));
    }
    answer(global.output, &document, || {
        shown.iter().map(entry_text).collect::<Vec<_>>().join("\n")
    })?;
    let shown = u64::try_from(shown.len()).unwrap_or(u64::MAX);
    if shown < total && known.stores.len() == 1 {
        note(&format!("{shown} of {total} are shown: --limit shows more"));
    }
    known.say();
    Ok(())
}

async fn count(global: &Global, which: IssuedWhich) -> Result<(), Error> {
    let query = query(global, &which);
    let (mut known, replicas) = (Known::default(), replicas(global, &which));
    let counts = match replicas.as_slice() {
        [one] => {
            let query = IssuedQuery {
                count_only: true,
                ..query
            };
            let page = page(global, one, &query).await?;
            known.add(one, &page);
            if page.count_capped {
                note("there are more: counting has stopped");
            }
            page.counts
        }
        several => count_merged(global, several, &query, &mut known).await?,
    };
    let total: u64 = counts.iter().map(|counted| counted.count).sum();
    let mut document = known.json();
    if let Some(members) = document.as_object_mut() {
        let counted = counts.iter().map(|counted| {
            json!({"key_set": counted.key_set, "kid": counted.kid, "count": counted.count})
        });
        members.insert("counts".to_owned(), counted.collect());
        members.insert("total".to_owned(), json!(total));
    }
    answer(global.output, &document, || {
        let line = |counted: &IssuedCount| {
            format!("{:>10} {} {}", counted.count, counted.key_set, counted.kid)
        };
        let mut lines: Vec<_> = counts.iter().map(line).collect();
        lines.push(format!("{total:>10} in all"));
        lines.join("\n")
    })?;
    known.say();
    Ok(())
}

/// Sums would count twice what two replicas have, so each entry is looked at.
async fn count_merged(
    global: &Global,
    replicas: &[String],
    query: &IssuedQuery,
    known: &mut Known,
) -> Result<Vec<IssuedCount>, Error> {
    let (mut seen, mut counts) = (HashSet::new(), BTreeMap::<(String, String), u64>::new());
    for endpoint in replicas {
        let (found, _) = entries(global, endpoint, query.clone(), usize::MAX, known).await?;
        for entry in found {
            if seen.insert(entry.id) {
                *counts.entry((entry.key_set, entry.kid)).or_default() += 1;
            }
        }
    }
    let counted = |((key_set, kid), count)| IssuedCount {
        key_set,
        kid,
        count,
    };
    Ok(counts.into_iter().map(counted).collect())
}

fn entry_json(entry: &IssuedEntry) -> Value {
    json!({
        "id": entry.id, "issued_at": entry.issued_at.and_then(rfc3339), "tenant": entry.tenant,
        "key_set": entry.key_set, "kid": entry.kid, "caller": entry.caller, "jti": entry.jti,
        "subject": entry.subject, "expires_at": entry.expires_at.and_then(rfc3339),
    })
}

fn entry_text(entry: &IssuedEntry) -> String {
    let time = |time: Option<SystemTime>| time.and_then(rfc3339).unwrap_or_else(|| "-".to_owned());
    format!(
        "{} {} {} {} by {} until {}",
        time(entry.issued_at),
        entry.jti,
        entry.key_set,
        entry.kid,
        entry.caller,
        time(entry.expires_at)
    )
}
