//! One HTTP/1.1 connection that stays open.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Fault;

/// A connection to the server; requests go out one after the other.
#[derive(Debug)]
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
    token: &'static str,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr, token: &'static str) -> Result<Self, Fault> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // it ends with the sender, or with the server; a request then says so
        tokio::spawn(async move { connection.await.is_ok() });
        Ok(Self {
            sender,
            host: address.to_string(),
            token,
        })
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Value, Fault> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value) -> Result<Value, Fault> {
        self.send(Method::POST, path, body.to_string().into()).await
    }

    /// Sends a body that is JSON already, and gives the answer's bytes.
    pub(super) async fn exchange(&mut self, path: &str, body: Bytes) -> Result<Bytes, Fault> {
        let answer = self.request(Method::POST, path, body).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let said = String::from_utf8_lossy(&body).into_owned();
        Err(format!("OpenBao answers {path} with {status}: {said}").into())
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Value, Fault> {
        let answer = self.request(method, path, body).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            let said = String::from_utf8_lossy(&body).into_owned();
            return Err(format!("OpenBao answers {path} with {status}: {said}").into());
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_slice(&body)?)
    }

    async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Fault> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header("x-vault-token", self.token)
            .body(Full::new(body))?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }
}
