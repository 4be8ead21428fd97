//! The gate between a directory server and the client library.
//!
//! The library (`ldap3`) knows no largest message and no deepest nesting, recurses into what it reads, and keeps search
//! results in a channel without bound. So it never sees the network: it reads from one end of a socket pair, and the
//! gate, at the other end, hands on only whole messages that are well formed and not too large, and search results
//! only as fast as they are taken. What the gate refuses ends the connection with a sentence.

use std::{
    collections::VecDeque,
    os::unix::net::UnixStream as StdUnixStream,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    sync::Semaphore,
    time,
};
use tokio_util::sync::CancellationToken;

use super::ber;

/// Octets of one message: a group of a million members.
pub(super) const MESSAGE_MAX: usize = 64 << 20;
/// Octets of search results that may be on their way between the gate and who takes them.
const WINDOW: u32 = 16 << 20;
/// How long the end of the library is waited for, when an operation has failed, to learn its reason.
const SETTLE: Duration = Duration::from_millis(300);
/// What a panic of the library means.
pub(super) const GAVE_UP: &str = "the LDAP library gave up on what the server sent";
/// Octets that are read at a time.
const READ: usize = 64 * 1024;

/// What both sides of a gate share.
#[derive(Debug)]
pub(super) struct Link {
    credit: Semaphore,
    /// Lengths of the results on their way, oldest first.
    pending: Mutex<VecDeque<u32>>,
    /// Messages that came.
    messages: AtomicU64,
    /// Why the connection ended.
    end: Mutex<Option<String>>,
    panicked: AtomicBool,
    /// Cancelled when the library has ended.
    over: CancellationToken,
}

impl Link {
    fn new() -> Self {
        Self {
            credit: Semaphore::new(WINDOW as usize),
            pending: Mutex::default(),
            messages: AtomicU64::new(0),
            end: Mutex::default(),
            panicked: AtomicBool::new(false),
            over: CancellationToken::new(),
        }
    }

    /// Lets results pass whether or not anybody notes that they were taken: for connections with single answers.
    pub(super) fn unbounded(&self) {
        self.credit.close();
    }

    /// Waits for room for a result.
    async fn send(&self, octets: usize) {
        let octets = u32::try_from(octets).unwrap_or(WINDOW).min(WINDOW);
        let Ok(permit) = self.credit.acquire_many(octets).await else { return };
        permit.forget();
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push_back(octets);
    }

    /// Notes that a result was taken.
    pub(super) fn taken(&self) {
        if let Some(octets) = self.pending.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            self.credit.add_permits(octets as usize);
        }
    }

    /// How many messages have come.
    pub(super) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Notes why the connection ended; the first reason counts.
    pub(super) fn end(&self, why: String) {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    /// Why the connection ended, once it has; `error` if nothing better is known.
    pub(super) async fn why(&self, error: impl ToString) -> String {
        let _ = time::timeout(SETTLE, self.over.cancelled()).await;
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_else(|| error.to_string())
    }

    /// Notes that the library has ended, and whether by a panic.
    pub(super) fn over(&self, panicked: bool) {
        if panicked {
            self.panicked.store(true, Ordering::Relaxed);
            self.end(GAVE_UP.into());
        }
        self.over.cancel();
    }

    /// Whether the library panicked.
    pub(super) fn panicked(&self) -> bool {
        self.panicked.load(Ordering::Relaxed)
    }
}

/// Sets a gate before `server`; returns the library's end of it.
pub(super) fn open<S>(server: S) -> io::Result<(StdUnixStream, Arc<Link>)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;
    let link = Arc::new(Link::new());
    let shared = link.clone();
    tokio::spawn(async move {
        let (from_server, mut to_server) = io::split(server);
        let (mut from_library, mut to_library) = ours.into_split();
        let out = async {
            let ended = io::copy(&mut from_library, &mut to_server).await;
            // Closing TLS in order needs the server; that it is gone is no news here.
            let _ = to_server.shutdown().await;
            ended.map(|_| None).unwrap_or_else(|cause| Some(format!("the connection broke: {cause}")))
        };
        // The reason is noted before the library sees the end.
        let inward = async {
            let why = inbound(from_server, &mut to_library, &shared).await;
            shared.end(why);
        };
        tokio::select! {
            () = inward => {}
            why = out => {
                if let Some(why) = why {
                    shared.end(why);
                }
            }
        }
        drop(to_library);
    });
    Ok((theirs, link))
}

/// Hands messages on until there are no more; returns why.
async fn inbound(mut server: impl AsyncRead + Unpin, library: &mut (impl AsyncWrite + Unpin), link: &Link) -> String {
    let mut buffer = BytesMut::with_capacity(READ);
    loop {
        loop {
            let message = match next(&buffer) {
                Ok(Some(length)) => length,
                Ok(None) => break,
                Err(why) => return why,
            };
            let message = buffer.split_to(message);
            let operation = match ber::check(&message) {
                Ok(tag) => tag,
                Err(why) => return format!("the server sent a message that holds {why}"),
            };
            link.messages.fetch_add(1, Ordering::Relaxed);
            // SearchResultEntry, SearchResultReference, IntermediateResponse.
            if matches!(operation, 0x64 | 0x73 | 0x79) {
                link.send(message.len()).await;
            }
            if library.write_all(&message).await.is_err() {
                return "the connection was closed by us".into();
            }
        }
        buffer.reserve(READ);
        match server.read_buf(&mut buffer).await {
            Ok(0) => return "the server closed the connection".into(),
            Ok(_) => {}
            Err(cause) => return format!("the connection broke: {cause}"),
        }
    }
}

/// Octets of the first message, if it is there whole.
fn next(buffer: &[u8]) -> Result<Option<usize>, String> {
    if buffer.first().is_some_and(|tag| *tag != ber::SEQUENCE) {
        return Err("the server sent something that is not LDAP".into());
    }
    let header = ber::header(buffer).map_err(|why| format!("the server sent a message that holds {why}"))?;
    let Some((header, length)) = header else { return Ok(None) };
    match header.checked_add(length) {
        Some(whole) if whole <= MESSAGE_MAX => Ok((whole <= buffer.len()).then_some(whole)),
        _ => Err(format!("the server sent a message of {length} octets, but {MESSAGE_MAX} are the most that is read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_messages_of_a_sane_size_pass() {
        assert_eq!(next(&[]), Ok(None));
        assert_eq!(next(&[0x30, 5, 2, 1]), Ok(None));
        assert_eq!(next(&[0x30, 5, 2, 1, 1, 0x65, 0, 0x30]), Ok(Some(7)));
        assert!(next(b"HTTP/1.1 400").is_err());
        assert!(next(&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]).is_err_and(|why| why.contains("2147483647 octets")));
        assert!(next(&[0x30, 0x80]).is_err());
    }
}
