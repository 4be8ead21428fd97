//! The asking side: one question to several appliances, one deadline.
//!
//! The first appliance, when it is an address, is asked without another thread as long as nobody else is to be asked: on a
//! good day a login waits for nothing more. Then there is one thread per address that is asked, at most [`APPLIANCES_MAX`],
//! the first going on where it was; those that lose are left alone and end with the process. A runtime would need longer to
//! start than the answer takes. A name is resolved by the thread that asks its first address, because that may take longer
//! than there is time; its other addresses are asked like further appliances.

use std::{
    fmt, mem,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use wire::blocking::BlockingClient;

use super::{
    Answer, Asked,
    hedge::{Hedge, Step},
    talk::{Halt, Talk},
};

/// Most appliances that a client may name, and most addresses that one question goes to.
pub const APPLIANCES_MAX: usize = 16;
/// The port when none is named: LDAP over TLS.
pub const PORT_DEFAULT: u16 = 636;

/// Shorter than this, time alone is not worth it: to connect may take as long, and would be begun anew.
const ALONE_MIN: Duration = Duration::from_millis(100);

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
    let deadline = started + settings.deadline;
    let mut waiting: Vec<usize> = Vec::new();
    let mut failures = Vec::new();
    let mut is_first = true;
    loop {
        let step = hedge.step(started.elapsed());
        let (n, outcome) = match step {
            Step::Ask(n) => {
                let until = hedge.quiet_until();
                let is_alone = mem::take(&mut is_first) && until.saturating_sub(started.elapsed()) >= ALONE_MIN;
                let begun = match targets.0.get(n) {
                    Some(target) => {
                        let question = Question {
                            n,
                            target: target.clone(),
                            name: settings.server_name.clone().unwrap_or_else(|| target.appliance.host.clone()),
                            tls: settings.tls.clone(),
                            asked: asked.clone(),
                            deadline,
                            news: sender.clone(),
                            talk: None,
                        };
                        if is_alone { question.ask_here(started + until) } else { question.ask_beside() }
                    }
                    None => Err(Halt::Failed("nobody knows where it is".into())),
                };
                match begun {
                    Ok(answer) => (n, Ok(answer)),
                    Err(Halt::Failed(why)) => (n, Err(why)),
                    Err(Halt::Late) => {
                        waiting.push(n);
                        continue;
                    }
                }
            }
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

/// What one target is asked, before or while it is.
struct Question {
    n: usize,
    target: Target,
    /// What its certificate must name.
    name: String,
    tls: BlockingClient,
    asked: Asked,
    deadline: Instant,
    news: SyncSender<News>,
    talk: Option<Talk>,
}

impl Question {
    /// Asks on this thread until then, where no name need be resolved, and from then on as [`Question::ask_beside`]. What
    /// was not even connected by then is connected anew: the other side may never have heard of the first try.
    fn ask_here(mut self, until: Instant) -> Result<Answer, Halt> {
        let Some(address) = self.target.known() else { return self.ask_beside() };
        match self.ask(address, until) {
            Err(Halt::Late) if until < self.deadline => self.ask_beside(),
            heard => heard,
        }
    }

    /// Asks, or asks on, on a thread of its own. [`Halt::Late`]: what comes of it will be news.
    fn ask_beside(mut self) -> Result<Answer, Halt> {
        let name = format!("ask-{}", self.n);
        // Nobody listens any more when another appliance was faster.
        let work = move || {
            let outcome = self.target.addresses().and_then(|(address, others)| {
                if !others.is_empty() {
                    let _ = self.news.send(News::Addresses(self.n, others));
                }
                self.ask(address, self.deadline).map_err(String::from)
            });
            let _ = self.news.send(News::Outcome(self.n, outcome));
        };
        match thread::Builder::new().name(name).spawn(work) {
            Ok(_) => Err(Halt::Late),
            Err(error) => Err(Halt::Failed(format!("a thread cannot be started: {error}"))),
        }
    }

    fn ask(&mut self, address: SocketAddr, until: Instant) -> Result<Answer, Halt> {
        let mut talk = match self.talk.take() {
            Some(talk) => talk,
            None => Talk::begin(&self.tls, address, &self.name, &self.asked, until)?,
        };
        let heard = talk.answer(until);
        match &heard {
            Ok(_) => talk.close(),
            Err(Halt::Late) => self.talk = Some(talk),
            Err(Halt::Failed(_)) => {}
        }
        heard
    }
}

impl Target {
    /// The address to ask, if nothing need be resolved.
    fn known(&self) -> Option<SocketAddr> {
        let literal = || self.appliance.host.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, self.appliance.port));
        self.address.or_else(literal)
    }

    /// The address to ask, and what else its name resolves to.
    fn addresses(&self) -> Result<(SocketAddr, Vec<SocketAddr>), String> {
        if let Some(address) = self.known() {
            return Ok((address, Vec::new()));
        }
        let named = (self.appliance.host.as_str(), self.appliance.port);
        let mut found: Vec<SocketAddr> = Vec::new();
        for address in named.to_socket_addrs().map_err(|error| error.to_string())? {
            if !found.contains(&address) && found.len() < APPLIANCES_MAX {
                found.push(address);
            }
        }
        let others = found.split_off(found.len().min(1));
        Ok((found.pop().ok_or("the name has no address")?, others))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};
    use crate::ask::What;

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
