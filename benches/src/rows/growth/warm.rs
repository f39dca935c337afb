//! How long a crypto-service takes from its start to being ready.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    Fault, now,
    stack::{Stack, free_address},
};

const POLL: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a second crypto-service on the same key-manager, and waits for `/readyz`.
pub(super) async fn seconds(stack: &Stack) -> Result<f64, Fault> {
    let (grpc, http) = (free_address()?, free_address()?);
    let start = now();
    let mut service = Running(spawn(stack, grpc, http)?);
    while !is_ready(http).await.unwrap_or(false) {
        if let Some(status) = service.0.try_wait()? {
            return Err(format!("the second crypto-service ended with {status}").into());
        }
        if start.elapsed() > PATIENCE {
            return Err("the second crypto-service does not become ready".into());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn spawn(stack: &Stack, grpc: SocketAddr, http: SocketAddr) -> Result<Child, Fault> {
    let set = |name: &str, value: String| ["--set".to_owned(), format!("{name}={value}")];
    Ok(Command::new(stack.programs().join("crypto-service"))
        .args(["--config", "var/dev/crypto-service.toml"])
        .args(set("grpc.listen", grpc.to_string()))
        .args(set("http.listen", http.to_string()))
        .args(set("feed.endpoint", format!("https://{}", stack.keys_grpc)))
        .current_dir(stack.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?)
}

async fn is_ready(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

/// Ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_200_is_ready() {
        for (answer, ready) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 503 No\r\n\r\n", false),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let serve = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 256];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
            assert_eq!(is_ready(address).await.unwrap(), ready, "{answer}");
            serve.await.unwrap();
        }
        assert!(is_ready(free_address().unwrap()).await.is_err());
    }
}
