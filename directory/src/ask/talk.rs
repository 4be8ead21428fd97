//! One question to one address: connect, ask, read until the answer is complete.
//!
//! It can be interrupted: what was reached by a point in time is kept, and another thread may go on from there.

use std::{
    io::{self, Read},
    net::SocketAddr,
    time::Instant,
};

use bytes::BytesMut;
use ldap3_proto::{
    LdapCodec,
    proto::{LdapExtendedRequest, LdapMsg, LdapOp, LdapResultCode},
};
use tokio_util::codec::{Decoder, Encoder};
use wire::blocking::{BlockingClient, BlockingConnection};

use super::{ANSWER_OCTETS_MAX, Answer, Asked, OID};

/// Deepest nesting of a message with an answer.
const DEPTH_MAX: usize = 8;
/// Octets of a message beside the answer's own.
const ENVELOPE_OCTETS_MAX: usize = 4096;
/// Octets that are read at once.
const READ_OCTETS: usize = 16 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Halt {
    /// There is none yet.
    Late,
    /// There will be none.
    Failed(String),
}

impl From<Halt> for String {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Late => "no answer in time".to_owned(),
            Halt::Failed(why) => why,
        }
    }
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        // With a number, it is the kernel that has given up the connection, and nothing will come.
        let is_late = error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none();
        if is_late { Self::Late } else { Self::Failed(error.to_string()) }
    }
}

/// A question under way, its socket connected.
pub(super) struct Talk {
    connection: BlockingConnection,
    inbox: Inbox,
}

impl Talk {
    /// Connects until then; the question goes out with the first try to read the answer.
    pub(super) fn begin(
        tls: &BlockingClient,
        address: SocketAddr,
        name: &str,
        asked: &Asked,
        until: Instant,
    ) -> Result<Self, Halt> {
        let connection = tls.connect(address, name, &request(asked)?, until)?;
        Ok(Self { connection, inbox: Inbox::new() })
    }

    /// Waits for the answer until then. After [`Halt::Late`] it can be called again.
    pub(super) fn answer(&mut self, until: Instant) -> Result<Answer, Halt> {
        self.connection.set_deadline(until);
        self.inbox.receive(&mut self.connection)
    }

    /// Says goodbye.
    pub(super) fn close(self) {
        self.connection.close();
    }
}

/// The octets of the LDAP message that asks.
fn request(asked: &Asked) -> io::Result<BytesMut> {
    let op = LdapOp::ExtendedRequest(LdapExtendedRequest { name: OID.into(), value: Some(asked.to_json()) });
    let mut octets = BytesMut::new();
    codec().encode(LdapMsg { msgid: 1, op, ctrl: Vec::new() }, &mut octets)?;
    Ok(octets)
}

fn codec() -> LdapCodec {
    LdapCodec::new(Some(ANSWER_OCTETS_MAX + ENVELOPE_OCTETS_MAX), Some(DEPTH_MAX))
}

/// What has arrived of the answer.
struct Inbox {
    codec: LdapCodec,
    octets: BytesMut,
}

impl Inbox {
    fn new() -> Self {
        Self { codec: codec(), octets: BytesMut::new() }
    }

    /// Reads until the answer is complete.
    fn receive(&mut self, stream: &mut impl Read) -> Result<Answer, Halt> {
        let mut chunk = [0; READ_OCTETS];
        loop {
            match self.codec.decode(&mut self.octets) {
                Ok(Some(message)) => return understand(message).map_err(Halt::Failed),
                Ok(None) => {}
                Err(error) => return Err(Halt::Failed(format!("it sent what is no LDAP answer: {error}"))),
            }
            match stream.read(&mut chunk) {
                Ok(0) => return Err(Halt::Failed("it closed the connection without an answer".into())),
                Ok(n) => self.octets.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The answer in a message, or why there is none.
fn understand(message: LdapMsg) -> Result<Answer, String> {
    let LdapOp::ExtendedResponse(response) = message.op else {
        return Err("it sent another operation's answer".into());
    };
    if response.res.code != LdapResultCode::Success {
        let code = response.res.code;
        return Err(format!("it cannot judge ({code:?}): {}", response.res.message));
    }
    if message.msgid != 1 {
        return Err("it answered a question that was not asked".into());
    }
    Answer::parse(&response.value.ok_or("it sent an answer without a value")?).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use ldap3_proto::proto::{LdapExtendedResponse, LdapResult};

    use super::{super::tests::*, *};
    use crate::ask::What;

    fn response(msgid: i32, code: LdapResultCode, value: Option<Vec<u8>>) -> LdapMsg {
        let res = LdapResult { code, matcheddn: String::new(), message: "host unknown".into(), referral: vec![] };
        let op = LdapOp::ExtendedResponse(LdapExtendedResponse { res, name: Some(OID.into()), value });
        LdapMsg { msgid, op, ctrl: vec![] }
    }

    fn octets(message: LdapMsg) -> Vec<u8> {
        let mut octets = BytesMut::new();
        codec().encode(message, &mut octets).unwrap();
        octets.to_vec()
    }

    #[test]
    fn the_question_is_an_extended_operation() {
        let mut sent = request(&asked("alice", What::Keys)).unwrap();
        let message = codec().decode(&mut sent).unwrap().unwrap();
        let LdapOp::ExtendedRequest(request) = message.op else { panic!("{message:?}") };
        assert_eq!(request.name, OID);
        assert_eq!(Asked::parse(&request.value.unwrap()), Ok(asked("alice", What::Keys)));
    }

    #[test]
    fn an_answer_may_come_in_pieces() {
        struct Drops(Vec<u8>);
        impl Read for Drops {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                if self.0.is_empty() {
                    return Ok(0);
                }
                buf[0] = self.0.remove(0);
                Ok(1)
            }
        }
        let sent = octets(response(1, LdapResultCode::Success, Some(admitted().to_json())));
        assert_eq!(Inbox::new().receive(&mut Drops(sent.clone())), Ok(admitted()));
        let cut = sent[..sent.len() - 1].to_vec();
        let closed = Halt::Failed("it closed the connection without an answer".into());
        assert_eq!(Inbox::new().receive(&mut Drops(cut)), Err(closed));
    }

    #[test]
    fn what_is_no_answer_is_a_failure_and_never_a_denial() {
        let busy = response(1, LdapResultCode::Busy, None);
        assert_eq!(understand(busy), Err("it cannot judge (Busy): host unknown".into()));
        let other = response(2, LdapResultCode::Success, Some(admitted().to_json()));
        assert_eq!(understand(other), Err("it answered a question that was not asked".into()));
        assert!(understand(response(1, LdapResultCode::Success, None)).is_err());
        let halted = Inbox::new().receive(&mut &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]);
        assert!(matches!(halted, Err(Halt::Failed(_))), "{halted:?}");
    }

    #[test]
    fn an_endless_answer_ends_at_the_limit() {
        // A sequence that says it has 16 MiB.
        let mut endless = (&[0x30, 0x84, 0x01, 0, 0, 0][..]).chain(io::repeat(0x04));
        let error = String::from(Inbox::new().receive(&mut endless).unwrap_err());
        assert!(error.contains("no LDAP answer"), "{error}");
    }

    #[test]
    fn what_comes_late_is_waited_for_again() {
        /// Gives its parts one by one, and is late after each.
        struct Parts(Vec<Vec<u8>>, bool);
        impl Read for Parts {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if !self.1 || self.0.is_empty() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                let part = self.0.remove(0);
                buf[..part.len()].copy_from_slice(&part);
                Ok(part.len())
            }
        }
        let sent = octets(response(1, LdapResultCode::Success, Some(admitted().to_json())));
        let (first, rest) = sent.split_at(7);
        let (mut parts, mut inbox) = (Parts(vec![first.into(), rest.into()], false), Inbox::new());
        assert_eq!(inbox.receive(&mut parts), Err(Halt::Late));
        assert_eq!(inbox.receive(&mut parts), Ok(admitted()));
    }
}
