//! The text as a program: every revocation is kept as it was asked for, and asked one by one.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jose::algorithm::Hash;
use jose::json::Object;
use jose::limits;
use jose::provider::Digest;
use jose::revocation::{Entry, Id, Match, TokenFacts};
use proptest::prelude::*;

/// NO SECURITY AT ALL: four words of a hash that anyone can make collide.
#[derive(Debug)]
pub(crate) struct InsecureDigest;

impl Digest for InsecureDigest {
    fn digest(&self, _hash: Hash, data: &[u8]) -> Vec<u8> {
        let word = |number: u8| {
            let mut hasher = DefaultHasher::new();
            (number, data).hash(&mut hasher);
            hasher.finish().to_be_bytes()
        };
        (0..4).flat_map(word).collect()
    }
}

/// What somebody asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) jti: Option<String>,
    pub(crate) sub: Option<String>,
    pub(crate) sid: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) issued_before: u32,
    pub(crate) forget_at: u32,
}

impl Asked {
    pub(crate) fn entry(&self) -> Entry {
        let id = match &self.jti {
            Some(jti) => Id::of_jti(jti, &InsecureDigest),
            None => {
                let wanted = Match {
                    sub: self.sub.as_deref(),
                    sid: self.sid.as_deref(),
                    client: self.client.as_deref(),
                };
                Id::of_match(&wanted, &InsecureDigest).unwrap()
            }
        };
        let issued_before = if self.jti.is_some() {
            0
        } else {
            self.issued_before
        };
        Entry {
            id,
            issued_before,
            forget_at: self.forget_at,
        }
    }

    /// By `jti`; or everything that is named agrees and `iat` is not later, or absent.
    pub(crate) fn revokes(&self, token: &Token) -> bool {
        if self.jti.is_some() {
            return self.jti == token.jti;
        }
        let agrees = |wanted: &Option<String>, is: Option<&String>| {
            wanted.is_none() || wanted.as_ref() == is
        };
        let client =
            token
                .client_id
                .as_ref()
                .or(token.azp.as_ref())
                .or(match token.aud.as_slice() {
                    [only] => Some(only),
                    _ => None,
                });
        agrees(&self.sub, token.sub.as_ref())
            && agrees(&self.sid, token.sid.as_ref())
            && agrees(&self.client, client)
            && token
                .iat
                .is_none_or(|iat| iat <= u64::from(self.issued_before))
    }
}

/// What a token says.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) jti: Option<String>,
    pub(crate) sub: Option<String>,
    pub(crate) sid: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) azp: Option<String>,
    pub(crate) aud: Vec<String>,
    pub(crate) iat: Option<u64>,
}

impl Token {
    pub(crate) fn json(&self) -> String {
        let mut claims = serde_json::Map::new();
        let strings = [
            ("jti", &self.jti),
            ("sub", &self.sub),
            ("sid", &self.sid),
            ("client_id", &self.client_id),
            ("azp", &self.azp),
        ];
        for (name, value) in strings {
            if let Some(value) = value {
                claims.insert(name.to_owned(), value.as_str().into());
            }
        }
        claims.insert("aud".to_owned(), self.aud.clone().into());
        serde_json::Value::from(claims).to_string()
    }

    pub(crate) fn with_facts<T>(&self, look: impl FnOnce(&TokenFacts<'_>) -> T) -> T {
        let json = self.json();
        let object = Object::parse(json.as_bytes(), limits::CLAIMS).unwrap();
        look(&TokenFacts::of_object(&object).issued(self.iat))
    }
}

/// Few values, so that they meet; some longer than what is digested in place, some that only escapes tell apart.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just(String::new()),
        Just("\"\\\u{e9}".to_owned()),
        Just("x".repeat(128)),
        Just("x".repeat(129)),
        Just("x".repeat(1024)),
    ]
}

pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    let maybe = || proptest::option::of(value());
    let parts = (maybe(), maybe(), maybe(), maybe(), 0_u32..20, 20_u32..60);
    parts
        .prop_filter("names something", |(jti, sub, sid, client, _, _)| {
            [jti, sub, sid, client].iter().any(|part| part.is_some())
        })
        .prop_map(|(jti, sub, sid, client, issued_before, forget_at)| Asked {
            jti,
            sub,
            sid,
            client,
            issued_before,
            forget_at,
        })
}

pub(crate) fn token() -> impl Strategy<Value = Token> {
    let maybe = || proptest::option::of(value());
    let parts = (
        maybe(),
        maybe(),
        maybe(),
        maybe(),
        maybe(),
        proptest::collection::vec(value(), 0..3),
        proptest::option::of(0_u64..25),
    );
    parts.prop_map(|(jti, sub, sid, client_id, azp, aud, iat)| Token {
        jti,
        sub,
        sid,
        client_id,
        azp,
        aud,
        iat,
    })
}
