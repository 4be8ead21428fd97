//! Search (RFC 4511 section 4.5).
//!
//! A search is prepared without waiting for anything, then walks: a step examines some hundred candidates at most, and
//! between steps other connections have their turn. Entries are written as they are found; when [`CHUNK`] octets wait,
//! they are sent before the walk goes on, so a result of any size takes little memory.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use ldap3_proto::proto::{LdapResultCode as Code, LdapSearchRequest, LdapSearchScope};
use tokio::time::Instant;

use super::{
    connection::Connection,
    counters::Counters,
    frame::{self, Control},
    judge::{self, Judge},
    pipe::{CHUNK, Over},
    reply::{self, Outcome},
    rootdse::{About, root_dse},
    schema,
    sight::{Eyes, Shown, Sight},
};
use crate::{
    dn::Dn,
    filter::{Context, Filter},
    sudo::SudoRoles,
    tree::{Node, Scope, Selection, Step, encode_attribute},
};

/// Candidates that one search may examine in vain.
const CANDIDATES_MAX: usize = 1_000_000;
/// Candidates that are examined in vain before others have their turn: about a quarter of a millisecond.
const TURN: usize = 512;
/// Time that a search may take, its client's reading included.
const TIME_MAX: Duration = Duration::from_secs(300);

/// What was compiled for the last search: clients ask for the same base and attributes again and again.
#[derive(Default)]
pub(super) struct Compiled {
    base: Option<(String, Dn)>,
    selection: Option<(Vec<String>, Selection)>,
}

/// A search that is ready to walk.
struct Prepared {
    base: Dn,
    scope: Scope,
    filter: Filter,
    selection: Selection,
    types_only: bool,
    /// Whether computed attributes are to be returned.
    is_computed: bool,
    sight: Sight,
    /// Most entries that are returned.
    limit: usize,
    deadline: Instant,
    /// The roles of sudo, if the search could find them.
    sudo: Option<Arc<SudoRoles>>,
}

/// Where found entries go.
enum Sink {
    /// To the client at once.
    Client,
    /// To a list, for pages.
    List(VecDeque<Arc<Node>>),
}

/// Why a walk ends early.
enum Stop {
    Outcome(Outcome),
    /// The client wants no answer.
    Abandoned,
}

impl Connection<'_> {
    pub(super) async fn search(
        &mut self,
        id: i32,
        request: LdapSearchRequest,
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
        let prepared = match self.prepare(&request) {
            Ok(prepared) => prepared,
            Err(outcome) => {
                self.done(id, &outcome, paged.is_some().then_some((0, &[][..])));
                return Ok(());
            }
        };
        match paged {
            None => {
                let mut sink = Sink::Client;
                if let Some((outcome, _)) = self.walk(id, &prepared, &mut sink).await? {
                    reply::result(&mut self.pipe.outbox, id, reply::tag::DONE, &outcome);
                }
                Ok(())
            }
            Some((size, cookie)) => self.page(id, request, &prepared, size, &cookie).await,
        }
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

    fn prepare(&mut self, request: &LdapSearchRequest) -> Result<Prepared, Outcome> {
        let counters = &self.server.counters;
        let malformed = |code, text: String| {
            Counters::count(&counters.malformed);
            Outcome::new(code, text)
        };
        let sight = self.sight();
        if sight == Sight::Nothing {
            Counters::count(&counters.denied);
            return Err(self.denied());
        }
        if self.view.tree.counts().entries == 0 {
            Counters::count(&counters.no_content);
            return Err(Outcome::new(Code::Unavailable, "no directory content has been received yet"));
        }
        let base = match &self.compiled.base {
            Some((text, base)) if *text == request.base => base.clone(),
            _ => {
                let base = Dn::parse(&request.base);
                let base = base.map_err(|error| malformed(Code::InvalidDNSyntax, error.to_string()))?;
                self.compiled.base = Some((request.base.clone(), base.clone()));
                base
            }
        };
        if base != self.server.base && self.seen(&base, &sight).is_none() {
            return Err(Outcome::no_such_object(self.matched(&base, &sight)));
        }
        let filter = Filter::compile(&request.filter);
        let filter = filter.map_err(|error| malformed(Code::AdminLimitExceeded, error.to_string()))?;
        let selection = match &self.compiled.selection {
            Some((names, selection)) if *names == request.attrs => selection.clone(),
            _ => {
                let selection = Selection::new(request.attrs.iter().map(String::as_str));
                self.compiled.selection = Some((request.attrs.clone(), selection.clone()));
                selection
            }
        };
        self.record(request, &base);
        let limit = self.server.parts.config.size_limit;
        let asked = usize::try_from(request.sizelimit).unwrap_or(0);
        let time = u64::try_from(request.timelimit).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
        Ok(Prepared {
            sudo: self.sudo_in(&base, &request.scope),
            base,
            scope: scope(&request.scope),
            filter,
            is_computed: selection.names("gatehouseAccess") || selection.names("gatehouseSudo"),
            selection,
            types_only: request.typesonly,
            sight,
            limit: if asked == 0 { limit } else { asked.min(limit) },
            deadline: Instant::now() + time.map_or(TIME_MAX, |time| time.min(TIME_MAX)),
        })
    }

    /// Records what the filter asks about one person.
    fn record(&self, request: &LdapSearchRequest, base: &Dn) {
        if !asks(&request.filter) {
            return;
        }
        let is_base = request.scope == LdapSearchScope::Base;
        let node = is_base.then(|| self.view.tree.by_dn(base)).flatten();
        let uid = node.and_then(|node| node.entry.text("uid"));
        for asked in judge::asked(&request.filter, uid) {
            self.server.record_asked(&self.view.access, &asked, self.clock, self.peer);
        }
    }

    /// The roles of sudo, if they are within a search.
    fn sudo_in(&self, base: &Dn, scope: &LdapSearchScope) -> Option<Arc<SudoRoles>> {
        let is_below = base.as_str().contains("ou=sudoers");
        let is_above = matches!(scope, LdapSearchScope::Subtree | LdapSearchScope::Children);
        let is_parent = *scope == LdapSearchScope::OneLevel && *base == self.server.base;
        (is_below || is_parent || (is_above && self.server.base.is_within(base)))
            .then(|| self.server.sudo_roles(&self.view))
            .flatten()
    }

    /// Walks through all entries. Returns the outcome and how many entries there were, nothing if nobody waits for it.
    async fn walk(&mut self, id: i32, search: &Prepared, sink: &mut Sink) -> Result<Option<(Outcome, usize)>, Over> {
        let (view, clock) = (self.view.clone(), self.clock);
        let stale = self.server.is_stale(clock.now_ms);
        let judge = Judge { access: &view.access, now_s: clock.now_s(), stale };
        let admits = |node: &Node, place: &str| judge.admits(node, place);
        let sudo = |node: &Node, host: &str| judge.sudo(node, host);
        let context = Context { admits: &admits, sudo: &sudo };
        let host = if let Sight::Of(host) = &search.sight { Some(&**host) } else { None };
        let mut eyes = host.map(|host| Eyes::new(&view, host, clock.now_s()));
        let mut found = 0;

        let virtual_nodes = virtual_nodes(search, host, clock.now_s());
        let mut made = virtual_nodes.filter(|node| search.filter.matches(node, &context));
        let mut walk = view.tree.search(&search.base, search.scope, &search.filter, &context, CANDIDATES_MAX);
        loop {
            let part;
            let node = match made.next().map_or_else(|| walk.step(TURN), Step::Found) {
                Step::Found(node) => node,
                Step::Paused => match self.pause(id, search.deadline).await? {
                    None => continue,
                    Some(stop) => return Ok(self.stopped(stop, found)),
                },
                Step::TooMany(error) => {
                    Counters::count(&self.server.counters.candidates_limited);
                    return Ok(Some((Outcome::new(Code::AdminLimitExceeded, error.to_string()), found)));
                }
                Step::End => return Ok(Some((Outcome::SUCCESS, found))),
            };
            let node = match eyes.as_mut().map_or(Shown::Whole, |eyes| eyes.look(node)) {
                Shown::No => continue,
                Shown::Whole => node,
                Shown::Part(seen) if search.filter.matches(&seen, &context) => {
                    part = seen;
                    &part
                }
                Shown::Part(_) => continue,
            };
            if found == search.limit {
                Counters::count(&self.server.counters.size_limited);
                return Ok(Some((Outcome::new(Code::SizeLimitExceeded, ""), found)));
            }
            found += 1;
            match sink {
                Sink::Client => self.write(id, node, search, &judge),
                Sink::List(list) => list.push_back(node.clone()),
            }
            if self.pipe.outbox.len() >= CHUNK || found % TURN == 0 {
                self.pipe.flush().await?;
                if let Some(stop) = self.pause(id, search.deadline).await? {
                    return Ok(self.stopped(stop, found));
                }
            }
        }
    }

    fn stopped(&self, stop: Stop, found: usize) -> Option<(Outcome, usize)> {
        match stop {
            Stop::Outcome(outcome) => Some((outcome, found)),
            Stop::Abandoned => None,
        }
    }

    /// Lets others have their turn, then looks whether the search shall go on.
    async fn pause(&mut self, id: i32, deadline: Instant) -> Result<Option<Stop>, Over> {
        tokio::task::yield_now().await;
        self.pipe.peek().await?;
        if Instant::now() >= deadline {
            Counters::count(&self.server.counters.time_limited);
            return Ok(Some(Stop::Outcome(Outcome::new(Code::TimeLimitExceeded, ""))));
        }
        let max = self.message_max();
        let mut rest = &self.pipe.inbox[..];
        while let Ok(Some(length)) = frame::length(rest, max)
            && let Some((message, behind)) = rest.split_at_checked(length)
        {
            rest = behind;
            let Some(head) = frame::head(message) else { break };
            let is_unbind = head.operation == frame::tag::UNBIND;
            if is_unbind || head.ends() == Some(id) {
                Counters::count(&self.server.counters.abandoned);
                if head.operation == frame::tag::EXTENDED {
                    self.cancelled = Some(id);
                    return Ok(Some(Stop::Outcome(Outcome::new(Code::Canceled, ""))));
                }
                return Ok(Some(Stop::Abandoned));
            }
        }
        Ok(None)
    }

    /// Writes one entry.
    fn write(&mut self, id: i32, node: &Node, search: &Prepared, judge: &Judge<'_>) {
        let mut more = bytes::BytesMut::new();
        if search.is_computed && node.is_person() {
            self.write_computed(node, search, judge, &mut more);
        }
        node.encode_message(id, &search.selection, search.types_only, &more, &mut self.pipe.outbox);
        Counters::count(&self.server.counters.entries);
    }

    /// The computed attributes: for a client that is a host, its own name if the person may come in there.
    fn write_computed(&self, node: &Node, search: &Prepared, judge: &Judge<'_>, out: &mut bytes::BytesMut) {
        let Some(host) = self.host() else { return };
        let name = judge::name_of(&host);
        let asked = [("gatehouseAccess", crate::policy::SERVICE_DEFAULT), ("gatehouseSudo", crate::policy::SUDO)];
        for (attribute, service) in asked {
            if search.selection.names(attribute) && judge.decides(node, &host, service) {
                let values = (!search.types_only).then_some(name.as_bytes());
                encode_attribute(attribute, values.into_iter(), out);
            }
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
            let Some(page) = self.pages.turn(cookie, &request, size) else {
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
        let Some((mut outcome, total)) = self.walk(id, search, &mut sink).await? else { return Ok(()) };
        let Sink::List(mut nodes) = sink else { return Ok(()) };
        let is_cut = outcome.code == Code::SizeLimitExceeded;
        if outcome.code != Code::Success && !is_cut {
            self.done(id, &outcome, Some((0, &[])));
            return Ok(());
        }
        let rest = nodes.split_off(size.min(nodes.len()));
        let mut next = None;
        if !rest.is_empty() {
            next = self.pages.keep(request, rest, total, is_cut);
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

/// The entries of sudo within a search.
fn virtual_nodes<'a>(
    search: &'a Prepared,
    host: Option<&'a inventory::Host>,
    now_s: u64,
) -> impl Iterator<Item = &'a Arc<Node>> {
    let roles =
        search.sudo.iter().flat_map(move |roles| std::iter::once(roles.container()).chain(roles.nodes(host, now_s)));
    roles.filter(|node| match search.scope {
        Scope::Base => node.dn == search.base,
        Scope::One => node.dn.parent().as_ref() == Some(&search.base),
        Scope::Subtree => node.dn.is_within(&search.base),
        Scope::Children => node.dn != search.base && node.dn.is_within(&search.base),
    })
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

fn scope(scope: &LdapSearchScope) -> Scope {
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
