//! One stream from hello on, without I/O: what carries the messages is the caller's affair.
//!
//! ```text
//! Opening --welcome--> Filling --snapshot--> Following
//! ```

use crypto_proto::keys::v1 as proto;
use proto::watch_request::Message as Up;
use proto::watch_response::Message as Down;

use super::session::Session;
use super::{FeedError, Instance};
use crate::keys::writer::KeysWriter;

/// One stream. It ends with its first error; the next one begins anew.
#[derive(Debug, Default)]
pub struct Link {
    session: Option<Session>,
}

impl Link {
    /// A stream, and its first message.
    ///
    /// # Errors
    /// [`FeedError::Own`].
    pub fn open(instance: &Instance, writer: &KeysWriter) -> Result<(Self, Up), FeedError> {
        let hello = instance.hello(writer.highest_epoch())?;
        Ok((Self::default(), Up::Hello(hello)))
    }

    /// Whether the snapshot is applied.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_following)
    }

    /// Takes a message in; what comes back is to be sent in this order.
    ///
    /// # Errors
    /// [`FeedError`]: the stream is to be given up.
    pub fn receive(
        &mut self,
        instance: &Instance,
        writer: &mut KeysWriter,
        message: Down,
    ) -> Result<Vec<Up>, FeedError> {
        match (&mut self.session, message) {
            (Some(session), message) => session.receive(writer, message),
            (opening, Down::Welcome(welcome)) => {
                let key = instance.welcomed(&welcome)?;
                writer.usage().forget_reports();
                *opening = Some(Session::new(key, instance.options.clock.clone()));
                Ok(Vec::new())
            }
            _ => Err(FeedError::Protocol("no welcome")),
        }
    }

    /// Asks for a lease from now on; `None` before the snapshot, which asks for the first one by itself.
    ///
    /// # Errors
    /// [`FeedError::Silent`]: earlier ones were not answered.
    pub fn renew(&mut self, writer: &KeysWriter) -> Result<Option<Up>, FeedError> {
        let following = self.session.as_mut().filter(|one| one.is_following());
        following.map(|session| session.renew(writer)).transpose()
    }
}
