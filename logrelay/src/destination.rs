//! Destinations: files and syslog receivers.
//!
//! A [`Sink`] takes a chunk of encoded records and delivers those that are for its number. The caller keeps the place in
//! the spool (or in memory): on success it moves on, on [`Trouble`] it gives the rest of the same chunk again later. What
//! a sink calls delivered is: written to the file (and on disk, with `fsync`); acknowledged, over RELP; handed to the
//! kernel, over TCP and TLS, of which the end that may not have arrived is sent again after a break; sent, over UDP.
//!
//! Limits: memory grows with the chunk and no further (see the constants of each part). A crash repeats at most the chunk
//! that was not answered.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::{
    config,
    message::{FIELDS, Field, HEADER, Message, Records},
    parse::zone::offset,
    template::Env,
};

mod counters;
mod file;
mod syslog;

pub use counters::{Counters, Unsendable};
pub use file::FileSink;
pub use syslog::SyslogSink;

/// Who we are towards files and receivers.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// Name of this node: LOGHOST in templates.
    pub node: &'a str,
    /// Our relay id: with the name of the destination, the stream that relays of ours are told.
    pub relay: &'a str,
}

/// What a chunk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Messages delivered.
    pub messages: u64,
    /// Octets of them as they were written or sent, framing included.
    pub octets: u64,
    /// Messages for this destination that no attempt could deliver; [`Counters`] has the reasons.
    pub unsendable: u64,
}

impl Delivered {
    fn add(&mut self, octets: usize) {
        self.messages += 1;
        self.octets += octets as u64;
    }
}

/// A chunk that could not be delivered in full.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Trouble {
    /// A sentence: what does not work and what to do about it.
    pub reason: String,
    /// Whether time may mend it; false: somebody must do something first, so the next attempt comes after the longest
    /// pause, or when the destination is told something.
    pub retry: bool,
    /// Sequence up to which everything is delivered; give what comes after it. `None`: nothing of the chunk, or its
    /// records have no sequences.
    pub delivered_until: Option<u64>,
    /// How many records at the begin of the chunk need not be given again: the same place as `delivered_until`, for
    /// records without sequences.
    pub records: usize,
    /// What was delivered before the trouble, and will not be counted again.
    pub delivered: Delivered,
}

impl Trouble {
    /// Trouble at the record with index `records` of `chunk`: those before it are done.
    fn at(chunk: Records<'_>, records: usize, delivered: Delivered, reason: String) -> Self {
        let last = chunk.take(records).filter_map(sequence).max();
        Self { reason, retry: true, delivered_until: last, records, delivered }
    }
}

/// The sequence of a record; `None` if it has none.
fn sequence(record: &[u8]) -> Option<u64> {
    Message::decode(record).map(|message| message.sequence).filter(|sequence| *sequence != 0)
}

/// A record that cannot be read.
#[derive(Debug)]
struct Unreadable;

/// Reads a record if it is for the destination `number`; most records of a spool with many destinations are not, and cost
/// no more than a look at where they go.
fn read(record: &[u8], number: u16) -> Result<Option<Message<'_>>, Unreadable> {
    if !destinations(record).ok_or(Unreadable)?.contains(&number.to_le_bytes()) {
        return Ok(None);
    }
    Message::decode(record).map(Some).ok_or(Unreadable)
}

/// The destinations of an encoded record: the last of its small fields.
fn destinations(record: &[u8]) -> Option<&[[u8; 2]]> {
    const _: () = assert!(Field::Destinations as usize == FIELDS - 1, "no small field comes after it");
    let (header, rest) = record.split_first_chunk::<HEADER>()?;
    let (lengths, _) = header.last_chunk::<{ 2 * FIELDS }>()?.as_chunks::<2>();
    let (last, before) = lengths.split_last()?;
    let start: usize = before.iter().map(|length| usize::from(u16::from_le_bytes(*length))).sum();
    Some(rest.get(start..)?.get(..usize::from(u16::from_le_bytes(*last)))?.as_chunks::<2>().0)
}

/// What a message is known by until its chunk is delivered: its sequence; its octets if it has none.
fn key(message: &Message<'_>, octets: &[u8]) -> u64 {
    if message.sequence != 0 {
        return message.sequence;
    }
    let mut hasher = DefaultHasher::new();
    octets.hash(&mut hasher);
    hasher.finish()
}

/// How a destination writes times, beyond what its template says.
#[derive(Debug, Clone, Copy)]
struct Times {
    zone_min: Option<i16>,
    frac_digits: u8,
}

impl Times {
    /// Reads `time_zone` and `frac_digits`.
    fn read(config: &config::Destination) -> Result<Self, String> {
        let config::Destination { name, time_zone, frac_digits, .. } = config;
        let wrong = |text: &str| {
            format!("destination {name}: time_zone is {text:?}, but it is an offset from UTC, such as \"+02:00\"")
        };
        let zone_min = time_zone.as_deref().map(|text| offset(text).ok_or_else(|| wrong(text))).transpose()?;
        match frac_digits {
            0..=6 => Ok(Self { zone_min, frac_digits: *frac_digits }),
            _ => Err(format!("destination {name}: frac_digits is {frac_digits}, but a time has 0 to 6")),
        }
    }

    /// What templates need at this time, of a node of this name.
    fn env<'a>(&self, now_us: i64, loghost: &'a str, offset_min: i16) -> Env<'a> {
        Env { now_us, loghost, offset_min, zone_min: self.zone_min, frac_digits: self.frac_digits }
    }
}

/// The local zone at a time, minutes east of UTC.
fn local_offset_min(now_us: i64) -> i16 {
    let Ok(now) = jiff::Timestamp::from_microsecond(now_us) else { return 0 };
    let seconds = jiff::tz::TimeZone::system().to_offset(now).seconds();
    i16::try_from(seconds / 60).unwrap_or(0)
}

/// How a destination is, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkState {
    /// The receiver that we are connected to, or the template of the file; `None` while there is no connection.
    pub target: Option<String>,
    /// Since when, microseconds since 1970.
    pub since_us: i64,
    /// What went wrong last, with its time; stays until something else does.
    pub last_error: Option<(i64, String)>,
    /// Files that are open.
    pub open_files: usize,
}

/// A destination that can be delivered to.
#[derive(Debug)]
pub enum Sink {
    /// Files.
    File(Box<FileSink>),
    /// Syslog receivers.
    Syslog(Box<SyslogSink>),
}

impl Sink {
    /// Builds what `config` describes. Opens nothing and connects nowhere yet, but reads certificates.
    ///
    /// # Errors
    /// Sentences that name the key and the remedy, joined by blanks.
    pub fn build(config: &config::Destination, identity: Identity<'_>) -> Result<Self, String> {
        match (&config.file, config.syslog.is_empty()) {
            (Some(_), true) => FileSink::build(config, identity).map(|sink| Self::File(Box::new(sink))),
            (None, false) => SyslogSink::build(config, identity).map(|sink| Self::Syslog(Box::new(sink))),
            (Some(_), false) => Err(format!(
                "destination {}: it has both `file` and `syslog`, but is one of them; make two destinations",
                config.name
            )),
            (None, true) => Err(format!(
                "destination {}: it has neither `file` nor `syslog`; set file = \"/var/log/gatehouse/${{HOST}}.log\" or \
                 syslog = \"relp+tls://HOST:2514\"",
                config.name
            )),
        }
    }

    /// Delivers those records of `chunk` that are for the destination `number`; `now_us` is microseconds since 1970.
    /// `epoch` is that in which the spool wrote the chunk: with a sequence it names a record to relays of ours, in every
    /// attempt and after every restart the same. 0 for records from memory, which have no sequence.
    ///
    /// # Errors
    /// See [`Trouble`]; the sink can be used again at once.
    pub async fn deliver(
        &mut self,
        chunk: Records<'_>,
        epoch: u64,
        number: u16,
        now_us: i64,
    ) -> Result<Delivered, Trouble> {
        match self {
            Self::File(sink) => sink.deliver(chunk, number, now_us),
            Self::Syslog(sink) => sink.deliver(chunk, epoch, number, now_us).await,
        }
    }

    /// Closes files, so that they are opened by name again; ends connections, so that names are resolved and certificates
    /// read again. For SIGHUP.
    pub async fn reopen(&mut self) {
        match self {
            Self::File(sink) => sink.reopen(),
            Self::Syslog(sink) => sink.reopen().await,
        }
    }

    /// What is due while there is nothing to deliver: closing and rotating files, noticing that a receiver is gone. About
    /// once a second.
    pub async fn idle(&mut self, now_us: i64) {
        match self {
            Self::File(sink) => sink.idle(now_us),
            Self::Syslog(sink) => sink.idle(now_us).await,
        }
    }

    /// Ends in order: files closed, the receiver told. Takes a few seconds at most.
    pub async fn close(&mut self) {
        match self {
            Self::File(sink) => sink.close(),
            Self::Syslog(sink) => sink.close().await,
        }
    }

    /// Goes on where another sink of the same destination has stopped, which is closed: what may not have arrived through
    /// a stream is sent again through the next one, and counts go on. Between files and receivers nothing goes on.
    pub fn continue_from(&mut self, former: Self) {
        match (self, former) {
            (Self::File(sink), Self::File(former)) => sink.continue_from(*former),
            (Self::Syslog(sink), Self::Syslog(former)) => sink.continue_from(*former),
            (Self::File(_), Self::Syslog(former)) => former.warn_of_tail(),
            (Self::Syslog(_), Self::File(_)) => {}
        }
    }

    /// What is counted.
    pub fn counters(&self) -> &std::sync::Arc<Counters> {
        match self {
            Self::File(sink) => sink.counters(),
            Self::Syslog(sink) => sink.counters(),
        }
    }

    /// How it is.
    pub fn state(&self) -> SinkState {
        match self {
            Self::File(sink) => sink.state(),
            Self::Syslog(sink) => sink.state(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn where_a_record_goes_is_read_as_its_message_says(
            to in proptest::collection::vec(0u16..4, 0..5),
            host in ".{0,20}", origin in "[a-z/]{0,20}", text in ".{0,50}",
            cut in any::<prop::sample::Index>(), damage in any::<Option<(prop::sample::Index, u8)>>(),
        ) {
            let numbers: Vec<u8> = to.iter().flat_map(|number| number.to_le_bytes()).collect();
            let mut message = Message::unread(text.as_bytes(), 0);
            message.set(Field::Host, host.as_bytes());
            message.set(Field::Origin, origin.as_bytes());
            message.set(Field::Destinations, &numbers);
            let mut record = Vec::new();
            prop_assert!(message.encode(&mut record));
            for number in 0..4 {
                prop_assert_eq!(read(&record, number).unwrap().is_some(), message.is_for(number));
            }
            if let Some((at, value)) = damage {
                let length = record.len();
                record[at.index(length)] = value;
            }
            // A damaged record is ours or unreadable whenever its message is ours.
            for record in [&record[..], &record[..cut.index(record.len())]] {
                for number in 0..4 {
                    let decoded = Message::decode(record).filter(|message| message.is_for(number));
                    prop_assert_eq!(read(record, number).ok().flatten().is_some(), decoded.is_some());
                }
            }
        }
    }
}
