//! Entries kept for further pages of a search (RFC 2696).
//!
//! The first request finds all entries; what does not fit its page is kept with the connection, so the pages together
//! are one search of one moment and each costs only its own entries. Kept entries share the tree's memory, and of the
//! request only a fingerprint is kept. They are limited per connection in searches, per source and over all connections
//! in entries, and in age; they go with the connection.

use std::{
    collections::{HashMap, VecDeque},
    fmt::{self, Write as _},
    hash::{BuildHasher, DefaultHasher, Hasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ldap3_proto::proto::LdapSearchRequest;
use tokio::time::Instant;

use crate::tree::Node;

/// Paged searches that one connection may have open; the oldest gives way.
pub(super) const SEARCHES_MAX: usize = 4;
/// Entries that all connections together keep.
const KEPT_MAX: usize = 4_000_000;
/// Entries among them that are kept for one source.
const SOURCE_MAX: usize = KEPT_MAX / 4;
/// Time after which the rest of a search is given up if nobody asks for it.
const AGE_MAX: Duration = Duration::from_secs(600);

/// How many entries are kept, and for whom.
#[derive(Default)]
pub(super) struct Kept(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    total: usize,
    sources: HashMap<IpAddr, usize>,
}

impl Kept {
    fn take(&self, source: IpAddr, entries: usize) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.sources.get(&source).copied().unwrap_or(0);
        if counts.total + entries > KEPT_MAX || own + entries > SOURCE_MAX {
            return false;
        }
        counts.total += entries;
        counts.sources.insert(source, own + entries);
        true
    }

    fn give_back(&self, source: IpAddr, entries: usize) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total = counts.total.saturating_sub(entries);
        let left = counts.sources.get(&source).copied().unwrap_or(0).saturating_sub(entries);
        if left == 0 {
            counts.sources.remove(&source);
        } else {
            counts.sources.insert(source, left);
        }
    }

    #[cfg(test)]
    fn total(&self) -> usize {
        self.0.lock().unwrap().total
    }
}

/// The rest of one search.
pub(super) struct Rest {
    cookie: u64,
    /// Of the request.
    fingerprint: u64,
    /// When a page was last asked for.
    asked: Instant,
    nodes: VecDeque<Arc<Node>>,
    /// How many entries the whole search found.
    pub(super) total: usize,
    /// Whether it found more than it may return.
    pub(super) is_cut: bool,
}

/// The open paged searches of a connection.
pub(super) struct Pages<'s> {
    kept: &'s Kept,
    source: IpAddr,
    seed: RandomState,
    open: VecDeque<Rest>,
    next: u64,
}

impl<'s> Pages<'s> {
    pub(super) fn new(kept: &'s Kept, peer: IpAddr) -> Self {
        Self { kept, source: wire::source(peer), seed: RandomState::new(), open: VecDeque::new(), next: 1 }
    }

    /// Gives up what nobody has asked for in a long time.
    pub(super) fn expire(&mut self, now: impl FnOnce() -> Instant) {
        if self.open.is_empty() {
            return;
        }
        let now = now();
        let is_old = |rest: &Rest| now.saturating_duration_since(rest.asked) > AGE_MAX;
        while let Some(rest) = self.open.pop_front_if(|rest| is_old(rest)) {
            self.give_back(rest.nodes.len());
        }
    }

    /// Keeps what is left of a search and returns its cookie; none when too much is kept already.
    pub(super) fn keep(
        &mut self,
        request: &LdapSearchRequest,
        nodes: VecDeque<Arc<Node>>,
        total: usize,
        is_cut: bool,
        now: Instant,
    ) -> Option<[u8; 8]> {
        while self.open.len() >= SEARCHES_MAX {
            let oldest = self.open.pop_front();
            oldest.iter().for_each(|rest| self.give_back(rest.nodes.len()));
        }
        if !self.kept.take(self.source, nodes.len()) {
            return None;
        }
        let cookie = self.next;
        self.next += 1;
        let fingerprint = fingerprint(&self.seed, request);
        self.open.push_back(Rest { cookie, fingerprint, asked: now, nodes, total, is_cut });
        Some(cookie.to_be_bytes())
    }

    /// Takes up to `size` entries of the search with a cookie, and the cookie for the next page if there is one.
    /// `None` if there is no such search, or it asked for something else.
    pub(super) fn turn(
        &mut self,
        cookie: &[u8],
        request: &LdapSearchRequest,
        size: usize,
        now: Instant,
    ) -> Option<Page> {
        let cookie = u64::from_be_bytes(cookie.try_into().ok()?);
        let same = fingerprint(&self.seed, request);
        let at = self.open.iter().position(|rest| rest.cookie == cookie && rest.fingerprint == same)?;
        let mut rest = self.open.remove(at)?;
        let nodes: Vec<Arc<Node>> = rest.nodes.drain(..size.min(rest.nodes.len())).collect();
        self.give_back(nodes.len());
        let (total, is_cut) = (rest.total, rest.is_cut && rest.nodes.is_empty());
        let mut next = None;
        if !rest.nodes.is_empty() {
            rest.cookie = self.next;
            self.next += 1;
            rest.asked = now;
            next = Some(rest.cookie.to_be_bytes());
            self.open.push_back(rest);
        }
        Some(Page { nodes, next, total, is_cut })
    }

    /// Ends the search with a cookie, as a page of size 0 asks.
    pub(super) fn end(&mut self, cookie: &[u8]) {
        let Ok(cookie) = cookie.try_into().map(u64::from_be_bytes) else { return };
        if let Some(rest) = self.open.iter().position(|rest| rest.cookie == cookie).and_then(|at| self.open.remove(at))
        {
            self.give_back(rest.nodes.len());
        }
    }

    /// Ends all searches: another identity has no part in them.
    pub(super) fn clear(&mut self) {
        let nodes = self.open.drain(..).map(|rest| rest.nodes.len()).sum();
        self.give_back(nodes);
    }

    fn give_back(&self, nodes: usize) {
        self.kept.give_back(self.source, nodes);
    }
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One page.
pub(super) struct Page {
    pub(super) nodes: Vec<Arc<Node>>,
    /// The cookie for the next page.
    pub(super) next: Option<[u8; 8]>,
    pub(super) total: usize,
    /// Whether the search ends here although there are more entries.
    pub(super) is_cut: bool,
}

/// What is the same in two requests for pages of one search: a page must be asked for with the request of the first one
/// (RFC 2696 section 3). The request itself may be large and is not kept.
fn fingerprint(seed: &RandomState, request: &LdapSearchRequest) -> u64 {
    struct Hashing(DefaultHasher);
    impl fmt::Write for Hashing {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let LdapSearchRequest { base, scope, typesonly, filter, attrs, .. } = request;
    let mut hashing = Hashing(seed.build_hasher());
    // A hasher takes everything.
    let _ = write!(hashing, "{:?}", (base, scope, typesonly, filter, attrs));
    hashing.0.finish()
}

#[cfg(test)]
mod tests {
    use inventory::entry::{DIRECTORY, Entry, EntryId};
    use ldap3_proto::proto::{LdapDerefAliases, LdapFilter, LdapSearchScope};

    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn nodes(count: u8) -> VecDeque<Arc<Node>> {
        let node = |n| {
            let (id, dn) = (EntryId([n; 16]), format!("uid=u{n}").into());
            Node::new(Arc::new(Entry { id, dn, attributes: Box::default(), source: DIRECTORY.into() }), 1).unwrap()
        };
        (0..count).map(|n| Arc::new(node(n))).collect()
    }

    fn request(base: &str) -> LdapSearchRequest {
        LdapSearchRequest {
            base: base.into(),
            scope: LdapSearchScope::Subtree,
            aliases: LdapDerefAliases::Never,
            sizelimit: 0,
            timelimit: 0,
            typesonly: false,
            filter: LdapFilter::Present("uid".into()),
            attrs: vec![],
        }
    }

    #[test]
    fn pages_come_one_after_the_other_and_are_given_back() {
        let (kept, now) = (Kept::default(), Instant::now());
        let mut pages = Pages::new(&kept, PEER);
        let first = pages.keep(&request("dc=acme"), nodes(5), 8, false, now).unwrap();
        assert_eq!(kept.total(), 5);
        assert!(pages.turn(&first, &request("dc=other"), 3, now).is_none(), "another request");
        assert!(pages.turn(b"wrong", &request("dc=acme"), 3, now).is_none());
        let page = pages.turn(&first, &request("dc=acme"), 3, now).unwrap();
        assert_eq!((page.nodes.len(), page.total), (3, 8));
        assert!(pages.turn(&first, &request("dc=acme"), 3, now).is_none(), "a cookie is good once");
        let last = pages.turn(&page.next.unwrap(), &request("dc=acme"), 3, now).unwrap();
        assert_eq!((last.nodes.len(), last.next), (2, None));
        assert_eq!(kept.total(), 0);
    }

    #[test]
    fn what_is_kept_is_limited() {
        let (kept, now) = (Kept::default(), Instant::now());
        let mut pages = Pages::new(&kept, PEER);
        for _ in 0..SEARCHES_MAX * 2 {
            pages.keep(&request(""), nodes(2), 2, false, now).unwrap();
        }
        assert_eq!(kept.total(), 2 * SEARCHES_MAX);
        let cookie = pages.keep(&request(""), nodes(2), 2, false, now).unwrap();
        pages.end(&cookie);
        assert_eq!(kept.total(), 2 * (SEARCHES_MAX - 1));
        drop(pages);
        assert_eq!(kept.total(), 0);
        assert!(kept.take(PEER, SOURCE_MAX));
        assert!(Pages::new(&kept, PEER).keep(&request(""), nodes(1), 1, false, now).is_none());
        let other = IpAddr::from([10, 0, 0, 2]);
        assert!(Pages::new(&kept, other).keep(&request(""), nodes(1), 1, false, now).is_some(), "others have room");
        for source in 3..6 {
            kept.take([10, 0, 0, source].into(), SOURCE_MAX);
        }
        assert_eq!(kept.total(), KEPT_MAX);
        assert!(Pages::new(&kept, other).keep(&request(""), nodes(1), 1, false, now).is_none(), "nobody has");
    }

    #[test]
    fn the_rest_of_a_search_that_nobody_asks_for_is_given_up() {
        let (kept, now) = (Kept::default(), Instant::now());
        let mut pages = Pages::new(&kept, PEER);
        let cookie = pages.keep(&request(""), nodes(2), 2, false, now).unwrap();
        pages.expire(|| now + AGE_MAX);
        assert_eq!(kept.total(), 2);
        pages.expire(|| now + AGE_MAX + Duration::from_secs(1));
        assert!(kept.total() == 0 && pages.turn(&cookie, &request(""), 1, now).is_none());
    }
}
