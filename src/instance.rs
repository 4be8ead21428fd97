//! What runs on instances: `gatehouse keys` for sshd and `gatehouse access check` for PAM.
//!
//! Appliances are asked over TLS; the first good answer wins and is kept on disk. When none answers in time, the answer on
//! disk holds for its time. Each decision is a line in the system's log. sshd throws standard error away and PAM shows
//! nothing of it, so what goes wrong is logged as well. Nothing here starts a runtime, a thread pool or the node's log: a
//! login waits for this process.

use std::{
    io::{Read, Write},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use directory::ask::{
    Answer, Asked, What,
    cache::{Cache, Recalled},
    client::{self, Heard},
};
use jiff::tz::TimeZone;
use wire::blocking::BlockingClient;

use crate::{args, clock, exit::Exit};

mod lines;
mod settings;
pub(crate) mod snippets;
mod syslog;

use settings::Settings;
use syslog::{Level, Line};

/// Most octets of a time zone's file.
const ZONE_OCTETS_MAX: u64 = 64 * 1024;

/// How long appliances are asked when none answered a moment ago and the disk has an answer: a login asks several times.
const DEADLINE_AFTER_SILENCE: Duration = Duration::from_millis(300);

/// PAM's own numbers, as exit codes of `gatehouse access check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pam {
    Success = 0,
    PermDenied = 6,
    AuthinfoUnavail = 9,
    UserUnknown = 10,
}

impl From<Pam> for ExitCode {
    fn from(pam: Pam) -> Self {
        Self::from(pam as u8)
    }
}

/// What came of a question.
enum Outcome {
    /// An appliance said so.
    Heard(Heard),
    /// It is what one said that many seconds ago; why none says so now.
    Kept(Box<Answer>, u64, String),
    /// Nobody can decide: why.
    Nobody(String),
}

impl Outcome {
    fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Heard(heard) => Some(&heard.answer),
            Self::Kept(answer, ..) => Some(answer),
            Self::Nobody(_) => None,
        }
    }
}

/// One run of a command.
struct Run {
    what: What,
    started: Instant,
    now_ms: u64,
    zone: TimeZone,
}

/// `gatehouse keys`
pub(crate) fn keys(args: &args::Keys) -> ExitCode {
    let run = Run::begin(What::Keys);
    let asked = lines::about(&args.user, What::Keys);
    let Ok((settings, asked)) = run.prepare(&args.config, asked) else { return Exit::Config.into() };
    let (outcome, fault) = run.decide(&settings, &asked);
    run.log(&settings, &asked, &outcome, fault);
    match outcome.answer() {
        None => Exit::Unavailable.into(),
        Some(answer) => {
            let keys = if answer.is_allow() { answer.keys.as_slice() } else { &[] };
            let text: Vec<String> = keys.iter().map(|key| lines::key(key, answer.until, &run.zone)).collect();
            let printed = if text.is_empty() { Ok(()) } else { print(&text.join("\n")) };
            printed.map_or(Exit::Io.into(), |()| ExitCode::SUCCESS)
        }
    }
}

/// `gatehouse access check`
pub(crate) fn check(args: &args::AccessCheck) -> ExitCode {
    let run = Run::begin(What::Check);
    let from_pam = args.user.is_none();
    let asked = match lines::question(args, |name| std::env::var(name).ok()) {
        Ok(Some(asked)) => asked,
        // The end of a session is nothing to decide about.
        Ok(None) => return Pam::Success.into(),
        Err(sentence) => {
            complain(sentence);
            return Exit::Usage.into();
        }
    };
    let Ok((settings, asked)) = run.prepare(&args.config, asked) else { return Exit::Config.into() };
    let (outcome, fault) = run.decide(&settings, &asked);
    run.log(&settings, &asked, &outcome, fault);
    let code = verdict(outcome.answer());
    if !from_pam || code != Pam::Success {
        // The decision stands whether or not somebody reads why.
        let _ = print(&lines::for_people(&asked, &outcome));
    }
    code.into()
}

fn verdict(answer: Option<&Answer>) -> Pam {
    match answer {
        None => Pam::AuthinfoUnavail,
        Some(answer) if !answer.known => Pam::UserUnknown,
        Some(answer) if answer.is_allow() => Pam::Success,
        Some(_) => Pam::PermDenied,
    }
}

/// Prints a line. Unlike other commands, these do not end quietly when nobody reads: the exit code is a decision.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.inspect_err(|error| complain(&format!("the output cannot be written: {error}")))
}

/// Says on standard error what is wrong. Nobody may be reading there either, and that must not become a denial.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "gatehouse: {text}");
}

impl Run {
    fn begin(what: What) -> Self {
        Self { what, started: Instant::now(), now_ms: clock::now_ms(), zone: zone() }
    }

    /// Settings and a sound question; else the reason is printed and logged.
    fn prepare(&self, file: &Path, asked: Asked) -> Result<(Settings, Asked), ()> {
        let socket = Path::new(syslog::SOCKET);
        let fail = |socket: &Path, why: String| {
            complain(&why);
            let line = Line::new(&format!("{}: nobody can decide", self.what.as_str())).with("because", why);
            line.send(socket, Level::Warning, self.now_ms, &self.zone);
        };
        let settings = Settings::load(file).map_err(|problem| fail(socket, problem.to_string()))?;
        let asked = asked.checked().map_err(|error| fail(&settings.syslog, error.to_string()))?;
        Ok((settings, asked))
    }

    /// Asks the appliances, then the disk. Also what is wrong with the disk, which never changes a decision of an appliance.
    fn decide(&self, settings: &Settings, asked: &Asked) -> (Outcome, Option<String>) {
        let now_s = self.now_ms / 1000;
        let mut fault = None;
        let owner = nix::unistd::Uid::effective().as_raw();
        let age_max_s = settings.cache_max_age_h.saturating_mul(3600);
        let cache = match settings.cache_max_age_h {
            0 => None,
            _ => Cache::open(&settings.cache_dir, self.what, owner, age_max_s).map_err(|why| fault = Some(why)).ok(),
        };
        let recall = || cache.as_ref().map_or(Recalled::Nothing, |cache| cache.recall(asked, now_s));
        let in_short = cache.as_ref().is_some_and(Cache::is_silent) && matches!(recall(), Recalled::Usable(..));
        let reason = match self.ask(settings, asked, cache.as_ref(), in_short) {
            Ok(heard) => {
                let kept = cache.as_ref().map_or(Ok(()), |cache| cache.keep(asked, &heard.answer, now_s));
                let fault = fault.or(kept.err().map(|error| format!("the answer cannot be kept: {error}")));
                return (Outcome::Heard(heard), fault);
            }
            Err(reason) => reason,
        };
        let outcome = match recall() {
            Recalled::Usable(answer, age_s) => Outcome::Kept(answer, age_s, reason),
            Recalled::Nothing => Outcome::Nobody(format!("{reason}; no earlier answer is on disk")),
            Recalled::Expired(age_s) => {
                let age = clock::age(age_s.saturating_mul(1000));
                Outcome::Nobody(format!("{reason}; the answer on disk is {age} old and has expired"))
            }
            Recalled::Unusable(why) => Outcome::Nobody(format!("{reason}; the answer on disk cannot be used: {why}")),
        };
        (outcome, fault)
    }

    fn ask(&self, settings: &Settings, asked: &Asked, cache: Option<&Cache>, in_short: bool) -> Result<Heard, String> {
        let (hedge, deadline) = patience(settings, in_short);
        let identity = settings.cert.as_deref().zip(settings.key.as_deref());
        let settings = client::Settings {
            appliances: settings.appliances(),
            tls: BlockingClient::load(&settings.ca, identity).map_err(|e| e.to_string())?,
            server_name: settings.server_name.clone(),
            hedge,
            deadline,
        };
        let last = cache.and_then(Cache::preferred);
        let names: Vec<String> = settings.appliances.iter().map(ToString::to_string).collect();
        let preferred = names.iter().position(|name| last.as_ref() == Some(name));
        let heard = client::ask(&settings, asked, preferred, self.started);
        if let Some(cache) = cache {
            // What fails at once needs no shorter wait, and a short wait proves nothing that should be remembered. Without
            // this note, the next question only waits longer.
            let _ = match &heard {
                Ok(_) => cache.set_silent(false),
                Err(_) if !in_short && self.started.elapsed() >= DEADLINE_AFTER_SILENCE => cache.set_silent(true),
                Err(_) => Ok(()),
            };
        }
        let heard = heard.map_err(|e| e.to_string())?;
        if let Some(cache) = cache
            && preferred.unwrap_or(0) != heard.from
        {
            // Nobody is worse off when this is forgotten: the next login asks in the configured order.
            let _ = cache.prefer(names.get(heard.from).filter(|_| heard.from > 0).map(String::as_str));
        }
        Ok(heard)
    }

    fn log(&self, settings: &Settings, asked: &Asked, outcome: &Outcome, fault: Option<String>) {
        let appliances = settings.appliances();
        let (level, line) = lines::log(self.what, asked, outcome, &appliances);
        let line = line.with("ms", self.started.elapsed().as_millis()).maybe("disk", fault);
        line.send(&settings.syslog, level, self.now_ms, &self.zone);
    }
}

/// The pause before the next appliance is asked too, and the time for everything together. In short, all of them are asked
/// early enough to answer.
fn patience(settings: &Settings, in_short: bool) -> (Duration, Duration) {
    let (hedge, deadline) = (Duration::from_millis(settings.hedge_ms), settings.deadline());
    if !in_short {
        return (hedge, deadline);
    }
    let count = u32::try_from(settings.appliances().len()).unwrap_or(u32::MAX).max(1);
    (hedge.min(DEADLINE_AFTER_SILENCE / (2 * count)), deadline.min(DEADLINE_AFTER_SILENCE))
}

/// The time zone of this machine, read without the search that finding its name would need.
fn zone() -> TimeZone {
    let read = || {
        let mut octets = Vec::new();
        std::fs::File::open("/etc/localtime").ok()?.take(ZONE_OCTETS_MAX).read_to_end(&mut octets).ok()?;
        TimeZone::tzif("local", &octets).ok()
    };
    read().unwrap_or(TimeZone::UTC)
}
