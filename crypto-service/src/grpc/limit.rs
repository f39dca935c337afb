//! Requests beyond their limit, in our words.
//!
//! tonic refuses them while it reads, before any handler runs, as OUT_OF_RANGE without details. Nothing here answers with that
//! code, so where it appears it can only be tonic's.

use service_kit::layers::{GrpcService, Response};
use tonic::{Code, Status};
use tower::util::MapResponse;

use crate::refusal::Refusal;

/// The service, with tonic's own refusal of large requests put into MESSAGE_TOO_LARGE.
pub(super) fn worded<S: GrpcService>(service: S) -> impl GrpcService {
    let reword: fn(Response) -> Response = reword;
    MapResponse::new(service, reword)
}

fn reword(response: Response) -> Response {
    let code = response
        .headers()
        .get("grpc-status")
        .map(|code| Code::from_bytes(code.as_bytes()));
    match code {
        Some(Code::OutOfRange) => {
            Status::from(Refusal::TooLarge("the request is larger than 1 MiB")).into_http()
        }
        _ => response,
    }
}
