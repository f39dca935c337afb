//! `SignStream` and `VerifyStream`: many calls over one rpc, answered in any order.

mod kind;
mod live;
mod pipeline;

use std::fmt;

use self::kind::{Signing, Verifying};
use self::pipeline::Pipeline;
use crate::channel::Channel;
use crate::error::Error;
use crate::request::{Sign, SignedToken, Verdict, Verify};

/// Signs over one stream; cheap to clone, and its clones share the stream. Up to 256 tokens are in flight; beyond that calls wait.
///
/// A stream that breaks fails every call that is in flight with UNAVAILABLE, and the next call opens a new one, at another instance
/// where there is one. Nothing is repeated here. A call that is dropped gives up its place.
#[derive(Clone)]
pub struct SignStream(Pipeline<Signing>);

impl SignStream {
    pub(crate) fn over(channel: Channel) -> Self {
        Self(Pipeline::new(channel))
    }

    /// Signs claims. Needs the grant `sign`.
    ///
    /// # Errors
    /// As [`crate::CryptoClient::sign`], and UNAVAILABLE where the stream breaks.
    pub async fn sign(&self, sign: &Sign) -> Result<SignedToken, Error> {
        self.0.call(sign).await
    }
}

impl fmt::Debug for SignStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignStream").field(self.0.channel()).finish()
    }
}

/// Verifies over one stream, as [`SignStream`] signs.
#[derive(Clone)]
pub struct VerifyStream(Pipeline<Verifying>);

impl VerifyStream {
    pub(crate) fn over(channel: Channel) -> Self {
        Self(Pipeline::new(channel))
    }

    /// Verifies a token at the service. Needs the grant `verify`.
    ///
    /// # Errors
    /// As [`crate::CryptoClient::verify`], and UNAVAILABLE where the stream breaks; what is wrong with the token is a verdict.
    pub async fn verify(&self, verify: &Verify) -> Result<Verdict, Error> {
        self.0.call(verify).await
    }
}

impl fmt::Debug for VerifyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifyStream")
            .field(self.0.channel())
            .finish()
    }
}
