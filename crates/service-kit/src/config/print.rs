//! `--print-config`: the settings in force, without what could be a secret.

use serde::Serialize;
use toml::{Table, Value};

const REDACTED: &str = "<redacted>";
const SECRET_KEYS: [&str; 5] = ["password", "passphrase", "secret", "token", "pin"];

/// The settings as TOML. Values under keys that sound like secrets, and passwords in URLs, are replaced.
pub fn to_redacted_toml<T: Serialize>(settings: &T) -> Result<String, toml::ser::Error> {
    let mut table = Table::try_from(settings)?;
    redact(&mut table);
    toml::to_string(&table)
}

fn redact(table: &mut Table) {
    for (key, value) in table.iter_mut() {
        // a table such as { env = "NAME" } says where the secret is, and is no secret
        let names = matches!(value, Value::Table(inner) if inner.keys().all(|key| key == "env" || key == "file"));
        let secret = SECRET_KEYS
            .iter()
            .any(|secret| key.rsplit('_').next() == Some(secret));
        if secret && !names {
            *value = Value::String(REDACTED.to_owned());
        } else {
            redact_value(value);
        }
    }
}

fn redact_value(value: &mut Value) {
    match value {
        Value::Table(inner) => redact(inner),
        Value::Array(values) => values.iter_mut().for_each(redact_value),
        Value::String(text) => redact_url(text),
        _ => {}
    }
}

/// `scheme://user:password@host` keeps its scheme and host.
fn redact_url(text: &mut String) {
    let masked = text.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split(['/', '?', '#']).next()?;
        let (userinfo, _host) = authority.rsplit_once('@')?;
        let rest = rest.strip_prefix(userinfo)?;
        Some(format!("{scheme}://{REDACTED}{rest}"))
    });
    if let Some(masked) = masked {
        *text = masked;
    }
}
