//! The world outside: verifiers that read JWKS and keep them, and those who encrypt to what they find there.

use std::sync::Arc;

use crypto_service::usecase::JwksQuery;
use jose::algorithm::{Algorithm, ContentEncryption};
use jose::jwe::EncryptRequest;
use jose::jwk::PublicJwk;
use jose_aws_lc::AwsLc;
use serde_json::Value;

use crate::bug::Bug;
use crate::instance::{Node, Process};
use crate::sim::lock;
use crate::stage::{Stage, TENANT};
use crate::truth::{Cipher, Judge};

/// Some ignore max-age and keep a JWKS for so long: shorter than the lead, as panva's `jose` does.
const IGNORANT: u64 = 600_000;

/// A JWK Set that was read once.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// kid and text of each key.
    keys: Vec<(String, String)>,
}

impl Document {
    fn read(json: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(json).ok()?;
        let keys = value.get("keys")?.as_array()?.iter();
        let keys = keys.filter_map(|key| {
            let kid = key.get("kid")?.as_str()?.to_owned();
            Some((kid, key.to_string()))
        });
        Some(Self {
            keys: keys.collect(),
        })
    }

    fn kids(&self) -> Vec<String> {
        self.keys.iter().map(|(kid, _)| kid.clone()).collect()
    }

    pub(crate) fn lists(&self, kid: &str) -> bool {
        self.keys.iter().any(|(listed, _)| listed == kid)
    }
}

/// What a verifier outside keeps.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    document: Arc<Document>,
    until: u64,
    /// It keeps what it reads for so long, whatever the answer says.
    ignorant: bool,
}

impl Cache {
    pub(crate) fn some() -> Vec<Self> {
        let cache = |ignorant| Self {
            document: Arc::default(),
            until: 0,
            ignorant,
        };
        vec![cache(false), cache(false), cache(true), cache(true)]
    }

    pub(crate) fn judge(&self) -> Judge {
        Judge::Outside(if self.ignorant { IGNORANT } else { 0 })
    }
}

impl Stage {
    /// What verifier number `who` holds; it reads anew where that is over. `None` where nobody answers.
    pub(crate) fn held(&self, who: usize) -> Option<(Arc<Document>, Judge)> {
        let now = self.sim.now();
        let cache = lock(&self.outside).get(who).cloned()?;
        if now < cache.until {
            let judge = cache.judge();
            return Some((cache.document, judge));
        }
        let node = self.any_node()?;
        let process = node.process(&self.sim)?;
        let (document, max_age) = self.read_jwks(&node, &process)?;
        let until = now + if cache.ignorant { IGNORANT } else { max_age };
        let judge = cache.judge();
        if let Some(cache) = lock(&self.outside).get_mut(who) {
            cache.document = Arc::clone(&document);
            cache.until = until;
        }
        Some((document, judge))
    }

    /// A JWKS of an instance, and for how many milliseconds it may be kept.
    fn read_jwks(&self, node: &Node, process: &Process) -> Option<(Arc<Document>, u64)> {
        let sim = &self.sim;
        let plane = process.plane();
        let query = JwksQuery {
            tenant: TENANT,
            issuer: "",
        };
        let answer = plane.public_jwks(query, None).ok()?;
        let mut document = self.document(&answer.document)?;
        let mut max_age = u64::try_from(answer.max_age.as_millis()).ok()?;
        if sim.has(Bug::MaxAgeBeyondLease) {
            max_age = sim.world().times.jwks_cap.as_millis();
        }
        if sim.has(Bug::RetiringEncryptionPublished) {
            document = self.with_retiring(process, &document);
        }
        sim.step(format_args!(
            "i{} serves {} keys for {} s",
            node.index,
            document.keys.len(),
            max_age / 1_000
        ));
        let kids = document.kids();
        let found = sim.truth().served(process.id, &kids, max_age, sim.now());
        if let Err((invariant, what)) = found {
            sim.broken(invariant, what);
        }
        Some((document, max_age))
    }

    fn document(&self, of: &crypto_service::http::JwksDocument) -> Option<Arc<Document>> {
        let mut documents = lock(&self.documents);
        if let Some(known) = documents.get(&of.etag) {
            return Some(Arc::clone(known));
        }
        if documents.len() > 200 {
            documents.clear();
        }
        let document = Arc::new(Document::read(&of.json)?);
        documents.insert(of.etag.clone(), Arc::clone(&document));
        Some(document)
    }

    /// The planted bug: what was listed before stays listed for as long as it decrypts.
    fn with_retiring(&self, process: &Process, document: &Document) -> Arc<Document> {
        let snapshot = process.plane().keys().snapshot_owned();
        let retiring = snapshot.versions(TENANT, "op/encryption");
        let retiring = retiring.filter(|(_, state, _)| *state == keyring::State::Retiring);
        let mut keys = document.keys.clone();
        let documents = lock(&self.documents);
        for (kid, _, _) in retiring {
            let former = documents.values().flat_map(|one| &one.keys);
            let mut former = former.filter(|(listed, _)| listed == kid);
            keys.extend(former.next().cloned());
        }
        Arc::new(Document { keys })
    }

    /// Somebody outside encrypts to a key that it finds in what it holds.
    pub(crate) fn encrypt(&self) {
        // Only those that heed max-age are promised that what they make is opened.
        let who = self.sim.dice().index(2);
        let Some((document, _)) = self.held(who) else {
            return;
        };
        let key = document.keys.iter().find_map(|(kid, text)| {
            let jwk = PublicJwk::parse(text.as_bytes()).ok()?;
            match jwk.algorithm {
                Some(Algorithm::Jwe(algorithm)) => Some((kid, algorithm, jwk.key)),
                _ => None,
            }
        });
        let Some((kid, algorithm, key)) = key else {
            return;
        };
        let request = EncryptRequest {
            kid: Some(kid),
            ..EncryptRequest::default()
        };
        let made = AwsLc.encrypter(algorithm, &key).ok().and_then(|key| {
            jose::jwe::encrypt(
                &request,
                b"for you",
                &*key,
                ContentEncryption::A256Gcm,
                &AwsLc,
            )
            .ok()
        });
        let Some(text) = made else { return };
        let mut truth = self.sim.truth();
        let label = truth.label(kid).to_owned();
        truth.ciphers.push_back(Cipher {
            text,
            kid: kid.clone(),
            at: self.sim.now(),
        });
        drop(truth);
        self.sim.step(format_args!("o{who} encrypts to {label}"));
    }
}
