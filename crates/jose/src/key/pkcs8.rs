//! SubjectPublicKeyInfo (RFC 5280, RFC 8410) and PKCS#8 (RFC 5958), the forms that engines load.
//!
//! A private key always carries its public half, so that reading needs no arithmetic.

use std::fmt;

use zeroize::Zeroizing;

use super::der::{
    self, BIT_STRING, CONTEXT_0, CONTEXT_1, CONTEXT_1_PRIMITIVE, OCTET_STRING, Reader, SEQUENCE,
    bit_string, element, unsigned,
};
use super::{
    EcCurve, EcPrivateKey, EcPublicKey, KeyError, OkpCurve, OkpPrivateKey, OkpPublicKey,
    PrivateKey, PublicKey, RsaPrivateKey, RsaPrivateParts, RsaPublicKey,
};

/// Contents of the AlgorithmIdentifier sequences.
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
const P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
const P521: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23";
const X25519: &[u8] = b"\x06\x03\x2b\x65\x6e";
const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";

enum Kind {
    Rsa,
    Ec(EcCurve),
    Okp(OkpCurve),
}

impl Kind {
    const fn identifier(&self) -> &'static [u8] {
        match self {
            Self::Rsa => RSA,
            Self::Ec(EcCurve::P256) => P256,
            Self::Ec(EcCurve::P384) => P384,
            Self::Ec(EcCurve::P521) => P521,
            Self::Okp(OkpCurve::X25519) => X25519,
            Self::Okp(OkpCurve::Ed25519) => ED25519,
        }
    }

    fn of(identifier: &[u8]) -> Result<Self, KeyError> {
        match identifier {
            RSA => Ok(Self::Rsa),
            P256 => Ok(Self::Ec(EcCurve::P256)),
            P384 => Ok(Self::Ec(EcCurve::P384)),
            P521 => Ok(Self::Ec(EcCurve::P521)),
            X25519 => Ok(Self::Okp(OkpCurve::X25519)),
            ED25519 => Ok(Self::Okp(OkpCurve::Ed25519)),
            _ => Err(KeyError::Der),
        }
    }
}

/// A private key that came without its public half, which PKCS#8 permits (RFC 5915 section 3, RFC 8410 section 7).
#[derive(Clone, Copy)]
pub enum BareKey<'a> {
    /// The scalar.
    Ec(EcCurve, &'a [u8]),
    /// The seed.
    Okp(OkpCurve, &'a [u8]),
}

impl fmt::Debug for BareKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BareKey(redacted)")
    }
}

impl PublicKey {
    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        let (kind, bits) = match self {
            Self::Rsa(key) => (Kind::Rsa, rsa_public(key).to_vec()),
            Self::Ec(key) => (Kind::Ec(key.curve()), key.uncompressed().to_vec()),
            Self::Okp(key) => (Kind::Okp(key.curve()), key.x().to_vec()),
        };
        let algorithm = element(SEQUENCE, &[kind.identifier()]);
        element(SEQUENCE, &[&algorithm, &bit_string(BIT_STRING, &bits)]).to_vec()
    }

    /// Reads SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`KeyError::Der`] for anything else, [`KeyError::Invalid`] for a key out of bounds.
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let (identifier, bits) = read_spki(spki).ok_or(KeyError::Der)?;
        match Kind::of(identifier)? {
            Kind::Rsa => {
                let (n, e) = read_rsa_public(bits).ok_or(KeyError::Der)?;
                RsaPublicKey::new(n, e).map(Self::Rsa)
            }
            Kind::Ec(curve) => EcPublicKey::from_uncompressed(curve, bits).map(Self::Ec),
            Kind::Okp(curve) => OkpPublicKey::new(curve, bits).map(Self::Okp),
        }
    }
}

impl RsaPublicKey {
    /// RSAPublicKey of PKCS#1 (RFC 8017 appendix A.1.1), DER.
    #[must_use]
    pub fn to_pkcs1(&self) -> Vec<u8> {
        rsa_public(self).to_vec()
    }
}

impl PrivateKey {
    /// PKCS#8, DER.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Rsa(key) => private_key_info(&Kind::Rsa, &[0], &rsa_private(key), &[]),
            Self::Ec(key) => private_key_info(
                &Kind::Ec(key.public_key().curve()),
                &[0],
                &ec_private(key),
                &[],
            ),
            Self::Okp(key) => {
                let seed = element(OCTET_STRING, &[key.expose_seed()]);
                let public = bit_string(CONTEXT_1_PRIMITIVE, key.public_key().x());
                private_key_info(&Kind::Okp(key.public_key().curve()), &[1], &seed, &public)
            }
        }
    }

    /// Reads PKCS#8. EC and OKP keys must carry their public half.
    ///
    /// # Errors
    /// [`KeyError::Der`] for anything else, [`KeyError::Invalid`] for a key out of bounds.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        Self::from_pkcs8_with(pkcs8, |half| match half {
            BareKey::Ec(..) => Err(KeyError::Der),
            BareKey::Okp(..) => Err(KeyError::Missing("x")),
        })
    }

    /// Reads PKCS#8. Where an EC or OKP key comes without its public half, `public` computes it: an uncompressed point, or `x`.
    ///
    /// # Errors
    /// As [`PrivateKey::from_pkcs8`], and what `public` gives.
    pub fn from_pkcs8_with(
        pkcs8: &[u8],
        public: impl FnOnce(BareKey<'_>) -> Result<Vec<u8>, KeyError>,
    ) -> Result<Self, KeyError> {
        let info = read_private_key_info(pkcs8).ok_or(KeyError::Der)?;
        match Kind::of(info.identifier)? {
            Kind::Rsa => read_rsa_private(info.private).map(Self::Rsa),
            Kind::Ec(curve) => {
                let (d, point) = read_ec_private(info.private).ok_or(KeyError::Der)?;
                let point = match point {
                    Some(point) => point.to_vec(),
                    None => public(BareKey::Ec(curve, d))?,
                };
                EcPrivateKey::new(EcPublicKey::from_uncompressed(curve, &point)?, d).map(Self::Ec)
            }
            Kind::Okp(curve) => {
                let mut inner = Reader::new(info.private);
                let seed = inner.element(OCTET_STRING).ok_or(KeyError::Der)?;
                inner.end().ok_or(KeyError::Der)?;
                let x = match info.public {
                    Some(x) => x.to_vec(),
                    None => public(BareKey::Okp(curve, seed))?,
                };
                OkpPrivateKey::new(OkpPublicKey::new(curve, &x)?, seed).map(Self::Okp)
            }
        }
    }
}

fn private_key_info(
    kind: &Kind,
    version: &[u8],
    private: &[u8],
    public: &[u8],
) -> Zeroizing<Vec<u8>> {
    let version = element(der::INTEGER, &[version]);
    let algorithm = element(SEQUENCE, &[kind.identifier()]);
    element(
        SEQUENCE,
        &[
            &version,
            &algorithm,
            &element(OCTET_STRING, &[private]),
            public,
        ],
    )
}

fn rsa_public(key: &RsaPublicKey) -> Zeroizing<Vec<u8>> {
    element(SEQUENCE, &[&unsigned(key.n()), &unsigned(key.e())])
}

fn rsa_private(key: &RsaPrivateKey) -> Zeroizing<Vec<u8>> {
    let (public, private) = (key.public_key(), key.expose_parts());
    let numbers = [
        public.n(),
        public.e(),
        private.d,
        private.p,
        private.q,
        private.dp,
        private.dq,
        private.qi,
    ]
    .map(unsigned);
    let mut parts: Vec<&[u8]> = vec![&[der::INTEGER, 1, 0]];
    parts.extend(numbers.iter().map(|number| number.as_slice()));
    element(SEQUENCE, &parts)
}

fn ec_private(key: &EcPrivateKey) -> Zeroizing<Vec<u8>> {
    let scalar = element(OCTET_STRING, &[key.expose_scalar()]);
    let public = element(
        CONTEXT_1,
        &[&bit_string(BIT_STRING, key.public_key().uncompressed())],
    );
    element(SEQUENCE, &[&[der::INTEGER, 1, 1], &scalar, &public])
}

fn read_spki(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = Reader::new(spki);
    let mut inner = outer.nested(SEQUENCE)?;
    outer.end()?;
    let identifier = inner.element(SEQUENCE)?;
    let bits = inner.bit_string(BIT_STRING)?;
    inner.end()?;
    Some((identifier, bits))
}

fn read_rsa_public(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = Reader::new(der);
    let mut inner = outer.nested(SEQUENCE)?;
    outer.end()?;
    let key = (inner.unsigned()?, inner.unsigned()?);
    inner.end()?;
    Some(key)
}

struct PrivateKeyInfo<'a> {
    identifier: &'a [u8],
    private: &'a [u8],
    public: Option<&'a [u8]>,
}

fn read_private_key_info(pkcs8: &[u8]) -> Option<PrivateKeyInfo<'_>> {
    let mut outer = Reader::new(pkcs8);
    let mut inner = outer.nested(SEQUENCE)?;
    outer.end()?;
    let version = inner.unsigned()?;
    if !matches!(version, [0 | 1]) {
        return None;
    }
    let identifier = inner.element(SEQUENCE)?;
    let private = inner.element(OCTET_STRING)?;
    inner.skip_if(CONTEXT_0);
    let public = inner.bit_string(CONTEXT_1_PRIMITIVE);
    inner.end()?;
    Some(PrivateKeyInfo {
        identifier,
        private,
        public,
    })
}

fn read_rsa_private(der: &[u8]) -> Result<RsaPrivateKey, KeyError> {
    let mut outer = Reader::new(der);
    let mut inner = outer.nested(SEQUENCE).ok_or(KeyError::Der)?;
    let mut next = || inner.unsigned().ok_or(KeyError::Der);
    if next()? != [0] {
        return Err(KeyError::Der);
    }
    let public = RsaPublicKey::new(next()?, next()?)?;
    let parts = RsaPrivateParts {
        d: next()?,
        p: next()?,
        q: next()?,
        dp: next()?,
        dq: next()?,
        qi: next()?,
    };
    inner
        .end()
        .and_then(|()| outer.end())
        .ok_or(KeyError::Der)?;
    RsaPrivateKey::new(public, &parts)
}

fn read_ec_private(der: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let mut outer = Reader::new(der);
    let mut inner = outer.nested(SEQUENCE)?;
    outer.end()?;
    if inner.unsigned()? != [1] {
        return None;
    }
    let scalar = inner.element(OCTET_STRING)?;
    inner.skip_if(CONTEXT_0);
    let public = inner.nested(CONTEXT_1);
    inner.end()?;
    let Some(mut public) = public else {
        return Some((scalar, None));
    };
    let point = public.bit_string(BIT_STRING)?;
    public.end()?;
    Some((scalar, Some(point)))
}
