//! Key administration against a fake key-manager.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../core/tests/serve/mod.rs"]
mod serve;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use client_admin::{
    AdminClient, AuditOutcome, AuditQuery, Change, CreateKeySet, DestroyKey, HoldingReason,
    ImportAs, ImportKey, IssuedQuery, KeyState, KeyUse, Policy, Profile, Publish, Restore,
    RestoreStep, RevokeKey, RotateDataKey, RotateKeySet, UpdateKeySet,
};
use client_core::Code;
use crypto_proto::keys::v1 as wire;
use crypto_proto::keys::v1::key_admin_service_server::{KeyAdminService, KeyAdminServiceServer};
use futures::StreamExt as _;
use serve::{Pki, Served};
use tonic::codegen::{BoxStream, tokio_stream};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;

/// Holds the sets of the list, and what it was asked.
#[derive(Default)]
struct Fake {
    listed: Vec<String>,
    unavailable: Mutex<u32>,
    created: Mutex<Vec<wire::CreateKeySetRequest>>,
    updated: Mutex<Vec<wire::UpdateKeySetRequest>>,
    rotated: Mutex<Vec<wire::RotateKeySetRequest>>,
    imported: Mutex<Vec<wire::ImportKeyRequest>>,
    revoked: Mutex<Vec<wire::RevokeKeyRequest>>,
    destroyed: Mutex<Vec<wire::DestroyKeyRequest>>,
    issued: Mutex<Vec<wire::ListIssuedRequest>>,
    audited: Mutex<Vec<wire::QueryAuditRequest>>,
    restored: Arc<Mutex<Vec<wire::RestoreRequest>>>,
    /// Backups end before their end.
    breaks_off: bool,
    rekeyed: Mutex<Vec<wire::RotateDataKeyRequest>>,
}

fn data_key(tenant: &str, generation: u32) -> wire::DataKeySealing {
    let of = |number| wire::DataKeyGeneration {
        generation: number,
        records: 3,
        keys: 4,
        kek_id: "local:old".into(),
    };
    wire::DataKeySealing {
        tenant: tenant.into(),
        generation,
        generations: (1..=generation).map(of).collect(),
        left: 7,
        began: Some(prost_types::Timestamp {
            seconds: 5,
            nanos: 0,
        }),
        ..wire::DataKeySealing::default()
    }
}

fn subscriber(name: &str) -> wire::Subscriber {
    wire::Subscriber {
        name: name.into(),
        live: true,
        clock_offset: Some(prost_types::Duration {
            seconds: -1,
            nanos: -500_000_000,
        }),
        ..wire::Subscriber::default()
    }
}

fn key_set(name: &str) -> wire::KeySet {
    let version = |kid: &str, state: wire::KeyState| wire::KeyVersion {
        kid: kid.into(),
        algorithm: "ES256".into(),
        state: state.into(),
        created_at: Some(prost_types::Timestamp {
            seconds: 1000,
            nanos: 0,
        }),
        ..wire::KeyVersion::default()
    };
    wire::KeySet {
        tenant: "default".into(),
        name: name.into(),
        r#use: wire::KeyUse::Sign.into(),
        publish: wire::Publish::Public.into(),
        revision: 7,
        versions: vec![
            version("a", wire::KeyState::Active),
            version("b", wire::KeyState::Prepared),
        ],
        ..wire::KeySet::default()
    }
}

fn holding(reason: i32) -> wire::Holding {
    wire::Holding {
        reason,
        description: "waits".into(),
        ..wire::Holding::default()
    }
}

#[tonic::async_trait]
impl KeyAdminService for Fake {
    async fn create_key_set(
        &self,
        request: Request<wire::CreateKeySetRequest>,
    ) -> Answer<wire::CreateKeySetResponse> {
        let request = request.into_inner();
        let name = request.key_set.clone().unwrap().name;
        self.created.lock().unwrap().push(request);
        Ok(Response::new(wire::CreateKeySetResponse {
            key_set: Some(key_set(&name)),
        }))
    }

    async fn get_key_set(
        &self,
        request: Request<wire::GetKeySetRequest>,
    ) -> Answer<wire::GetKeySetResponse> {
        let reasons = [
            wire::HoldingReason::Ack.into(),
            wire::HoldingReason::Lead.into(),
            99,
        ];
        let key_set = Some(key_set(&request.into_inner().key_set));
        Ok(Response::new(wire::GetKeySetResponse {
            key_set,
            holding: reasons.map(holding).to_vec(),
        }))
    }

    async fn list_key_sets(
        &self,
        request: Request<wire::ListKeySetsRequest>,
    ) -> Answer<wire::ListKeySetsResponse> {
        let token = request.into_inner().page_token;
        let from: usize = if token.is_empty() {
            0
        } else {
            token.parse().unwrap()
        };
        let page: Vec<_> = self
            .listed
            .iter()
            .skip(from)
            .take(2)
            .map(|name| key_set(name))
            .collect();
        let next = from + page.len();
        let next_page_token = if next < self.listed.len() {
            next.to_string()
        } else {
            String::new()
        };
        Ok(Response::new(wire::ListKeySetsResponse {
            key_sets: page,
            next_page_token,
        }))
    }

    async fn update_key_set(
        &self,
        request: Request<wire::UpdateKeySetRequest>,
    ) -> Answer<wire::UpdateKeySetResponse> {
        self.updated.lock().unwrap().push(request.into_inner());
        Ok(Response::new(wire::UpdateKeySetResponse::default()))
    }

    async fn rotate_key_set(
        &self,
        request: Request<wire::RotateKeySetRequest>,
    ) -> Answer<wire::RotateKeySetResponse> {
        self.rotated.lock().unwrap().push(request.into_inner());
        let mut unavailable = self.unavailable.lock().unwrap();
        if *unavailable > 0 {
            *unavailable -= 1;
            return Err(Status::unavailable("draining"));
        }
        let answer = wire::RotateKeySetResponse {
            key_set: Some(key_set("op/x")),
            holding: vec![holding(wire::HoldingReason::Ack.into())],
            stragglers: vec!["instance#1".into()],
            may_have_broken: vec!["verifiers may not know it".into()],
        };
        Ok(Response::new(answer))
    }

    async fn import_key(
        &self,
        request: Request<wire::ImportKeyRequest>,
    ) -> Answer<wire::ImportKeyResponse> {
        self.imported.lock().unwrap().push(request.into_inner());
        Ok(Response::new(wire::ImportKeyResponse {
            key_set: Some(key_set("op/x")),
            kid: "imported".into(),
        }))
    }

    async fn destroy_key(
        &self,
        request: Request<wire::DestroyKeyRequest>,
    ) -> Answer<wire::DestroyKeyResponse> {
        self.destroyed.lock().unwrap().push(request.into_inner());
        Ok(Response::new(wire::DestroyKeyResponse {
            key_set: Some(key_set("op/x")),
            destroy_at: Some(prost_types::Timestamp {
                seconds: 3000,
                nanos: 0,
            }),
            remains: vec!["backups".into()],
        }))
    }

    async fn list_subscribers(
        &self,
        request: Request<wire::ListSubscribersRequest>,
    ) -> Answer<wire::ListSubscribersResponse> {
        let (name, next) = match request.into_inner().page_token.as_str() {
            "" => ("a#1", "1"),
            _ => ("b#1", ""),
        };
        Ok(Response::new(wire::ListSubscribersResponse {
            subscribers: vec![subscriber(name)],
            next_page_token: next.into(),
        }))
    }

    async fn evict_subscriber(
        &self,
        request: Request<wire::EvictSubscriberRequest>,
    ) -> Answer<wire::EvictSubscriberResponse> {
        let request = request.into_inner();
        Ok(Response::new(wire::EvictSubscriberResponse {
            subscriber: (request.subscriber != "broken").then(|| wire::Subscriber {
                evicted_by_force: request.force,
                ..subscriber(&request.subscriber)
            }),
            may_have_broken: vec!["it may be alive".into()],
        }))
    }

    async fn rotate_data_key(
        &self,
        request: Request<wire::RotateDataKeyRequest>,
    ) -> Answer<wire::RotateDataKeyResponse> {
        let message = request.into_inner();
        self.rekeyed.lock().unwrap().push(message.clone());
        Ok(Response::new(wire::RotateDataKeyResponse {
            sealing: Some(data_key(&message.tenant, 2)),
        }))
    }

    async fn get_sealing(
        &self,
        request: Request<wire::GetSealingRequest>,
    ) -> Answer<wire::GetSealingResponse> {
        let first = request.get_ref().page_token.is_empty();
        Ok(Response::new(wire::GetSealingResponse {
            root: Some(data_key("", 1)),
            tenants: vec![data_key(if first { "a" } else { "b" }, 1)],
            kek_id: "local:new".into(),
            previous_kek_id: "local:old".into(),
            next_page_token: if first { "next".into() } else { String::new() },
            ..wire::GetSealingResponse::default()
        }))
    }

    async fn query_audit(
        &self,
        request: Request<wire::QueryAuditRequest>,
    ) -> Answer<wire::QueryAuditResponse> {
        self.audited.lock().unwrap().push(request.into_inner());
        Ok(Response::new(wire::QueryAuditResponse {
            entries: vec![wire::AuditEntry {
                seq: 4,
                outcome: wire::AuditOutcome::Refused.into(),
                fields: vec!["kid".into()],
                ..wire::AuditEntry::default()
            }],
            checkpoints: vec![wire::AuditCheckpoint {
                chain: "c".into(),
                seq: 3,
                jws: "e30.e30.e30".into(),
            }],
            public_jwk: "{}".into(),
            ..wire::QueryAuditResponse::default()
        }))
    }

    async fn list_issued(
        &self,
        request: Request<wire::ListIssuedRequest>,
    ) -> Answer<wire::ListIssuedResponse> {
        self.issued.lock().unwrap().push(request.into_inner());
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        Ok(Response::new(wire::ListIssuedResponse {
            entries: vec![wire::IssuedEntry {
                id: "s.0.1".into(),
                issued_at: time(1_000),
                jti: "j".into(),
                kid: "k".into(),
                subject: "00".into(),
                ..wire::IssuedEntry::default()
            }],
            next_page_token: "next".into(),
            counts: vec![wire::IssuedCount {
                key_set: "op/x".into(),
                kid: "k".into(),
                count: 7,
            }],
            total_count: 7,
            count_capped: true,
            complete_until: time(2_000),
            behind: vec![wire::IssuedBehind {
                subscriber: "a#1".into(),
                complete_until: time(1_500),
            }],
            unrecorded: 3,
            store: "s1".into(),
        }))
    }

    async fn backup(
        &self,
        _request: Request<wire::BackupRequest>,
    ) -> Answer<BoxStream<wire::BackupResponse>> {
        use wire::backup_response::Part;
        let header = wire::BackupHeader {
            key_sets: 3,
            ..wire::BackupHeader::default()
        };
        let end = wire::BackupEnd {
            size: 5,
            sha256: vec![7; 32],
        };
        let mut parts = vec![
            Part::Header(header),
            Part::Chunk(b"abc".to_vec()),
            Part::Chunk(b"de".to_vec()),
            Part::End(end),
        ];
        if self.breaks_off {
            parts.pop();
        }
        Ok(stream(
            parts
                .into_iter()
                .map(|part| Ok(wire::BackupResponse { part: Some(part) })),
        ))
    }

    async fn restore(
        &self,
        request: Request<Streaming<wire::RestoreRequest>>,
    ) -> Answer<BoxStream<wire::RestoreResponse>> {
        let kept = Arc::clone(&self.restored);
        // as the key-manager does: the answer begins before the upload has ended
        let answers = futures::stream::once(async move {
            let answers = restored(request.into_inner(), &kept).await;
            tokio_stream::iter(answers.unwrap_or_else(|status| vec![Err(status)]))
        });
        let answers: BoxStream<wire::RestoreResponse> = Box::pin(answers.flatten());
        Ok(Response::new(answers))
    }

    async fn revoke_key(
        &self,
        request: Request<wire::RevokeKeyRequest>,
    ) -> Answer<wire::RevokeKeyResponse> {
        self.revoked.lock().unwrap().push(request.into_inner());
        let answer = wire::RevokeKeyResponse {
            key_set: Some(key_set("op/x")),
            acked: 2,
            total: 3,
            stragglers: vec!["instance#3".into()],
            elapsed: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
        };
        Ok(Response::new(answer))
    }
}

async fn restored(
    mut received: Streaming<wire::RestoreRequest>,
    kept: &Mutex<Vec<wire::RestoreRequest>>,
) -> Result<Vec<Result<wire::RestoreResponse, Status>>, Status> {
    use wire::{restore_request::Part as Up, restore_response::Part};
    let mut messages = Vec::new();
    while let Some(message) = received.message().await? {
        messages.push(message);
    }
    let first = messages.first().and_then(|message| message.part.clone());
    let Some(Up::Options(options)) = first else {
        return Err(Status::invalid_argument("no options"));
    };
    *kept.lock().unwrap() = messages;
    let undone = wire::Undone {
        keys_vanish: 1,
        key_sets: vec![wire::UndoneKeySet {
            keys: vec![wire::UndoneKey {
                kid: "k".into(),
                now: wire::KeyState::Active.into(),
                then: 0,
            }],
            ..wire::UndoneKeySet::default()
        }],
        ..wire::Undone::default()
    };
    let progress = wire::RestoreProgress {
        step: wire::RestoreStep::Comparing.into(),
        received: 9,
    };
    let result = wire::RestoreResult {
        restored: options.force,
        undone: Some(undone),
        ..wire::RestoreResult::default()
    };
    let parts = [Part::Progress(progress), Part::Result(result)];
    let parts = parts.map(|part| Ok(wire::RestoreResponse { part: Some(part) }));
    let refused = (!options.force).then(|| Err(Status::aborted("it would undo something")));
    Ok(parts.into_iter().chain(refused).collect())
}

fn stream<T: Send + 'static>(
    messages: impl IntoIterator<Item = Result<T, Status>>,
) -> Response<BoxStream<T>> {
    let messages: Vec<_> = messages.into_iter().collect();
    let stream: BoxStream<T> = Box::pin(tokio_stream::iter(messages));
    Response::new(stream)
}

async fn world(fake: Fake) -> (Pki, Served, Arc<Fake>, AdminClient) {
    let (pki, fake) = (Pki::new(), Arc::new(fake));
    let served = pki
        .serve(
            "127.0.0.1:0",
            Routes::new(KeyAdminServiceServer::from_arc(Arc::clone(&fake))),
        )
        .await;
    let client = AdminClient::new(pki.options(&served).channel().unwrap());
    (pki, served, fake, client)
}

#[tokio::test]
async fn a_set_is_created_as_described() {
    let (_pki, _served, fake, admin) = world(Fake::default()).await;
    let hour = Some(Duration::from_secs(3600));
    let create = CreateKeySet::new("op/x", KeyUse::Sign, "RS256")
        .tenant("acme")
        .issuer("https://op.example.com")
        .publish(Publish::Public)
        .profile(Profile {
            typ: "at+jwt".into(),
            max_lifetime: hour,
            ..Profile::default()
        })
        .policy(Policy {
            algorithm: "RS256".into(),
            rsa_bits: 3072,
            cryptoperiod: hour,
            ..Policy::default()
        });
    let created = admin.create(&create).await.unwrap();
    assert_eq!(
        (
            created.active().unwrap().kid.as_str(),
            created.standby().unwrap().kid.as_str()
        ),
        ("a", "b")
    );
    assert_eq!(
        (created.key_use, created.publish, created.revision),
        (KeyUse::Sign, Publish::Public, 7)
    );
    assert_eq!(
        created.versions[0].created_at,
        Some(UNIX_EPOCH + Duration::from_secs(1000))
    );

    let sent = fake.created.lock().unwrap().pop().unwrap();
    assert_eq!(sent.request_id.len(), 32);
    let set = sent.key_set.unwrap();
    assert_eq!(
        (set.tenant.as_str(), set.name.as_str(), set.issuer.as_str()),
        ("acme", "op/x", "https://op.example.com")
    );
    assert_eq!(
        (set.r#use(), set.publish()),
        (wire::KeyUse::Sign, wire::Publish::Public)
    );
    let (profile, policy) = (set.profile.unwrap(), set.policy.unwrap());
    assert_eq!(
        (profile.typ.as_str(), profile.max_lifetime.unwrap().seconds),
        ("at+jwt", 3600)
    );
    assert_eq!(
        (
            policy.algorithm.as_str(),
            policy.rsa_bits,
            policy.cryptoperiod.unwrap().seconds
        ),
        ("RS256", 3072, 3600)
    );
}

#[tokio::test]
async fn a_list_holds_all_pages() {
    for count in [0, 1, 2, 3, 5] {
        let names: Vec<_> = (0..count).map(|number| format!("op/{number}")).collect();
        let (_pki, _served, _fake, admin) = world(Fake {
            listed: names.clone(),
            ..Fake::default()
        })
        .await;
        let listed: Vec<_> = admin
            .list("")
            .await
            .unwrap()
            .into_iter()
            .map(|set| set.name)
            .collect();
        assert_eq!(listed, names);
    }
}

#[tokio::test]
async fn holding_and_stragglers_are_told() {
    let (_pki, _served, fake, admin) = world(Fake::default()).await;
    let described = admin.get("", "op/x").await.unwrap();
    let reasons: Vec<_> = described
        .holding
        .iter()
        .map(|holding| holding.reason)
        .collect();
    assert_eq!(
        reasons,
        [
            HoldingReason::Ack,
            HoldingReason::Lead,
            HoldingReason::Unknown
        ]
    );

    let rotated = admin
        .rotate(&RotateKeySet::new("op/x").force().expected_revision(7))
        .await
        .unwrap();
    assert_eq!(
        (
            rotated.stragglers,
            rotated.holding.len(),
            rotated.may_have_broken.len()
        ),
        (vec!["instance#1".to_owned()], 1, 1)
    );
    let sent = fake.rotated.lock().unwrap().pop().unwrap();
    assert_eq!((sent.force, sent.expected_revision), (true, 7));

    let revoked = admin
        .revoke(&RevokeKey::new("op/x", "a").request_id("r1"))
        .await
        .unwrap();
    assert_eq!(
        (revoked.acked, revoked.total, revoked.elapsed),
        (2, 3, Duration::from_secs(1))
    );
    assert_eq!(revoked.stragglers, ["instance#3"]);
    let sent = fake.revoked.lock().unwrap().pop().unwrap();
    assert_eq!((sent.kid.as_str(), sent.request_id.as_str()), ("a", "r1"));
}

#[tokio::test]
async fn a_repeated_mutation_carries_the_same_request_id() {
    let (_pki, _served, fake, admin) = world(Fake {
        unavailable: Mutex::new(2),
        ..Fake::default()
    })
    .await;
    admin.rotate(&RotateKeySet::new("op/x")).await.unwrap();
    let ids: Vec<_> = fake
        .rotated
        .lock()
        .unwrap()
        .iter()
        .map(|request| request.request_id.clone())
        .collect();
    assert_eq!(ids.len(), 3);
    assert!(
        !ids[0].is_empty() && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
}

#[tokio::test]
async fn changes_become_a_mask() {
    let (_pki, _served, fake, admin) = world(Fake::default()).await;
    let update = UpdateKeySet::new("op/x", Change::Algorithm("ES256".into()))
        .and(Change::Issuer("https://op.example.com".into()))
        .and(Change::Publish(Publish::None))
        .and(Change::Profile(Profile::default()));
    let error = admin.update(&update).await.unwrap_err();
    assert_eq!(
        error.code(),
        Code::Internal,
        "an answer without a key set breaks the contract: {error}"
    );
    let sent = fake.updated.lock().unwrap().pop().unwrap();
    assert_eq!(
        sent.update_mask.unwrap().paths,
        ["policy.algorithm", "issuer", "publish", "profile"]
    );
    let set = sent.key_set.unwrap();
    assert_eq!(
        (
            set.policy.clone().unwrap().algorithm.as_str(),
            set.issuer.as_str()
        ),
        ("ES256", "https://op.example.com")
    );
    assert_eq!(set.publish(), wire::Publish::None);
}

#[tokio::test]
async fn an_import_says_what_the_key_becomes() {
    let end = UNIX_EPOCH + Duration::from_secs(2000);
    let rows: HashMap<&str, (ImportAs, wire::KeyState, bool)> = HashMap::from([
        (
            "prepared",
            (ImportAs::Prepared, wire::KeyState::Prepared, false),
        ),
        (
            "retiring",
            (
                ImportAs::RetiringUntil(end),
                wire::KeyState::Retiring,
                false,
            ),
        ),
        (
            "active",
            (ImportAs::ForcedActive, wire::KeyState::Active, true),
        ),
    ]);
    for (name, (import_as, state, force)) in rows {
        let (_pki, _served, fake, admin) = world(Fake::default()).await;
        let (key_set, kid) = admin
            .import(&ImportKey::new("op/x", "{}", import_as))
            .await
            .unwrap();
        assert_eq!(
            (key_set.active().unwrap().state, kid.as_str()),
            (KeyState::Active, "imported")
        );
        let sent = fake.imported.lock().unwrap().pop().unwrap();
        assert_eq!((sent.state(), sent.force), (state, force), "{name}");
        assert_eq!(
            sent.retire_at.map(|at| at.seconds),
            (name == "retiring").then_some(2000),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_destruction_is_scheduled_with_its_wait_or_called_off() {
    let (_pki, _served, fake, admin) = world(Fake::default()).await;
    let day = Duration::from_secs(86_400);
    let scheduled = admin
        .destroy(&DestroyKey::new("op/x", "a").wait(day).expected_revision(7))
        .await
        .unwrap();
    assert_eq!(
        scheduled.destroy_at,
        Some(UNIX_EPOCH + Duration::from_secs(3000))
    );
    assert_eq!(scheduled.remains, ["backups"]);
    admin
        .destroy(&DestroyKey::cancel("op/x", "a"))
        .await
        .unwrap();
    let sent: Vec<_> = fake.destroyed.lock().unwrap().drain(..).collect();
    assert_eq!(
        (
            sent[0].wait.unwrap().seconds,
            sent[0].cancel,
            sent[0].expected_revision
        ),
        (86_400, false, 7)
    );
    assert_eq!((sent[1].wait, sent[1].cancel), (None, true));
}

#[tokio::test]
async fn instances_of_all_pages_are_listed_and_one_is_evicted() {
    let (_pki, _served, _fake, admin) = world(Fake::default()).await;
    let listed = admin.subscribers(true).await.unwrap();
    let names: Vec<_> = listed
        .iter()
        .map(|one| (one.name.as_str(), one.clock_offset_ms))
        .collect();
    assert_eq!(names, [("a#1", Some(-1_500)), ("b#1", Some(-1_500))]);
    let evicted = admin.evict("a#1", true).await.unwrap();
    assert!(evicted.subscriber.evicted_by_force && evicted.may_have_broken.len() == 1);
    let error = admin.evict("broken", true).await.unwrap_err();
    assert_eq!(error.code(), Code::Internal, "{error}");
}

#[tokio::test]
async fn the_audit_log_is_asked_with_filters_and_gives_its_checkpoints() {
    let (_pki, _served, fake, admin) = world(Fake::default()).await;
    let query = AuditQuery {
        act: "RotateKeySet".to_owned(),
        outcome: Some(AuditOutcome::Refused),
        from: Some(UNIX_EPOCH + Duration::from_secs(5)),
        ..AuditQuery::default()
    };
    let page = admin.audit(&query).await.unwrap();
    let entry = &page.entries[0];
    assert_eq!(
        (entry.seq, entry.outcome, entry.fields.len()),
        (4, AuditOutcome::Refused, 1)
    );
    assert_eq!(
        (page.checkpoints[0].seq, page.public_jwk.as_str()),
        (3, "{}")
    );
    let sent = fake.audited.lock().unwrap().pop().unwrap();
    assert_eq!(
        (
            sent.act.as_str(),
            sent.outcome(),
            sent.from.unwrap().seconds
        ),
        ("RotateKeySet", wire::AuditOutcome::Refused, 5)
    );
}

#[tokio::test]
async fn pkcs8_is_sent_with_the_name_and_algorithm_that_it_cannot_say() {
    let (_pki, _served, fake, admin) = world(Fake::default()).await;
    let import = ImportKey::pkcs8("op/x", b"0secret".to_vec(), ImportAs::Prepared)
        .kid("k")
        .algorithm("PS256");
    assert!(
        !format!("{import:?}").contains("115"),
        "no byte of the key is shown"
    );
    admin.import(&import).await.unwrap();
    let sent = fake.imported.lock().unwrap().pop().unwrap();
    assert_eq!(
        (sent.pkcs8.as_slice(), sent.jwk.as_str()),
        (b"0secret".as_slice(), "")
    );
    assert_eq!((sent.kid.as_str(), sent.algorithm.as_str()), ("k", "PS256"));
}

#[tokio::test]
async fn a_data_key_is_rotated_once_for_a_request_and_all_pages_of_sealing_are_read() {
    let (_pki, _served, fake, admin) = world(Fake::default()).await;
    let rotate = RotateDataKey::of_tenant("acme").request_id("once");
    let rotated = admin.rotate_data_key(&rotate).await.unwrap();
    assert_eq!((rotated.generation, rotated.left), (2, 7));
    assert_eq!(rotated.began, Some(UNIX_EPOCH + Duration::from_secs(5)));
    let root = RotateDataKey::of_the_root();
    admin.rotate_data_key(&root).await.unwrap();
    let sent = std::mem::take(&mut *fake.rekeyed.lock().unwrap());
    assert_eq!((sent[0].tenant.as_str(), sent[0].root), ("acme", false));
    assert_eq!((sent[1].tenant.as_str(), sent[1].root), ("", true));
    assert_eq!(sent[0].request_id, "once");
    assert!(!sent[1].request_id.is_empty());
    let shown = admin.sealing("").await.unwrap();
    let tenants: Vec<_> = shown
        .tenants
        .iter()
        .map(|key| key.tenant.as_str())
        .collect();
    assert_eq!(tenants, ["a", "b"]);
    assert_eq!(shown.previous_kek_id.as_deref(), Some("local:old"));
    assert!(shown.is_settled() && !shown.previous_removable);
}

#[tokio::test]
async fn issued_tokens_are_asked_for_and_read_with_what_is_known_to_be_missing() {
    let (_pki, _served, fake, admin) = world(Fake::default()).await;
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let query = IssuedQuery {
        tenant: "acme".into(),
        key_set: "op/x".into(),
        kid: "k".into(),
        caller: "c".into(),
        sub: "planted-subject".into(),
        issued_after: Some(at(1)),
        issued_before: Some(at(2)),
        page_size: 5,
        page_token: "t".into(),
        count_only: true,
    };
    assert!(!format!("{query:?}").contains("planted"), "{query:?}");
    let page = admin.issued(&query).await.unwrap();
    let sent = fake.issued.lock().unwrap().pop().unwrap();
    assert_eq!(sent, wire::ListIssuedRequest::from(&query));
    assert_eq!((sent.sub.as_str(), sent.page_size), ("planted-subject", 5));
    let entry = &page.entries[0];
    assert_eq!(
        (entry.jti.as_str(), entry.issued_at),
        ("j", Some(at(1_000)))
    );
    assert_eq!(entry.expires_at, None);
    assert_eq!((page.total_count, page.count_capped), (7, true));
    assert_eq!(
        (page.counts[0].kid.as_str(), page.counts[0].count),
        ("k", 7)
    );
    assert_eq!(page.complete_until, Some(at(2_000)));
    assert_eq!(page.behind[0].complete_until, Some(at(1_500)));
    assert_eq!((page.unrecorded, page.store.as_str()), (3, "s1"));
    assert_eq!(page.next_page_token, "next");
}

#[tokio::test]
async fn a_backup_is_whole_or_an_error() {
    let (_pki, _served, _fake, admin) = world(Fake::default()).await;
    let mut download = admin.backup().await.unwrap();
    assert_eq!(download.header().key_sets, 3);
    let mut file = Vec::new();
    while let Some(bytes) = download.next().await.unwrap() {
        file.extend(bytes);
    }
    assert_eq!(
        (file.as_slice(), download.end().unwrap().size),
        (b"abcde".as_slice(), 5)
    );
    assert_eq!(download.next().await.unwrap(), None);

    let broken = Fake {
        breaks_off: true,
        ..Fake::default()
    };
    let (_pki, _served, _fake, admin) = world(broken).await;
    let mut download = admin.backup().await.unwrap();
    let ended = loop {
        match download.next().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    assert!(download.end().is_none());
}

#[tokio::test]
async fn a_restore_lists_what_it_undoes_also_where_it_is_refused() {
    let (_pki, _served, fake, admin) = world(Fake::default()).await;
    for (restore, restored) in [
        (Restore::new(), false),
        (Restore::new().force().request_id("r"), true),
    ] {
        let upload = admin.restore(&restore).await.unwrap();
        assert!(upload.send(b"abc".to_vec()).await && upload.send(b"de".to_vec()).await);
        let mut steps = Vec::new();
        let answer = upload.finish(|step| steps.push(step.step)).await.unwrap();
        assert_eq!(steps, [RestoreStep::Comparing]);
        assert_eq!(answer.result.restored, restored);
        let refused = answer.refused.map(|error| error.code());
        assert_eq!(refused, (!restored).then_some(Code::Aborted));
        let undone = answer.result.undone;
        assert_eq!(undone.keys_vanish, 1);
        let key = &undone.key_sets[0].keys[0];
        assert_eq!((key.now, key.then), (KeyState::Active, None));
        assert_eq!(fake.restored.lock().unwrap().len(), 3);
    }
}
