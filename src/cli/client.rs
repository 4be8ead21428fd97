//! HTTP over the control socket: one connection for each request.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Body, Incoming},
    client::conn::http1,
    header::HOST,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, task::JoinHandle};

use crate::{
    api::{self, Page, WHY_HEADER, error::ErrorBody, forms::Written},
    args::{Reach, SOCKET_DEFAULT, Write},
    config,
    exit::{Exit, Failure},
};

/// Largest answer that is read, in octets.
const ANSWER_MAX: usize = 256 << 20;

/// The node behind a control socket.
pub(super) struct Client {
    socket: PathBuf,
}

/// Path and query of a request, percent-encoded.
pub(super) struct Target(String);

impl Target {
    /// A path; `segments` are encoded.
    pub(super) fn new(segments: &[&str]) -> Self {
        Self(segments.iter().map(|s| format!("/{}", encode(s))).collect())
    }

    /// With one more query parameter, unless it has no value.
    pub(super) fn with(mut self, key: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(&format!("{key}={}", encode(&value.to_string())));
        }
        self
    }
}

/// Percent-encoding (RFC 3986 section 2.1) of all but unreserved characters and the colon.
fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

impl Client {
    /// The node that the options name: --socket, else the socket of --config, else the default.
    pub(super) fn new(reach: &Reach) -> Result<Self, Failure> {
        let socket = match (&reach.socket, &reach.config) {
            (Some(socket), _) => socket.clone(),
            (None, Some(file)) => super::check::load(file)?.admin.socket,
            // The installed configuration may name another place; if it cannot be read, the default is tried.
            (None, None) => config::load(Path::new(crate::args::CONFIG_DEFAULT))
                .map_or_else(|_| SOCKET_DEFAULT.into(), |config| config.admin.socket),
        };
        Ok(Self { socket })
    }

    /// Reads JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, target: Target) -> Result<T, Failure> {
        let answer = self.send(Method::GET, target, None, Full::default()).await?;
        parse(&answer)
    }

    /// Reads all pages of a list, or as many items as `limit` says.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        limit: Option<usize>,
        cursor: &str,
        target: impl Fn() -> Target,
    ) -> Result<Vec<T>, Failure> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let wanted = limit.map_or(api::PAGE_MAX, |limit| (limit - items.len()).min(api::PAGE_MAX));
            if wanted == 0 {
                return Ok(items);
            }
            let page: Page<T> = self.get(target().with("limit", Some(wanted)).with(cursor, next)).await?;
            items.extend(page.items);
            next = page.next;
            if next.is_none() {
                return Ok(items);
            }
        }
    }

    /// Asks for a change and reads what became of it.
    pub(super) async fn change(
        &self,
        method: Method,
        target: Target,
        write: &Write,
        body: Option<serde_json::Value>,
    ) -> Result<Written, Failure> {
        let body = Full::from(body.map(|b| b.to_string()).unwrap_or_default());
        let answer = self.send(method, target, write.why.as_deref(), body).await?;
        parse(&answer)
    }

    /// Begins to read an answer that goes on for as long as it is read.
    pub(super) async fn stream(&self, target: Target) -> Result<Incoming, Failure> {
        let (status, body, _) = self.request(Method::GET, target, None, Full::<Bytes>::default()).await?;
        match status.is_success() {
            true => Ok(body),
            false => Err(refusal(status, &collected(body).await?)),
        }
    }

    /// Sends one request and returns the body of the answer; refusals are failures.
    pub(super) async fn send<B>(
        &self,
        method: Method,
        target: Target,
        why: Option<&str>,
        body: B,
    ) -> Result<Bytes, Failure>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let (status, body, driver) = self.request(method, target, why, body).await?;
        let body = collected(body).await?;
        driver.abort();
        match status.is_success() {
            true => Ok(body),
            false => Err(refusal(status, &body)),
        }
    }

    /// Sends one request; the body of the answer is still to be read, while the task drives the connection.
    async fn request<B>(
        &self,
        method: Method,
        target: Target,
        why: Option<&str>,
        body: B,
    ) -> Result<(StatusCode, Incoming, JoinHandle<hyper::Result<()>>), Failure>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.absent(&e))?;
        let broken = |e: hyper::Error| Failure::new(Exit::Io, format!("the node broke the connection off: {e}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(target.0).header(HOST, "gatehouse");
        if let Some(why) = why {
            request = request.header(WHY_HEADER, why.as_bytes());
        }
        let request = request.body(body);
        let request = request.map_err(|e| Failure::new(Exit::Usage, format!("the request cannot be made: {e}")))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok((response.status(), response.into_body(), driver))
    }

    fn absent(&self, error: &std::io::Error) -> Failure {
        use std::io::ErrorKind;
        let socket = self.socket.display();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::new(
                Exit::Unavailable,
                format!(
                    "no node is running behind {socket}; start one with `gatehouse serve`, \
                     or name its socket with --socket"
                ),
            ),
            ErrorKind::PermissionDenied => {
                Failure::new(Exit::NoPermission, format!("you may not use the control socket {socket}: {error}"))
            }
            _ => Failure::new(Exit::Unavailable, format!("the control socket {socket} cannot be used: {error}")),
        }
    }
}

async fn collected(body: Incoming) -> Result<Bytes, Failure> {
    let body = Limited::new(body, ANSWER_MAX).collect().await;
    Ok(body.map_err(|e| Failure::new(Exit::Io, format!("the answer cannot be read: {e}")))?.to_bytes())
}

/// Reads JSON that the node sent.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|e| {
        Failure::new(Exit::Software, format!("the node's answer is not understood; is it of another version? {e}"))
    })
}

/// The failure that a refusal of the node is.
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let exit = match status.as_u16() {
        401 | 403 => Exit::NoPermission,
        503 => Exit::TempFail,
        500..=599 => Exit::Software,
        _ => Exit::Data,
    };
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => Failure::new(exit, body.error).with_details(body.details),
        Err(_) => Failure::new(exit, format!("the node answered {status}: {}", String::from_utf8_lossy(body).trim())),
    }
}

/// Prints what became of a change. A held one is a failure with its own exit code.
pub(super) fn conclude(written: &Written, done: &str, write: &Write) -> Result<(), Failure> {
    if write.json {
        super::print_json(written)?;
    }
    match written {
        Written::Held { id, reasons, remedy } => Err(Failure::new(
            Exit::TempFail,
            format!("the change is held as number {id} and is not served yet; {remedy}"),
        )
        .with_details(reasons.clone())),
        _ if write.json => Ok(()),
        Written::Applied { position, changed } => {
            let rows = if *changed == 1 { "1 row" } else { &format!("{changed} rows") };
            super::print(&format!("{done}: {rows} changed, serial {}", position.serial))
        }
        Written::Unchanged { .. } => super::print("nothing to do: everything is so already"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_encoded() {
        let target = Target::new(&["v1", "hosts", "a b/c"]).with("role", Some("x&y")).with("limit", None::<u8>);
        assert_eq!(target.0, "/v1/hosts/a%20b%2Fc?role=x%26y");
        assert_eq!(Target::new(&["v1", "hosts:import"]).0, "/v1/hosts:import");
    }

    #[test]
    fn refusals_keep_their_sentence() {
        let failure = refusal(StatusCode::CONFLICT, br#"{"error":"two hosts clash","details":["a"]}"#);
        assert_eq!(failure, Failure::new(Exit::Data, "two hosts clash").with_details(vec!["a".into()]));
        assert_eq!(refusal(StatusCode::FORBIDDEN, b"no").exit, Exit::NoPermission);
        assert_eq!(refusal(StatusCode::SERVICE_UNAVAILABLE, b"{}").exit, Exit::TempFail);
    }

    #[test]
    fn a_held_change_is_a_temporary_failure() {
        let written = Written::Held { id: 3, reasons: vec!["r".into()], remedy: "accept it".into() };
        let failure = conclude(&written, "added", &Write::default()).unwrap_err();
        assert_eq!((failure.exit, failure.details), (Exit::TempFail, vec!["r".to_owned()]));
        assert!(failure.sentence.ends_with("accept it"));
    }

    #[tokio::test]
    async fn nobody_behind_the_socket() {
        let client = Client { socket: "/nowhere/control.sock".into() };
        let failure = client.get::<Written>(Target::new(&["v1"])).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.sentence.starts_with("no node is running behind /nowhere/control.sock"), "{failure}");
    }
}
