//! One question to one server: UDP with EDNS, TCP after truncation, again after silence.
//!
//! Each attempt has a port and an id of its own, and what does not repeat both and the question is
//! not looked at (RFC 5452), so a late answer is never taken for another. Replies are at most
//! [`UDP_MAX`] octets over UDP and 65,535 over TCP.

use std::{collections::BTreeMap, io, net::SocketAddr};

use hickory_proto::{
    op::Message,
    rr::Record,
    serialize::binary::{BinEncodable, BinEncoder, NameEncoding},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{Plan, Question};
use crate::{
    name::{Name, display, wire_len},
    query::{HEADER, flag},
    rr::{CLASS_IN, rcode_name, rtype},
    text,
};

/// UDP payload that is asked for (the DNS flag day of 2020).
const PAYLOAD: u16 = 1232;
/// Octets taken from one datagram; a server may send more than it was asked for.
const UDP_MAX: usize = 4096;

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// Response code, as a word.
    pub(super) rcode: String,
    /// The answer section: `owner TYPE data` with its TTL.
    pub(super) answers: BTreeMap<String, u32>,
}

/// What it took.
#[derive(Debug, Clone, Default)]
pub(super) struct Effort {
    pub(super) timeouts: u64,
    pub(super) retries: u64,
    pub(super) over_tcp: bool,
}

/// Asks until there is an answer or the attempts are used up.
pub(super) async fn ask(server: SocketAddr, question: &Question, plan: &Plan) -> (Option<Reply>, Effort) {
    let mut effort = Effort::default();
    for attempt in 0..plan.tries.max(1) {
        effort.retries += u64::from(attempt > 0);
        match timeout(plan.timeout, once(server, question, &mut effort.over_tcp)).await {
            Ok(Ok(reply)) => return (Some(reply), effort),
            // Refused ports and the like: another attempt may find the server back.
            Ok(Err(_)) => {}
            Err(_) => effort.timeouts += 1,
        }
    }
    (None, effort)
}

async fn once(server: SocketAddr, question: &Question, over_tcp: &mut bool) -> io::Result<Reply> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let query = query(id, question);
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut datagram = [0; UDP_MAX];
    loop {
        let length = socket.recv(&mut datagram).await?;
        let reply = &datagram[..length];
        if !answers(reply, &query) {
            continue;
        }
        if flag::TC & u16::from_be_bytes([reply[2], reply[3]]) != 0 {
            *over_tcp = true;
            return over_stream(server, &query).await;
        }
        return read(reply);
    }
}

async fn over_stream(server: SocketAddr, query: &[u8]) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    let length = query.len() as u16; // a header, a name, an OPT
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await?;
    match answers(&reply, query) {
        true => read(&reply),
        false => Err(io::Error::other("the reply is to another question")),
    }
}

/// A query with RD, as clients send it, and an OPT record (RFC 6891).
fn query(id: [u8; 2], question: &Question) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + question.name.len() + 15);
    out.extend_from_slice(&id);
    for number in [flag::RD, 1, 0, 0, 1] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&question.name);
    for number in [question.rtype, CLASS_IN] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.push(0);
    for number in [rtype::OPT, PAYLOAD, 0, 0, 0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out
}

/// Whether a message replies to a query: id, QR, and the question, in whatever case, if it is repeated.
fn answers(reply: &[u8], query: &[u8]) -> bool {
    let (Some(head), Some(asked)) = (reply.get(..HEADER), query.get(HEADER..)) else { return false };
    let question = wire_len(asked).and_then(|length| asked.get(..length + 4)).unwrap_or(asked);
    let repeated = reply.get(HEADER..HEADER + question.len());
    // Servers leave the question out of replies such as FORMERR.
    let is_bare = reply.len() == HEADER && head[4..6] == [0, 0];
    head[..2] == query[..2]
        && head[2] & 0x80 != 0
        && (is_bare || repeated.is_some_and(|repeated| repeated.eq_ignore_ascii_case(question)))
}

/// Reads a reply.
fn read(reply: &[u8]) -> io::Result<Reply> {
    let message = Message::from_vec(reply).map_err(io::Error::other)?;
    let answers = message.answers.iter().filter_map(answer).collect();
    let code = u16::from(message.metadata.response_code);
    Ok(Reply { rcode: rcode_name(code).into_owned(), answers })
}

/// `owner TYPE data` in lower case where DNS knows no case, and the TTL.
fn answer(record: &Record) -> Option<(String, u32)> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    record.emit(&mut encoder).ok()?;
    let owner = wire_len(&bytes)?;
    let (head, rdata) = bytes.get(owner..)?.split_at_checked(10)?;
    let rtype = u16::from_be_bytes([head[0], head[1]]);
    let shown = text::show_rdata(rtype, rdata);
    let data = match text::parse_rdata(rtype, &shown, &Name::root()) {
        Ok(lowered) => text::show_rdata(rtype, &lowered),
        Err(_) => shown,
    };
    let owner = display(&bytes.get(..owner)?.to_ascii_lowercase());
    Some((format!("{owner} {} {data}", text::type_name(rtype)), record.ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(text: &str) -> Question {
        super::super::questions(text).unwrap().remove(0)
    }

    #[test]
    fn only_the_reply_to_the_question_counts() {
        let query = query([7, 8], &question("www.acme.private A"));
        let mut reply = query.clone();
        assert!(!answers(&reply, &query), "a query is no reply");
        reply[2] |= 0x80;
        assert!(answers(&reply, &query));
        reply[13] = b'W';
        assert!(answers(&reply, &query), "case does not count");
        reply[13] = b'x';
        assert!(!answers(&reply, &query), "another name");
        assert!(!answers(&[], &query) && !answers(&reply[..HEADER], &query));
        let bare = [7, 8, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(answers(&bare, &query), "FORMERR without the question");
        assert!(!answers(&[8, 8, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0], &query), "another id");
    }

    #[test]
    fn replies_are_read_without_case_and_compression() {
        let mut reply = query([0, 1], &question("www.acme.private CNAME"));
        reply.truncate(reply.len() - 11);
        reply[2..12].copy_from_slice(&[0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
        reply.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 6, 3, b'W', b'E', b'B', 0xc0, 16]);
        let read = read(&reply).unwrap();
        assert_eq!(read.rcode, "NOERROR");
        let only = ("www.acme.private. CNAME web.acme.private.".to_owned(), 60);
        assert_eq!(read.answers, [only].into());
    }

    #[test]
    fn hostile_replies_are_errors() {
        let whole = query([0, 1], &question("www.acme.private A"));
        for length in 0..whole.len() {
            let _ = read(&whole[..length]);
        }
        let loops = [0, 1, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0];
        assert!(read(&loops).is_err());
    }
}
