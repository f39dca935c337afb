//! The strict reader of the policy file: collects every mistake before it gives up.

use std::collections::BTreeSet;
use std::fmt;

use toml::{Table, Value};

use super::{Grant, KeySetGlob, Operation, Policy};
use crate::watched::ReadError;

const TENANT: &str = "default";
const KEYS: [&str; 4] = ["caller", "tenant", "key_sets", "operations"];

/// Why a policy file is refused.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file is not UTF-8.
    #[error("the policy file is not UTF-8 text")]
    NotUtf8,
    /// The file is not TOML.
    #[error("the policy file is not TOML: {0}")]
    Syntax(#[from] Box<toml::de::Error>),
    /// The file is TOML and says things that it must not.
    #[error("the policy file has {count} mistake(s): {list}", count = .0.len(), list = Listed(.0))]
    Mistakes(Vec<GrantMistake>),
}

/// One mistake, with its place and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantMistake {
    /// Where, for example `grant[2].operations[0]`; grants count from 1.
    pub place: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for GrantMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

struct Listed<'a>(&'a [GrantMistake]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

pub(super) fn parse(text: &str) -> Result<Policy, PolicyError> {
    let table: Table = text.parse().map_err(Box::new)?;
    let mut reader = Reader {
        mistakes: Vec::new(),
    };
    let policy = reader.policy(&table);
    if reader.mistakes.is_empty() {
        Ok(policy)
    } else {
        Err(PolicyError::Mistakes(reader.mistakes))
    }
}

struct Reader {
    mistakes: Vec<GrantMistake>,
}

impl Reader {
    fn policy(&mut self, table: &Table) -> Policy {
        let mut policy = Policy::default();
        for key in table.keys().filter(|key| *key != "grant") {
            self.mistake(
                key,
                "unknown; the file holds [[grant]] tables only".to_owned(),
            );
        }
        let grants = match table.get("grant") {
            None => return policy,
            Some(Value::Array(grants)) => grants,
            Some(_) => {
                self.mistake("grant", "must be written [[grant]]".to_owned());
                return policy;
            }
        };
        for (index, grant) in grants.iter().enumerate() {
            let place = format!("grant[{}]", index + 1);
            match grant.as_table() {
                Some(grant) => {
                    let (caller, grant) = self.grant(&place, grant);
                    policy.by_caller.entry(caller).or_default().push(grant);
                }
                None => self.mistake(&place, "must be a table".to_owned()),
            }
        }
        policy
    }

    fn grant(&mut self, place: &str, table: &Table) -> (String, Grant) {
        for key in table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
            self.mistake(
                &format!("{place}.{key}"),
                format!("unknown; known are {}", KEYS.join(", ")),
            );
        }
        let caller = self.caller(place, table);
        let tenant = self.tenant(place, table);
        let key_sets = self.strings(place, table, "key_sets", |name| {
            KeySetGlob::new(name).ok_or_else(|| {
                "must be a key set name; * stands for any run of characters".to_owned()
            })
        });
        let operations = self.strings(place, table, "operations", |name| {
            name.parse().map_err(|_unknown| {
                format!(
                    "unknown; known are {}",
                    Operation::ALL.map(Operation::as_str).join(", ")
                )
            })
        });
        (
            caller,
            Grant {
                tenant,
                key_sets,
                operations: BTreeSet::from_iter(operations),
            },
        )
    }

    fn caller(&mut self, place: &str, table: &Table) -> String {
        match table.get("caller").and_then(Value::as_str) {
            Some(name) if name.starts_with("spiffe://") || name.starts_with("dns:") => {
                name.to_owned()
            }
            _ => {
                let problem =
                    "must be the caller's name: spiffe://<trust domain>/<path>, or dns:<name>";
                self.mistake(&format!("{place}.caller"), problem.to_owned());
                String::new()
            }
        }
    }

    fn tenant(&mut self, place: &str, table: &Table) -> String {
        match table.get("tenant").map_or(Some(TENANT), Value::as_str) {
            Some(tenant) if !tenant.is_empty() => tenant.to_owned(),
            _ => {
                self.mistake(
                    &format!("{place}.tenant"),
                    "must be a tenant's name".to_owned(),
                );
                String::new()
            }
        }
    }

    /// The non-empty array of strings under `key`, each through `read`.
    fn strings<T>(
        &mut self,
        place: &str,
        table: &Table,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let place = format!("{place}.{key}");
        let values = table
            .get(key)
            .and_then(Value::as_array)
            .filter(|values| !values.is_empty());
        let Some(values) = values else {
            self.mistake(&place, "must be a non-empty array of strings".to_owned());
            return Vec::new();
        };
        let mut read_values = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            match value
                .as_str()
                .ok_or_else(|| "must be a string".to_owned())
                .and_then(&read)
            {
                Ok(value) => read_values.push(value),
                Err(problem) => self.mistake(&format!("{place}[{index}]"), problem),
            }
        }
        read_values
    }

    fn mistake(&mut self, place: &str, problem: String) {
        self.mistakes.push(GrantMistake {
            place: place.to_owned(),
            problem,
        });
    }
}
