//! A store with a history, and what an edit of it leads to.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use key_manager::vault::{Instance, Scope, VaultError};
use keyring::{Subscriber, Time};
use rusqlite::Connection;

use super::edit::Edit;
use crate::{
    Fault,
    manager::{Keys, Manager},
};

/// Every entry by its key.
pub(super) type Entries = BTreeMap<String, Vec<u8>>;

/// What the key-manager holds: epoch, and of each set the revision and the keys.
type Held = (u64, BTreeMap<String, (u64, Keys)>);

/// What an edit leads to.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is refused: by the key-manager, or by an instance that has seen a later epoch.
    Detected,
    /// Every key set and every key is what it was.
    Harmless,
    /// Something else is held, and nobody says so.
    Undetected(String),
}

/// A store, closed, and how it came to be.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    pub(super) file: Vec<u8>,
    pub(super) entries: Entries,
    /// Files and entries after each step.
    pub(super) moments: Vec<Vec<u8>>,
    pub(super) histories: Vec<Entries>,
    held: Held,
}

impl Store {
    /// Three sets that were created, rotated, imported into and revoked in, and an instance.
    pub(super) async fn make(folder: &Path) -> Result<Self, Fault> {
        let path = folder.join("keys.db");
        let (mut moments, mut histories) = (Vec::new(), Vec::new());
        for step in 0..STEPS {
            let manager = Manager::open(&path).await?;
            advance(&manager, step).await?;
            drop(manager);
            let file = fs::read(&path)?;
            histories.push(entries(&path)?);
            moments.push(file);
            // looking must not have changed it
            fs::write(&path, moments.last().ok_or("no moment")?)?;
        }
        let held = held(&path).await?;
        Ok(Self {
            file: moments.last().cloned().ok_or("no moment")?,
            entries: histories.last().cloned().ok_or("no history")?,
            path,
            moments,
            histories,
            held,
        })
    }

    /// Makes the edit in a copy, opens it as the daemon does, and reads every key.
    pub(super) async fn judge(&self, edit: &Edit) -> Result<Verdict, Fault> {
        let copy = self.path.with_file_name("edited.db");
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = copy.clone().into_os_string();
            name.push(suffix);
            let _absent = fs::remove_file(name);
        }
        match edit.of_file(&self.file, &self.moments) {
            Some(bytes) => write_private(&copy, &bytes)?,
            None => {
                write_private(&copy, &self.file)?;
                let connection = Connection::open(&copy)?;
                connection
                    .execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY")?;
                edit.make(&connection)?;
                connection.close().map_err(|(_, cause)| cause)?;
            }
        }
        Ok(match held(&copy).await {
            Err(_said) => Verdict::Detected,
            Ok(held) if held == self.held => Verdict::Harmless,
            // the feed refuses a store that is behind what its instance has seen
            Ok((epoch, _)) if epoch < self.held.0 => Verdict::Detected,
            Ok(held) => Verdict::Undetected(difference(&self.held, &held)),
        })
    }
}

const STEPS: usize = 9;

async fn advance(manager: &Manager, step: usize) -> Result<(), Fault> {
    match step {
        0..=2 => manager.create(&format!("op/set-{step}")).await.map(drop)?,
        3 | 4 => manager.rotate("op/set-0").await.map(drop)?,
        5 => manager.rotate("op/set-1").await.map(drop)?,
        6 => manager.import("op/set-1", "imported").await.map(drop)?,
        7 => manager.revoke("op/set-1", "imported").await.map(drop)?,
        _ => manager.rotate("op/set-2").await.map(drop)?,
    }
    let at = Time::from_millis(u64::try_from(step)? + 1);
    let seen = |present: Option<&Instance>| -> Result<_, VaultError> {
        let new = || Instance {
            caller: "spiffe://crypto.dev/crypto-service".to_owned(),
            scope: Scope::default(),
            subscriber: Subscriber::new("spiffe://crypto.dev/crypto-service#1", 1, at),
            leased: true,
        };
        let mut next = present.cloned().unwrap_or_else(new);
        next.subscriber.lease_end = at;
        Ok(Some(next))
    };
    let name = "spiffe://crypto.dev/crypto-service#1";
    manager.vault().update_instance(name, seen).await?;
    Ok(())
}

async fn held(path: &Path) -> Result<Held, Fault> {
    let manager = Manager::open(path).await?;
    let (epoch, entries) = manager.vault().all();
    let mut sets = BTreeMap::new();
    for entry in entries {
        let keys = manager.keys(&entry).await?;
        sets.insert(entry.set.name.clone(), (entry.set.revision, keys));
    }
    Ok((epoch, sets))
}

fn difference(expected: &Held, found: &Held) -> String {
    let names: Vec<_> = expected
        .1
        .iter()
        .filter(|(name, set)| found.1.get(*name) != Some(set))
        .map(|(name, _)| name.as_str())
        .collect();
    format!("epoch {} for {}, sets {names:?}", found.0, expected.0)
}

fn entries(path: &Path) -> Result<Entries, Fault> {
    let connection = Connection::open(path)?;
    let mut statement = connection.prepare("SELECT key, value FROM entries")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    Ok(std::io::Write::write_all(&mut file.open(path)?, bytes)?)
}
