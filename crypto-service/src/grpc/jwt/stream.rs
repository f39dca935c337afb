//! `SignStream`.

use crypto_proto::jwt::v1 as proto;
use jose::jwt::TokenHashes;
use proto::sign_stream_response::Result as Signed;
use service_kit::identity::Caller;
use tonic::Status;

use super::sign::{claims_too, sign_command, sign_response};
use crate::grpc::batch::{Arrival, item_error};
use crate::grpc::fields::Fields;
use crate::grpc::stream::{Answers, Work, still_admitted};
use crate::refusal::Refusal;
use crate::usecase::{DataPlane, SignedToken, TimedSign};

type Answer = proto::SignStreamResponse;

/// The signing of one stream.
pub(super) struct SignWork {
    pub(super) plane: DataPlane,
    pub(super) caller: Caller,
}

impl Work for SignWork {
    type Request = proto::SignStreamRequest;
    type Answer = Answer;

    fn admits(&self) -> Result<(), Status> {
        still_admitted(&self.plane, &self.caller)
    }

    fn run(
        &self,
        wave: Vec<proto::SignStreamRequest>,
        answers: Answers<Answer>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (plane, caller, arrival) = (self.plane.clone(), self.caller.clone(), Arrival::now());
        async move {
            let (ids, commands) = decode(wave, arrival, &answers);
            let answer = |(place, made): (usize, Result<SignedToken, Refusal>)| {
                ids.get(place).map(|id| answer(*id, made))
            };
            let done = |made: Vec<_>| answers.send(made.into_iter().filter_map(answer).collect());
            plane.sign_apart(&caller, &commands, done).await;
        }
    }
}

/// The commands and their ids. What cannot be read is answered at once.
fn decode(
    wave: Vec<proto::SignStreamRequest>,
    arrival: Arrival,
    answers: &Answers<Answer>,
) -> (Vec<u64>, Vec<TimedSign>) {
    let (mut ids, mut commands) = (
        Vec::with_capacity(wave.len()),
        Vec::with_capacity(wave.len()),
    );
    let mut refused = Vec::new();
    for request in wave {
        let id = request.id;
        match read(request, arrival) {
            Ok(command) => {
                ids.push(id);
                commands.push(command);
            }
            Err(refusal) => refused.push(answer(id, Err(refusal))),
        }
    }
    if !refused.is_empty() {
        answers.send(refused);
    }
    (ids, commands)
}

fn read(request: proto::SignStreamRequest, arrival: Arrival) -> Result<TimedSign, Refusal> {
    let mut fields = Fields::default();
    let due = arrival.due(&mut fields, request.timeout);
    let command = match request.sign {
        Some(sign) => sign_command(fields.inside("sign."), sign),
        None => {
            fields.violation("sign", "is required");
            None
        }
    };
    claims_too(
        fields.inside("sign."),
        command.as_ref(),
        TokenHashes::default(),
    );
    fields.finish(command.map(|command| TimedSign { command, due }))
}

fn answer(id: u64, made: Result<SignedToken, Refusal>) -> Answer {
    let result = match made {
        Ok(signed) => Signed::Signed(sign_response(signed)),
        Err(refusal) => Signed::Error(item_error(refusal)),
    };
    Answer {
        id,
        result: Some(result),
    }
}
