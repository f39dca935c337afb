//! `keyset`: key sets and their life.

use client_admin::{
    AdminClient, CreateKeySet, Described, DestroyKey, Holding, ImportAs, ImportKey, KeySet,
    KeyState, KeyUse, KeyVersion, Policy, Profile, Publish, RevokeKey, RotateKeySet,
};
use jose::algorithm::Algorithm;
use serde_json::{Value, json};

use crate::{
    args::{self, Create, Global, Guard, ImportState, Keyset},
    connect::{channel, failed},
    error::Error,
    output::answer,
    token::rfc3339,
    update,
};

/// Sets what makes a change safe to repeat.
macro_rules! guarded {
    ($request:expr, $global:ident, $guard:ident) => {{
        let request = $request
            .tenant(&$global.tenant)
            .expected_revision($guard.expected_revision);
        match $guard.request_id {
            Some(id) => request.request_id(id),
            None => request,
        }
    }};
}

pub(crate) async fn execute(global: &Global, command: Keyset) -> Result<(), Error> {
    let admin = client(global)?;
    match command {
        Keyset::Create(create) => create_set(global, &admin, create).await,
        Keyset::List => list(global, &admin).await,
        Keyset::Show { name } => {
            let found = admin.get(&global.tenant, &name).await;
            let described = found.map_err(|error| failed(&global.keys_endpoint, &error))?;
            answer(global.output, &described_json(&described), || {
                described_text(&described)
            })
        }
        Keyset::Update(update) => update::execute(global, &admin, update).await,
        Keyset::Rotate { name, force, guard } => rotate(global, &admin, name, force, guard).await,
        Keyset::Import {
            name,
            file,
            kid,
            alg,
            state,
            retire_at,
            force,
            guard,
        } => {
            let import_as = import_as(state, retire_at, force)?;
            let request = import_request(name, &file, (kid, alg), import_as)?;
            import(global, &admin, guarded!(request, global, guard)).await
        }
        Keyset::Destroy {
            name,
            kid,
            after,
            cancel,
            guard,
        } => {
            let request = match (cancel, after) {
                (true, _) => DestroyKey::cancel(name, kid),
                (false, None) => DestroyKey::new(name, kid),
                (false, Some(after)) => DestroyKey::new(name, kid).wait(after),
            };
            destroy(global, &admin, guarded!(request, global, guard)).await
        }
        Keyset::Revoke { name, kid, guard } => revoke(global, &admin, name, kid, guard).await,
    }
}

/// A client of the key-manager.
pub(crate) fn client(global: &Global) -> Result<AdminClient, Error> {
    channel(global, &global.keys_endpoint, "admin").map(AdminClient::new)
}

async fn create_set(global: &Global, admin: &AdminClient, create: Create) -> Result<(), Error> {
    let algorithm = Algorithm::parse(&create.alg)
        .map_err(|cause| Error::data(format!("--alg {}: {cause}", create.alg)))?;
    let key_use = create.purpose.map_or_else(|| use_of(algorithm), named_use);
    let hidden = algorithm.is_symmetric() || matches!(key_use, KeyUse::RawSign | KeyUse::Seal);
    let publish = match create.publish {
        Some(publish) => published(publish),
        None if hidden => Publish::None,
        None => Publish::Internal,
    };
    let mut request = CreateKeySet::new(create.name, key_use, &create.alg)
        .tenant(&global.tenant)
        .issuer(create.issuer)
        .publish(publish)
        .profile(Profile {
            typ: create.typ,
            max_lifetime: Some(create.max_lifetime),
            record_issued: create.record_issued,
            ..Profile::default()
        })
        .policy(Policy {
            algorithm: create.alg,
            rsa_bits: create.rsa_bits,
            curve: create.curve,
            enc: create.enc,
            ..Policy::default()
        });
    if let Some(id) = create.request_id {
        request = request.request_id(id);
    }
    let created = admin.create(&request).await;
    let set = created.map_err(|error| failed(&global.keys_endpoint, &error))?;
    answer(global.output, &set_json(&set), || set_text(&set))
}

async fn list(global: &Global, admin: &AdminClient) -> Result<(), Error> {
    let listed = admin.list(&global.tenant).await;
    let sets = listed.map_err(|error| failed(&global.keys_endpoint, &error))?;
    let shown = Value::Array(sets.iter().map(set_json).collect());
    answer(global.output, &shown, || {
        sets.iter().map(list_line).collect::<Vec<_>>().join("\n")
    })
}

async fn rotate(
    global: &Global,
    admin: &AdminClient,
    name: String,
    force: bool,
    guard: Guard,
) -> Result<(), Error> {
    let request = guarded!(RotateKeySet::new(name), global, guard);
    let request = if force { request.force() } else { request };
    let rotated = admin.rotate(&request).await;
    let rotated = rotated.map_err(|error| failed(&global.keys_endpoint, &error))?;
    let shown = json!({
        "key_set": set_json(&rotated.key_set), "holding": rotated.holding.iter().map(holding_json).collect::<Vec<_>>(),
        "stragglers": rotated.stragglers, "may_have_broken": rotated.may_have_broken,
    });
    answer(global.output, &shown, || {
        let mut text = set_text(&rotated.key_set);
        push_holding(&mut text, &rotated.holding);
        push_list(&mut text, "may have broken", &rotated.may_have_broken);
        push_list(&mut text, "has not the new key yet", &rotated.stragglers);
        text
    })
}

fn import_as(
    state: ImportState,
    retire_at: Option<jiff::Timestamp>,
    force: bool,
) -> Result<ImportAs, Error> {
    match (state, retire_at) {
        (ImportState::Prepared, None) => Ok(ImportAs::Prepared),
        (ImportState::Active, None) if force => Ok(ImportAs::ForcedActive),
        (ImportState::Active, None) => Err(Error::usage(
            "--state active demotes the present key without any wait: add --force",
        )),
        (ImportState::Retiring, Some(time)) => Ok(ImportAs::RetiringUntil(time.into())),
        (ImportState::Retiring, None) => Err(Error::usage(
            "--state retiring needs --retire-at, such as 2027-01-31T00:00:00Z",
        )),
        (_, Some(_)) => Err(Error::usage("--retire-at goes with --state retiring")),
    }
}

/// The key in a file: PEM and DER, or else a JWK.
fn import_request(
    name: String,
    file: &str,
    (kid, alg): (Option<String>, Option<String>),
    import_as: ImportAs,
) -> Result<ImportKey, Error> {
    let bytes = read(file)?;
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(bytes.first(), Some(0x30)) || first == Some(&b'-') {
        let request = ImportKey::pkcs8(name, bytes, import_as);
        let request = request.kid(kid.unwrap_or_default());
        return Ok(request.algorithm(alg.unwrap_or_default()));
    }
    if kid.is_some() || alg.is_some() {
        return Err(Error::usage(
            "--kid and --alg are for a key in PKCS#8; a JWK says them itself",
        ));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_binary| Error::data(format!("{file} holds neither a JWK nor PKCS#8")))?;
    Ok(ImportKey::new(name, text.trim(), import_as))
}

fn read(file: &str) -> Result<Vec<u8>, Error> {
    if file == "-" {
        let mut bytes = Vec::new();
        return std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes)
            .map(|_length| bytes)
            .map_err(|cause| Error::new(74, format!("standard input: {cause}")));
    }
    let path = std::path::Path::new(file);
    std::fs::read(path).map_err(|cause| Error::file(path, &cause))
}

async fn destroy(global: &Global, admin: &AdminClient, request: DestroyKey) -> Result<(), Error> {
    let scheduled = admin.destroy(&request).await;
    let scheduled = scheduled.map_err(|error| failed(&global.keys_endpoint, &error))?;
    let date = scheduled.destroy_at.and_then(rfc3339);
    let shown = json!({
        "key_set": set_json(&scheduled.key_set), "destroy_at": date, "remains": scheduled.remains,
    });
    answer(global.output, &shown, || {
        let mut text = date.as_ref().map_or_else(
            || "no destruction is scheduled".to_owned(),
            |date| format!("its material is erased at {date}; until then: --cancel"),
        );
        push_list(&mut text, "stays after that", &scheduled.remains);
        format!("{text}\n{}", set_text(&scheduled.key_set))
    })
}

async fn import(global: &Global, admin: &AdminClient, request: ImportKey) -> Result<(), Error> {
    let imported = admin.import(&request).await;
    let (set, kid) = imported.map_err(|error| failed(&global.keys_endpoint, &error))?;
    let shown = json!({"kid": kid, "key_set": set_json(&set)});
    answer(global.output, &shown, || {
        format!("imported {kid}\n{}", set_text(&set))
    })
}

async fn revoke(
    global: &Global,
    admin: &AdminClient,
    name: String,
    kid: String,
    guard: Guard,
) -> Result<(), Error> {
    let request = guarded!(RevokeKey::new(name, kid), global, guard);
    let revoked = admin.revoke(&request).await;
    let revoked = revoked.map_err(|error| failed(&global.keys_endpoint, &error))?;
    let elapsed_ms = revoked.elapsed.as_millis();
    let shown = json!({
        "key_set": set_json(&revoked.key_set), "acked": revoked.acked, "total": revoked.total,
        "stragglers": revoked.stragglers, "elapsed_ms": u64::try_from(elapsed_ms).ok(),
    });
    answer(global.output, &shown, || {
        let mut text = format!(
            "{} of {} instances refuse it after {elapsed_ms} ms\n{}",
            revoked.acked,
            revoked.total,
            set_text(&revoked.key_set)
        );
        push_list(
            &mut text,
            "accepts it until its lease ends",
            &revoked.stragglers,
        );
        text
    })
}

fn use_of(algorithm: Algorithm) -> KeyUse {
    match algorithm {
        Algorithm::Jws(_) => KeyUse::Sign,
        Algorithm::Jwe(_) => KeyUse::Encrypt,
    }
}

fn named_use(name: args::Use) -> KeyUse {
    match name {
        args::Use::Sign => KeyUse::Sign,
        args::Use::Encrypt => KeyUse::Encrypt,
        args::Use::RawSign => KeyUse::RawSign,
        args::Use::Seal => KeyUse::Seal,
    }
}

pub(crate) fn published(publish: args::Publish) -> Publish {
    match publish {
        args::Publish::None => Publish::None,
        args::Publish::Internal => Publish::Internal,
        args::Publish::Public => Publish::Public,
    }
}

fn use_name(key_use: KeyUse) -> &'static str {
    match key_use {
        KeyUse::Sign => "SIGN",
        KeyUse::Encrypt => "ENCRYPT",
        KeyUse::RawSign => "RAW_SIGN",
        KeyUse::Seal => "SEAL",
        _ => "UNKNOWN",
    }
}

fn publish_name(publish: Publish) -> &'static str {
    match publish {
        Publish::None => "NONE",
        Publish::Internal => "INTERNAL",
        Publish::Public => "PUBLIC",
        _ => "UNKNOWN",
    }
}

pub(crate) fn state_name(state: KeyState) -> &'static str {
    match state {
        KeyState::Prepared => "PREPARED",
        KeyState::Active => "ACTIVE",
        KeyState::Retiring => "RETIRING",
        KeyState::Retired => "RETIRED",
        KeyState::Revoked => "REVOKED",
        KeyState::Destroyed => "DESTROYED",
        _ => "UNKNOWN",
    }
}

pub(crate) fn set_json(set: &KeySet) -> Value {
    json!({
        "tenant": set.tenant, "name": set.name, "use": use_name(set.key_use), "issuer": set.issuer,
        "publish": publish_name(set.publish), "algorithm": set.policy.algorithm, "revision": set.revision,
        "record_issued": set.profile.record_issued,
        "versions": set.versions.iter().map(version_json).collect::<Vec<_>>(),
        "forced": set.forced.iter().map(|act| json!({
            "at": act.at.and_then(rfc3339), "kid": act.kid, "caller": act.caller,
            "may_have_broken": act.may_have_broken,
        })).collect::<Vec<_>>(),
    })
}

fn version_json(version: &KeyVersion) -> Value {
    json!({
        "kid": version.kid, "algorithm": version.algorithm, "state": state_name(version.state),
        "created_at": version.created_at.and_then(rfc3339),
        "published_at": version.published_at.and_then(rfc3339),
        "activated_at": version.activated_at.and_then(rfc3339),
        "retiring_at": version.retiring_at.and_then(rfc3339),
        "retired_at": version.retired_at.and_then(rfc3339),
        "revoked_at": version.revoked_at.and_then(rfc3339),
        "destroy_at": version.destroy_at.and_then(rfc3339),
        "destroyed_at": version.destroyed_at.and_then(rfc3339),
    })
}

fn holding_json(holding: &Holding) -> Value {
    json!({
        "description": holding.description, "subscriber": holding.subscriber,
        "until": holding.until.and_then(rfc3339),
    })
}

fn described_json(described: &Described) -> Value {
    let mut shown = set_json(&described.key_set);
    if let Some(members) = shown.as_object_mut() {
        let holding = described.holding.iter().map(holding_json).collect();
        members.insert("holding".to_owned(), holding);
    }
    shown
}

fn described_text(described: &Described) -> String {
    let mut text = set_text(&described.key_set);
    push_holding(&mut text, &described.holding);
    text
}

fn list_line(set: &KeySet) -> String {
    let active = set.active().map_or("no Active key", |key| key.kid.as_str());
    format!(
        "{:<32} {:<8} {:<14} {active}",
        set.name,
        use_name(set.key_use),
        set.policy.algorithm
    )
}

/// A head line, then a line for each key.
pub(crate) fn set_text(set: &KeySet) -> String {
    let mut text = format!(
        "{} {} {} publish {} revision {}",
        set.name,
        use_name(set.key_use),
        set.policy.algorithm,
        publish_name(set.publish),
        set.revision
    );
    if set.profile.record_issued {
        text.push_str(" records what it issues");
    }
    for version in &set.versions {
        text.push_str(&format!(
            "\n  {:<9} {:<14} {}",
            state_name(version.state),
            version.algorithm,
            version.kid
        ));
        let date = version
            .destroy_at
            .filter(|_| version.destroyed_at.is_none());
        if let Some(date) = date.and_then(rfc3339) {
            text.push_str(&format!(" (to be destroyed at {date})"));
        }
    }
    text
}

fn push_holding(text: &mut String, holding: &[Holding]) {
    for wait in holding {
        let until = wait
            .until
            .and_then(rfc3339)
            .map_or_else(String::new, |time| format!(" (until {time})"));
        text.push_str(&format!("\n  waits: {}{until}", wait.description));
    }
}

pub(crate) fn push_list(text: &mut String, head: &str, items: &[String]) {
    for item in items {
        text.push_str(&format!("\n  {head}: {item}"));
    }
}
