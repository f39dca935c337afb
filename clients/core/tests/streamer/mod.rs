//! A fake of the service whose streams answer when they are told to.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crypto_proto::batch::v1::{FieldViolation, ItemError};
use crypto_proto::jwt::v1::jwt_service_server::{JwtService, JwtServiceServer};
use crypto_proto::jwt::v1::{
    DecryptThenVerifyRequest, DecryptThenVerifyResponse, RejectReason, RejectedToken, SignRequest,
    SignResponse, SignStreamRequest, SignStreamResponse, SignThenEncryptRequest,
    SignThenEncryptResponse, ValidToken, VerifyRequest, VerifyResponse, VerifyStreamRequest,
    VerifyStreamResponse, sign_stream_response, verify_stream_response,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::BoxStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::serve::{Pki, Served};

type Answers = mpsc::UnboundedSender<Result<SignStreamResponse, Status>>;

#[derive(Default)]
pub(crate) struct Streamer {
    /// The streams that were opened, and those that the client ended.
    opened: watch::Sender<usize>,
    ended: watch::Sender<usize>,
    /// Request ids that wait for an answer.
    asked: watch::Sender<HashMap<String, u64>>,
    answers: Mutex<Option<Answers>>,
    timeouts: Mutex<Vec<Duration>>,
    refusal: Mutex<Option<Status>>,
}

fn overloaded(field: &str) -> ItemError {
    ItemError {
        code: tonic::Code::ResourceExhausted.into(),
        reason: "OVERLOADED".into(),
        message: "refused".into(),
        field_violations: vec![FieldViolation {
            field: field.into(),
            description: "is wrong".into(),
        }],
        retry_in: Some(Duration::from_millis(5).try_into().unwrap()),
    }
}

impl Streamer {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(crate) async fn serve(self: &Arc<Self>, pki: &Pki) -> Served {
        let service = Handle(Arc::clone(self));
        let routes = Routes::new(JwtServiceServer::new(service));
        pki.serve("127.0.0.1:0", routes).await
    }

    pub(crate) fn streams(&self) -> usize {
        *self.opened.borrow()
    }

    pub(crate) fn timeouts(&self) -> Vec<Duration> {
        self.timeouts.lock().unwrap().clone()
    }

    pub(crate) fn refuse_streams(&self, status: Status) {
        *self.refusal.lock().unwrap() = Some(status);
    }

    /// The request ids that wait, once there are `calls`.
    pub(crate) async fn arrived(&self, calls: usize) -> Vec<String> {
        let mut asked = self.asked.subscribe();
        let asked = asked.wait_for(|asked| asked.len() >= calls).await.unwrap();
        asked.keys().cloned().collect()
    }

    pub(crate) async fn ended(&self, streams: usize) {
        let mut ended = self.ended.subscribe();
        ended.wait_for(|ended| *ended >= streams).await.unwrap();
    }

    pub(crate) async fn sign_when_asked(&self, id: &str) {
        let mut asked = self.asked.subscribe();
        asked
            .wait_for(|asked| asked.contains_key(id))
            .await
            .unwrap();
        self.sign(id);
    }

    pub(crate) fn sign(&self, id: &str) {
        let signed = SignResponse {
            token: "a.b.c".into(),
            jti: id.into(),
            ..SignResponse::default()
        };
        self.answer(id, Some(sign_stream_response::Result::Signed(signed)));
    }

    pub(crate) fn refuse(&self, id: &str) {
        let error = overloaded("sign.lifetime");
        self.answer(id, Some(sign_stream_response::Result::Error(error)));
    }

    pub(crate) fn answer_nothing(&self, id: &str) {
        self.answer(id, None);
    }

    fn answer(&self, name: &str, result: Option<sign_stream_response::Result>) {
        let mut id = None;
        self.asked.send_modify(|asked| id = asked.remove(name));
        let answer = SignStreamResponse {
            id: id.unwrap(),
            result,
        };
        let answers = self.answers.lock().unwrap();
        answers.as_ref().unwrap().send(Ok(answer)).unwrap();
    }

    /// Ends the stream that is open.
    pub(crate) fn end(&self, how: Result<(), Status>) {
        self.asked.send_modify(HashMap::clear);
        let answers = self.answers.lock().unwrap().take().unwrap();
        if let Err(status) = how {
            answers.send(Err(status)).unwrap();
        }
    }

    /// Notes what is asked, until the client ends the stream.
    async fn read(self: Arc<Self>, mut requests: Streaming<SignStreamRequest>) {
        while let Ok(Some(request)) = requests.message().await {
            let timeout = request.timeout.unwrap().try_into().unwrap();
            self.timeouts.lock().unwrap().push(timeout);
            let name = request.sign.unwrap().request_id;
            self.asked.send_modify(|asked| {
                asked.insert(name, request.id);
            });
        }
        self.ended.send_modify(|ended| *ended += 1);
    }
}

fn verified(request: VerifyStreamRequest) -> VerifyStreamResponse {
    use verify_stream_response::Result as Wire;
    let name = request.verify.unwrap().request_id;
    let result = match name.as_str() {
        "expired" => Some(Wire::Rejected(RejectedToken {
            reason: RejectReason::Expired.into(),
        })),
        "refused" => Some(Wire::Error(overloaded("verify.leeway"))),
        "nothing" => None,
        _ => Some(Wire::Valid(ValidToken {
            kid: name,
            ..ValidToken::default()
        })),
    };
    VerifyStreamResponse {
        id: request.id,
        result,
    }
}

/// The service: its streams outlive their calls.
struct Handle(Arc<Streamer>);

#[tonic::async_trait]
impl JwtService for Handle {
    async fn sign_stream(
        &self,
        request: Request<Streaming<SignStreamRequest>>,
    ) -> Result<Response<BoxStream<SignStreamResponse>>, Status> {
        self.0.opened.send_modify(|opened| *opened += 1);
        if let Some(status) = self.0.refusal.lock().unwrap().clone() {
            return Err(status);
        }
        let (answers, answered) = mpsc::unbounded_channel();
        *self.0.answers.lock().unwrap() = Some(answers);
        tokio::spawn(Arc::clone(&self.0).read(request.into_inner()));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            answered,
        ))))
    }

    async fn verify_stream(
        &self,
        request: Request<Streaming<VerifyStreamRequest>>,
    ) -> Result<Response<BoxStream<VerifyStreamResponse>>, Status> {
        let (answers, answered) = mpsc::unbounded_channel();
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let _ = answers.send(Ok(verified(request)));
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            answered,
        ))))
    }

    async fn sign(&self, _: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        Err(Status::unimplemented("sign"))
    }

    async fn verify(&self, _: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        Err(Status::unimplemented("verify"))
    }

    async fn sign_then_encrypt(
        &self,
        _: Request<SignThenEncryptRequest>,
    ) -> Result<Response<SignThenEncryptResponse>, Status> {
        Err(Status::unimplemented("sign_then_encrypt"))
    }

    async fn decrypt_then_verify(
        &self,
        _: Request<DecryptThenVerifyRequest>,
    ) -> Result<Response<DecryptThenVerifyResponse>, Status> {
        Err(Status::unimplemented("decrypt_then_verify"))
    }
}
