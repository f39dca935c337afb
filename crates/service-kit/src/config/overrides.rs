//! One value from one layer, and how it is laid over the rest.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::Mistake;

/// A value for one key, from a place that a person can look up.
#[derive(Debug)]
pub(super) struct Override {
    place: String,
    key: Vec<String>,
    /// What the value may mean, in the order in which it is tried.
    readings: Vec<Value>,
}

impl Override {
    /// A value that came as text: itself, or the TOML value that it spells.
    pub(super) fn text(place: &str, key: &str, value: &str) -> Self {
        let mut readings = vec![Value::String(value.to_owned())];
        let spelled: Result<Table, _> = format!("value = {value}").parse();
        // One key only: a text with a line break could otherwise smuggle in a second one.
        readings.extend(
            spelled
                .ok()
                .filter(|t| t.len() == 1)
                .and_then(|mut t| t.remove("value")),
        );
        let key = key.split('.').map(str::to_owned).collect();
        Self {
            place: place.to_owned(),
            key,
            readings,
        }
    }

    /// The table with this value in place, if the settings can still be read from it.
    pub(super) fn fit<T: DeserializeOwned>(self, table: &Table) -> Result<Table, Mistake> {
        let mut problem = "names no setting".to_owned();
        for reading in self.readings {
            let mut next = table.clone();
            if !put(&mut next, &self.key, reading) {
                continue;
            }
            match next.clone().try_into::<T>() {
                Ok(_fits) => return Ok(next),
                Err(error) => problem = first_line(&error),
            }
        }
        Err(Mistake::new(self.place, problem))
    }
}

/// The first line of a TOML error: what is wrong, without the excerpt of a text that nobody wrote.
pub(super) fn first_line(error: &toml::de::Error) -> String {
    error
        .message()
        .lines()
        .next()
        .unwrap_or("not a setting")
        .to_owned()
}

/// The values of a TOML file, one override per key.
pub(super) fn from_file(path: &Path) -> Result<Vec<Override>, Mistake> {
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Mistake::new(&place, format!("cannot be read: {error}")))?;
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| Mistake::new(&place, format!("is not TOML: {error}")))?;
    let mut overrides = Vec::new();
    leaves(&place, &mut Vec::new(), table, &mut overrides);
    Ok(overrides)
}

/// `GRPC_MAX_CONNECTIONS` -> `grpc.max_connections`. A section's name is one word, so the split is unique.
pub(super) fn key_of_variable(rest: &str) -> Option<String> {
    let (section, key) = rest.split_once('_')?;
    let written = |part: &str| {
        !part.is_empty() && !part.contains(|c: char| c.is_ascii_lowercase() || c == '.')
    };
    (written(section) && written(key)).then(|| format!("{section}.{key}").to_ascii_lowercase())
}

fn leaves(place: &str, path: &mut Vec<String>, table: Table, out: &mut Vec<Override>) {
    for (name, value) in table {
        path.push(name);
        match value {
            Value::Table(inner) if !inner.is_empty() => leaves(place, path, inner, out),
            value => out.push(Override {
                place: format!("{place}: {}", path.join(".")),
                key: path.clone(),
                readings: vec![value],
            }),
        }
        path.pop();
    }
}

/// Puts `value` at `key`, making tables on the way; false where a plain value is in the way.
fn put(table: &mut Table, key: &[String], value: Value) -> bool {
    match key {
        [] => false,
        [last] => {
            let keeps = matches!(
                (&value, table.get(last)),
                (Value::Table(_), Some(Value::Table(_)))
            );
            if !keeps {
                table.insert(last.clone(), value);
            }
            true
        }
        [first, rest @ ..] => {
            let inner = table
                .entry(first.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            inner
                .as_table_mut()
                .is_some_and(|inner| put(inner, rest, value))
        }
    }
}
