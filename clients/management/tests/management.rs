//! Revoking tokens against a fake key-manager.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../core/tests/serve/mod.rs"]
mod serve;

use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use client_core::Code;
use client_management::{ManagementClient, Matching, RevokeToken};
use crypto_proto::keys::v1 as wire;
use crypto_proto::keys::v1::revocation_service_server::{
    RevocationService, RevocationServiceServer,
};
use serve::{Pki, Served};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// What it was asked, and what it refuses first.
#[derive(Default)]
struct Fake {
    asked: Mutex<Vec<wire::RevokeTokenRequest>>,
    refusals: Mutex<Vec<Status>>,
}

#[tonic::async_trait]
impl RevocationService for Fake {
    async fn revoke_token(
        &self,
        request: Request<wire::RevokeTokenRequest>,
    ) -> Result<Response<wire::RevokeTokenResponse>, Status> {
        self.asked.lock().unwrap().push(request.into_inner());
        if let Some(refusal) = self.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        Ok(Response::new(wire::RevokeTokenResponse {
            key_sets: vec!["op/a".into()],
            issued_before: time(1000),
            forgotten_at: None,
            acked: 2,
            total: 3,
            stragglers: vec!["spiffe://crypto.dev/crypto-service#1".into()],
            elapsed: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
        }))
    }
}

async fn world() -> (Pki, Served, Arc<Fake>, ManagementClient) {
    let (pki, fake) = (Pki::new(), Arc::new(Fake::default()));
    let routes = Routes::new(RevocationServiceServer::from_arc(Arc::clone(&fake)));
    let served = pki.serve("127.0.0.1:0", routes).await;
    let client = ManagementClient::new(pki.options(&served).channel().unwrap());
    (pki, served, fake, client)
}

#[tokio::test]
async fn what_is_asked_arrives_and_the_answer_says_how_far_it_has_come() {
    let (_pki, _served, fake, client) = world().await;
    let at = UNIX_EPOCH + Duration::from_secs(900);
    let matching = Matching::subject("alice")
        .and_session("s")
        .and_client("shop")
        .issued_before(at);
    let revoke = RevokeToken::matching(matching)
        .tenant("acme")
        .key_set("op/a")
        .key_set("op/b")
        .request_id("r1");
    let revoked = client.revoke_token(&revoke).await.unwrap();
    assert_eq!(
        (revoked.acked, revoked.total, revoked.stragglers.len()),
        (2, 3, 1)
    );
    assert_eq!(
        revoked.issued_before,
        Some(UNIX_EPOCH + Duration::from_secs(1000))
    );
    assert_eq!(
        (revoked.forgotten_at, revoked.elapsed),
        (None, Duration::from_secs(1))
    );
    let asked = fake.asked.lock().unwrap().pop().unwrap();
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let expected = wire::RevokeTokenRequest {
        tenant: "acme".into(),
        key_sets: vec!["op/a".into(), "op/b".into()],
        target: Some(wire::revoke_token_request::Target::Match(
            wire::TokenMatch {
                sub: "alice".into(),
                sid: "s".into(),
                client_id: "shop".into(),
                issued_before: time(900),
            },
        )),
        expires_at: None,
        request_id: "r1".into(),
    };
    assert_eq!(asked, expected);

    client
        .revoke_token(&RevokeToken::jti_until("j", at))
        .await
        .unwrap();
    let asked = fake.asked.lock().unwrap().pop().unwrap();
    assert_eq!(
        asked.target,
        Some(wire::revoke_token_request::Target::Jti("j".into()))
    );
    assert_eq!(asked.expires_at, time(900));
    for matching in [Matching::session("s"), Matching::client("c")] {
        client
            .revoke_token(&RevokeToken::matching(matching))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_repetition_carries_the_same_request_id() {
    let (_pki, _served, fake, client) = world().await;
    fake.refusals
        .lock()
        .unwrap()
        .push(Status::unavailable("a moment"));
    client.revoke_token(&RevokeToken::jti("j")).await.unwrap();
    let asked = fake.asked.lock().unwrap();
    let ids: Vec<_> = asked.iter().map(|one| one.request_id.as_str()).collect();
    assert!(
        ids.len() == 2 && ids[0] == ids[1] && !ids[0].is_empty(),
        "{ids:?}"
    );
}

#[tokio::test]
async fn a_refusal_comes_as_it_is() {
    let (_pki, _served, fake, client) = world().await;
    fake.refusals
        .lock()
        .unwrap()
        .push(Status::permission_denied("no"));
    let refused = client
        .revoke_token(&RevokeToken::jti("j"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}
