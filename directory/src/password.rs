//! Password binds: who judges, in which order, and what everybody is told.
//!
//! 1. The upstream, while it answers: it keeps password policy and lock-outs, and its no is final.
//! 2. When it is gone, or there is none, or after [`PATIENCE`] without an answer where something here can judge: the `userPassword` values of the entry (weak schemes only by configuration, see [`Weak`]).
//! 3. Else a local verifier from the last success (`data_dir/directory/verifiers`), dropped when the entry shows that
//!    the password changed. Offline, locks and expiry of the account count as well.
//!
//! Every failure has the same code (49) and is told at the next full [`STEP`] after its beginning, or after the time
//! that the upstream usually takes, or the slowest hashing lately took: neither tells a wrong password from a name that does not exist. The true reason is in
//! [`Checked::reason`], for the decision log. Guessing is slowed down per (user, source); an attempt whose asker does not
//! wait for the answer counts as a failure. Hashing runs on few threads, and a queue in front of them that is full is
//! "busy". What is not bounded here is the number of connections: that is the server's.

mod crypt;
mod des;
mod here;
mod outcome;
mod phc;
mod scheme;
mod throttle;
mod upstream;
mod verifiers;

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use inventory::entry::{Entry, EntryId};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use self::{
    throttle::{Admission, Outcome, Throttle},
    upstream::{Said, Upstream},
    verifiers::Verifiers,
};
use crate::config::Config;

pub use outcome::{Checked, Via};
pub use scheme::{NotWeak, Weak};
pub use verifiers::Counters as VerifierCounters;

/// Octets of a password that is looked at.
pub const PASSWORD_MAX: usize = 1024;
/// Failures are told at multiples of this after the attempt began.
pub const STEP: Duration = Duration::from_millis(100);
/// How long the upstream is waited for when a hash or a verifier is at hand. A right password is then let in without it;
/// a wrong one still waits for it, for the upstream may know a newer one.
const PATIENCE: Duration = Duration::from_millis(700);
/// Threads that hash at the same time.
const HASHING: usize = 2;
/// What an account may be barred by while the upstream is gone: the reason, if any, at a time in Unix seconds.
pub type Account = fn(&Entry, u64) -> Option<&'static str>;

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Right passwords, by [`Via`].
    pub right_upstream: AtomicU64,
    /// By a `userPassword` value.
    pub right_hash: AtomicU64,
    /// By a local verifier.
    pub right_verifier: AtomicU64,
    /// Failures, all reasons together.
    pub wrong: AtomicU64,
    /// Failures among them that were refused unjudged.
    pub throttled: AtomicU64,
    /// Attempts told to come again.
    pub busy: AtomicU64,
    /// Attempts that nobody could judge.
    pub unavailable: AtomicU64,
    /// Attempts whose asker did not wait for the answer.
    pub abandoned: AtomicU64,
    /// Attempts judged without the upstream although there is one.
    pub offline: AtomicU64,
}

/// Why password binds cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum PasswordsError {
    /// A name in `weak_schemes`.
    #[error(transparent)]
    Weak(#[from] NotWeak),
    /// The thread that keeps verifiers. What the disk refuses is none: it is counted and logged.
    #[error("cannot start the thread that keeps {path}/verifiers: {error}")]
    Verifiers {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

struct Inner {
    upstream: Option<Arc<Upstream>>,
    verifiers: Verifiers,
    weak: Weak,
    account: Account,
    throttle: Mutex<Throttle>,
    /// Where the throttle's clock begins.
    began: Instant,
    hashing: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Time of the slowest hashing lately, in microseconds.
    slowest_us: AtomicU64,
    /// Time of a hashing for a name that does not exist, in microseconds.
    spend_us: u64,
    /// Whether an entry with a usable hash was ever seen.
    hashes: AtomicBool,
    counters: Counters,
}

/// The judge of passwords.
#[derive(Clone)]
pub struct Passwords(Arc<Inner>);

impl Passwords {
    /// A judge with the upstream and the weak schemes of the configuration. Verifiers are in `data_dir/directory`.
    /// It hashes once, to know how long that takes here; so it blocks the thread for some 30 ms.
    /// `account` says what bars an account; the upstream says so itself while it answers.
    pub fn new(config: &Config, data_dir: &Path, account: Account) -> Result<Self, PasswordsError> {
        let path = data_dir.join("directory");
        let weak = Weak::parse(&config.weak_schemes)?;
        let verifiers = Verifiers::open(&path).map_err(|error| PasswordsError::Verifiers { path, error })?;
        let measured = Instant::now();
        here::spend("");
        let spend_us = measured.elapsed().as_micros() as u64;
        Ok(Self(Arc::new(Inner {
            upstream: config.upstream.as_ref().map(|upstream| Arc::new(Upstream::new(upstream))),
            verifiers,
            weak,
            account,
            throttle: Mutex::default(),
            began: Instant::now(),
            hashing: Arc::new(Semaphore::new(HASHING)),
            waiting: AtomicUsize::new(0),
            slowest_us: AtomicU64::new(spend_us),
            spend_us,
            hashes: AtomicBool::new(false),
            counters: Counters::default(),
        })))
    }

    /// Judges a simple bind. `found` is the entry of the DN in the view of this moment, which is not held while others
    /// are asked; `dn` the DN in its normal form; `secure` says whether the password came over TLS, or from where it may
    /// come without.
    ///
    /// It takes as long as it has to, a few seconds at most; dropping it counts as a failure.
    pub async fn check(
        &self,
        found: Option<Arc<Entry>>,
        dn: &str,
        password: &[u8],
        source: IpAddr,
        secure: bool,
    ) -> Checked {
        if password.is_empty() {
            return Checked::EmptyPassword;
        }
        if !secure {
            return Checked::NotSecure;
        }
        let inner = &*self.0;
        let mut began = Instant::now();
        let admission = inner.throttle().admit(dn, source, inner.now_ms());
        let checked = match admission {
            Admission::Refused => {
                inner.counters.throttled.fetch_add(1, Relaxed);
                Checked::Wrong("throttled")
            }
            Admission::Crowded => Checked::Busy("too_many_at_once"),
            Admission::After(wait) => {
                let mut attempt = Attempt { inner, dn, source, outcome: None };
                sleep(wait).await;
                began = Instant::now();
                let checked = inner.judge(found.as_ref(), password).await;
                attempt.outcome = Some(match checked {
                    Checked::Right { .. } => Outcome::Right,
                    Checked::Wrong(_) => Outcome::Wrong,
                    _ => Outcome::Unjudged,
                });
                checked
            }
        };
        inner.count(checked);
        if let Checked::Wrong(_) | Checked::Unavailable = checked {
            sleep_until(began + inner.due(began.elapsed())).await;
        }
        checked
    }

    /// Drops the verifier of an entry that changed or went, if what it says about its password is different. To be told
    /// of every changed entry when a state is published; costs a look-up.
    pub fn changed(&self, id: EntryId, entry: Option<&Entry>) {
        self.0.verifiers.changed(id, entry);
    }

    /// Counts since the start.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Counts of the verifiers since the start.
    pub fn verifier_counters(&self) -> &VerifierCounters {
        &self.0.verifiers.counters
    }

    /// How many people have a verifier.
    pub fn verifiers(&self) -> usize {
        self.0.verifiers.count()
    }

    /// Servers of the upstream that do not judge now, and why.
    pub fn silent(&self) -> Vec<(String, String)> {
        self.0.upstream.as_ref().map(|upstream| upstream.silent()).unwrap_or_default()
    }

    /// How often a server of the upstream fell silent, and how many guessers were forgotten because a table was full.
    pub fn limits_hit(&self) -> (u64, u64) {
        let lost = self.0.upstream.as_ref().map_or(0, |upstream| upstream.lost.load(Relaxed));
        (lost, self.0.throttle().forgotten)
    }
}

/// An attempt between admission and outcome. Dropped without one, it was not waited for: that is a failure, else a
/// guesser would hang up as soon as the quick answer of a right password is due.
struct Attempt<'a> {
    inner: &'a Inner,
    dn: &'a str,
    source: IpAddr,
    outcome: Option<Outcome>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.outcome.is_none() {
            self.inner.counters.abandoned.fetch_add(1, Relaxed);
        }
        let outcome = self.outcome.unwrap_or(Outcome::Wrong);
        let now = self.inner.now_ms();
        self.inner.throttle().settle(self.dn, self.source, outcome, now);
    }
}

impl Inner {
    fn throttle(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// When a failure is told, counted from its beginning: the same for all that took about the same.
    fn due(&self, elapsed: Duration) -> Duration {
        let upstream = self.upstream.as_ref().filter(|upstream| upstream.is_there());
        let here = Duration::from_micros(self.slowest_us.load(Relaxed));
        let typical = upstream.map_or(here, |upstream| upstream.typical());
        let step = STEP.as_millis();
        let steps = elapsed.max(typical).as_millis() / step + 1;
        Duration::from_millis(u64::try_from(steps * step).unwrap_or(u64::MAX))
    }

    async fn judge(&self, found: Option<&Arc<Entry>>, password: &[u8]) -> Checked {
        if password.len() > PASSWORD_MAX {
            return Checked::Wrong("password_too_long");
        }
        let Ok(text) = std::str::from_utf8(password) else { return Checked::Wrong("password_not_text") };
        let password = Arc::new(Zeroizing::new(text.to_owned()));
        let Some(upstream) = &self.upstream else { return self.offline(found, password).await };
        let Some(entry) = found else {
            // Only names that are known are sent on; the answer waits as long as for one that is.
            return if upstream.is_there() { Checked::Wrong("unknown_dn") } else { self.offline(None, password).await };
        };
        let said = match self.ask(upstream, entry, &password).await {
            Ok(said) => said,
            Err(right) => return right,
        };
        match said {
            Said::Yes => {
                if !self.hashes_of(entry).1 {
                    self.verifiers.learn(entry, &password, now_s());
                }
                Checked::Right { entry: entry.id, via: Via::Upstream }
            }
            Said::No => Checked::Wrong("wrong_password"),
            Said::Locked => Checked::Wrong("refused_by_upstream"),
            Said::Busy => Checked::Busy("upstream_busy"),
            Said::Gone => self.offline(found, password).await,
        }
    }

    /// What the upstream says; or, when it takes long and what is here knows the password, that it is right.
    async fn ask(
        &self,
        upstream: &Arc<Upstream>,
        entry: &Arc<Entry>,
        password: &Arc<Zeroizing<String>>,
    ) -> Result<Said, Checked> {
        let can_judge = !self.hashes_of(entry).0.is_empty() || self.verifiers.of(entry, now_s()).is_some();
        if !can_judge || !upstream.is_there() {
            return Ok(upstream.bind(&entry.dn, password).await);
        }
        let (server, dn, copy) = (upstream.clone(), entry.dn.clone(), password.clone());
        let mut asked = AbortOnDropHandle::new(tokio::spawn(async move { server.bind(&dn, &copy).await }));
        if let Ok(said) = timeout(PATIENCE, &mut asked).await {
            return Ok(said.unwrap_or(Said::Gone));
        }
        let here = self.offline(Some(entry), password.clone()).await;
        if !matches!(here, Checked::Right { .. }) {
            return Ok(asked.await.unwrap_or(Said::Gone));
        }
        let dn = entry.dn.clone();
        tokio::spawn(async move {
            if let Ok(said @ (Said::No | Said::Locked)) = asked.await {
                tracing::warn!(%dn, ?said, "the upstream refuses a bind that was let in by what is here because it took too long");
            }
        });
        Err(here)
    }

    fn count(&self, checked: Checked) {
        let counters = &self.counters;
        let counter = match checked {
            Checked::Right { via: Via::Upstream, .. } => &counters.right_upstream,
            Checked::Right { via: Via::Hash, .. } => &counters.right_hash,
            Checked::Right { via: Via::Verifier, .. } => &counters.right_verifier,
            Checked::Busy(_) => &counters.busy,
            Checked::Unavailable => &counters.unavailable,
            Checked::Wrong(_) | Checked::NotSecure | Checked::EmptyPassword => &counters.wrong,
        };
        counter.fetch_add(1, Relaxed);
    }
}

/// Unix seconds, for the expiry of accounts and the age of verifiers.
#[expect(clippy::disallowed_methods, reason = "a bind is judged at the time at which it comes")]
fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
