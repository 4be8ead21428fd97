//! From messages to what is sent.

use std::sync::atomic::Ordering::Relaxed;

use super::{options::Framing, target::Transport};
use crate::{
    destination::{
        Times,
        counters::{Counters, count},
        local_offset_min, read,
    },
    message::{Message, Records},
    template::{DateCache, RFC3164_TEMPLATE, RFC5424_TEMPLATE, Template},
};

/// Octets of a datagram at most: what IPv4 leaves of 65,535.
pub(super) const DATAGRAM_MAX: usize = 65_507;

/// The templates of a destination.
#[derive(Debug)]
pub(super) struct Texts {
    custom: Option<Template>,
    rfc3164: Template,
    rfc5424: Template,
    loghost: String,
    offset_min: i16,
    times: Times,
    dates: DateCache,
}

impl Texts {
    /// Reads the destination's own template, if it has one.
    pub(super) fn read(custom: Option<&str>, times: Times, loghost: &str) -> Result<Self, String> {
        let parse = |text| Template::parse(text).map_err(|error| error.to_string());
        Ok(Self {
            custom: custom.map(parse).transpose()?,
            rfc3164: parse(RFC3164_TEMPLATE)?,
            rfc5424: parse(RFC5424_TEMPLATE)?,
            loghost: loghost.to_owned(),
            offset_min: 0,
            times,
            dates: DateCache::default(),
        })
    }

    /// A chunk begins: looks at the local zone.
    pub(super) fn begin(&mut self, now_us: i64) {
        self.offset_min = local_offset_min(now_us);
    }

    /// Writes a message in place of what is in `line`, without the newline that a template may end in.
    pub(super) fn line(&mut self, transport: Transport, message: &Message<'_>, now_us: i64, line: &mut Vec<u8>) {
        let default = if matches!(transport, Transport::Udp | Transport::Tcp) { &self.rfc3164 } else { &self.rfc5424 };
        let env = self.times.env(now_us, &self.loghost, self.offset_min);
        line.clear();
        self.custom.as_ref().unwrap_or(default).write(message, &env, &mut self.dates, line);
        if line.last() == Some(&b'\n') {
            line.pop();
        }
    }
}

/// Messages of a chunk, framed.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) octets: Vec<u8>,
    /// For each message the end in `octets`, and the index of its record in the chunk.
    pub(super) ends: Vec<(usize, usize)>,
    /// Indexes of the records that could not be read.
    pub(super) unreadable: Vec<usize>,
    /// How they are framed; `None`: as datagrams.
    pub(super) framing: Option<Framing>,
}

impl Sent {
    /// Frames those messages of `chunk` that are for `number`.
    pub(super) fn fill(
        &mut self,
        chunk: Records<'_>,
        number: u16,
        counters: &Counters,
        mut write: impl FnMut(&Message<'_>, &mut Vec<u8>),
        framing: Option<Framing>,
    ) {
        self.octets.clear();
        self.ends.clear();
        self.unreadable.clear();
        self.framing = framing;
        let mut line = Vec::new();
        for (record, octets) in chunk.enumerate() {
            match read(octets, number) {
                Ok(Some(message)) => {
                    write(&message, &mut line);
                    self.push(&line, record, counters);
                }
                Ok(None) => {}
                Err(_) => self.unreadable.push(record),
            }
        }
    }

    fn push(&mut self, line: &[u8], record: usize, counters: &Counters) {
        frame(line, self.framing, counters, &mut self.octets);
        self.ends.push((self.octets.len(), record));
    }

    /// Appends the messages of `other` from the one with this index on, framed as those that are here.
    pub(super) fn extend(&mut self, other: &Self, from: usize, counters: &Counters) {
        for (framed, (_, record)) in other.each().zip(&other.ends).skip(from) {
            if self.framing == other.framing {
                self.octets.extend_from_slice(framed);
                self.ends.push((self.octets.len(), *record));
            } else {
                self.push(unframed(framed, other.framing), *record, counters);
            }
        }
    }

    /// The messages, one by one.
    pub(super) fn each(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.ends.iter().map(move |(end, _)| {
            let part = self.octets.get(begin..*end).unwrap_or_default();
            begin = *end;
            part
        })
    }

    /// Number of messages that end within the first `octets`.
    pub(super) fn whole(&self, octets: usize) -> usize {
        self.ends.partition_point(|(end, _)| *end <= octets)
    }

    /// Index of the record with which to go on after so many messages.
    pub(super) fn record_after(&self, messages: usize) -> usize {
        match self.ends.get(messages) {
            Some((_, record)) => *record,
            None => self.ends.last().map_or(0, |(_, record)| record + 1),
        }
    }
}

/// A message without its framing.
fn unframed(framed: &[u8], framing: Option<Framing>) -> &[u8] {
    match framing {
        Some(Framing::Octets) => framed.splitn(2, |octet| *octet == b' ').nth(1).unwrap_or_default(),
        Some(Framing::Lines) => framed.strip_suffix(b"\n").unwrap_or(framed),
        None => framed,
    }
}

/// Appends a message with its framing; `None`: a datagram, which has none but a greatest length.
fn frame(line: &[u8], framing: Option<Framing>, counters: &Counters, out: &mut Vec<u8>) {
    match framing {
        Some(Framing::Octets) => {
            let mut digits = [0; 20];
            let mut at = digits.len();
            let mut rest = line.len();
            loop {
                at -= 1;
                digits[at] = b'0' + (rest % 10) as u8;
                rest /= 10;
                if rest == 0 {
                    break;
                }
            }
            out.extend_from_slice(&digits[at..]);
            out.push(b' ');
            out.extend_from_slice(line);
        }
        Some(Framing::Lines) => {
            let start = out.len();
            out.extend_from_slice(line);
            // Within the framing a newline would make two messages of one; syslog-ng sends a blank, too.
            if memchr::memchr(b'\n', line).is_some() {
                count(&counters.newlines);
                for octet in &mut out[start..] {
                    if *octet == b'\n' {
                        *octet = b' ';
                    }
                }
            }
            out.push(b'\n');
        }
        None => {
            if line.len() > DATAGRAM_MAX {
                counters.cut.fetch_add(1, Relaxed);
            }
            out.extend_from_slice(&line[..line.len().min(DATAGRAM_MAX)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Batch, Field};

    #[test]
    fn framings() {
        let counters = Counters::default();
        let framed = |line: &[u8], framing| {
            let mut out = Vec::new();
            frame(line, framing, &counters, &mut out);
            out
        };
        assert_eq!(framed(b"a\nb\n", Some(Framing::Lines)), b"a b \n");
        assert_eq!(framed(b"a\nb", Some(Framing::Octets)), b"3 a\nb");
        assert_eq!(framed(b"0123456789", Some(Framing::Octets)), b"10 0123456789");
        assert_eq!(framed(&[b'x'; 70_000], None).len(), DATAGRAM_MAX);
        assert_eq!((counters.newlines.load(Relaxed), counters.cut.load(Relaxed)), (1, 1));
    }

    #[test]
    fn places_in_the_chunk() {
        let mut batch = Batch::default();
        for (raw, number) in [("a", 7), ("bb", 8), ("ccc", 7)] {
            let destinations = u16::to_le_bytes(number);
            let mut message = Message::unread(raw.as_bytes(), 0);
            message.set(Field::Destinations, &destinations);
            batch.push(&message);
        }
        let mut sent = Sent::default();
        let write = |message: &Message<'_>, line: &mut Vec<u8>| {
            line.clear();
            line.extend_from_slice(message.message);
        };
        sent.fill(batch.records(), 7, &Counters::default(), write, Some(Framing::Lines));
        assert_eq!(sent.each().collect::<Vec<_>>(), [b"a\n".as_slice(), b"ccc\n"]);
        assert_eq!([1, 2, 5, 6].map(|octets| sent.whole(octets)), [0, 1, 1, 2]);
        assert_eq!([0, 1, 2].map(|messages| sent.record_after(messages)), [0, 2, 3]);
        for (framing, expected) in
            [(Some(Framing::Octets), ["1 a", "3 ccc"]), (None, ["a", "ccc"]), (Some(Framing::Lines), ["a\n", "ccc\n"])]
        {
            let mut other = Sent { framing, ..Sent::default() };
            other.extend(&sent, 0, &Counters::default());
            assert_eq!(other.each().collect::<Vec<_>>(), expected.map(str::as_bytes));
            sent = other;
        }
    }
}
