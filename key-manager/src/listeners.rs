//! The sockets that are served on.

use tokio::net::TcpListener;

use crate::{config::Config, run::RunError};

/// The bound sockets.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For health and metrics.
    pub http: TcpListener,
}

impl Listeners {
    /// Binds both addresses of the settings.
    ///
    /// # Errors
    /// [`RunError::Bind`].
    pub async fn bind(config: &Config) -> Result<Self, RunError> {
        let bind = async |what, address: std::net::SocketAddr| {
            let bound = TcpListener::bind(address).await;
            bound.map_err(|source| RunError::Bind {
                what,
                address,
                source,
            })
        };
        Ok(Self {
            grpc: bind("grpc.listen", config.grpc.listen).await?,
            http: bind("http.listen", config.http.listen).await?,
        })
    }

    /// The same sockets for now and for later: who connects in between waits and is not refused.
    pub(crate) fn twice(self) -> Result<(Self, Self), RunError> {
        let (grpc, grpc_later) = twice("grpc.listen", self.grpc)?;
        let (http, http_later) = twice("http.listen", self.http)?;
        let now = Self { grpc, http };
        let later = Self {
            grpc: grpc_later,
            http: http_later,
        };
        Ok((now, later))
    }
}

fn twice(
    what: &'static str,
    listener: TcpListener,
) -> Result<(TcpListener, TcpListener), RunError> {
    let split = || {
        let now = listener.into_std()?;
        let later = TcpListener::from_std(now.try_clone()?)?;
        Ok((TcpListener::from_std(now)?, later))
    };
    split().map_err(|source| RunError::Listen { what, source })
}
