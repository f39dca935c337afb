//! `sealing`: keys of keys.

use std::time::Duration;

use client_admin::{DataKey, DataKeyGeneration, RotateDataKey, Sealing};
use serde_json::{Value, json};

use crate::{
    args::{self, Global},
    connect::failed,
    error::Error,
    keyset::client,
    output::{Format, answer, line},
    token::rfc3339,
};

/// Between two looks of `--watch`.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn execute(global: &Global, command: args::Sealing) -> Result<(), Error> {
    match command {
        args::Sealing::Show { watch: true } => watch(global).await,
        args::Sealing::Show { watch: false } => {
            let shown = show(global).await?;
            answer(global.output, &sealing_json(&shown), || text(&shown))
        }
        args::Sealing::Rotate { root, request_id } => rotate(global, root, request_id).await,
    }
}

async fn show(global: &Global) -> Result<Sealing, Error> {
    let shown = client(global)?.sealing("").await;
    shown.map_err(|error| failed(&global.keys_endpoint, &error))
}

/// A line for each change, until nothing is left.
async fn watch(global: &Global) -> Result<(), Error> {
    let mut said = String::new();
    loop {
        let shown = show(global).await?;
        let settled = shown.is_settled();
        match global.output {
            Format::Json => line(&sealing_json(&shown).to_string())?,
            Format::Text => {
                let now = progress(&shown);
                if now != said {
                    line(&now)?;
                    said = now;
                }
            }
        }
        if settled {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn rotate(global: &Global, root: bool, request_id: Option<String>) -> Result<(), Error> {
    let rotate = match root {
        true => RotateDataKey::of_the_root(),
        false => RotateDataKey::of_tenant(&global.tenant),
    };
    let rotate = match request_id {
        Some(id) => rotate.request_id(id),
        None => rotate,
    };
    let rotated = client(global)?.rotate_data_key(&rotate).await;
    let rotated = rotated.map_err(|error| failed(&global.keys_endpoint, &error))?;
    answer(global.output, &data_key_json(&rotated), || {
        format!(
            "{}\nwhat is left is re-sealed in the background: cryptoctl sealing show --watch",
            data_key_text(&rotated)
        )
    })
}

fn sealing_json(sealing: &Sealing) -> Value {
    json!({
        "root": data_key_json(&sealing.root),
        "tenants": sealing.tenants.iter().map(data_key_json).collect::<Vec<_>>(),
        "kek_id": sealing.kek_id, "previous_kek_id": sealing.previous_kek_id,
        "data_keys_left": sealing.data_keys_left,
        "previous_removable": sealing.previous_removable,
    })
}

fn data_key_json(key: &DataKey) -> Value {
    let generation = |one: &DataKeyGeneration| {
        json!({
            "generation": one.generation, "records": one.records, "keys": one.keys,
            "kek_id": one.kek_id,
        })
    };
    json!({
        "tenant": key.tenant, "generation": key.generation, "left": key.left,
        "generations": key.generations.iter().map(generation).collect::<Vec<_>>(),
        "began": key.began.and_then(rfc3339), "ended": key.ended.and_then(rfc3339),
        "counted_at": key.counted_at.and_then(rfc3339),
    })
}

fn text(sealing: &Sealing) -> String {
    let mut text = format!("key-encryption key {}", sealing.kek_id);
    if sealing.data_keys_left > 0 {
        let left = sealing.data_keys_left;
        text.push_str(&format!("\n  {left} data keys are not wrapped by it yet"));
    }
    if let Some(previous) = &sealing.previous_kek_id {
        let removable = match sealing.previous_removable {
            true => "wraps nothing any more, kek.previous may be removed",
            false => "is needed",
        };
        text.push_str(&format!("\n  the one before, {previous}, {removable}"));
    }
    for key in sealing.tenants.iter().chain([&sealing.root]) {
        text.push('\n');
        text.push_str(&data_key_text(key));
    }
    text
}

fn data_key_text(key: &DataKey) -> String {
    let mut text = format!("{}: generation {}", owner(key), key.generation);
    let time = |time: Option<std::time::SystemTime>| time.and_then(rfc3339);
    match (time(key.began), time(key.ended)) {
        (Some(began), Some(ended)) => {
            text.push_str(&format!(", since {began}, re-sealed by {ended}"));
        }
        (Some(began), None) => {
            text.push_str(&format!(", since {began}, {} left to re-seal", key.left));
        }
        (None, _) => {}
    }
    for one in &key.generations {
        let wrapped = match one.kek_id.as_str() {
            "" => "an unnamed key",
            id => id,
        };
        text.push_str(&format!(
            "\n  generation {}: {} records and {} keys, wrapped by {wrapped}",
            one.generation, one.records, one.keys
        ));
    }
    text
}

fn progress(sealing: &Sealing) -> String {
    let resealing = sealing.tenants.iter().chain([&sealing.root]);
    let resealing = resealing.filter(|key| key.generations.len() > 1);
    let mut parts: Vec<String> = resealing
        .map(|key| {
            let (owner, left) = (owner(key), key.left);
            format!("{owner}: {left} left before generation {}", key.generation)
        })
        .collect();
    if sealing.data_keys_left > 0 {
        let left = sealing.data_keys_left;
        parts.push(format!(
            "{left} data keys left to wrap by {}",
            sealing.kek_id
        ));
    }
    match parts.is_empty() {
        true => "nothing is left to re-seal".to_owned(),
        false => parts.join("; "),
    }
}

fn owner(key: &DataKey) -> String {
    match key.tenant.as_str() {
        "" => "root".to_owned(),
        tenant => format!("tenant {tenant}"),
    }
}
