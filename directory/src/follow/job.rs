//! One connection's worth of following: what it is given, and how it ends.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use compact_str::CompactString;
use inventory::{Cookie, Keeper, entry::DIRECTORY};
use ldap3::Scope;

use super::{
    cookie::SyncCookie,
    entry::ATTRIBUTES,
    publish::Waiting,
    search::Request,
    status::{Phase, Status, now_ms},
};
use crate::config::Upstream;

/// How old what we have may be for a cookie of a server other than OpenLDAP to be used: 389-ds does not notice that the
/// changes since were trimmed from its log.
const OPAQUE_AGE_MAX_MS: u64 = 3_600_000;

/// What a session works with.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) upstream: Arc<Upstream>,
    pub(super) keeper: Keeper,
    pub(super) status: Arc<Status>,
    pub(super) url: String,
    /// Begin without a cookie.
    pub(super) whole: bool,
    /// What was held when the session before this ended.
    pub(super) waiting: Option<Waiting>,
    /// Set when the session came as far as having the content.
    pub(super) good: Arc<AtomicBool>,
}

/// How a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// The server, the connection or its answers: try again later, or another one.
    Failed(String),
    /// The configuration or the size of the content: trying again helps only when somebody has changed something.
    Broken(String),
    /// Begin again at once, with the cookie.
    CatchUp,
    /// Begin again at once, without a cookie.
    Whole(String),
    /// A person has to accept.
    Held(Waiting),
}

impl Job {
    /// What is asked for.
    pub(super) fn request(&self) -> Request {
        Request {
            base: self.upstream.base.clone(),
            scope: Scope::Subtree,
            filter: self.upstream.filter.clone(),
            attributes: ATTRIBUTES.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// Digest of what is asked for and as whom; URLs do not count, for all serve the same content.
    pub(super) fn request_digest(&self) -> CompactString {
        let mut hasher = blake3::Hasher::new_derive_key("gatehouse directory request");
        let request = self.request();
        let who = self.upstream.bind_dn.as_deref().unwrap_or("");
        let parts = [request.base.as_str(), "subtree", &request.filter, who];
        for part in parts.into_iter().chain(request.attributes.iter().map(String::as_str)) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().to_hex().as_str().into()
    }

    /// The cookie to begin with: the stored one, if it stands for the same request and can be trusted.
    pub(super) fn cookie(&self) -> SyncCookie {
        let state = self.keeper.state();
        let Some(stored) = state.cookie(DIRECTORY).filter(|_| !self.whole) else { return SyncCookie::None };
        if stored.request != self.request_digest() {
            return SyncCookie::None;
        }
        let cookie = SyncCookie::parse(&stored.cookie.0);
        let fresh = self.status.age_ms(now_ms()).is_some_and(|age| age < OPAQUE_AGE_MAX_MS);
        if matches!(cookie, SyncCookie::Opaque(_)) && !fresh { SyncCookie::None } else { cookie }
    }

    /// The row for a cookie; none for none.
    pub(super) fn cookie_row(&self, cookie: &SyncCookie) -> Option<Arc<Cookie>> {
        let octets = cookie.encode();
        let row = || Cookie { source: DIRECTORY.into(), cookie: octets.clone().into(), request: self.request_digest() };
        (!octets.is_empty()).then(|| Arc::new(row()))
    }

    /// Notes that the content is there and what is being done from now on.
    pub(super) fn has_content(&self, phase: Phase, at_ms: u64) {
        self.good.store(true, Ordering::Relaxed);
        let entries = self.keeper.state().entry_count() as u64;
        self.status.phase(phase, "");
        self.status.change(|report| {
            report.entries = entries;
            report.refreshes += 1;
        });
        self.status.in_step(at_ms);
    }

    /// Notes that what was read is of no use.
    pub(super) fn discarded(&self) {
        self.status.change(|report| report.discarded += 1);
    }
}
