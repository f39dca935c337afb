//! Hello and welcome: both ends sign their half of the key agreement with their TLS keys.

use std::sync::Arc;

use crypto_proto::keys::v1 as proto;
use service_kit::tls::TlsSignature;

use super::agreement::PUBLIC_KEY_LEN;
use super::{FeedError, Instance};
use crate::keys::sealed::StreamKey;

const HELLO: &str = "crypto-feed-v1/hello";
const WELCOME: &str = "crypto-feed-v1/welcome";

impl Instance {
    /// The first message of a stream.
    pub(super) fn hello(&self, highest_epoch: u64) -> Result<proto::Hello, FeedError> {
        let public_key = self.ephemeral.public_key();
        let message = [self.nonce.as_bytes(), public_key].concat();
        let signature = self.options.credentials.sign(HELLO, &message);
        let signature = signature.map_err(|error| FeedError::Own(error.to_string()))?;
        Ok(proto::Hello {
            nonce: self.nonce.clone(),
            public_key: public_key.to_vec(),
            certificate_chain: self
                .options
                .credentials
                .chain()
                .iter()
                .map(|der| der.to_vec())
                .collect(),
            signature: to_wire(&signature),
            highest_epoch,
        })
    }

    /// Checks who answered, and agrees on the stream's key.
    pub(super) fn welcomed(&self, welcome: &proto::Welcome) -> Result<Arc<StreamKey>, FeedError> {
        let refused = |why: String| FeedError::Welcome(why);
        if welcome.public_key.len() != PUBLIC_KEY_LEN {
            return Err(FeedError::Protocol("a public key that is not of 32 bytes"));
        }
        if !self.is_own_name(&welcome.subscriber) {
            return Err(refused("it is for another subscriber".to_owned()));
        }
        let chain: Vec<_> = welcome
            .certificate_chain
            .iter()
            .map(|der| der.clone().into())
            .collect();
        let ours = self.ephemeral.public_key();
        let message = [welcome.subscriber.as_bytes(), ours, &welcome.public_key].concat();
        let signature = from_wire(&welcome.signature)
            .ok_or(FeedError::Protocol("a signature without its scheme"))?;
        let signer = self
            .options
            .credentials
            .verify(&chain, WELCOME, &message, &signature);
        let signer = signer.map_err(|error| refused(error.to_string()))?;
        if self
            .options
            .key_manager
            .as_deref()
            .is_some_and(|expected| expected != signer.name())
        {
            return Err(refused(format!("{signer} is not the key-manager")));
        }
        let secret = self
            .ephemeral
            .stream_secret(&welcome.public_key, &welcome.subscriber);
        let secret =
            secret.map_err(|_failed| refused("its public key agrees on nothing".to_owned()))?;
        let key = StreamKey::new(&secret, &welcome.subscriber);
        key.map(Arc::new)
            .map_err(|error| FeedError::Own(error.to_string()))
    }

    /// `<identity>#<nonce>`
    fn is_own_name(&self, subscriber: &str) -> bool {
        let own = self.options.credentials.own_identity().ok();
        let rest = own
            .as_ref()
            .and_then(|own| subscriber.strip_prefix(own.name()));
        rest.and_then(|rest| rest.strip_prefix('#')) == Some(&*self.nonce)
    }
}

/// As in a TLS CertificateVerify: two bytes that name the scheme, then the signature.
fn to_wire(signature: &TlsSignature) -> Vec<u8> {
    [&signature.scheme.to_be_bytes(), signature.bytes.as_slice()].concat()
}

fn from_wire(wire: &[u8]) -> Option<TlsSignature> {
    let (scheme, bytes) = wire.split_first_chunk::<2>()?;
    Some(TlsSignature {
        scheme: u16::from_be_bytes(*scheme),
        bytes: bytes.to_vec(),
    })
}
