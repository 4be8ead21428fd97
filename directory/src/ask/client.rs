//! The asking side: one question to several appliances, one deadline.
//!
//! One thread per address that is asked, at most [`APPLIANCES_MAX`]; those that lose are left alone and end with the
//! process. A runtime would need longer to start than the answer takes. A name is resolved by the thread that asks its first
//! address; its other addresses are asked like further appliances.

use std::{
    fmt,
    io::{self, Read},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use ldap3_proto::{
    LdapCodec,
    proto::{LdapExtendedRequest, LdapMsg, LdapOp, LdapResultCode},
};
use tokio_util::codec::{Decoder, Encoder};
use wire::blocking::BlockingClient;

use super::{
    ANSWER_OCTETS_MAX, Answer, Asked, OID,
    hedge::{Hedge, Step},
};

/// Most appliances that a client may name, and most addresses that one question goes to.
pub const APPLIANCES_MAX: usize = 16;
/// The port when none is named: LDAP over TLS.
pub const PORT_DEFAULT: u16 = 636;

/// Deepest nesting of a message with an answer.
const DEPTH_MAX: usize = 8;
/// Octets of a message beside the answer's own.
const ENVELOPE_OCTETS_MAX: usize = 4096;
/// Octets that are read at once.
const READ_OCTETS: usize = 16 * 1024;

/// Where an appliance answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appliance {
    /// An address, or a name that the instance's resolver knows.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Appliance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl std::str::FromStr for Appliance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(Self { host: ip.to_string(), port: PORT_DEFAULT });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (text, Some(PORT_DEFAULT)),
        };
        let is_name = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        match port {
            Some(port) if !host.is_empty() && is_name(host) => Ok(Self { host: host.into(), port }),
            _ => Err(format!("{text:?} is no appliance; write 10.0.0.2:636 or ldap.acme.private:636")),
        }
    }
}

/// How to ask.
#[derive(Clone)]
pub struct Settings {
    /// In order of preference.
    pub appliances: Vec<Appliance>,
    /// Which servers are believed, and as whom we come.
    pub tls: BlockingClient,
    /// What the appliances' certificates name, if not the host that is connected to.
    pub server_name: Option<String>,
    /// Pause without an answer after which the next appliance is asked too.
    pub hedge: Duration,
    /// Time for everything together.
    pub deadline: Duration,
}

/// An answer and how it came.
#[derive(Debug)]
pub struct Heard {
    /// The answer.
    pub answer: Answer,
    /// Who gave it, as a number in [`Settings::appliances`].
    pub from: usize,
    /// Who was asked before and failed, one text each.
    pub failures: Vec<String>,
}

/// Nobody answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no appliance answered: {}", .0.join("; "))]
pub struct Unheard(pub Vec<String>);

/// Asks, and waits for the first answer. `started` is when the deadline began to run; `preferred` is asked first.
///
/// # Errors
/// What became of each question when there was no answer in time.
pub fn ask(settings: &Settings, asked: &Asked, preferred: Option<usize>, started: Instant) -> Result<Heard, Unheard> {
    let mut targets = Targets::new(&settings.appliances);
    let mut hedge = Hedge::new(targets.0.len(), preferred, settings.hedge, settings.deadline);
    // Each thread sends its name's other addresses and an outcome at most: none ever waits here.
    let (sender, news) = sync_channel(2 * APPLIANCES_MAX);
    let mut waiting: Vec<usize> = Vec::new();
    let mut failures = Vec::new();
    loop {
        let step = hedge.step(started.elapsed());
        let (n, outcome) = match step {
            Step::Ask(n) => match begin(settings, asked, (n, targets.0.get(n).cloned()), started, sender.clone()) {
                Ok(()) => {
                    waiting.push(n);
                    continue;
                }
                Err(error) => (n, Err(format!("a thread cannot be started: {error}"))),
            },
            Step::WaitUntil(until) => match news.recv_timeout(until.saturating_sub(started.elapsed())) {
                Ok(News::Outcome(n, outcome)) => (n, outcome),
                Ok(News::Addresses(n, addresses)) => {
                    targets.extend(n, addresses).for_each(|one| hedge.add(one));
                    continue;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => continue,
            },
            Step::GiveUp => {
                let within = settings.deadline.as_millis();
                let silent = |n: &usize| format!("{} did not answer in {within} ms", targets.name(*n));
                failures.extend(waiting.iter().map(silent));
                return Err(Unheard(failures));
            }
        };
        waiting.retain(|one| *one != n);
        match outcome {
            Ok(answer) => {
                failures.extend(waiting.iter().map(|n| format!("{} was slower", targets.name(*n))));
                let from = targets.0.get(n).map_or(0, |target| target.of);
                return Ok(Heard { answer, from, failures });
            }
            Err(reason) => {
                failures.push(format!("{}: {reason}", targets.name(n)));
                hedge.failed(started.elapsed());
            }
        }
    }
}

/// What can be asked.
#[derive(Debug, Clone)]
struct Target {
    appliance: Appliance,
    /// Its number in [`Settings::appliances`].
    of: usize,
    /// None: the name's first address, once it is known.
    address: Option<SocketAddr>,
}

/// The appliances, then further addresses of their names as these become known: at most [`APPLIANCES_MAX`].
#[derive(Debug)]
struct Targets(Vec<Target>);

impl Targets {
    fn new(appliances: &[Appliance]) -> Self {
        let target = |(of, appliance): (usize, &Appliance)| Target { appliance: appliance.clone(), of, address: None };
        Self(appliances.iter().take(APPLIANCES_MAX).enumerate().map(target).collect())
    }

    /// Takes in what else target `n` resolved to; the numbers of those that are new.
    fn extend(&mut self, n: usize, addresses: Vec<SocketAddr>) -> std::ops::Range<usize> {
        let before = self.0.len();
        let Some(named) = self.0.get(n).cloned() else { return before..before };
        for address in addresses {
            let is_known = self.0.iter().any(|target| target.of == named.of && target.address == Some(address));
            if !is_known && self.0.len() < APPLIANCES_MAX {
                self.0.push(Target { address: Some(address), ..named.clone() });
            }
        }
        before..self.0.len()
    }

    fn name(&self, n: usize) -> String {
        let Some(target) = self.0.get(n) else { return String::new() };
        match target.address {
            Some(address) => format!("{} at {}", target.appliance, address.ip()),
            None => target.appliance.to_string(),
        }
    }
}

/// What a thread that asks has to say.
enum News {
    /// The name of this target has these addresses beside the one that is being asked.
    Addresses(usize, Vec<SocketAddr>),
    /// What came of this target.
    Outcome(usize, Result<Answer, String>),
}

/// Starts the thread that asks one target.
fn begin(
    settings: &Settings,
    asked: &Asked,
    (n, target): (usize, Option<Target>),
    started: Instant,
    news: SyncSender<News>,
) -> io::Result<()> {
    let target = target.ok_or(io::ErrorKind::NotFound)?;
    let (tls, asked) = (settings.tls.clone(), asked.clone());
    let name = settings.server_name.clone().unwrap_or_else(|| target.appliance.host.clone());
    let deadline = started + settings.deadline;
    // Nobody listens any more when another appliance was faster.
    let work = move || {
        let outcome = target.addresses().and_then(|(address, others)| {
            if !others.is_empty() {
                let _ = news.send(News::Addresses(n, others));
            }
            ask_one(&tls, address, &name, &asked, deadline)
        });
        let _ = news.send(News::Outcome(n, outcome));
    };
    thread::Builder::new().name(format!("ask-{n}")).spawn(work).map(drop)
}

impl Target {
    /// The address to ask, and what else its name resolves to.
    fn addresses(&self) -> Result<(SocketAddr, Vec<SocketAddr>), String> {
        if let Some(address) = self.address {
            return Ok((address, Vec::new()));
        }
        let named = (self.appliance.host.as_str(), self.appliance.port);
        let mut found: Vec<SocketAddr> = Vec::new();
        for address in named.to_socket_addrs().map_err(sentence)? {
            if !found.contains(&address) && found.len() < APPLIANCES_MAX {
                found.push(address);
            }
        }
        let others = found.split_off(found.len().min(1));
        Ok((found.pop().ok_or("the name has no address")?, others))
    }
}

fn sentence(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
    }
}

fn ask_one(
    tls: &BlockingClient,
    address: SocketAddr,
    name: &str,
    asked: &Asked,
    deadline: Instant,
) -> Result<Answer, String> {
    let request = request(asked).map_err(sentence)?;
    let mut connection = tls.connect(address, name, &request, deadline).map_err(sentence)?;
    let answer = receive(&mut connection)?;
    connection.close();
    Ok(answer)
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

/// Reads until the answer is complete.
fn receive(stream: &mut impl Read) -> Result<Answer, String> {
    let mut codec = codec();
    let mut octets = BytesMut::with_capacity(READ_OCTETS);
    let mut chunk = vec![0; READ_OCTETS];
    loop {
        match codec.decode(&mut octets) {
            Ok(Some(message)) => return understand(message),
            Ok(None) => {}
            Err(error) => return Err(format!("it sent what is no LDAP answer: {error}")),
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Err("it closed the connection without an answer".into()),
            Ok(n) => octets.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err("no answer in time".into()),
            Err(error) => return Err(error.to_string()),
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
        assert_eq!(receive(&mut Drops(sent.clone())), Ok(admitted()));
        let cut = sent[..sent.len() - 1].to_vec();
        assert_eq!(receive(&mut Drops(cut)), Err("it closed the connection without an answer".into()));
    }

    #[test]
    fn what_is_no_answer_is_a_failure_and_never_a_denial() {
        let busy = response(1, LdapResultCode::Busy, None);
        assert_eq!(understand(busy), Err("it cannot judge (Busy): host unknown".into()));
        let other = response(2, LdapResultCode::Success, Some(admitted().to_json()));
        assert_eq!(understand(other), Err("it answered a question that was not asked".into()));
        assert!(understand(response(1, LdapResultCode::Success, None)).is_err());
        assert!(receive(&mut &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]).is_err());
    }

    #[test]
    fn an_endless_answer_ends_at_the_limit() {
        // A sequence that says it has 16 MiB.
        let mut endless = (&[0x30, 0x84, 0x01, 0, 0, 0][..]).chain(io::repeat(0x04));
        let error = receive(&mut endless).unwrap_err();
        assert!(error.contains("no LDAP answer"), "{error}");
    }

    #[test]
    fn every_address_of_a_name_is_a_target_within_the_limit() {
        let named = |name: &str| name.parse::<Appliance>().unwrap();
        let address = |last: u8| SocketAddr::from(([10, 0, 0, last], 636));
        let mut targets = Targets::new(&[named("ldap.acme.private"), named("10.1.0.2")]);
        assert_eq!(targets.extend(0, vec![address(3), address(4), address(3)]), 2..4);
        assert_eq!(targets.extend(0, vec![address(4)]), 4..4, "it is known");
        assert_eq!(targets.name(3), "ldap.acme.private:636 at 10.0.0.4");
        assert_eq!((targets.0[3].of, targets.0[3].addresses()), (0, Ok((address(4), vec![]))));
        targets.extend(1, (5..100).map(address).collect());
        assert_eq!(targets.0.len(), APPLIANCES_MAX);
    }

    #[test]
    fn a_name_is_not_given_up_with_its_first_address() {
        // localhost has one address or two; what answers at them is no appliance.
        let dir = tempfile::tempdir().unwrap();
        let root = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("ca.pem"), root.cert.pem()).unwrap();
        let settings = Settings {
            appliances: vec![Appliance { host: "localhost".into(), port: 1 }],
            tls: BlockingClient::load(&dir.path().join("ca.pem"), None).unwrap(),
            server_name: None,
            hedge: Duration::from_millis(200),
            deadline: Duration::from_secs(10),
        };
        let Unheard(failures) = ask(&settings, &asked("alice", What::Keys), None, Instant::now()).unwrap_err();
        let addresses = ("localhost", 1).to_socket_addrs().unwrap().collect::<std::collections::HashSet<_>>().len();
        assert_eq!(failures.len(), addresses, "{failures:?}");
        assert!(failures[0].starts_with("localhost:1: "), "{failures:?}");
    }

    #[test]
    fn appliances_are_addresses_or_names() {
        let parsed = |text: &str| text.parse::<Appliance>().map(|a| a.to_string());
        assert_eq!(parsed("10.0.0.2"), Ok("10.0.0.2:636".into()));
        assert_eq!(parsed("10.0.0.2:1636"), Ok("10.0.0.2:1636".into()));
        assert_eq!(parsed("[fd00::2]:1636"), Ok("[fd00::2]:1636".into()));
        assert_eq!(parsed("fd00::2"), Ok("[fd00::2]:636".into()));
        assert_eq!(parsed("ldap.acme.private"), Ok("ldap.acme.private:636".into()));
        for bad in ["", ":636", "a b", "ldap:x", "http://10.0.0.2"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
