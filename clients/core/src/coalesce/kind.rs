//! The calls that coalesce: what they ask, alone and together.

use std::future::Future;
use std::time::Duration;

use crypto_proto::jwe::v1 as jwe;
use crypto_proto::jwe::v1::jwe_service_client::JweServiceClient;
use crypto_proto::jwt::v1 as jwt;
use crypto_proto::jwt::v1::jwt_service_client::JwtServiceClient;
use tonic::{Response, Status};

use super::Lots;
use super::class::Classes;
use super::lot::Lot;
use crate::channel::Attempt;
use crate::error::Error;
use crate::request::{
    Decrypt, Decryption, Encrypt, EncryptedToken, Sign, SignedItem, SignedToken, Verdict, Verify,
    results, to_wire,
};

/// The answers of a batch, or why there are none.
pub(crate) type Answers<T> = Result<Vec<Result<T, Error>>, Error>;

/// A call that can be an item of a batch.
pub(crate) trait Kind: Sized + 'static {
    type Ask: Sync;
    type Message: prost::Message + Send + 'static;
    type Answer: Send + 'static;

    fn lot(lots: &Lots) -> &Lot<Self>;

    /// Which calls may share a batch with this one.
    fn class(ask: &Self::Ask, classes: &Classes) -> u64;

    /// Remembers what an answer tells of the class.
    fn learn(ask: &Self::Ask, answer: &Self::Answer, classes: &Classes);

    fn message(ask: &Self::Ask) -> Self::Message;

    fn unary(
        attempt: Attempt,
        message: Self::Message,
    ) -> impl Future<Output = Result<Self::Answer, Error>> + Send;

    /// All of `items`, each with the time that it has left; as many answers, in their order.
    fn batch(
        attempt: Attempt,
        items: Vec<(Self::Message, Duration)>,
    ) -> impl Future<Output = Answers<Self::Answer>> + Send;
}

/// What an rpc answers, or its status as an error.
fn answer<T>(answer: Result<Response<T>, Status>) -> Result<T, Error> {
    answer
        .map(Response::into_inner)
        .map_err(|status| Error::from_status(&status))
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $ask:ident -> $answer:ident {
        class: $class:ident, learn: $learn:expr,
        $client:ident.$unary:ident($package:ident::$message:ident), $batch:ident($request:ident),
        item: |$field:ident, $timeout:ident| $item:expr,
        read: $read:expr,
    })*) => {$(
        $(#[$doc])*
        pub(crate) enum $kind {}

        impl Kind for $kind {
            type Ask = $ask;
            type Message = $package::$message;
            type Answer = $answer;

            fn lot(lots: &Lots) -> &Lot<Self> {
                &lots.$unary
            }

            fn class(ask: &Self::Ask, classes: &Classes) -> u64 {
                classes.$class(ask)
            }

            fn learn(ask: &Self::Ask, answer: &Self::Answer, classes: &Classes) {
                let learn: fn(&Classes, &Self::Ask, &Self::Answer) = $learn;
                learn(classes, ask, answer);
            }

            fn message(ask: &Self::Ask) -> Self::Message {
                ask.wire()
            }

            async fn unary(attempt: Attempt, message: Self::Message) -> Result<Self::Answer, Error> {
                let mut client = $client::new(attempt.connection());
                answer(client.$unary(attempt.request(message)).await).and_then($answer::read)
            }

            async fn batch(attempt: Attempt, items: Vec<(Self::Message, Duration)>) -> Answers<Self::Answer> {
                let asked = items.len();
                let items = items.into_iter().map(|(message, left)| {
                    let ($field, $timeout) = (Some(message), Some(to_wire(left)));
                    $item
                });
                let request = $package::$request { items: items.collect(), ..Default::default() };
                let mut client = $client::new(attempt.connection());
                let answered = answer(client.$batch(attempt.request(request)).await)?;
                // A caller that asked for one thing learns its fields by the names that it knows.
                let prefix = concat!(stringify!($field), ".");
                results(answered.results, asked, |item| {
                    $read(item).map_err(|error: Error| error.without_prefix(prefix))
                })
            }
        }
    )*};
}

kinds! {
    /// `Sign`.
    Signing: Sign -> SignedToken {
        class: of_sign, learn: Classes::signed,
        JwtServiceClient.sign(jwt::SignRequest), sign_batch(SignBatchRequest),
        item: |sign, timeout| jwt::SignBatchItem { sign, timeout, ..Default::default() },
        read: |item| SignedItem::read(item).map(SignedToken::from),
    }
    /// `Verify`.
    Verifying: Verify -> Verdict {
        class: of_verify, learn: |_, _, _| {},
        JwtServiceClient.verify(jwt::VerifyRequest), verify_batch(VerifyBatchRequest),
        item: |verify, timeout| jwt::VerifyBatchItem { verify, timeout },
        read: Verdict::read_item,
    }
    /// `Encrypt`.
    Encrypting: Encrypt -> EncryptedToken {
        class: of_encrypt, learn: Classes::encrypted,
        JweServiceClient.encrypt(jwe::EncryptRequest), encrypt_batch(EncryptBatchRequest),
        item: |encrypt, timeout| jwe::EncryptBatchItem { encrypt, timeout },
        read: EncryptedToken::read_item,
    }
    /// `Decrypt`.
    Decrypting: Decrypt -> Decryption {
        class: of_decrypt, learn: |_, _, _| {},
        JweServiceClient.decrypt(jwe::DecryptRequest), decrypt_batch(DecryptBatchRequest),
        item: |decrypt, timeout| jwe::DecryptBatchItem { decrypt, timeout },
        read: Decryption::read_item,
    }
}
