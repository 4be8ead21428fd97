//! Search (RFC 4511 section 4.5).
//!
//! A search is prepared without waiting for anything, then [`walk`](super::walk)s. The rootDSE and the subschema are
//! answered aside: everybody may read them. Pages are cut from one walk; see [`pages`](super::pages).

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

use ldap3_proto::proto::{LdapResultCode as Code, LdapSearchRequest, LdapSearchScope};
use tokio::time::Instant;

use super::{
    asked::{Asked, Plain, Prepared},
    connection::Connection,
    counters::Counters,
    frame::{self, Control},
    judge::{self, Judge},
    pipe::{CHUNK, Over},
    reply::{self, Outcome},
    rootdse::{About, root_dse},
    schema,
    sight::Sight,
    walk::{Sink, Walked},
};
use crate::{
    dn::Dn,
    filter::{
        Filter,
        attribute::{DESCRIPTION_OCTETS_MAX, Id},
    },
    tree::{NAMES_MAX, Node, Scope},
};

/// Time that a search may take, its client's reading included.
const TIME_MAX: Duration = Duration::from_secs(300);

impl Connection<'_> {
    pub(super) async fn search(
        &mut self,
        id: i32,
        mut request: LdapSearchRequest,
        controls: &[Control],
    ) -> Result<(), Over> {
        Counters::count(&self.server.counters.searches);
        if self.fixed(id, &request) {
            return Ok(());
        }
        let paged = match page_asked(&request, controls) {
            Ok(paged) => paged,
            Err(outcome) => {
                Counters::count(&self.server.counters.malformed);
                reply::result(&mut self.pipe.outbox, id, reply::tag::DONE, &outcome);
                return Ok(());
            }
        };
        bound(&mut request.attrs);
        let is_first = paged.as_ref().is_none_or(|(_, cookie)| cookie.is_empty());
        let prepared = match self.prepare(&request, is_first).await {
            Ok(prepared) => prepared,
            Err(outcome) => {
                self.done(id, &outcome, paged.is_some().then_some((0, &[][..])));
                return Ok(());
            }
        };
        match paged {
            None => self.walk_for_client(id, &prepared).await.map(drop),
            Some((size, cookie)) => self.page(id, request, &prepared, size, &cookie).await,
        }
    }

    /// A search that was read without the codec. Its answer is kept if that is wanted and it lasts.
    pub(super) async fn search_plain(&mut self, id: i32, plain: Plain) -> Result<(), Over> {
        let Plain { asked, sight, wanted } = plain;
        Counters::count(&self.server.counters.searches);
        let begin = self.pipe.outbox.len();
        let prepared = match self.prepare_plain(asked, sight).await {
            Ok(prepared) => prepared,
            Err(outcome) => {
                self.done(id, &outcome, None);
                return Ok(());
            }
        };
        let walked = self.walk_for_client(id, &prepared).await?;
        let entries = walked.and_then(|walked| walked.lasting());
        // A base that only sudo knows is there for a time.
        let lasts = || prepared.base == self.server.base || self.view.tree.by_dn(&prepared.base).is_some();
        if let (Some(wanted), Some(entries), Some(messages)) = (wanted, entries, self.pipe.outbox.get(begin..))
            && lasts()
        {
            self.server.repeats.keep(wanted, messages, entries);
        }
        Ok(())
    }

    async fn walk_for_client(&mut self, id: i32, prepared: &Prepared) -> Result<Option<Walked>, Over> {
        let walked = self.walk(id, prepared, &mut Sink::Client).await?;
        if let Some(walked) = &walked {
            reply::result(&mut self.pipe.outbox, id, reply::tag::DONE, &walked.outcome);
        }
        Ok(walked)
    }

    /// Answers a base search of the rootDSE or the subschema, which everybody may read.
    fn fixed(&mut self, id: i32, request: &LdapSearchRequest) -> bool {
        if request.scope != LdapSearchScope::Base {
            return false;
        }
        let made;
        let entry = if request.base.is_empty() {
            let config = &self.server.parts.config;
            made = root_dse(About {
                base: &config.base,
                last_usn: self.view.tree.last_usn(),
                start_tls: self.server.parts.tls.is_some() && !self.is_tls,
                external: self.server.parts.tls.as_ref().is_some_and(wire::TlsIdentity::knows_clients),
                ask: crate::ask::OID,
            });
            &made
        } else if request.base.eq_ignore_ascii_case(super::SUBSCHEMA) {
            schema::subschema()
        } else {
            return false;
        };
        if entry.matches(&request.filter) {
            let types_only = request.typesonly;
            reply::entry(&mut self.pipe.outbox, id, entry.dn, |out| entry.encode(&request.attrs, types_only, out));
            Counters::count(&self.server.counters.entries);
        }
        reply::result(&mut self.pipe.outbox, id, reply::tag::DONE, &Outcome::SUCCESS);
        true
    }

    async fn prepare_plain(&mut self, asked: Asked, sight: Sight) -> Result<Prepared, Outcome> {
        self.admitted(&sight)?;
        self.reach(&asked.base, &sight).await?;
        Ok(self.prepared(asked, sight))
    }

    async fn prepare(&mut self, request: &LdapSearchRequest, is_first: bool) -> Result<Prepared, Outcome> {
        let counters = &self.server.counters;
        let malformed = |code, text: String| {
            Counters::count(&counters.malformed);
            Outcome::new(code, text)
        };
        let sight = self.sight();
        self.admitted(&sight)?;
        let base = self.compiled.base(&request.base);
        let base = base.map_err(|error| malformed(Code::InvalidDNSyntax, error.to_string()))?;
        self.reach(&base, &sight).await?;
        let filter = Filter::compile(&request.filter);
        let filter = filter.map_err(|error| malformed(Code::AdminLimitExceeded, error.to_string()))?;
        let filter = filter.asking_only(&|place| self.may_ask(&sight, judge::split(place).0));
        let selection = self.compiled.selection(&request.attrs);
        if is_first {
            self.record(request, &base, &sight);
        }
        let (sizelimit, timelimit) = (request.sizelimit, request.timelimit);
        let (scope, types_only) = (scope(&request.scope), request.typesonly);
        Ok(self.prepared(Asked { base, scope, filter, selection, types_only, sizelimit, timelimit }, sight))
    }

    /// Whether the client sees anything, and there is something to see.
    fn admitted(&self, sight: &Sight) -> Result<(), Outcome> {
        if *sight == Sight::Nothing {
            Counters::count(&self.server.counters.denied);
            return Err(self.denied());
        }
        if self.view.tree.counts().entries == 0 {
            Counters::count(&self.server.counters.no_content);
            return Err(Outcome::new(Code::Unavailable, "no directory content has been received yet"));
        }
        Ok(())
    }

    /// Whether the base of a search is there for the client.
    async fn reach(&self, base: &Dn, sight: &Sight) -> Result<(), Outcome> {
        if *base != self.server.base && self.seen(base, sight).await.is_none() {
            return Err(Outcome::no_such_object(self.matched(base, sight).await));
        }
        Ok(())
    }

    fn prepared(&self, asked: Asked, sight: Sight) -> Prepared {
        let Asked { base, scope, filter, selection, types_only, sizelimit, timelimit } = asked;
        let limit = self.server.parts.config.size_limit;
        let size = usize::try_from(sizelimit).unwrap_or(0);
        let time = u64::try_from(timelimit).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
        Prepared {
            sudo: self.view.sudo.is_reached(&base, scope),
            base,
            scope,
            filter,
            is_computed: selection.has_row(Id::GATEHOUSE_ACCESS) || selection.has_row(Id::GATEHOUSE_SUDO),
            selection,
            types_only,
            sight,
            limit: if size == 0 { limit } else { size.min(limit) },
            time: time.map_or(TIME_MAX, |time| time.min(TIME_MAX)),
            over: OnceLock::new(),
        }
    }

    /// Records what the filter asks about one person.
    fn record(&self, request: &LdapSearchRequest, base: &Dn, sight: &Sight) {
        if !asks(&request.filter) {
            return;
        }
        let is_base = request.scope == LdapSearchScope::Base;
        let node = is_base.then(|| self.view.tree.by_dn(base)).flatten();
        let uid = node.and_then(|node| node.entry.text("uid"));
        for asked in judge::asked(&request.filter, uid).iter().filter(|asked| self.may_ask(sight, &asked.host)) {
            self.server.record_asked(&self.view.access, asked, self.clock, self.peer);
        }
    }

    /// One page of a search (RFC 2696).
    async fn page(
        &mut self,
        id: i32,
        request: LdapSearchRequest,
        search: &Prepared,
        size: usize,
        cookie: &[u8],
    ) -> Result<(), Over> {
        if size == 0 {
            self.pages.end(cookie);
            self.done(id, &Outcome::SUCCESS, Some((0, &[])));
            return Ok(());
        }
        if !cookie.is_empty() {
            let Some(page) = self.pages.turn(cookie, &request, size, Instant::now()) else {
                Counters::count(&self.server.counters.pages_refused);
                let text = "the cookie is none of this connection's, or the request is not that of the first page";
                self.done(id, &Outcome::new(Code::UnwillingToPerform, text), Some((0, &[])));
                return Ok(());
            };
            let outcome = if page.is_cut { Outcome::new(Code::SizeLimitExceeded, "") } else { Outcome::SUCCESS };
            self.write_page(id, page.nodes, search).await?;
            self.done(id, &outcome, Some((page.total, page.next.as_ref().map_or(&[][..], |cookie| &cookie[..]))));
            return Ok(());
        }
        let mut sink = Sink::List(VecDeque::new());
        let Some(Walked { mut outcome, found: total, .. }) = self.walk(id, search, &mut sink).await? else {
            return Ok(());
        };
        let Sink::List(mut nodes) = sink else { return Ok(()) };
        let is_cut = outcome.code == Code::SizeLimitExceeded;
        if outcome.code != Code::Success && !is_cut {
            self.done(id, &outcome, Some((0, &[])));
            return Ok(());
        }
        let rest = nodes.split_off(size.min(nodes.len()));
        let mut next = None;
        if !rest.is_empty() {
            next = self.pages.keep(&request, rest, total, is_cut, Instant::now());
            outcome = Outcome::SUCCESS;
            if next.is_none() {
                Counters::count(&self.server.counters.pages_refused);
                let text = "too many entries are kept for the pages of other searches; try again";
                self.done(id, &Outcome::new(Code::Busy, text), Some((0, &[])));
                return Ok(());
            }
        }
        self.write_page(id, nodes.into(), search).await?;
        self.done(id, &outcome, Some((total, next.as_ref().map_or(&[][..], |cookie| &cookie[..]))));
        Ok(())
    }

    async fn write_page(&mut self, id: i32, nodes: Vec<Arc<Node>>, search: &Prepared) -> Result<(), Over> {
        let view = self.view.clone();
        let stale = self.server.is_stale(self.clock.now_ms);
        let judge = Judge { access: &view.access, now_s: self.clock.now_s(), stale };
        for node in nodes {
            self.write(id, &node, search, &judge);
            if self.pipe.outbox.len() >= CHUNK {
                self.pipe.flush().await?;
            }
        }
        Ok(())
    }

    fn done(&mut self, id: i32, outcome: &Outcome, page: Option<(usize, &[u8])>) {
        let out = &mut self.pipe.outbox;
        match page {
            None => reply::result(out, id, reply::tag::DONE, outcome),
            Some((total, cookie)) => {
                let value = reply::paged(total, cookie);
                reply::result_with(out, id, reply::tag::DONE, outcome, super::PAGED, &value);
            }
        }
    }
}

/// Page size and cookie, if pages are asked for and are needed: a page as large as the size limit is the whole result.
fn page_asked(request: &LdapSearchRequest, controls: &[Control]) -> Result<Option<(usize, Vec<u8>)>, Outcome> {
    let Some(control) = controls.iter().find(|control| control.oid == super::PAGED) else { return Ok(None) };
    let value = control.value.as_deref().unwrap_or_default();
    let read = frame::paged(value).and_then(|(size, cookie)| Some((usize::try_from(size).ok()?, cookie)));
    let Some((size, cookie)) = read else {
        return Err(Outcome::new(Code::ProtocolError, "the paged results control cannot be read"));
    };
    let limit = usize::try_from(request.sizelimit).unwrap_or(0);
    let is_whole = cookie.is_empty() && (size == 0 || (limit > 0 && size >= limit));
    Ok((!is_whole).then(|| (size, cookie.to_vec())))
}

/// Bounds a list of attributes, since it is kept: names that are too long are no names, and of too many the rest is
/// ignored.
fn bound(names: &mut Vec<String>) {
    names.truncate(NAMES_MAX);
    names.shrink_to_fit();
    for name in names.iter_mut().filter(|name| name.len() > DESCRIPTION_OCTETS_MAX) {
        *name = String::new();
    }
}

pub(super) fn scope(scope: &LdapSearchScope) -> Scope {
    match scope {
        LdapSearchScope::Base => Scope::Base,
        LdapSearchScope::OneLevel => Scope::One,
        LdapSearchScope::Subtree => Scope::Subtree,
        LdapSearchScope::Children => Scope::Children,
    }
}

/// Whether a filter asks for a computed attribute at all.
fn asks(filter: &ldap3_proto::LdapFilter) -> bool {
    use ldap3_proto::LdapFilter::{And, Equality};
    match filter {
        And(parts) => parts.iter().any(asks),
        Equality(name, _) => ["gatehouseAccess", "gatehouseSudo"].iter().any(|known| name.eq_ignore_ascii_case(known)),
        _ => false,
    }
}
