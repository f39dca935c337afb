//! `backup` and `restore`: the whole store as one file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use client_admin::{
    AdminClient, BackupEnd, BackupHeader, Restore, RestoreAnswer, RestoreProgress, RestoreResult,
    RestoreStep, Undone, UndoneKeySet,
};
use serde_json::{Value, json};

use crate::{
    args::{self, Global},
    connect::failed,
    error::Error,
    keys::random_bytes,
    keyset::{client, state_name},
    output::{answer, note},
    token::rfc3339,
};

/// Bytes of the file in one message.
const CHUNK: usize = 256 * 1024;

/// Progress is said after so many bytes.
const STEP: u64 = 32 * 1024 * 1024;

/// 128 + SIGINT, as a shell says it.
const INTERRUPTED: u8 = 130;

pub(crate) async fn take(global: &Global, file: &Path) -> Result<(), Error> {
    let admin = client(global)?;
    let (header, end) = tokio::select! {
        taken = receive(global, &admin, file) => taken?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|cause| Error::software(format!("no signals: {cause}")))?;
            return Err(Error::new(INTERRUPTED, "interrupted: no backup was written"));
        }
    };
    let digest = hex(&end.sha256);
    let shown = json!({
        "file": file.display().to_string(), "size": end.size, "sha256": digest,
        "backup": header_json(&header),
    });
    answer(global.output, &shown, || {
        format!(
            "{}: {}\n  {} bytes, sha256 {digest}\n  opens with the key-encryption key alone: {}",
            file.display(),
            header_text(&header),
            end.size,
            header.kek
        )
    })
}

/// A file that is removed unless it got the name of the backup: also where the program is interrupted.
struct Part {
    path: PathBuf,
    file: File,
}

impl Drop for Part {
    fn drop(&mut self) {
        // where it cannot be removed it is still no backup: its name says so
        let _left = fs::remove_file(&self.path);
    }
}

impl Part {
    fn beside(file: &Path) -> Result<Self, Error> {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".{}.part", hex(&random_bytes(4)?)));
        let path = PathBuf::from(name);
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        Ok(Self {
            file: opened.map_err(|cause| Error::file(&path, &cause))?,
            path,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(bytes);
        written.map_err(|cause| Error::file(&self.path, &cause))
    }

    /// Gives it its name, where nothing has that name.
    fn keep(self, file: &Path) -> Result<(), Error> {
        let named = self.file.sync_all().and_then(|()| {
            // unlike a rename this never replaces what is there
            match fs::hard_link(&self.path, file) {
                Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists && !file.exists() => {
                    // a file system without links
                    fs::rename(&self.path, file)?;
                }
                linked => linked?,
            }
            let folder = file
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
        });
        // the drop takes the other name away, where there are two
        named.map_err(|cause| Error::file(file, &cause))
    }
}

async fn receive(
    global: &Global,
    admin: &AdminClient,
    file: &Path,
) -> Result<(BackupHeader, BackupEnd), Error> {
    if file.exists() {
        let exists = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(Error::file(file, &exists));
    }
    let refused = |error| failed(&global.keys_endpoint, &error);
    let mut part = Part::beside(file)?;
    let mut download = admin.backup().await.map_err(refused)?;
    let (mut received, mut said) = (0_u64, STEP);
    while let Some(bytes) = download.next().await.map_err(refused)? {
        part.write(&bytes)?;
        received = received.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if received >= said {
            said = received.saturating_add(STEP);
            note(&format!("backup: {received} bytes"));
        }
    }
    let end = download
        .end()
        .cloned()
        .ok_or_else(|| Error::software("the backup has no end"))?;
    part.keep(file)?;
    Ok((download.header().clone(), end))
}

pub(crate) async fn restore(global: &Global, asked: args::Restore) -> Result<(), Error> {
    let mut restore = Restore::new();
    if asked.force {
        restore = restore.force();
    }
    if asked.dry_run {
        restore = restore.dry_run();
    }
    if let Some(id) = &asked.request_id {
        restore = restore.request_id(id);
    }
    let file = File::open(&asked.file).map_err(|cause| Error::file(&asked.file, &cause))?;
    let answered = tokio::select! {
        answered = send(global, &restore, &asked.file, file) => answered?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|cause| Error::software(format!("no signals: {cause}")))?;
            return Err(Error::new(
                INTERRUPTED,
                "interrupted: nothing is changed, unless the step `writing` was said; that one ends by itself",
            ));
        }
    };
    let RestoreAnswer { result, refused } = answered;
    answer(global.output, &result_json(&result), || {
        result_text(&result, asked.dry_run, refused.is_some())
    })?;
    match refused {
        Some(error) => Err(failed(&global.keys_endpoint, &error)),
        None => Ok(()),
    }
}

async fn send(
    global: &Global,
    restore: &Restore,
    path: &Path,
    mut file: File,
) -> Result<RestoreAnswer, Error> {
    let refused = |error| failed(&global.keys_endpoint, &error);
    let upload = client(global)?.restore(restore).await.map_err(refused)?;
    loop {
        let mut bytes = vec![0; CHUNK];
        let read = file.read(&mut bytes);
        bytes.truncate(read.map_err(|cause| Error::file(path, &cause))?);
        if bytes.is_empty() || !upload.send(bytes).await {
            break;
        }
    }
    let mut last = None;
    let progress = |step: RestoreProgress| {
        if last != Some(step.step) {
            last = Some(step.step);
            note(&format!("restore: {}", step_name(step)));
        }
    };
    upload.finish(progress).await.map_err(refused)
}

fn step_name(step: RestoreProgress) -> String {
    match step.step {
        RestoreStep::Receiving => "receiving the file".to_owned(),
        RestoreStep::Comparing => {
            format!("{} bytes received; verifying and comparing", step.received)
        }
        RestoreStep::Writing => "writing".to_owned(),
        _ => "going on".to_owned(),
    }
}

fn header_json(header: &BackupHeader) -> Value {
    json!({
        "format": header.format, "created_at": header.created_at.and_then(rfc3339),
        "epoch": header.epoch, "tenants": header.tenants, "key_sets": header.key_sets,
        "keys": header.keys, "token_revocations": header.token_revocations,
        "entries": header.entries, "kek": header.kek,
    })
}

fn header_text(header: &BackupHeader) -> String {
    format!(
        "taken at {}, epoch {}: {}, {}, {}, {}",
        header.created_at.and_then(rfc3339).unwrap_or_default(),
        header.epoch,
        count(header.tenants, "tenant"),
        count(header.key_sets, "key set"),
        count(header.keys, "private key"),
        count(header.token_revocations, "revocation of tokens")
    )
}

fn count(number: u64, what: &str) -> String {
    match (number, what.split_once(' ')) {
        (1, _) => format!("1 {what}"),
        (_, Some(("revocation", rest))) => format!("{number} revocations {rest}"),
        _ => format!("{number} {what}s"),
    }
}

fn result_json(result: &RestoreResult) -> Value {
    json!({
        "restored": result.restored, "forced": result.forced, "repeated": result.repeated,
        "epoch": result.epoch, "backup": header_json(&result.backup),
        "undone": undone_json(&result.undone),
    })
}

fn undone_json(undone: &Undone) -> Value {
    let set = |set: &UndoneKeySet| {
        let keys = set.keys.iter().map(|key| {
            json!({ "kid": key.kid, "now": state_name(key.now), "then": key.then.map(state_name) })
        });
        json!({
            "tenant": set.tenant, "key_set": set.key_set, "vanishes": set.vanishes,
            "keys": keys.collect::<Vec<_>>(), "keys_affected": set.keys_affected,
            "settings_go_back": set.settings_go_back,
            "token_revocations_undone": set.token_revocations_undone,
            "budgets_go_back": set.budgets_go_back,
        })
    };
    json!({
        "key_sets_vanish": undone.key_sets_vanish, "keys_vanish": undone.keys_vanish,
        "states_go_back": undone.states_go_back, "revocations_undone": undone.revocations_undone,
        "destroyed_come_back": undone.destroyed_come_back,
        "settings_go_back": undone.settings_go_back,
        "token_revocations_undone": undone.token_revocations_undone,
        "key_sets_affected": undone.key_sets_affected,
        "budgets_go_back": undone.budgets_go_back,
        "key_sets": undone.key_sets.iter().map(set).collect::<Vec<_>>(),
    })
}

fn result_text(result: &RestoreResult, dry_run: bool, refused: bool) -> String {
    let done = match (result.restored, result.repeated) {
        (true, true) => format!(
            "restored before by the same request; epoch {}",
            result.epoch
        ),
        (true, false) if result.forced => format!("restored by force; epoch {}", result.epoch),
        (true, false) => format!("restored; epoch {}", result.epoch),
        (false, _) if dry_run => "nothing was changed (dry run)".to_owned(),
        (false, _) => "nothing was changed".to_owned(),
    };
    let mut text = format!("{done}\n  backup: {}", header_text(&result.backup));
    let undone = undone_lines(&result.undone);
    if undone.is_empty() {
        text.push_str("\n  undoes nothing");
        return text;
    }
    let would = if result.restored {
        "undid"
    } else {
        "would undo"
    };
    text.push_str(&format!("\n  {would}:"));
    undone
        .iter()
        .for_each(|line| text.push_str(&format!("\n    {line}")));
    if refused {
        text.push_str("\n  --force restores all the same");
    }
    text
}

fn undone_lines(undone: &Undone) -> Vec<String> {
    let counts = [
        (undone.key_sets_vanish, "key sets vanish"),
        (undone.keys_vanish, "keys vanish"),
        (undone.states_go_back, "states of keys go back"),
        (undone.revocations_undone, "revoked keys are accepted again"),
        (undone.destroyed_come_back, "destroyed keys come back"),
        (undone.settings_go_back, "key sets get earlier settings"),
        (
            undone.token_revocations_undone,
            "revocations of tokens are undone",
        ),
        (
            undone.budgets_go_back,
            "keys may encrypt too often: rotate their sets afterwards",
        ),
    ];
    let counted = counts.iter().filter(|(number, _)| *number > 0);
    let mut lines: Vec<String> = counted
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    for set in &undone.key_sets {
        let vanishes = if set.vanishes { " vanishes" } else { "" };
        let settings = if set.settings_go_back {
            " settings"
        } else {
            ""
        };
        lines.push(format!(
            "{}/{}{vanishes}{settings}",
            set.tenant, set.key_set
        ));
        lines.extend(set.keys.iter().map(|key| {
            let then = key.then.map_or("gone", state_name);
            format!("  {} {} -> {then}", key.kid, state_name(key.now))
        }));
    }
    lines
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
