//! Pass-through: the upstream judges a password by a simple bind.
//!
//! Each bind has a connection of its own and one short deadline. A server that does not answer, or says that it cannot
//! (51, 52), is left alone from then on; any other code concerns one bind only. A task asks the server in the background whether it is back. So a dead upstream costs the logins of a few seconds one
//! deadline, and those after them nothing.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ldap3::Scope;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout, timeout_at},
};
use zeroize::Zeroizing;

use crate::{config, follow::connect};

/// For all servers together, connection, TLS and bind.
pub(super) const DEADLINE: Duration = Duration::from_secs(3);
/// For one server while others are left.
const ONE_SERVER: Duration = Duration::from_millis(1500);
/// Binds at the same time.
const BINDS_MAX: usize = 32;
/// How long a bind waits for its turn.
const TURN: Duration = Duration::from_secs(1);
/// Pause before a silent server is asked again: it doubles from the first to the last.
const PROBE_FIRST: Duration = Duration::from_secs(2);
const PROBE_LAST: Duration = Duration::from_secs(15);

/// Whether a code says that the server judges nobody now: busy, unavailable.
fn is_out_of_service(code: u32) -> bool {
    matches!(code, 51 | 52)
}

/// What the upstream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// The password is right.
    Yes,
    /// It is wrong (49, and what means the same).
    No,
    /// The account is locked or may not bind (19, 53).
    Locked,
    /// No server can tell.
    Gone,
    /// Too many binds wait.
    Busy,
}

/// Result codes (RFC 4511 appendix A.1) that are final, and what they mean. All others leave the question open for this
/// bind: one person's odd entry must not take the upstream from everybody.
fn meaning(code: u32) -> Option<Said> {
    match code {
        0 => Some(Said::Yes),
        // noSuchObject, invalidDNSyntax, inappropriateAuthentication, invalidCredentials, insufficientAccessRights.
        32 | 34 | 48 | 49 | 50 => Some(Said::No),
        // constraintViolation, unwillingToPerform: how lock-outs are told.
        19 | 53 => Some(Said::Locked),
        _ => None,
    }
}

struct Server {
    url: String,
    silent: AtomicBool,
    /// What it last said or did instead of an answer.
    why: Mutex<String>,
}

/// The servers that judge.
pub(super) struct Upstream {
    config: config::Upstream,
    servers: Vec<Server>,
    turns: Semaphore,
    /// Smoothed time of a refusal, in microseconds.
    typical_us: AtomicU64,
    /// Servers found silent.
    pub(super) lost: AtomicU64,
}

impl Upstream {
    pub(super) fn new(config: &config::Upstream) -> Self {
        let server = |url: &String| Server { url: url.clone(), silent: AtomicBool::new(false), why: Mutex::default() };
        // A connection that is no longer waited for must not outlive the deadline for long.
        let timeout_s = config.timeout_s.min(DEADLINE.as_secs());
        Self {
            servers: config.urls.iter().map(server).collect(),
            config: config::Upstream { timeout_s, ..config.clone() },
            turns: Semaphore::new(BINDS_MAX),
            typical_us: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Whether a server is thought to answer.
    pub(super) fn is_there(&self) -> bool {
        self.servers.iter().any(|server| !server.silent.load(Relaxed))
    }

    /// Servers that do not answer, and why.
    pub(super) fn silent(&self) -> Vec<(String, String)> {
        let silent = self.servers.iter().filter(|server| server.silent.load(Relaxed));
        silent.map(|server| (server.url.clone(), lock(&server.why).clone())).collect()
    }

    /// How long a refusal usually takes; an attempt for a name that does not exist must not be quicker.
    pub(super) fn typical(&self) -> Duration {
        Duration::from_micros(self.typical_us.load(Relaxed))
    }

    /// Asks the servers in their order until one answers.
    pub(super) async fn bind(self: &Arc<Self>, dn: &str, password: &Arc<Zeroizing<String>>) -> Said {
        if !self.is_there() {
            return Said::Gone;
        }
        let Ok(Ok(_turn)) = timeout(TURN, self.turns.acquire()).await else { return Said::Busy };
        let began = Instant::now();
        let ends = began + DEADLINE;
        let mut left: Vec<&Server> = self.servers.iter().filter(|server| !server.silent.load(Relaxed)).collect();
        left.reverse();
        while let Some(server) = left.pop() {
            let until = if left.is_empty() { ends } else { ends.min(Instant::now() + ONE_SERVER) };
            match self.bind_at(server, dn, password, until).await {
                Ok(code) => match meaning(code) {
                    Some(Said::Yes) => return Said::Yes,
                    Some(said) => {
                        self.took(began.elapsed());
                        return said;
                    }
                    None if is_out_of_service(code) => {
                        self.silence(server, format!("it answers a bind with code {code}"));
                    }
                    None => {
                        let url = &server.url;
                        tracing::warn!(
                            url,
                            dn,
                            code,
                            "the upstream gives this bind no clear answer; the next server or what is here judges it"
                        );
                    }
                },
                Err(why) => self.silence(server, why),
            }
        }
        Said::Gone
    }

    /// The result code of a bind at one server.
    async fn bind_at(
        &self,
        server: &Server,
        dn: &str,
        password: &Arc<Zeroizing<String>>,
        until: Instant,
    ) -> Result<u32, String> {
        let (config, url, dn, password) = (self.config.clone(), server.url.clone(), dn.to_owned(), password.clone());
        let work = async move {
            let mut ldap = connect(&config, &url).await.map_err(|error| error.to_string())?;
            let result = ldap.simple_bind(&dn, &password).await.map_err(|error| error.to_string())?;
            // The answer is known; whether the server hears the good-bye does not matter.
            let _ = ldap.unbind().await;
            Ok(result.rc)
        };
        in_time(work, until).await
    }

    fn took(&self, time: Duration) {
        let (old, new) = (self.typical_us.load(Relaxed), time.as_micros() as u64);
        self.typical_us.store(if old == 0 { new } else { (7 * old + new) / 8 }, Relaxed);
    }

    /// Leaves a server alone, and has it asked in the background.
    fn silence(self: &Arc<Self>, server: &Server, why: String) {
        tracing::warn!(url = server.url, why, "the upstream does not judge passwords now; hashes and verifiers do");
        *lock(&server.why) = why;
        let at = self.servers.iter().position(|known| std::ptr::eq(known, server));
        if let Some(at) = at
            && !server.silent.swap(true, Relaxed)
        {
            self.lost.fetch_add(1, Relaxed);
            tokio::spawn(ask_until_back(Arc::downgrade(self), at));
        }
    }
}

/// Asks a silent server for its rootDSE again and again; ends when it answers or nobody is interested any more.
async fn ask_until_back(upstream: Weak<Upstream>, at: usize) {
    let mut pause = PROBE_FIRST;
    loop {
        sleep(pause).await;
        pause = (pause * 2).min(PROBE_LAST);
        let Some(upstream) = upstream.upgrade() else { return };
        let Some(server) = upstream.servers.get(at) else { return };
        let (config, url) = (upstream.config.clone(), server.url.clone());
        let ask = async move {
            let mut ldap = connect(&config, &url).await.map_err(|error| error.to_string())?;
            let found = ldap.search("", Scope::Base, "(objectClass=*)", vec!["1.1"]).await;
            let code = found.map_err(|error| error.to_string())?.1.rc;
            let _ = ldap.unbind().await;
            // Even a refusal shows that the server works.
            if is_out_of_service(code) { Err(format!("it answers with code {code}")) } else { Ok(()) }
        };
        match in_time(ask, Instant::now() + DEADLINE).await {
            Ok(()) => {
                server.silent.store(false, Relaxed);
                tracing::info!(url = server.url, "the upstream judges passwords again");
                return;
            }
            Err(why) => *lock(&server.why) = why,
        }
    }
}

/// Runs work with the client library in a task of its own: the library panics on answers that it does not expect, and
/// that must cost one bind.
async fn in_time<T: Send + 'static>(
    work: impl Future<Output = Result<T, String>> + Send + 'static,
    until: Instant,
) -> Result<T, String> {
    let mut task = tokio::spawn(work);
    match timeout_at(until, &mut task).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err("the LDAP library gave up on what it sent".into()),
        Err(_) => {
            task.abort();
            Err("it does not answer in time".into())
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clear_answers_are_final() {
        assert_eq!(meaning(0), Some(Said::Yes));
        assert_eq!(meaning(49), Some(Said::No));
        assert_eq!((meaning(53), meaning(19)), (Some(Said::Locked), Some(Said::Locked)));
        for open in [1, 2, 3, 8, 10, 11, 13, 14, 51, 52, 80, 4096] {
            assert_eq!(meaning(open), None, "{open}");
        }
        assert!(is_out_of_service(51) && is_out_of_service(52) && !is_out_of_service(80));
    }
}
