//! A small reader and writer of DNS messages (RFC 1035 section 4), independent of the product's.
//!
//! Names are kept in presentation form, lower case, with the trailing dot; RDATA is kept without compression, so that
//! two servers that compress differently compare as equal.

use std::{
    fmt,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

pub(crate) mod rtype {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const CNAME: u16 = 5;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const MX: u16 = 15;
    pub(crate) const TXT: u16 = 16;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const DNAME: u16 = 39;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const DS: u16 = 43;
}

pub(crate) const NOERROR: u8 = 0;
pub(crate) const FORMERR: u8 = 1;
pub(crate) const NXDOMAIN: u8 = 3;
pub(crate) const NOTIMP: u8 = 4;
pub(crate) const REFUSED: u8 = 5;

/// One question, as it goes on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// In presentation form; case is kept.
    pub(crate) name: String,
    pub(crate) qtype: u16,
    /// EDNS payload size; `None`: no OPT record.
    pub(crate) edns: Option<u16>,
    pub(crate) recursion_desired: bool,
}

impl Question {
    pub(crate) fn new(name: &str, qtype: u16) -> Self {
        Self { name: name.into(), qtype, edns: Some(1232), recursion_desired: false }
    }

    pub(crate) fn encode(&self, id: u16) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&[
            u8::from(self.recursion_desired),
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            u8::from(self.edns.is_some()),
        ]);
        out.extend_from_slice(&encode_name(&self.name));
        out.extend_from_slice(&self.qtype.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        if let Some(size) = self.edns {
            out.extend_from_slice(&[0, 0, 41]);
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&[0; 6]);
        }
        out
    }
}

pub(crate) fn encode_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

/// A resource record with RDATA free of compression.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) owner: String,
    pub(crate) rtype: u16,
    pub(crate) ttl: u32,
    pub(crate) rdata: Vec<u8>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} TYPE{} ", self.owner, self.ttl, self.rtype)?;
        if let (rtype::NS | rtype::CNAME | rtype::PTR | rtype::DNAME | rtype::SOA, Some((name, _))) =
            (self.rtype, decode_name(&self.rdata, 0))
        {
            return write!(f, "{name}");
        }
        write!(f, "{:02x?}", self.rdata)
    }
}

/// A message that a server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    /// The question as it stands in the message, with its case.
    pub(crate) question: Option<(String, u16)>,
    pub(crate) answer: Vec<Record>,
    pub(crate) authority: Vec<Record>,
    /// Without the OPT record.
    pub(crate) additional: Vec<Record>,
    pub(crate) has_opt: bool,
    pub(crate) extended_rcode: u16,
    pub(crate) octets: usize,
}

impl Message {
    pub(crate) fn rcode(&self) -> u8 {
        (self.flags & 15) as u8
    }
    pub(crate) fn authoritative(&self) -> bool {
        self.flags & 0x0400 != 0
    }
    pub(crate) fn truncated(&self) -> bool {
        self.flags & 0x0200 != 0
    }

    /// Reads a message; `None` if it is malformed, or followed by anything.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let mut at = 12;
        let mut question = None;
        for _ in 0..word(4)? {
            let (name, end) = decode_name(bytes, at)?;
            question = Some((name, word(end)?));
            at = end + 4;
        }
        let mut message = Self {
            id: word(0)?,
            flags: word(2)?,
            question,
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            has_opt: false,
            extended_rcode: 0,
            octets: bytes.len(),
        };
        for (section, count) in [word(6)?, word(8)?, word(10)?].into_iter().enumerate() {
            for _ in 0..count {
                let (owner, end) = decode_name(bytes, at)?;
                let (rtype, ttl) = (word(end)?, (u32::from(word(end + 4)?) << 16) | u32::from(word(end + 6)?));
                let start = end + 10;
                at = start + usize::from(word(end + 8)?);
                if rtype == rtype::OPT {
                    message.has_opt = true;
                    message.extended_rcode = ((ttl >> 24) as u16) << 4 | (message.flags & 15);
                    continue;
                }
                let rdata = decode_rdata(bytes, rtype, start, at)?;
                let record = Record { owner: owner.to_ascii_lowercase(), rtype, ttl, rdata };
                match section {
                    0 => message.answer.push(record),
                    1 => message.authority.push(record),
                    _ => message.additional.push(record),
                }
            }
        }
        (at == bytes.len()).then_some(message)
    }
}

fn decode_rdata(bytes: &[u8], rtype: u16, start: usize, end: usize) -> Option<Vec<u8>> {
    // Octets before the names, and how many names there are, in the types that may be compressed (RFC 3597 section 4).
    let (prefix, names) = match rtype {
        rtype::NS | rtype::CNAME | rtype::PTR | rtype::DNAME => (0, 1),
        rtype::SOA => (0, 2),
        rtype::MX => (2, 1),
        rtype::SRV => (6, 1),
        _ => return bytes.get(start..end).map(<[u8]>::to_vec),
    };
    let mut out = bytes.get(start..start + prefix)?.to_vec();
    let mut at = start + prefix;
    for _ in 0..names {
        let (name, next) = decode_name(bytes, at)?;
        out.extend_from_slice(&encode_name(&name.to_ascii_lowercase()));
        at = next;
    }
    out.extend_from_slice(bytes.get(at..end)?);
    Some(out)
}

/// The name at `at` and where it ends in the message.
pub(crate) fn decode_name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut name, mut end) = (String::new(), None);
    for _ in 0..128 {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => {
                if name.is_empty() {
                    name.push('.');
                }
                return Some((name, end.unwrap_or(at + 1)));
            }
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + length)?;
                name.extend(label.iter().map(|b| char::from(*b)));
                name.push('.');
                at += 1 + length;
            }
            192.. => {
                end = end.or(Some(at + 2));
                let target = (length & 63) << 8 | usize::from(*bytes.get(at + 1)?);
                if target >= at {
                    return None;
                }
                at = target;
            }
            _ => return None,
        }
    }
    None
}

/// A UDP client that keeps its socket.
pub(crate) struct Udp {
    socket: UdpSocket,
    next_id: u16,
}

impl Udp {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        Self { socket, next_id: 1 }
    }

    /// Sends bytes and returns the first reply within `patience`.
    pub(crate) fn raw(&self, bytes: &[u8], patience: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        // An earlier ICMP error is reported by the next call: the server may be down on purpose.
        if self.socket.send(bytes).is_err() {
            self.socket.send(bytes).ok()?;
        }
        self.receive()
    }

    fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 65_535];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    }

    /// Sends bytes and drops whatever replies are there already.
    pub(crate) fn fire(&self, bytes: &[u8]) {
        self.socket.set_nonblocking(true).unwrap();
        let _ = self.socket.send(bytes);
        while self.socket.recv(&mut [0; 2048]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }

    /// Asks up to three times; `None` if there is no reply.
    pub(crate) fn try_ask(&mut self, question: &Question) -> Option<Message> {
        for _ in 0..3 {
            self.next_id = self.next_id.wrapping_add(1);
            let mut reply = self.raw(&question.encode(self.next_id), Duration::from_secs(1));
            while let Some(bytes) = reply {
                let message =
                    Message::decode(&bytes).unwrap_or_else(|| panic!("unreadable reply to {question:?}: {bytes:02x?}"));
                if message.id == self.next_id {
                    return Some(message);
                }
                // A late one, to an earlier try.
                reply = self.receive();
            }
        }
        None
    }

    pub(crate) fn ask(&mut self, question: &Question) -> Message {
        self.try_ask(question).unwrap_or_else(|| panic!("no reply to {question:?}"))
    }
}

/// Writes one message with its length before it (RFC 1035 section 4.2.2).
pub(crate) fn tcp_send(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut framed = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    stream.write_all(&framed)
}

/// Reads one message; an error when the peer closed or the stream's time-out passed.
pub(crate) fn tcp_receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
