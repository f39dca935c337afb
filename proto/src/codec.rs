//! prost messages in buffers of about their own size.
//!
//! tonic starts each request and each answer with a buffer of 8 KiB; a token request has 500 bytes. Allocating and
//! touching the rest is a measurable part of a call.

use core::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstCodec;

/// Room for an ordinary request or token; larger messages grow it.
const USUAL: usize = 1536;
/// tonic's own threshold at which a stream hands on what it has encoded.
const HAND_ON: usize = 32 * 1024;

/// `application/grpc+proto` for messages that are sent as `T` and received as `U`.
#[derive(Debug)]
pub struct WireCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for WireCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for WireCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = WireEncoder<T>;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        WireEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(USUAL, HAND_ON))
    }
}

/// Encodes each message into as much room as it needs.
#[derive(Debug)]
pub struct WireEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for WireEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode(buffer)
            .map_err(|_no_room| Status::internal("a message was not encoded"))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(USUAL, HAND_ON)
    }
}
