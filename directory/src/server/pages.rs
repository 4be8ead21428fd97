//! Entries kept for further pages of a search (RFC 2696).
//!
//! The first request finds all entries; what does not fit its page is kept with the connection, so the pages together
//! are one search of one moment and each costs only its own entries. Kept entries share the tree's memory. They are
//! limited per connection in searches and over all connections in entries, and they go with the connection.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use ldap3_proto::proto::LdapSearchRequest;

use crate::tree::Node;

/// Paged searches that one connection may have open; the oldest gives way.
pub(super) const SEARCHES_MAX: usize = 4;
/// Entries that all connections together keep.
const KEPT_MAX: usize = 4_000_000;

/// The rest of one search.
pub(super) struct Rest {
    cookie: u64,
    request: LdapSearchRequest,
    nodes: VecDeque<Arc<Node>>,
    /// How many entries the whole search found.
    pub(super) total: usize,
    /// Whether it found more than it may return.
    pub(super) is_cut: bool,
}

/// The open paged searches of a connection.
pub(super) struct Pages<'s> {
    kept: &'s AtomicUsize,
    open: VecDeque<Rest>,
    next: u64,
}

impl<'s> Pages<'s> {
    pub(super) fn new(kept: &'s AtomicUsize) -> Self {
        Self { kept, open: VecDeque::new(), next: 1 }
    }

    /// Keeps what is left of a search and returns its cookie; none when too much is kept already.
    pub(super) fn keep(
        &mut self,
        request: LdapSearchRequest,
        nodes: VecDeque<Arc<Node>>,
        total: usize,
        is_cut: bool,
    ) -> Option<[u8; 8]> {
        while self.open.len() >= SEARCHES_MAX {
            let oldest = self.open.pop_front();
            oldest.iter().for_each(|rest| self.give_back(rest.nodes.len()));
        }
        if self.kept.fetch_add(nodes.len(), Relaxed) + nodes.len() > KEPT_MAX {
            self.give_back(nodes.len());
            return None;
        }
        let cookie = self.next;
        self.next += 1;
        self.open.push_back(Rest { cookie, request, nodes, total, is_cut });
        Some(cookie.to_be_bytes())
    }

    /// Takes up to `size` entries of the search with a cookie, and the cookie for the next page if there is one.
    /// `None` if there is no such search, or it asked for something else.
    pub(super) fn turn(&mut self, cookie: &[u8], request: &LdapSearchRequest, size: usize) -> Option<Page> {
        let cookie = u64::from_be_bytes(cookie.try_into().ok()?);
        let at = self.open.iter().position(|rest| rest.cookie == cookie && is_same(&rest.request, request))?;
        let mut rest = self.open.remove(at)?;
        let nodes: Vec<Arc<Node>> = rest.nodes.drain(..size.min(rest.nodes.len())).collect();
        self.give_back(nodes.len());
        let (total, is_cut) = (rest.total, rest.is_cut && rest.nodes.is_empty());
        let mut next = None;
        if !rest.nodes.is_empty() {
            rest.cookie = self.next;
            self.next += 1;
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
        self.kept.fetch_sub(nodes, Relaxed);
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

/// A page must be asked for with the request of the first one (RFC 2696 section 3).
fn is_same(one: &LdapSearchRequest, other: &LdapSearchRequest) -> bool {
    let parts = |request: &LdapSearchRequest| (request.scope.clone(), request.typesonly);
    parts(one) == parts(other) && one.base == other.base && one.filter == other.filter && one.attrs == other.attrs
}

#[cfg(test)]
mod tests {
    use inventory::entry::{DIRECTORY, Entry, EntryId};
    use ldap3_proto::proto::{LdapDerefAliases, LdapFilter, LdapSearchScope};

    use super::*;

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
        let kept = AtomicUsize::new(0);
        let mut pages = Pages::new(&kept);
        let first = pages.keep(request("dc=acme"), nodes(5), 8, false).unwrap();
        assert_eq!(kept.load(Relaxed), 5);
        assert!(pages.turn(&first, &request("dc=other"), 3).is_none(), "another request");
        assert!(pages.turn(b"wrong", &request("dc=acme"), 3).is_none());
        let page = pages.turn(&first, &request("dc=acme"), 3).unwrap();
        assert_eq!((page.nodes.len(), page.total), (3, 8));
        assert!(pages.turn(&first, &request("dc=acme"), 3).is_none(), "a cookie is good once");
        let last = pages.turn(&page.next.unwrap(), &request("dc=acme"), 3).unwrap();
        assert_eq!((last.nodes.len(), last.next), (2, None));
        assert_eq!(kept.load(Relaxed), 0);
    }

    #[test]
    fn what_is_kept_is_limited() {
        let kept = AtomicUsize::new(0);
        let mut pages = Pages::new(&kept);
        for _ in 0..SEARCHES_MAX * 2 {
            pages.keep(request(""), nodes(2), 2, false).unwrap();
        }
        assert_eq!(kept.load(Relaxed), 2 * SEARCHES_MAX);
        let cookie = pages.keep(request(""), nodes(2), 2, false).unwrap();
        pages.end(&cookie);
        assert_eq!(kept.load(Relaxed), 2 * (SEARCHES_MAX - 1));
        drop(pages);
        assert_eq!(kept.load(Relaxed), 0);
        kept.store(KEPT_MAX, Relaxed);
        assert!(Pages::new(&kept).keep(request(""), nodes(1), 1, false).is_none());
    }
}
