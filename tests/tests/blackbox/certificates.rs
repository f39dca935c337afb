//! Certificates are renewed under running daemons.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use blackbox::{PATIENCE, Stack, read, write_whole};
use client_core::{Channel, Code, CryptoClient, Options, TlsFiles};
use crypto_proto::keys::v1::{ListKeySetsRequest, key_admin_service_client::KeyAdminServiceClient};
use testkit::{CertificateAuthority, Leaf, write_private};

use crate::support::{channel, crypto, eventually, raw, sign, signing_set, verify};

const SET: &str = "op/access-token";
const CALLS: usize = 1_000;

/// The certificate and its key, one after the other, each at once: in between they do not fit, and nobody may mind.
fn install(stack: &Stack, role: &str, authority: &CertificateAuthority, leaf: &Leaf) {
    let issued = authority.issue(leaf);
    write_whole(
        &stack.dev().join(format!("{role}.crt")),
        issued.certificate_pem(),
    );
    write_whole(&stack.dev().join(format!("{role}.key")), issued.key_pem());
}

/// A caller that the new authority vouches for, and that trusts `trusted` alone.
fn caller(folder: &Path, role: &str, authority: &CertificateAuthority, trusted: &str) -> TlsFiles {
    let issued = authority.issue(&Leaf::client(role));
    let files = TlsFiles::in_folder(folder, role);
    fs::write(&files.cert, issued.certificate_pem()).unwrap();
    write_private(&files.key, issued.key_pem());
    fs::write(&files.ca, trusted).unwrap();
    files
}

fn connect(address: std::net::SocketAddr, files: &TlsFiles) -> Channel {
    Options::new(format!("https://{address}"), files.clone())
        .channel()
        .expect("a channel")
}

/// Whether both daemons answer these callers on connections of their own.
async fn both_answer(stack: &Stack, token: &TlsFiles, admin: &TlsFiles) -> bool {
    let signs = sign(&CryptoClient::new(connect(stack.crypto.grpc, token)), SET)
        .await
        .is_ok();
    let admin = connect(stack.keys.grpc, admin);
    signs
        && raw!(
            admin,
            KeyAdminServiceClient.list_key_sets(ListKeySetsRequest::default())
        )
        .is_ok()
}

/// The whole way from one authority to another, as an operator goes it: trust both, renew every certificate, trust the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_while_a_thousand_calls_run_and_none_fails_under_load() {
    let stack = Stack::start();
    signing_set(&stack, SET, "ES256").await;
    let (stop, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let calling = {
        let (token, auth) = (crypto(&stack, "token"), crypto(&stack, "auth"));
        let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) || calls.load(Ordering::Relaxed) < CALLS {
                let signed = sign(&token, SET).await.expect("sign");
                verify(&auth, &signed.token)
                    .await
                    .expect("verify")
                    .expect("valid");
                calls.fetch_add(2, Ordering::Relaxed);
            }
        })
    };
    let new = CertificateAuthority::new("the next authority");
    let ca = stack.dev().join("ca.crt");
    let old_ca = String::from_utf8(read(&ca)).unwrap();
    let both = format!("{old_ca}{}", new.pem());
    let folder = tempfile::tempdir().unwrap();
    let of_new = |role: &str, trusted: &str| caller(folder.path(), role, &new, trusted);

    write_whole(&ca, &both);
    let (token, admin) = (of_new("token", &both), of_new("admin", &both));
    assert!(
        eventually(PATIENCE, async || both_answer(&stack, &token, &admin).await).await,
        "the new authority is not trusted"
    );
    for role in ["token", "auth"] {
        install(&stack, role, &new, &Leaf::client(role));
    }
    for role in ["crypto-service", "key-manager"] {
        install(&stack, role, &new, &Leaf::server(role));
    }
    let (token, admin) = (of_new("token", &new.pem()), of_new("admin", &new.pem()));
    assert!(
        eventually(PATIENCE, async || both_answer(&stack, &token, &admin).await).await,
        "the new certificates are not shown"
    );
    // callers with old certificates are still served
    assert!(
        raw!(
            channel(&stack, stack.keys.grpc, "admin"),
            KeyAdminServiceClient.list_key_sets(ListKeySetsRequest::default())
        )
        .is_ok()
    );

    write_whole(&ca, &new.pem());
    let refused = async || {
        let old = connect(stack.keys.grpc, &TlsFiles::in_folder(stack.dev(), "admin"));
        let answer = raw!(
            old,
            KeyAdminServiceClient.list_key_sets(ListKeySetsRequest::default())
        );
        answer.is_err_and(|error| error.code() == Code::Unavailable && error.is_transport())
    };
    assert!(
        eventually(PATIENCE, refused).await,
        "the old authority is still trusted"
    );
    // the feed goes on under the new authority
    let rotate = of_new("admin", &new.pem());
    let rotate = client_admin::AdminClient::new(connect(stack.keys.grpc, &rotate));
    let fed = async || {
        rotate
            .rotate(&client_admin::RotateKeySet::new(SET).force())
            .await
            .is_ok_and(|rotated| rotated.stragglers.is_empty())
    };
    assert!(
        eventually(PATIENCE, fed).await,
        "the feed does not come back"
    );

    stop.store(true, Ordering::Relaxed);
    calling.await.expect("a call failed");
    println!(
        "{} calls while every certificate and the authority were replaced: none failed",
        calls.load(Ordering::Relaxed)
    );
}

#[tokio::test]
async fn nobody_is_served_without_a_certificate_of_the_authority() {
    let stack = Stack::start();
    signing_set(&stack, SET, "ES256").await;
    let stranger = CertificateAuthority::new("somebody else");
    let own = String::from_utf8(read(&stack.dev().join("ca.crt"))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = caller(folder.path(), "token", &stranger, &own);
    let refused = sign(&CryptoClient::new(connect(stack.crypto.grpc, &files)), SET)
        .await
        .unwrap_err();
    assert!(refused.is_transport(), "{refused}");
    // and nobody takes a daemon for one of another authority
    let files = caller(folder.path(), "token", &stranger, &stranger.pem());
    let refused = sign(&CryptoClient::new(connect(stack.crypto.grpc, &files)), SET)
        .await
        .unwrap_err();
    assert!(refused.is_transport(), "{refused}");
}
