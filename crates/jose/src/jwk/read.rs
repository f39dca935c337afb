//! Reading JWKs.

use std::borrow::Cow;

use zeroize::{Zeroize as _, Zeroizing};

use super::{Jwk, KeyUse, PublicJwk, SecretJwk};
use crate::algorithm::{Algorithm, ContentEncryption, KeyManagement};
use crate::base64url;
use crate::json::{Object, Value};
use crate::key::{
    EcCurve, EcPrivateKey, EcPublicKey, KeyError, KeyMaterial, Kid, OkpCurve, OkpPrivateKey,
    OkpPublicKey, PrivateKey, PublicKey, RsaPrivateKey, RsaPrivateParts, RsaPublicKey,
    SymmetricKey, invalid,
};
use crate::limits;

/// A JWK of either kind, as an import may bring it.
#[derive(Debug, Clone)]
pub enum AnyJwk {
    /// A public key.
    Public(PublicJwk),
    /// A private or shared key.
    Secret(SecretJwk),
}

impl AnyJwk {
    /// Reads a JWK. Unknown members are ignored, certificates (`x5c` and its kin) too: a key is trusted
    /// because someone imports it, not because of what it brings along.
    ///
    /// # Errors
    /// [`KeyError`] naming the member at fault.
    pub fn parse(json: &[u8]) -> Result<Self, KeyError> {
        let object = Object::parse(json, limits::JWK)?;
        let members = Members(&object);
        let key = members.key()?;
        match key {
            Key::Public(key) => {
                let said = members.attributes(false)?;
                said.algorithm
                    .map_or(Ok(()), |algorithm| key.check_algorithm(algorithm))?;
                Ok(Self::Public(said.about(key)))
            }
            Key::Secret(key) => {
                let said = members.attributes(matches!(key, KeyMaterial::Private(_)))?;
                said.algorithm
                    .map_or(Ok(()), |algorithm| key.check_algorithm(algorithm))?;
                said.enc.map_or(Ok(()), |enc| check_enc(enc, &key))?;
                Ok(Self::Secret(said.about(key)))
            }
        }
    }
}

fn check_enc(enc: ContentEncryption, key: &KeyMaterial) -> Result<(), KeyError> {
    match key {
        KeyMaterial::Symmetric(key) if key.as_bytes().len() == enc.key_len() => Ok(()),
        _ => Err(invalid("k", "not of the length of the algorithm")),
    }
}

/// What a JWK says about its key.
struct Attributes {
    kid: Option<Kid>,
    algorithm: Option<Algorithm>,
    enc: Option<ContentEncryption>,
    key_use: Option<KeyUse>,
}

impl Attributes {
    fn about<K>(self, key: K) -> Jwk<K> {
        Jwk {
            key,
            kid: self.kid,
            algorithm: self.algorithm,
            enc: self.enc,
            key_use: self.key_use,
        }
    }
}

/// Reads a JWK set; what is not an acceptable public key comes back as its error, in its place.
///
/// # Errors
/// [`KeyError`] when the set itself is malformed.
pub fn read_public_set(json: &[u8]) -> Result<Vec<Result<PublicJwk, KeyError>>, KeyError> {
    let object = Object::parse(json, limits::JWK_SET)?;
    let keys = object.get("keys").ok_or(KeyError::Missing("keys"))?;
    let elements = keys.elements().ok_or(invalid("keys", "must be an array"))?;
    Ok(elements
        .map(|element| PublicJwk::parse(element.raw().as_bytes()))
        .collect())
}

enum Key {
    Public(PublicKey),
    Secret(KeyMaterial),
}

impl From<PrivateKey> for Key {
    fn from(key: PrivateKey) -> Self {
        Self::Secret(KeyMaterial::Private(key))
    }
}

struct Members<'o>(&'o Object<'o>);

impl Members<'_> {
    fn key(&self) -> Result<Key, KeyError> {
        match self
            .string("kty")?
            .ok_or(KeyError::Missing("kty"))?
            .as_ref()
        {
            "RSA" => self.rsa(),
            "EC" => self.ec(),
            "OKP" => self.okp(),
            "oct" => Ok(Key::Secret(KeyMaterial::Symmetric(SymmetricKey::new(
                &self.secret("k")?,
            )?))),
            _ => Err(invalid("kty", "must be RSA, EC, OKP or oct")),
        }
    }

    fn rsa(&self) -> Result<Key, KeyError> {
        let public = RsaPublicKey::new(&self.bytes("n")?, &self.bytes("e")?)?;
        if !self.is_private(&["d", "p", "q", "dp", "dq", "qi", "oth"]) {
            return Ok(Key::Public(PublicKey::Rsa(public)));
        }
        if self.0.get("oth").is_some() {
            return Err(invalid("oth", "keys of more than two primes are refused"));
        }
        let [d, p, q, dp, dq, qi] = [
            self.secret("d")?,
            self.secret("p")?,
            self.secret("q")?,
            self.secret("dp")?,
            self.secret("dq")?,
            self.secret("qi")?,
        ];
        let parts = RsaPrivateParts {
            d: &d,
            p: &p,
            q: &q,
            dp: &dp,
            dq: &dq,
            qi: &qi,
        };
        Ok(PrivateKey::Rsa(RsaPrivateKey::new(public, &parts)?).into())
    }

    fn ec(&self) -> Result<Key, KeyError> {
        let curve =
            EcCurve::named(&self.crv()?).ok_or(invalid("crv", "must be P-256, P-384 or P-521"))?;
        let public = EcPublicKey::new(curve, &self.bytes("x")?, &self.bytes("y")?)?;
        if !self.is_private(&["d"]) {
            return Ok(Key::Public(PublicKey::Ec(public)));
        }
        Ok(PrivateKey::Ec(EcPrivateKey::new(public, &self.secret("d")?)?).into())
    }

    fn okp(&self) -> Result<Key, KeyError> {
        let curve =
            OkpCurve::named(&self.crv()?).ok_or(invalid("crv", "must be Ed25519 or X25519"))?;
        let public = OkpPublicKey::new(curve, &self.bytes("x")?)?;
        if !self.is_private(&["d"]) {
            return Ok(Key::Public(PublicKey::Okp(public)));
        }
        Ok(PrivateKey::Okp(OkpPrivateKey::new(public, &self.secret("d")?)?).into())
    }

    fn is_private(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.0.get(name).is_some())
    }

    fn crv(&self) -> Result<Cow<'_, str>, KeyError> {
        self.string("crv")?.ok_or(KeyError::Missing("crv"))
    }

    fn string(&self, name: &'static str) -> Result<Option<Cow<'_, str>>, KeyError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_str()
                .map(Some)
                .ok_or_else(|| invalid(name, "must be a string")),
        }
    }

    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, KeyError> {
        let text = self.string(name)?.ok_or(KeyError::Missing(name))?;
        base64url::decode(text.as_bytes()).map_err(|_malformed| invalid(name, "not base64url"))
    }

    fn secret(&self, name: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let mut text = self.string(name)?.ok_or(KeyError::Missing(name))?;
        let secret = base64url::decode_secret(text.as_bytes())
            .map_err(|_malformed| invalid(name, "not base64url"));
        // one that is spelled with escapes has been copied
        if let Cow::Owned(copy) = &mut text {
            copy.zeroize();
        }
        secret
    }

    /// `kid`, `alg` and `use`, checked against each other and against `key_ops`.
    fn attributes(&self, private: bool) -> Result<Attributes, KeyError> {
        let kid = self
            .string("kid")?
            .map(|kid| Kid::new(kid.into_owned()))
            .transpose()?;
        let (algorithm, enc) = self.algorithm()?;
        let said = [
            self.key_use()?,
            algorithm.map(KeyUse::of),
            self.use_of_operations(private)?,
        ];
        let mut uses = said.into_iter().flatten();
        let key_use = uses.next();
        if uses.any(|other| Some(other) != key_use) {
            return Err(invalid("use", "use, alg and key_ops contradict each other"));
        }
        Ok(Attributes {
            kid,
            algorithm,
            enc,
            key_use,
        })
    }

    /// A key that encrypts content itself may be named by its content encryption: that is `dir`.
    fn algorithm(&self) -> Result<(Option<Algorithm>, Option<ContentEncryption>), KeyError> {
        let Some(name) = self.string("alg")? else {
            return Ok((None, None));
        };
        match ContentEncryption::parse(&name) {
            Ok(enc) => Ok((Some(Algorithm::Jwe(KeyManagement::Dir)), Some(enc))),
            Err(_not_enc) => Ok((Some(Algorithm::parse(&name)?), None)),
        }
    }

    fn key_use(&self) -> Result<Option<KeyUse>, KeyError> {
        match self.string("use")?.as_deref() {
            None => Ok(None),
            Some("sig") => Ok(Some(KeyUse::Signature)),
            Some("enc") => Ok(Some(KeyUse::Encryption)),
            Some(_) => Err(invalid("use", "must be sig or enc")),
        }
    }

    /// What `key_ops` (RFC 7517 section 4.3) says the key is for. A private key that may neither sign nor
    /// decrypt is of no use here, and a list for both purposes is a key with two algorithms.
    fn use_of_operations(&self, private: bool) -> Result<Option<KeyUse>, KeyError> {
        let Some(value) = self.0.get("key_ops") else {
            return Ok(None);
        };
        let names = string_set(&value)
            .ok_or(invalid("key_ops", "must be an array of different strings"))?;
        let has = |wanted: &[&str]| names.iter().any(|name| wanted.contains(&name.as_ref()));
        let signs = has(&["sign", "verify"]);
        let encrypts = has(&[
            "encrypt",
            "decrypt",
            "wrapKey",
            "unwrapKey",
            "deriveKey",
            "deriveBits",
        ]);
        if private && !has(&["sign", "decrypt", "unwrapKey", "deriveKey", "deriveBits"]) {
            return Err(invalid("key_ops", "lacks what the private key is for"));
        }
        match (signs, encrypts) {
            (true, true) => Err(invalid("key_ops", "one key signs or encrypts, not both")),
            (true, false) => Ok(Some(KeyUse::Signature)),
            (false, true) => Ok(Some(KeyUse::Encryption)),
            (false, false) => Ok(None),
        }
    }
}

fn string_set<'o>(value: &Value<'o>) -> Option<Vec<Cow<'o, str>>> {
    let mut names = value.strings()?;
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    (names.len() == all).then_some(names)
}
