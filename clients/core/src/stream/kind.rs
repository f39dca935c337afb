//! The two streams: their messages, and how one is opened.

use std::future::Future;
use std::time::Duration;

use crypto_proto::jwt::v1 as proto;
use crypto_proto::jwt::v1::jwt_service_client::JwtServiceClient;
use tonic::transport::Channel as Connection;
use tonic::{Response, Status, Streaming};

use super::live::Requests;
use crate::error::Error;
use crate::request::{Sign, SignedToken, Verdict, Verify, to_wire};

/// What a stream answers, once it is open.
pub(super) type Opened<T> = Result<Response<Streaming<T>>, Status>;

/// A stream of calls.
pub(super) trait Kind: Sized + 'static {
    type Ask: Sync;
    type Request: prost::Message + Send + 'static;
    type Response: Send + 'static;
    type Answer: Send + 'static;

    fn request(id: u64, ask: &Self::Ask, timeout: Duration) -> Self::Request;
    fn id(request: &Self::Request) -> u64;
    fn open(
        connection: Connection,
        requests: Requests<Self>,
    ) -> impl Future<Output = Opened<Self::Response>> + Send;
    /// Whose answer it is, and the answer.
    fn read(response: Self::Response) -> (u64, Result<Self::Answer, Error>);
}

pub(super) enum Signing {}

impl Kind for Signing {
    type Ask = Sign;
    type Request = proto::SignStreamRequest;
    type Response = proto::SignStreamResponse;
    type Answer = SignedToken;

    fn request(id: u64, ask: &Sign, timeout: Duration) -> Self::Request {
        proto::SignStreamRequest {
            id,
            sign: Some(ask.wire()),
            timeout: Some(to_wire(timeout)),
        }
    }

    fn id(request: &Self::Request) -> u64 {
        request.id
    }

    async fn open(connection: Connection, requests: Requests<Self>) -> Opened<Self::Response> {
        JwtServiceClient::new(connection)
            .sign_stream(requests)
            .await
    }

    fn read(response: Self::Response) -> (u64, Result<SignedToken, Error>) {
        use proto::sign_stream_response::Result as Wire;
        let answer = match response.result {
            Some(Wire::Signed(signed)) => SignedToken::read(signed),
            Some(Wire::Error(error)) => Err(Error::from_item(error).without_prefix("sign.")),
            None => Err(Error::answer("token")),
        };
        (response.id, answer)
    }
}

pub(super) enum Verifying {}

impl Kind for Verifying {
    type Ask = Verify;
    type Request = proto::VerifyStreamRequest;
    type Response = proto::VerifyStreamResponse;
    type Answer = Verdict;

    fn request(id: u64, ask: &Verify, timeout: Duration) -> Self::Request {
        proto::VerifyStreamRequest {
            id,
            verify: Some(ask.wire()),
            timeout: Some(to_wire(timeout)),
        }
    }

    fn id(request: &Self::Request) -> u64 {
        request.id
    }

    async fn open(connection: Connection, requests: Requests<Self>) -> Opened<Self::Response> {
        JwtServiceClient::new(connection)
            .verify_stream(requests)
            .await
    }

    fn read(response: Self::Response) -> (u64, Result<Verdict, Error>) {
        use proto::verify_stream_response::Result as Wire;
        let answer = match response.result {
            Some(Wire::Valid(token)) => Ok(Verdict::Valid(token.into())),
            Some(Wire::Rejected(rejected)) => Ok(Verdict::rejected(&rejected)),
            Some(Wire::Error(error)) => Err(Error::from_item(error).without_prefix("verify.")),
            None => Err(Error::answer("verdict")),
        };
        (response.id, answer)
    }
}
