//! `audit`: the audit log of the key-manager, read through it and verified without it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use audit_log::{Report, Statement, Verifier, parse_file_name};
use client_admin::{AuditEntry, AuditOutcome, AuditPage, AuditQuery};
use jose::{
    algorithm::JwsAlgorithm,
    jwk::PublicJwk,
    provider::{Provider as _, Verify},
};
use jose_aws_lc::AwsLc;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    args::{self, Audit, Global},
    connect::failed,
    error::Error,
    keyset::client,
    output::{self, Format, answer},
    token::rfc3339,
};

/// What is kept of a log elsewhere: the key, and the newest checkpoint of each chain.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    public_jwk: String,
    checkpoints: Vec<String>,
}

pub(crate) async fn execute(global: &Global, command: Audit) -> Result<(), Error> {
    match command {
        Audit::Query(query) => print_entries(global, query).await,
        Audit::Checkpoint => {
            let kept = ask(global).await?;
            let shown = serde_json::to_value(&kept)
                .map_err(|cause| Error::software(format!("the checkpoints: {cause}")))?;
            answer(Format::Json, &shown, String::new)
        }
        Audit::Verify {
            folders,
            checkpoints,
            partial,
        } => {
            let kept = match checkpoints {
                Some(file) => read_kept(&file)?,
                None => ask(global).await?,
            };
            let report = verify(&folders, &kept, partial)?;
            answer(global.output, &report_json(&report), || {
                report_text(&report)
            })
        }
    }
}

async fn page(global: &Global, query: &AuditQuery) -> Result<AuditPage, Error> {
    let page = client(global)?.audit(query).await;
    page.map_err(|error| failed(&global.keys_endpoint, &error))
}

async fn ask(global: &Global) -> Result<Kept, Error> {
    let query = AuditQuery {
        page_size: 1,
        ..AuditQuery::default()
    };
    let page = page(global, &query).await?;
    Ok(Kept {
        public_jwk: page.public_jwk,
        checkpoints: page.checkpoints.into_iter().map(|kept| kept.jws).collect(),
    })
}

fn read_kept(file: &Path) -> Result<Kept, Error> {
    let bytes = std::fs::read(file).map_err(|cause| Error::file(file, &cause))?;
    serde_json::from_slice(&bytes).map_err(|cause| {
        let what = "is not what `audit checkpoint` wrote";
        Error::data(format!("{} {what}: {cause}", file.display()))
    })
}

async fn print_entries(global: &Global, asked: args::AuditQuery) -> Result<(), Error> {
    let outcome = asked.outcome.map(|outcome| match outcome {
        args::AuditOutcome::Begun => AuditOutcome::Begun,
        args::AuditOutcome::Done => AuditOutcome::Done,
        args::AuditOutcome::Refused => AuditOutcome::Refused,
        args::AuditOutcome::Failed => AuditOutcome::Failed,
        args::AuditOutcome::Read => AuditOutcome::Read,
    });
    let mut query = AuditQuery {
        tenant: if asked.all_tenants {
            String::new()
        } else {
            global.tenant.clone()
        },
        key_set: asked.key_set.unwrap_or_default(),
        caller: asked.caller.unwrap_or_default(),
        act: asked.act.unwrap_or_default(),
        outcome,
        from: asked.from.map(Into::into),
        until: asked.until.map(Into::into),
        ..AuditQuery::default()
    };
    let (mut left, mut shown) = (asked.limit, Vec::new());
    while left > 0 {
        query.page_size = i32::try_from(left.min(1_000)).unwrap_or(1_000);
        let page = page(global, &query).await?;
        left = left.saturating_sub(page.entries.len());
        match global.output {
            Format::Json => shown.extend(page.entries.iter().map(entry_json)),
            Format::Text => page
                .entries
                .iter()
                .try_for_each(|entry| output::line(&entry_text(entry)))?,
        }
        if page.next_page_token.is_empty() {
            break;
        }
        query.page_token = page.next_page_token;
    }
    match global.output {
        Format::Json => answer(Format::Json, &Value::Array(shown), String::new),
        Format::Text => Ok(()),
    }
}

fn verify(folders: &[PathBuf], kept: &Kept, partial: bool) -> Result<Report, Error> {
    let key = key(&kept.public_jwk)?;
    let statements = kept
        .checkpoints
        .iter()
        .map(|jws| Statement::verify(jws, key.as_ref()));
    let mut expected = statements
        .collect::<Result<Vec<_>, _>>()
        .map_err(|cause| Error::data(cause.to_string()))?;
    let files = files(folders)?;
    if partial {
        let chains: BTreeSet<&str> = files
            .iter()
            .filter_map(|(name, _)| Some(parse_file_name(name)?.0))
            .collect();
        expected.retain(|statement| chains.contains(statement.chain.as_str()));
    }
    let mut verifier = Verifier::new(&AwsLc, key.as_ref(), expected);
    for (name, path) in &files {
        let bytes = std::fs::read(path).map_err(|cause| Error::file(path, &cause))?;
        let fits = verifier.file(name, &bytes);
        fits.map_err(|fault| Error::refused(fault.to_string()))?;
    }
    verifier
        .finish()
        .map_err(|fault| Error::refused(fault.to_string()))
}

fn key(jwk: &str) -> Result<Arc<dyn Verify>, Error> {
    let unfit = |cause: jose::key::KeyError| Error::data(format!("the key of the log: {cause}"));
    let jwk = PublicJwk::parse(jwk.as_bytes()).map_err(unfit)?;
    AwsLc
        .verifying_key(JwsAlgorithm::EdDsa, &jwk.key)
        .map_err(unfit)
}

/// The segments of all folders, in the order of their names.
fn files(folders: &[PathBuf]) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = folders.to_vec();
    while let Some(folder) = folders.pop() {
        let folder = &folder;
        let listed = std::fs::read_dir(folder).map_err(|cause| Error::file(folder, &cause))?;
        for entry in listed {
            let entry = entry.map_err(|cause| Error::file(folder, &cause))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Where key-managers share a folder, all but one write in sub-folders.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if parse_file_name(&name).is_some() {
                files.push((name, entry.path()));
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn report_json(report: &Report) -> Value {
    let chains = report.chains.iter().map(|(chain, (last, after))| {
        json!({
            "chain": chain, "checkpoint": last.as_ref().map(|statement| statement.seq),
            "checkpoint_at": last.as_ref().and_then(made_at), "after": after,
        })
    });
    json!({
        "entries": report.entries, "checkpoints": report.checkpoints,
        "chains": chains.collect::<Vec<_>>(),
    })
}

fn report_text(report: &Report) -> String {
    let mut text = format!(
        "{} entries and {} checkpoints are whole",
        report.entries, report.checkpoints
    );
    for (chain, (last, after)) in &report.chains {
        let covered = last.as_ref().map_or_else(
            || "no checkpoint".to_owned(),
            |last| {
                let at = made_at(last).unwrap_or_default();
                format!("signed up to entry {} at {at}", last.seq)
            },
        );
        text.push_str(&format!(
            "\n  chain {chain}: {covered}, {after} entries after it"
        ));
    }
    text
}

fn made_at(statement: &Statement) -> Option<String> {
    let at = std::time::Duration::from_millis(statement.at);
    rfc3339(std::time::UNIX_EPOCH.checked_add(at)?)
}

fn outcome_name(outcome: AuditOutcome) -> &'static str {
    match outcome {
        AuditOutcome::Begun => "BEGUN",
        AuditOutcome::Done => "DONE",
        AuditOutcome::Refused => "REFUSED",
        AuditOutcome::Failed => "FAILED",
        AuditOutcome::Read => "READ",
        _ => "UNKNOWN",
    }
}

fn entry_json(entry: &AuditEntry) -> Value {
    json!({
        "chain": entry.chain, "seq": entry.seq, "at": entry.at.and_then(rfc3339),
        "caller": entry.caller, "act": entry.act, "tenant": entry.tenant,
        "key_set": entry.key_set, "subject": entry.subject, "request_id": entry.request_id,
        "force": entry.force, "outcome": outcome_name(entry.outcome), "reason": entry.reason,
        "fields": entry.fields, "of": entry.of,
    })
}

fn entry_text(entry: &AuditEntry) -> String {
    let at = entry.at.and_then(rfc3339).unwrap_or_default();
    let force = if entry.force { " force" } else { "" };
    let mut text = format!(
        "{at} #{} {:<7} {}{force} by {}",
        entry.seq,
        outcome_name(entry.outcome),
        entry.act,
        entry.caller
    );
    let place = [&entry.tenant, &entry.key_set, &entry.subject];
    for part in place.into_iter().filter(|part| !part.is_empty()) {
        text.push_str(&format!(" {part}"));
    }
    if !entry.reason.is_empty() {
        text.push_str(&format!(" ({}", entry.reason));
        for field in &entry.fields {
            text.push_str(&format!(" {field}"));
        }
        text.push(')');
    }
    text
}
