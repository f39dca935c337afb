//! Hello and welcome: both ends sign their half of the key agreement with their TLS keys, so that a middlebox that ends TLS cannot put its own in.

use keyring::Time;
use service_kit::{grants::Operation, identity::Caller, tls::TlsSignature};

use super::{Feed, FeedError, StreamKey, wrapping::Agreement};
use crate::vault::Scope;

const HELLO: &str = "crypto-feed-v1/hello";
const WELCOME: &str = "crypto-feed-v1/welcome";

/// The longest certificate chain.
const MAX_CHAIN: usize = 10;

/// An instance introduces itself.
#[derive(Clone, Debug)]
pub struct Hello {
    /// 128 random bits in lower-case hexadecimal digits.
    pub nonce: String,
    /// Its ephemeral X25519 public key.
    pub public_key: Vec<u8>,
    /// Its chain, DER, leaf first.
    pub certificate_chain: Vec<Vec<u8>>,
    /// As in a TLS CertificateVerify: two bytes that name the scheme, then the signature.
    pub signature: Vec<u8>,
    /// The highest epoch that it has ever applied.
    pub highest_epoch: u64,
}

/// The key-manager's half.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The full name of the subscriber.
    pub subscriber: String,
    /// A public key made for this stream.
    pub public_key: Vec<u8>,
    /// The key-manager's chain, DER, leaf first.
    pub certificate_chain: Vec<Vec<u8>>,
    /// As in the hello.
    pub signature: Vec<u8>,
}

impl Feed {
    /// What the caller is fed.
    pub(super) fn scope(&self, caller: &Caller) -> Scope {
        let policy = self.policy.current();
        let tenants = policy.tenants(caller, Operation::Feed);
        let globs = |tenant: &str| {
            policy
                .globs(caller, Operation::Feed, tenant)
                .cloned()
                .collect()
        };
        Scope::new(
            tenants
                .into_iter()
                .map(|tenant| (tenant.to_owned(), globs(tenant))),
        )
    }

    /// Checks a hello and answers it; the key is the stream's.
    pub(super) fn welcome(
        &self,
        caller: &Caller,
        hello: &Hello,
    ) -> Result<(Welcome, StreamKey), FeedError> {
        check_form(hello)?;
        self.check_signature(caller, hello)?;
        let subscriber = format!("{}#{}", caller.name(), hello.nonce);
        let agreement = Agreement::generate()?;
        let message = [
            subscriber.as_bytes(),
            &hello.public_key,
            agreement.public_key(),
        ]
        .concat();
        let signature = self.credentials.sign(WELCOME, &message).map_err(|error| {
            tracing::error!(%error, "the TLS key does not sign");
            FeedError::Agreement
        })?;
        let public_key = agreement.public_key().to_vec();
        let key = agreement.agree(&hello.public_key, &subscriber)?;
        let certificate_chain = self
            .credentials
            .chain()
            .iter()
            .map(|der| der.to_vec())
            .collect();
        let signature = [&signature.scheme.to_be_bytes(), signature.bytes.as_slice()].concat();
        Ok((
            Welcome {
                subscriber,
                public_key,
                certificate_chain,
                signature,
            },
            key,
        ))
    }

    /// The signer is who the connection says is calling, by chain and by name.
    fn check_signature(&self, caller: &Caller, hello: &Hello) -> Result<(), FeedError> {
        let Some((scheme, bytes)) = hello.signature.split_first_chunk::<2>() else {
            return Err(protocol(
                "hello.signature",
                "must be two bytes that name the scheme, then the signature",
            ));
        };
        let signature = TlsSignature {
            scheme: u16::from_be_bytes(*scheme),
            bytes: bytes.to_vec(),
        };
        let chain: Vec<_> = hello
            .certificate_chain
            .iter()
            .map(|der| der.clone().into())
            .collect();
        let message = [hello.nonce.as_bytes(), &hello.public_key].concat();
        let signer = self.credentials.verify(&chain, HELLO, &message, &signature);
        let signer = signer.map_err(|error| FeedError::Signature(error.to_string().into()))?;
        match signer.name() == caller.name() {
            true => Ok(()),
            false => Err(FeedError::Signature(
                "the certificate in it names somebody else".into(),
            )),
        }
    }
}

fn check_form(hello: &Hello) -> Result<(), FeedError> {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if hello.nonce.len() != 32 || !hello.nonce.bytes().all(digit) {
        return Err(protocol(
            "hello.nonce",
            "must be 32 lower-case hexadecimal digits",
        ));
    }
    if hello.public_key.len() != 32 {
        return Err(protocol(
            "hello.public_key",
            "must be an X25519 public key of 32 bytes",
        ));
    }
    match (1..=MAX_CHAIN).contains(&hello.certificate_chain.len()) {
        true => Ok(()),
        false => Err(protocol(
            "hello.certificate_chain",
            "must hold 1 to 10 certificates, leaf first",
        )),
    }
}

pub(super) fn protocol(field: &'static str, problem: &'static str) -> FeedError {
    FeedError::Protocol { field, problem }
}

/// The instance's clock minus ours, in milliseconds.
pub(super) fn offset(theirs: Time, ours: Time) -> i64 {
    let signed = |time: Time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    signed(theirs).saturating_sub(signed(ours))
}
