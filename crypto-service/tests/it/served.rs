//! That what the contract names is served.

use crypto_proto::FILE_DESCRIPTOR_SET;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

use crate::support::{TestKey, TestSet, World};

/// Messages as they are: the empty one is every message without fields.
#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = ();
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _empty: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, answer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        use bytes::Buf;
        answer.advance(answer.remaining());
        Ok(Some(()))
    }
}

/// The length-delimited fields of a protobuf message, by number. Groups and fixed numbers are in no descriptor here.
fn parts(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        match tag & 7 {
            0 => drop(varint(&mut message)),
            2 => {
                let len = usize::try_from(varint(&mut message)).unwrap();
                let (part, rest) = message.split_at(len);
                found.push((tag >> 3, part));
                message = rest;
            }
            other => panic!("wire type {other}"),
        }
    }
    found
}

fn varint(message: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (first, rest) = message.split_first().unwrap();
        *message = rest;
        value |= u64::from(first & 0x7f) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            return value;
        }
    }
}

fn text(message: &[u8], field: u64) -> String {
    let part = parts(message).into_iter().find(|part| part.0 == field);
    String::from_utf8(part.unwrap().1.to_vec()).unwrap()
}

/// The rpcs of the data plane, as `google.protobuf.FileDescriptorSet` names them.
fn rpcs() -> Vec<String> {
    let (file, package, service, method, name) = (1, 2, 6, 2, 1);
    let mut rpcs = Vec::new();
    for (_, file) in parts(FILE_DESCRIPTOR_SET)
        .into_iter()
        .filter(|part| part.0 == file)
    {
        let package = text(file, package);
        for (_, one) in parts(file).into_iter().filter(|part| part.0 == service) {
            let service = text(one, name);
            let methods = parts(one).into_iter().filter(|part| part.0 == method);
            rpcs.extend(
                methods.map(|(_, method)| format!("/{package}.{service}/{}", text(method, name))),
            );
        }
    }
    rpcs.retain(|rpc| !rpc.starts_with("/crypto.keys."));
    rpcs
}

#[tokio::test]
async fn every_rpc_of_the_contract_is_served() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let rpcs = rpcs();
    for named in [
        "/crypto.jwt.v1.JwtService/SignStream",
        "/crypto.jwe.v1.JweService/DecryptBatch",
    ] {
        assert!(
            rpcs.iter().any(|rpc| rpc == named),
            "{named} is not among {rpcs:?}"
        );
    }
    for rpc in rpcs {
        let mut client = Grpc::new(world.channel("token"));
        client.ready().await.unwrap();
        let empty = Request::new(tokio_stream::once(()));
        let answer = client.streaming(empty, rpc.parse().unwrap(), Raw).await;
        let code = match answer {
            Ok(mut answers) => answers
                .get_mut()
                .message()
                .await
                .map_or_else(|status| status.code(), |_| Code::Ok),
            Err(status) => status.code(),
        };
        let accepted = [Code::Ok, Code::InvalidArgument, Code::PermissionDenied];
        assert!(accepted.contains(&code), "{rpc}: {code:?}");
    }
}
