//! The checked-in Rust is what the protos say.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a maintainer asks for new files by an environment variable; a test may stop"
)]

use std::{fs, path::Path};

use prost::Message as _;

const PROTOS: [&str; 7] = [
    "crypto/batch/v1/batch.proto",
    "crypto/jwt/v1/jwt.proto",
    "crypto/jwe/v1/jwe.proto",
    "crypto/jwks/v1/jwks.proto",
    "crypto/keys/v1/keys.proto",
    "crypto/keys/v1/revocation.proto",
    "crypto/keys/v1/sealing.proto",
];

/// Packages of the contract: each becomes one file.
const PACKAGES: usize = 5;

/// Messages that carry tokens, claims or keys: their `Debug` is written by hand in `src/redacted.rs`.
const REDACTED: [&str; 19] = [
    ".crypto.jwt.v1.SignBatchItem",
    ".crypto.jwt.v1.SignRequest",
    ".crypto.jwt.v1.SignRequest.claims_input",
    ".crypto.jwt.v1.SignResponse",
    ".crypto.jwt.v1.VerifyRequest",
    ".crypto.jwt.v1.ValidToken",
    ".crypto.jwt.v1.SignThenEncryptResponse",
    ".crypto.jwe.v1.EncryptRequest",
    ".crypto.jwe.v1.EncryptResponse",
    ".crypto.jwe.v1.DecryptRequest",
    ".crypto.jwe.v1.DecryptedToken",
    ".crypto.keys.v1.ImportKeyRequest",
    ".crypto.keys.v1.FedVersion",
    ".crypto.keys.v1.RevokeTokenRequest",
    ".crypto.keys.v1.RevokeTokenRequest.target",
    ".crypto.keys.v1.TokenMatch",
    ".crypto.keys.v1.IssuedKeys",
    ".crypto.keys.v1.IssuedEntry",
    ".crypto.keys.v1.ListIssuedRequest",
];

fn generate(out: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut descriptors = protox::compile(PROTOS, [root]).expect("the protos compile");
    tonic_prost_build::configure()
        .build_transport(false)
        .generate_default_stubs(true)
        .codec_path("crate::codec::WireCodec")
        .skip_debug(REDACTED)
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .out_dir(out)
        .compile_fds(descriptors.clone())
        .expect("the Rust is made");
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec()).expect("written");
}

#[test]
fn checked_in_rust_is_what_the_protos_say() {
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gen");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        generate(&checked_in);
    }
    let fresh = tempfile::tempdir().expect("a folder");
    generate(fresh.path());

    let mut compared = 0;
    for entry in fs::read_dir(fresh.path()).expect("listed") {
        let name = entry.expect("an entry").file_name();
        let made = fs::read(fresh.path().join(&name)).expect("made");
        let kept = fs::read(checked_in.join(&name)).unwrap_or_default();
        assert!(
            made == kept,
            "{name:?} differs: run UPDATE_GENERATED=1 cargo test -p crypto-proto"
        );
        compared += 1;
    }
    // well-known types are prost's own; what remains is a file per package, and the descriptors
    assert!(compared > PACKAGES, "only {compared} files compared");
    let kept = fs::read_dir(&checked_in).expect("listed").count();
    assert_eq!(kept, compared, "src/gen holds files that no proto makes");
}
