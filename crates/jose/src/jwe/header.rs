//! The protected header: read strictly, written once.

use std::borrow::Cow;

use super::decrypt::exactly;
use super::{
    AgreementKey, EncryptError, EncryptRequest, Fault, KeyParameters, MemberValue, PartyInfo,
};
use crate::algorithm::{ContentEncryption, KeyManagement, UnsupportedAlgorithm};
use crate::header::Header;
use crate::json::{ObjectWriter, Value};
use crate::{base64url, limits};

/// A protected header whose members have been checked for presence, type and length.
///
/// Members that are neither understood here nor listed in `crit` are kept and ignored (RFC 7516 section 4).
#[derive(Clone)]
pub struct JweHeader {
    header: Header<'static>,
    alg: KeyManagement,
    enc: ContentEncryption,
    kid: Option<String>,
    parameters: KeyParameters,
    apu: Vec<u8>,
    apv: Vec<u8>,
}

impl JweHeader {
    /// Reads the first segment of a token.
    pub(super) fn parse(segment: &str) -> Result<Self, Fault> {
        if segment.len() > base64url::encoded_len(limits::HEADER.bytes) {
            return Err(Fault::TooLarge);
        }
        let header = Header::from_vec(base64url::decode(segment)?)?;
        if header.get("zip").is_some() {
            return Err(Fault::Compression);
        }
        let alg = KeyManagement::parse(&header.alg()).map_err(|_refused| Fault::Algorithm)?;
        let enc = header.enc().ok_or(Fault::Header)?;
        let enc = ContentEncryption::parse(&enc).map_err(|_refused| Fault::Algorithm)?;
        Ok(Self {
            alg,
            enc,
            kid: header.kid().map(Cow::into_owned),
            parameters: parameters(&header, alg)?,
            apu: party(&header, "apu", alg)?,
            apv: party(&header, "apv", alg)?,
            header,
        })
    }

    /// The key management algorithm.
    #[must_use]
    pub const fn alg(&self) -> KeyManagement {
        self.alg
    }

    /// The content encryption algorithm.
    #[must_use]
    pub const fn enc(&self) -> ContentEncryption {
        self.enc
    }

    /// The recipient's key identifier.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The media type of the payload.
    #[must_use]
    pub fn cty(&self) -> Option<Cow<'_, str>> {
        self.header.cty()
    }

    /// The media type of the whole token.
    #[must_use]
    pub fn typ(&self) -> Option<Cow<'_, str>> {
        self.header.typ()
    }

    /// Any member as a string; `None` where it is absent or no string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<Cow<'_, str>> {
        self.header.get(name)?.as_str()
    }

    /// Any member, as written, for comparison with what the recipient expects.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Value<'_>> {
        self.header.get(name)
    }

    /// What the key management algorithm needs from the header.
    #[must_use]
    pub const fn parameters(&self) -> &KeyParameters {
        &self.parameters
    }

    /// `apu` and `apv`, decoded; empty where absent.
    #[must_use]
    pub fn parties(&self) -> PartyInfo<'_> {
        PartyInfo {
            apu: &self.apu,
            apv: &self.apv,
        }
    }

    /// The header, as written.
    #[must_use]
    pub fn json(&self) -> &str {
        self.header.json()
    }

    /// As [`JweHeader::json`], without a copy.
    #[must_use]
    pub fn into_json(self) -> String {
        self.header.into_json()
    }
}

impl std::fmt::Debug for JweHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JweHeader")
            .field("alg", &self.alg)
            .field("enc", &self.enc)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

fn parameters(header: &Header<'_>, alg: KeyManagement) -> Result<KeyParameters, Fault> {
    match alg {
        KeyManagement::EcdhEs | KeyManagement::EcdhEsA128Kw | KeyManagement::EcdhEsA256Kw => {
            AgreementKey::parse(header.get("epk")).map(KeyParameters::Ephemeral)
        }
        KeyManagement::A128GcmKw | KeyManagement::A256GcmKw => Ok(KeyParameters::GcmWrap {
            iv: exactly(&string(header.get("iv"))?, 12)?,
            tag: exactly(&string(header.get("tag"))?, 16)?,
        }),
        _ => Ok(KeyParameters::None),
    }
}

/// Party information has a meaning in key agreement only; elsewhere it is ignored like any unknown member.
fn party(header: &Header<'_>, name: &str, alg: KeyManagement) -> Result<Vec<u8>, Fault> {
    match header.get(name) {
        Some(value) if agrees(alg) => Ok(base64url::decode(string(Some(value))?.as_ref())?),
        _ => Ok(Vec::new()),
    }
}

/// A member that must be there and be a string.
pub(super) fn string(member: Option<Value<'_>>) -> Result<Cow<'_, str>, Fault> {
    member.and_then(|value| value.as_str()).ok_or(Fault::Header)
}

const fn agrees(alg: KeyManagement) -> bool {
    use KeyManagement::{EcdhEs, EcdhEsA128Kw, EcdhEsA256Kw};
    matches!(alg, EcdhEs | EcdhEsA128Kw | EcdhEsA256Kw)
}

/// Names with a meaning of their own in a JWE header, written by nobody but this module.
const REGISTERED: [&str; 20] = [
    "alg", "enc", "kid", "typ", "cty", "epk", "apu", "apv", "iv", "tag", "crit", "p2s", "p2c",
    "b64", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256",
];

/// Writes the protected header of a new token.
pub(super) fn write(
    request: &EncryptRequest<'_>,
    alg: KeyManagement,
    enc: ContentEncryption,
    parameters: &KeyParameters,
) -> Result<String, EncryptError> {
    let mut out = ObjectWriter::with_capacity(512);
    out.string("alg", alg.name()).string("enc", enc.name());
    for (name, value) in [
        ("kid", request.kid),
        ("typ", request.typ),
        ("cty", request.cty),
    ] {
        if let Some(value) = value {
            out.string(name, value);
        }
    }
    match parameters {
        KeyParameters::None => {}
        KeyParameters::Ephemeral(epk) => {
            out.raw("epk", &epk.write());
        }
        KeyParameters::GcmWrap { iv, tag } => {
            out.base64url("iv", iv).base64url("tag", tag);
        }
    }
    write_parties(&mut out, request.parties, alg)?;
    write_extra(&mut out, request.extra)?;
    let json = out.finish();
    if json.len() > limits::HEADER.bytes {
        return Err(EncryptError::HeaderTooLarge(json.len()));
    }
    Ok(json)
}

fn write_parties(
    out: &mut ObjectWriter,
    parties: PartyInfo<'_>,
    alg: KeyManagement,
) -> Result<(), EncryptError> {
    for (name, value) in [("apu", parties.apu), ("apv", parties.apv)] {
        if value.is_empty() {
            continue;
        }
        if !agrees(alg) {
            return Err(EncryptError::Parties(alg.name()));
        }
        out.base64url(name, value);
    }
    Ok(())
}

fn write_extra(
    out: &mut ObjectWriter,
    extra: &[(&str, MemberValue<'_>)],
) -> Result<(), EncryptError> {
    for (at, (name, value)) in extra.iter().enumerate() {
        if *name == "zip" {
            return Err(UnsupportedAlgorithm::Zip.into());
        }
        let repeated = extra
            .iter()
            .take(at)
            .any(|(earlier, _value)| earlier == name);
        if name.is_empty() || repeated || REGISTERED.contains(name) {
            return Err(EncryptError::Member((*name).to_owned()));
        }
        match value {
            MemberValue::String(text) => out.string(name, text),
            MemberValue::Number(number) => out.number(name, *number),
        };
    }
    Ok(())
}
