//! `keygen` and `secret`: made here, without a service.

use std::{io, path::Path};

use jose::{
    algorithm::{Algorithm, ContentEncryption},
    jwk::Jwk,
    provider::SecureRandom as _,
};
use jose_aws_lc::{AgreementCurve, AwsLc, KeySpec, RsaBits};

use crate::{
    dev::files::{secret_hex, write_whole},
    error::Error,
    output,
};

/// A private JWK, to standard output or into a new file.
pub(crate) fn keygen(
    algorithm: &str,
    rsa_bits: u32,
    curve: Option<&str>,
    out: Option<&Path>,
) -> Result<(), Error> {
    let spec = KeySpec {
        algorithm: Algorithm::parse(algorithm)
            .map_err(|cause| Error::data(format!("algorithm: {cause}")))?,
        rsa_bits: bits(rsa_bits)?,
        curve: agreement_curve(curve.unwrap_or("P-256"))?,
        enc: ContentEncryption::A256Gcm,
    };
    let made = AwsLc
        .generate(&spec)
        .map_err(|_opaque| Error::software("the key could not be generated"))?;
    let jwk = Jwk::new(made.material)
        .with_kid(made.kid)
        .with_algorithm(spec.algorithm);
    write_secret(&jwk.expose_json(), out)
}

/// Random bytes in hex, to standard output or into a new file.
pub(crate) fn secret(bytes: usize, out: Option<&Path>) -> Result<(), Error> {
    write_secret(&secret_hex(bytes)?, out)
}

/// Bytes from the system's generator.
pub(crate) fn random_bytes(count: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; count];
    AwsLc
        .fill(&mut bytes)
        .map_err(|_opaque| Error::software("the system gives no random bytes"))?;
    Ok(bytes)
}

/// A file that exists is never written over: it may hold the only copy of a key.
fn write_secret(text: &str, out: Option<&Path>) -> Result<(), Error> {
    let Some(path) = out else {
        return output::line(text.trim_end());
    };
    if path.exists() {
        let exists = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(Error::file(path, &exists));
    }
    write_whole(path, 0o600, &format!("{}\n", text.trim_end()))
        .map_err(|cause| Error::file(path, &cause))
}

fn bits(bits: u32) -> Result<RsaBits, Error> {
    RsaBits::of(bits)
        .ok_or_else(|| Error::usage(format!("--rsa-bits: {bits} is not 2048, 3072 or 4096")))
}

fn agreement_curve(name: &str) -> Result<AgreementCurve, Error> {
    AgreementCurve::named(name).ok_or_else(|| {
        Error::usage(format!(
            "--curve: `{name}` is not P-256, P-384, P-521 or X25519"
        ))
    })
}
