use super::*;
use crate::clock::{FakeClock, SystemClock};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use testkit::{CertificateAuthority, Leaf, PemFiles, PemFolder, write_private};

fn tls_files(files: &PemFiles) -> TlsFiles {
    TlsFiles {
        cert: files.cert.clone(),
        key: files.key.clone(),
        ca: files.ca.clone(),
    }
}

fn open(folder: &PemFolder, ca: &CertificateAuthority, role: &str, leaf: &Leaf) -> Credentials {
    let files = folder.write(role, &ca.issue(leaf), ca);
    Credentials::open(&tls_files(&files), SystemClock::shared()).unwrap()
}

/// Damages files.
type Spoil<'a> = &'a dyn Fn(&PemFiles);

#[test]
fn unusable_files_are_refused_with_their_name() {
    let (folder, ca) = (PemFolder::new(), CertificateAuthority::new("one"));
    let (issued, other) = (ca.issue(&Leaf::server("a")), ca.issue(&Leaf::server("a")));
    let half = |text: &str| text.chars().take(text.len() / 2).collect::<String>();
    let rows: [(&str, Spoil<'_>, &str); 8] = [
        (
            "half a certificate",
            &|f| fs::write(&f.cert, half(issued.certificate_pem())).unwrap(),
            "tls.cert",
        ),
        (
            "no certificate",
            &|f| fs::write(&f.cert, "").unwrap(),
            "tls.cert holds no certificate",
        ),
        (
            "half a key",
            &|f| write_private(&f.key, &half(issued.key_pem())),
            "tls.key",
        ),
        (
            "another key",
            &|f| write_private(&f.key, other.key_pem()),
            "tls.key does not belong",
        ),
        ("an empty key", &|f| write_private(&f.key, ""), "tls.key"),
        (
            "a public key file",
            &|f| fs::set_permissions(&f.key, fs::Permissions::from_mode(0o644)).unwrap(),
            "chmod 600",
        ),
        (
            "no authority",
            &|f| fs::write(&f.ca, "nothing").unwrap(),
            "tls.ca holds no certificate",
        ),
        (
            "a missing file",
            &|f| fs::remove_file(&f.ca).unwrap(),
            "cannot read",
        ),
    ];
    for (name, spoil, expected) in rows {
        let files = folder.write("a", &issued, &ca);
        let credentials = Credentials::open(&tls_files(&files), SystemClock::shared()).unwrap();
        spoil(&files);
        let error = Credentials::open(&tls_files(&files), SystemClock::shared())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(!error.contains("BEGIN"), "{name}: {error}");
        // The same damage to running credentials keeps them.
        let outcome = credentials.check();
        assert!(matches!(outcome, Outcome::Kept(_)), "{name}: {outcome:?}");
        assert_eq!(credentials.chain(), vec![issued.der()], "{name}");
    }
}

#[test]
fn a_renewed_pair_replaces_every_configuration() {
    let (folder, ca) = (PemFolder::new(), CertificateAuthority::new("one"));
    let credentials = open(&folder, &ca, "a", &Leaf::server("a"));
    let (server, client) = (credentials.server_config(), credentials.client_config());
    let renewed = ca.issue(&Leaf::server("b"));
    folder.write("a", &renewed, &ca);
    assert!(matches!(credentials.check(), Outcome::Reloaded));
    assert!(!Arc::ptr_eq(&server, &credentials.server_config()));
    assert!(!Arc::ptr_eq(&client, &credentials.client_config()));
    assert!(!Arc::ptr_eq(
        &server.session_storage,
        &credentials.server_config().session_storage
    ));
    assert!(!Arc::ptr_eq(
        &server.ticketer,
        &credentials.server_config().ticketer
    ));
    assert_eq!(
        credentials.own_identity().unwrap().name(),
        "spiffe://crypto.dev/b"
    );
}

#[test]
fn a_signature_holds_for_its_message_its_context_and_its_certificate() {
    let (folder, ca) = (PemFolder::new(), CertificateAuthority::new("one"));
    let verifier = open(&folder, &ca, "verifier", &Leaf::server("key-manager"));
    let other = open(&folder, &ca, "other", &Leaf::client("other"));
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ] {
        let signer = open(
            &folder,
            &ca,
            "signer",
            &Leaf::client("crypto-service").algorithm(algorithm),
        );
        let signature = signer.sign("feed", b"message").unwrap();
        let caller = verifier
            .verify(&signer.chain(), "feed", b"message", &signature)
            .unwrap();
        assert_eq!(
            caller.name(),
            "spiffe://crypto.dev/crypto-service",
            "{algorithm:?}"
        );

        let mut altered = signature.clone();
        altered.bytes[10] ^= 1;
        let another_scheme = TlsSignature {
            scheme: 0x0401,
            ..signature.clone()
        };
        let cut = TlsSignature {
            bytes: Vec::new(),
            ..signature.clone()
        };
        let rows = [
            (
                "message",
                &signer.chain(),
                "feed",
                &b"massage"[..],
                &signature,
            ),
            ("context", &signer.chain(), "food", b"message", &signature),
            (
                "certificate",
                &other.chain(),
                "feed",
                b"message",
                &signature,
            ),
            (
                "no certificate",
                &Vec::new(),
                "feed",
                b"message",
                &signature,
            ),
            ("bytes", &signer.chain(), "feed", b"message", &altered),
            ("no bytes", &signer.chain(), "feed", b"message", &cut),
            (
                "scheme",
                &signer.chain(),
                "feed",
                b"message",
                &another_scheme,
            ),
        ];
        for (name, chain, context, message, signature) in rows {
            let verdict = verifier.verify(chain, context, message, signature);
            assert!(verdict.is_err(), "another {name} passed with {algorithm:?}");
        }
    }
}

#[test]
fn a_signature_under_a_foreign_or_expired_certificate_is_refused() {
    let (folder, ca) = (PemFolder::new(), CertificateAuthority::new("one"));
    let verifier = open(&folder, &ca, "verifier", &Leaf::server("key-manager"));
    let foreign_ca = CertificateAuthority::new("one");
    let rows = [
        (
            "foreign",
            open(&folder, &foreign_ca, "f", &Leaf::client("x")),
        ),
        (
            "expired",
            open(&folder, &ca, "e", &Leaf::client("x").expired()),
        ),
    ];
    for (name, signer) in rows {
        let signature = signer.sign("feed", b"message").unwrap();
        let verdict = verifier.verify(&signer.chain(), "feed", b"message", &signature);
        assert!(
            matches!(verdict, Err(SignatureError::Chain(_))),
            "{name}: {verdict:?}"
        );
    }
}

#[test]
fn certificates_are_judged_by_the_given_clock() {
    let (folder, ca) = (PemFolder::new(), CertificateAuthority::new("one"));
    let files = folder.write("a", &ca.issue(&Leaf::server("a")), &ca);
    let clock = FakeClock::at(1_800_000_000);
    let credentials = Credentials::open(&tls_files(&files), clock.shared()).unwrap();
    let chain = vec![
        ca.issue(&Leaf::client("x").valid(1_799_999_000, 1_800_000_010))
            .der(),
    ];
    assert!(credentials.verify_chain(&chain).is_ok());
    clock.advance(Duration::from_secs(11));
    assert!(credentials.verify_chain(&chain).is_err());
}

#[test]
fn an_endpoint_is_https_with_host_and_port_and_nothing_else() {
    for good in [
        "https://127.0.0.1:50051",
        "https://localhost:1/",
        "https://[::1]:50051",
    ] {
        assert!(endpoint(good).is_ok(), "{good}");
    }
    for bad in [
        "http://127.0.0.1:1",
        "https://127.0.0.1",
        "127.0.0.1:1",
        "https://a:1/path",
        "",
        "https://:x",
    ] {
        assert!(endpoint(bad).is_err(), "{bad}");
    }
}

#[test]
fn debug_output_shows_no_key() {
    let (folder, ca) = (PemFolder::new(), CertificateAuthority::new("one"));
    let issued = ca.issue(&Leaf::server("a"));
    let files = folder.write("a", &issued, &ca);
    let credentials = Credentials::open(&tls_files(&files), SystemClock::shared()).unwrap();
    for shown in [
        format!("{credentials:?}"),
        format!("{:?}", credentials.loaded.current()),
        format!("{issued:?}"),
    ] {
        assert!(
            !shown.contains("PRIVATE") && !shown.contains("key_pem"),
            "{shown}"
        );
    }
}
