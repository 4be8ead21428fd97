//! What a RELP server answers: a session without I/O.
//!
//! `open` comes first and once, with offers; `syslog` carries a line and `gatehouse` a record of another relay of ours
//! (offered only to a client that offers it, and that may say for other hosts what they log); `close` ends the session. Answers go out in the order of the commands
//! (relp.md), and the caller sends them only when what they acknowledge is durable.
//!
//! Limits: a batch of answers has at most one entry per frame of one read, and lines in a row share an entry.

use super::frame::{Bad, DATA_MAX, Frame, encode, next_txnr, offer};
use crate::message::RECORD_MAX;

/// The command that carries a line.
pub(super) const LINE: &[u8] = b"syslog";
/// The command that carries a record of another relay of ours.
const RECORD: &[u8] = b"gatehouse";

/// What we call ourselves in `relp_software`.
const SOFTWARE: &str = concat!("gatehouse,", env!("CARGO_PKG_VERSION"));

/// What a frame asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// Take this line; then [`Answers::ok`].
    Line(&'a [u8]),
    /// Take this record; then [`Answers::ok`] or [`Answers::refused`].
    Record(&'a [u8]),
    /// Nothing: the answer is made.
    Answered,
    /// The session ends when all answers are sent; the answer is made.
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Closed,
}

/// The server's end of a connection.
#[derive(Debug)]
pub struct Session {
    state: State,
    next: u32,
    may_relay: bool,
    syslog: bool,
    records: bool,
    /// Whether the client offered records that it may not send.
    held_to_lines: bool,
}

impl Default for Session {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Session {
    /// Before `open`. `may_relay`: the client may send records of a relay of ours, with the hosts and labels that stand in
    /// them; without it that command is neither offered nor taken.
    pub fn new(may_relay: bool) -> Self {
        Self { state: State::New, next: 1, may_relay, syslog: false, records: false, held_to_lines: false }
    }

    /// Whether the client offered records that it may not send.
    pub fn is_held_to_lines(&self) -> bool {
        self.held_to_lines
    }

    /// Whether records of another relay of ours may come.
    pub fn takes_records(&self) -> bool {
        self.records
    }

    /// Whether `open` was answered.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Octets of data that a command may have: of lines and records, once they are agreed on, as many as a record may
    /// have, because a line that was refused would only be sent again.
    pub fn data_max(&self, command: &[u8]) -> usize {
        match command {
            LINE if self.syslog => RECORD_MAX,
            RECORD if self.records => RECORD_MAX,
            _ => DATA_MAX,
        }
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// The connection must end; answers that were made before are still owed.
    pub fn take<'a>(&mut self, frame: Frame<'a>, answers: &mut Answers) -> Result<Asked<'a>, Bad> {
        if frame.txnr == 0 {
            return Ok(Asked::Answered);
        }
        if frame.txnr != self.next {
            return Err(Bad::Order);
        }
        self.next = next_txnr(self.next);
        match (self.state, frame.command) {
            (State::Closed, _) => Err(Bad::State),
            (State::New, b"open") => Ok(self.open(frame, answers)),
            (_, b"close") => {
                self.state = State::Closed;
                answers.add(frame.txnr, "");
                Ok(Asked::Close)
            }
            (State::New, _) => Err(Bad::State),
            (State::Open, LINE) if self.syslog => Ok(Asked::Line(frame.data)),
            (State::Open, RECORD) if self.records => Ok(Asked::Record(frame.data)),
            (State::Open, b"open") => {
                answers.add(frame.txnr, "500 the session is open already");
                Ok(Asked::Answered)
            }
            (State::Open, _) => {
                answers.add(frame.txnr, "500 this command was not agreed on");
                Ok(Asked::Answered)
            }
        }
    }

    fn open(&mut self, frame: Frame<'_>, answers: &mut Answers) -> Asked<'static> {
        let offers =
            |command: &[u8]| offer(frame.data, "commands").is_some_and(|mut all| all.any(|one| one == command));
        let (syslog, records) = (offers(LINE), offers(RECORD));
        (self.syslog, self.records) = (syslog, records && self.may_relay);
        self.held_to_lines = records && !self.may_relay;
        let commands = match (self.syslog, self.records) {
            (true, true) => "syslog,gatehouse",
            (true, false) => "syslog",
            (false, true) => "gatehouse",
            (false, false) => {
                self.state = State::Closed;
                answers.add(frame.txnr, "500 no command in common; offer commands=syslog");
                return Asked::Close;
            }
        };
        self.state = State::Open;
        let version = match offer(frame.data, "relp_version").and_then(|mut versions| versions.next()) {
            Some(b"0") | None => 0,
            Some(_) => 1,
        };
        answers
            .add(frame.txnr, format!("200 OK\nrelp_version={version}\nrelp_software={SOFTWARE}\ncommands={commands}"));
        Asked::Answered
    }
}

#[derive(Debug)]
enum Answer {
    /// `200 OK` to that many commands from `first` on.
    Ok { first: u32, count: u32 },
    /// That text.
    Text { txnr: u32, text: std::borrow::Cow<'static, str> },
}

/// Answers that are owed, in order.
#[derive(Debug, Default)]
pub struct Answers(Vec<Answer>);

impl Answers {
    /// Whether none is owed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of commands that are answered.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|answer| if let Answer::Ok { count, .. } = answer { u64::from(*count) } else { 1 }).sum()
    }

    /// The command is carried out. Commands follow one another, as the session has seen to.
    pub fn ok(&mut self, txnr: u32) {
        match self.0.last_mut() {
            Some(Answer::Ok { first, count }) if *first + *count == txnr => *count += 1,
            _ => self.0.push(Answer::Ok { first: txnr, count: 1 }),
        }
    }

    /// The command cannot be carried out, and will not be when it is sent again.
    pub fn refused(&mut self, txnr: u32) {
        self.add(txnr, "500 this is no record");
    }

    fn add(&mut self, txnr: u32, text: impl Into<std::borrow::Cow<'static, str>>) {
        self.0.push(Answer::Text { txnr, text: text.into() });
    }

    /// Appends the frames.
    pub fn write(&self, out: &mut Vec<u8>) {
        for answer in &self.0 {
            match answer {
                Answer::Ok { first, count } => {
                    for txnr in *first..first.saturating_add(*count) {
                        encode(txnr, b"rsp", b"200 OK", out);
                    }
                }
                Answer::Text { txnr, text } => encode(*txnr, b"rsp", text.as_bytes(), out),
            }
        }
    }
}

/// Appends the hint that we are about to close.
pub fn server_close(out: &mut Vec<u8>) {
    encode(0, b"serverclose", b"", out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relp::frame::{Response, TXNR_MAX};

    fn frame<'a>(txnr: u32, command: &'a str, data: &'a str) -> Frame<'a> {
        Frame { txnr, command: command.as_bytes(), data: data.as_bytes() }
    }

    fn written(answers: &Answers) -> String {
        let mut out = Vec::new();
        answers.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn opened(offers: &str) -> (Session, String) {
        let (mut session, mut answers) = (Session::new(true), Answers::default());
        session.take(frame(1, "open", offers), &mut answers).unwrap();
        (session, written(&answers))
    }

    #[test]
    fn a_stock_client_never_sees_our_own_command() {
        let (mut session, answer) = opened("relp_version=0\nrelp_software=librelp,1.11.0\ncommands=syslog");
        let rest = answer.strip_prefix("1 rsp ").unwrap().split_once(' ').unwrap().1;
        let response = Response::parse(rest.as_bytes()).unwrap();
        assert_eq!(response.code, 200);
        assert!(answer.contains("\nrelp_version=0\n") && answer.ends_with("\ncommands=syslog\n"), "{answer}");
        let mut answers = Answers::default();
        assert_eq!(session.take(frame(2, "gatehouse", "x"), &mut answers), Ok(Asked::Answered));
        assert!(written(&answers).contains("500"));
        assert!(!session.takes_records());

        let (session, answer) = opened("relp_version=1\ncommands=eventlog,syslog,gatehouse");
        assert!(answer.contains("\nrelp_version=1\n") && answer.ends_with("\ncommands=syslog,gatehouse\n"), "{answer}");
        assert!(session.takes_records());
        let (session, answer) = opened("commands=eventlog");
        assert!(answer.contains("500 no command in common") && !session.is_open(), "{answer}");
    }

    #[test]
    fn records_are_taken_only_of_who_may_relay() {
        for (offers, commands) in [("commands=syslog,gatehouse", "commands=syslog\n"), ("commands=gatehouse", "500 no")]
        {
            let (mut session, mut answers) = (Session::default(), Answers::default());
            session.take(frame(1, "open", offers), &mut answers).unwrap();
            let answer = written(&answers);
            assert!(answer.contains(commands) && !answer.contains("gatehouse\n"), "{answer}");
            assert!(session.is_held_to_lines() && !session.takes_records());
        }
        let (mut session, mut answers) = (Session::default(), Answers::default());
        session.take(frame(1, "open", "commands=syslog,gatehouse"), &mut answers).unwrap();
        assert_eq!(session.take(frame(2, "gatehouse", "x"), &mut answers), Ok(Asked::Answered));
        assert!(written(&answers).ends_with("500 this command was not agreed on\n"));
        assert!(!opened("commands=syslog").0.is_held_to_lines() && !opened("commands=gatehouse").0.is_held_to_lines());
    }

    #[test]
    fn answers_come_in_the_order_of_commands() {
        let (mut session, _) = opened("commands=syslog,gatehouse");
        let mut answers = Answers::default();
        for txnr in 2..=4 {
            assert_eq!(session.take(frame(txnr, "syslog", "x"), &mut answers), Ok(Asked::Line(b"x")));
            answers.ok(txnr);
        }
        assert_eq!(session.take(frame(5, "gatehouse", "y"), &mut answers), Ok(Asked::Record(b"y")));
        answers.refused(5);
        assert_eq!(session.take(frame(0, "hint", ""), &mut answers), Ok(Asked::Answered));
        assert_eq!(session.take(frame(6, "close", ""), &mut answers), Ok(Asked::Close));
        assert_eq!((answers.0.len(), answers.count()), (3, 5), "lines in a row share an entry");
        assert_eq!(
            written(&answers),
            "2 rsp 6 200 OK\n3 rsp 6 200 OK\n4 rsp 6 200 OK\n5 rsp 21 500 this is no record\n6 rsp 0\n"
        );
        assert_eq!(session.take(frame(7, "syslog", "x"), &mut answers), Err(Bad::State));
    }

    #[test]
    fn order_and_state_are_kept() {
        let (mut session, mut answers) = (Session::default(), Answers::default());
        assert_eq!(session.take(frame(1, "syslog", "x"), &mut answers), Err(Bad::State));
        assert_eq!(Session::default().take(frame(2, "open", ""), &mut answers), Err(Bad::Order));
        let (mut session, _) = opened("commands=syslog");
        session.next = TXNR_MAX;
        for txnr in [TXNR_MAX, 1, 2] {
            assert_eq!(session.take(frame(txnr, "syslog", ""), &mut answers), Ok(Asked::Line(b"")));
            answers.ok(txnr);
        }
        assert_eq!(written(&answers), "999999999 rsp 6 200 OK\n1 rsp 6 200 OK\n2 rsp 6 200 OK\n");
        assert!(session.take(frame(2, "syslog", ""), &mut answers).is_err());
    }
}
