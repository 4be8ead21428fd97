//! A chunk over TCP or TLS: one buffer, as few writes as the kernel allows.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::connect::Connection;

/// Longest wait for the peer to close after we did.
const CLOSE: Duration = Duration::from_secs(2);

/// A stream to a receiver.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) connection: Connection,
    /// Octets that may be lost with the connection although they were written.
    pub(super) in_doubt: usize,
    /// When something was written last.
    pub(super) wrote: Instant,
}

impl Stream {
    pub(super) fn new(connection: Connection) -> Self {
        let in_doubt = connection.in_doubt();
        Self { connection, in_doubt, wrote: Instant::now() }
    }

    /// Writes all of `octets`, each piece within `patience`. Returns how many were written, also after an error.
    pub(super) async fn send(&mut self, octets: &[u8], patience: Duration) -> (usize, Result<(), String>) {
        let mut done = 0;
        while let Some(rest) = octets.get(done..).filter(|rest| !rest.is_empty()) {
            match timeout(patience, self.connection.write(rest)).await {
                Ok(Ok(0)) => return (done, Err("the connection broke".to_owned())),
                Ok(Ok(n)) => done += n,
                Ok(Err(error)) => return (done, Err(format!("the connection broke: {error}"))),
                Err(_) => return (done, Err(format!("the receiver took nothing within {} s", patience.as_secs()))),
            }
        }
        self.wrote = Instant::now();
        let flushed = timeout(patience, self.connection.flush()).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
        (done, flushed.map_err(|error| format!("the connection broke: {error}")))
    }

    /// Says that nothing more comes, and waits a little for the receiver to have read everything. Whether it has: a host
    /// that ends a connection with unread octets in it resets it.
    pub(super) async fn close(mut self) -> bool {
        let ended = timeout(CLOSE, async {
            self.connection.shutdown().await?;
            let mut octets = [0; 4096];
            while self.connection.read(&mut octets).await? > 0 {}
            io::Result::Ok(())
        });
        match ended.await {
            Ok(Ok(())) => true,
            // TLS without its farewell, which is an end in order for TCP.
            Ok(Err(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
            Err(_) => false,
        }
    }
}
