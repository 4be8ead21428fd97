//! DNS over HTTPS (RFC 8484): HTTP/2, path `/dns-query`, GET and POST.
//!
//! The h2 crate carries HTTP. hickory's `http::verify` is not used: it refuses a GET without a
//! Content-Type and any request without Accept, which RFC 8484 does not ask for.
//!
//! Limits of a connection: `pipeline_max` requests under way, 64 KiB of body, 16 KiB of headers,
//! the idle time, and the write timeout for a client that does not take its answer. A request that
//! is no DNS gets the status that says why: 404 path, 405 method, 415 type, 413 size, 400 content.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    sync::atomic::Ordering::Relaxed,
};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::{
    Reason, RecvStream,
    server::{Builder, Connection, SendResponse},
};
use http::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    forward::message,
    stream::{HEADER, Question, Replies, StreamLimits, Transport},
};

/// Where queries are asked (RFC 8484 section 4.1 leaves it to the server; all use this one).
pub const PATH: &str = "/dns-query";
/// Media type of a message in wire form.
const MEDIA_TYPE: &str = "application/dns-message";
const BODY_MAX: usize = 65_535;
const HEADERS_MAX: u32 = 16 * 1024;
const SEND_BUFFER_MAX: usize = 128 * 1024;

/// Serves one connection, TLS already done, until the client closes it, a limit is hit or the
/// shutdown is over.
pub async fn serve<S, H, Fut>(stream: S, peer: SocketAddr, local: SocketAddr, limits: StreamLimits, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    H: Fn(Question, Replies) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let mut settings = Builder::new();
    settings
        .max_concurrent_streams(u32::try_from(limits.pipeline_max).unwrap_or(u32::MAX))
        .max_header_list_size(HEADERS_MAX)
        .max_send_buffer_size(SEND_BUFFER_MAX);
    let Ok(Ok(mut connection)) = timeout(limits.idle, settings.handshake::<_, Bytes>(stream)).await else {
        limits.counters.garbage.fetch_add(1, Relaxed);
        return;
    };
    let mut under_way = FuturesUnordered::new();
    let mut deadline = Instant::now() + limits.idle;
    let mut ending = false;
    loop {
        tokio::select! {
            biased;
            Some(()) = under_way.next(), if !under_way.is_empty() => deadline = Instant::now() + limits.idle,
            // Polled always: it drives the connection.
            accepted = connection.accept() => match accepted {
                // A client that resets its requests keeps within the limit of HTTP/2, but the queries
                // are still under way.
                Some(Ok((_, mut respond))) if under_way.len() >= limits.pipeline_max => {
                    limits.counters.refused.fetch_add(1, Relaxed);
                    respond.send_reset(Reason::REFUSED_STREAM);
                }
                Some(Ok((request, respond))) => {
                    deadline = Instant::now() + limits.idle;
                    under_way.push(exchange(request, respond, (peer, local), &limits, &handler));
                }
                Some(Err(_)) | None => return,
            },
            () = limits.shutdown.cancelled(), if !ending => {
                ending = true;
                connection.graceful_shutdown();
            }
            () = sleep_until(deadline) => {
                if under_way.is_empty() {
                    limits.counters.idle_closed.fetch_add(1, Relaxed);
                    return close(connection, &limits).await;
                }
                deadline = Instant::now() + limits.idle;
            }
        }
    }
}

async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut connection: Connection<S, Bytes>, limits: &StreamLimits) {
    connection.abrupt_shutdown(Reason::NO_ERROR);
    let _ = timeout(limits.write_timeout, poll_fn(|cx| connection.poll_closed(cx))).await;
}

async fn exchange<H, Fut>(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    (peer, local): (SocketAddr, SocketAddr),
    limits: &StreamLimits,
    handler: &H,
) where
    H: Fn(Question, Replies) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let query = timeout(limits.idle, read_query(request)).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT));
    let answer = match query {
        Ok(bytes) => {
            limits.counters.queries.fetch_add(1, Relaxed);
            let (replies, mut queue) = mpsc::channel(1);
            let question = Question { bytes, peer, local, transport: Transport::Https };
            let (_, first) = tokio::join!(handler(question, replies), async {
                let first = queue.recv().await;
                // One response has room for one message.
                queue.close();
                first
            });
            // The handler stays silent where over UDP no answer would do: on what is no query.
            first.ok_or(StatusCode::BAD_REQUEST)
        }
        Err(status) => Err(status),
    };
    if answer.is_err() {
        limits.counters.garbage.fetch_add(1, Relaxed);
    }
    send(respond, answer, limits).await;
}

async fn send(mut respond: SendResponse<Bytes>, answer: Result<Vec<u8>, StatusCode>, limits: &StreamLimits) {
    let (head, body) = match answer {
        Ok(message) => (head_of(&message), message),
        Err(status) => {
            let mut head = Response::builder().status(status);
            if status == StatusCode::METHOD_NOT_ALLOWED {
                head = head.header(ALLOW, "GET, POST");
            }
            (head.body(()), Vec::new())
        }
    };
    // Fails when the client has reset the request or gone; nobody is left to be told.
    let Ok(head) = head else { return };
    let Ok(mut stream) = respond.send_response(head, body.is_empty()) else { return };
    let mut body = Bytes::from(body);
    let all = async {
        while !body.is_empty() {
            stream.reserve_capacity(body.len());
            let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
            let part = body.split_to(room.min(body.len()));
            if stream.send_data(part, body.is_empty()).is_err() {
                return;
            }
        }
    };
    if timeout(limits.write_timeout, all).await.is_err() {
        limits.counters.write_timeouts.fetch_add(1, Relaxed);
        stream.send_reset(Reason::CANCEL);
    }
}

/// The freshness of the HTTP response is the smallest TTL in it (RFC 8484 section 5.1).
fn head_of(message: &[u8]) -> Result<Response<()>, http::Error> {
    let mut head = Response::builder()
        .status(StatusCode::OK)
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .header(CONTENT_LENGTH, message.len());
    if let Some(ttl) = message::smallest_ttl(message) {
        head = head.header(CACHE_CONTROL, format!("max-age={ttl}"));
    }
    head.body(())
}

async fn read_query(request: Request<RecvStream>) -> Result<Vec<u8>, StatusCode> {
    let (head, body) = request.into_parts();
    if head.uri.path() != PATH {
        return Err(StatusCode::NOT_FOUND);
    }
    let query = match head.method {
        Method::GET => from_uri(head.uri.query().unwrap_or_default())?,
        Method::POST => {
            let media_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            if !media_type.eq_ignore_ascii_case(MEDIA_TYPE) {
                return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            }
            read_body(body).await?
        }
        _ => return Err(StatusCode::METHOD_NOT_ALLOWED),
    };
    if query.len() < HEADER { Err(StatusCode::BAD_REQUEST) } else { Ok(query) }
}

/// The message in `dns=`, base64url without padding (RFC 8484 section 4.1).
fn from_uri(query: &str) -> Result<Vec<u8>, StatusCode> {
    let text = query.split('&').find_map(|pair| pair.strip_prefix("dns=")).ok_or(StatusCode::BAD_REQUEST)?;
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)
}

async fn read_body(mut body: RecvStream) -> Result<Vec<u8>, StatusCode> {
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(|_| StatusCode::BAD_REQUEST)?;
        if bytes.len() + part.len() > BODY_MAX {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        bytes.extend_from_slice(&part);
        // Fails only for a stream that is over.
        let _ = body.flow_control().release_capacity(part.len());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_parameter() {
        assert_eq!(from_uri("dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB").unwrap().len(), 33);
        assert_eq!(from_uri("ct=x&dns=AAAA").unwrap(), [0, 0, 0]);
        for bad in ["", "dns", "dns=****", "dns=AAA=", "Dns=AAAA"] {
            assert_eq!(from_uri(bad), Err(StatusCode::BAD_REQUEST), "{bad}");
        }
    }
}
