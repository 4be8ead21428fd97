//! The walk of one search through the entries.
//!
//! A step examines some hundred candidates at most, and between steps other connections have their turn. Entries are
//! written as they are found; when [`CHUNK`] octets wait, they are sent before the walk goes on, so a result of any size
//! takes little memory.

use std::{collections::VecDeque, sync::Arc};

use ldap3_proto::proto::LdapResultCode as Code;
use tokio::time::Instant;

use super::{
    asked::Prepared,
    connection::Connection,
    counters::Counters,
    eyes::{Eyes, Shown},
    frame,
    judge::{self, Judge},
    pipe::{CHUNK, Over},
    reply::Outcome,
    sight::Sight,
};
use crate::{
    filter::Context,
    tree::{Node, Search, Step, TooMany, encode_attribute},
};

/// Candidates that one search may examine in vain.
const CANDIDATES_MAX: usize = 1_000_000;
/// Candidates that are examined in vain before others have their turn: about a quarter of a millisecond.
const TURN: usize = 512;
/// Members of a group that are judged for a host at the cost of one candidate.
const MEMBERS_PER_CANDIDATE: usize = 8;
/// Where found entries go.
pub(super) enum Sink {
    /// To the client at once.
    Client,
    /// To a list, for pages.
    List(VecDeque<Arc<Node>>),
}

/// What a walk came to.
pub(super) struct Walked {
    pub(super) outcome: Outcome,
    /// Entries found.
    pub(super) found: usize,
    /// Whether nothing but the entries and roles of the view had a part in it, and nothing of it is sent yet.
    is_lasting: bool,
}

impl Walked {
    /// How many entries there were, if the answer is whole and the same as long as entries and roles are.
    pub(super) fn lasting(&self) -> Option<u64> {
        let is_lasting = self.is_lasting && self.outcome.code == Code::Success;
        is_lasting.then(|| u64::try_from(self.found).ok()).flatten()
    }
}

/// Why a walk ends early.
enum Stop {
    Outcome(Outcome),
    /// The client wants no answer.
    Abandoned,
}

impl Stop {
    fn walked(self, found: usize) -> Option<Walked> {
        match self {
            Self::Outcome(outcome) => Some(Walked { outcome, found, is_lasting: false }),
            Self::Abandoned => None,
        }
    }
}

impl Connection<'_> {
    /// Walks through all entries. Returns nothing if nobody waits for it.
    pub(super) async fn walk(&mut self, id: i32, search: &Prepared, sink: &mut Sink) -> Result<Option<Walked>, Over> {
        let (view, clock) = (self.view.clone(), self.clock);
        let stale = self.server.is_stale(clock.now_ms);
        let judge = Judge { access: &view.access, now_s: clock.now_s(), stale };
        let admits = |node: &Node, place: &str| judge.admits(node, place);
        let sudo = |node: &Node, host: &str| judge.sudo(node, host);
        let context = Context { admits: &admits, sudo: &sudo };
        let host = if let Sight::Of(host) = &search.sight { Some(&**host) } else { None };
        let mut eyes = host.map(|host| Eyes::new(&self.server.known, &view, host, clock.now_s()));
        let mut found = 0;
        // Computed attributes are decisions, and a host sees what the policy of the hour lets it.
        let mut is_lasting = !search.is_computed && host.is_none();

        let mut roles = search.sudo.then(|| {
            let tree = view.sudo.tree(host.is_some());
            tree.search(&search.base, search.scope, &search.filter, &context, CANDIDATES_MAX)
        });
        let mut unseen = 0;
        let mut walk = view.tree.search(&search.base, search.scope, &search.filter, &context, CANDIDATES_MAX);
        loop {
            let is_role = roles.is_some();
            let step = match (roles.as_mut(), &eyes) {
                (Some(roles), _) => roles.step(TURN),
                (None, None) => walk.step(TURN),
                (None, Some(_)) => walk.step_unjudged(TURN),
            };
            // Whether a role is for everybody changes with time.
            is_lasting &= !(is_role && matches!(step, Step::Found(_)));
            let node = match (step, &mut eyes) {
                (Step::Found(node), _) if is_role && !view.sudo.sees(node, host, clock.now_s()) => {
                    unseen += 1;
                    if unseen % TURN == 0
                        && let Some(stop) = self.pause(id, search).await?
                    {
                        return Ok(stop.walked(found));
                    }
                    Ok(None)
                }
                (Step::Found(node), Some(eyes)) if !is_role => shown(eyes, &mut walk, node).await,
                (Step::Found(node), _) => Ok(Some(node.clone())),
                (Step::End, _) if is_role => {
                    roles = None;
                    continue;
                }
                (Step::TooMany(error), _) => Err(error),
                (Step::Paused, _) => match self.pause(id, search).await? {
                    None => continue,
                    Some(stop) => return Ok(stop.walked(found)),
                },
                (Step::End, _) => return Ok(Some(Walked { outcome: Outcome::SUCCESS, found, is_lasting })),
            };
            let node = match node {
                Ok(Some(node)) => node,
                Ok(None) => continue,
                Err(error) => return Ok(Stop::Outcome(self.too_many(&error)).walked(found)),
            };
            if found == search.limit {
                Counters::count(&self.server.counters.size_limited);
                return Ok(Stop::Outcome(Outcome::new(Code::SizeLimitExceeded, "")).walked(found));
            }
            found += 1;
            match sink {
                Sink::Client => self.write(id, &node, search, &judge),
                Sink::List(list) => list.push_back(node),
            }
            if self.pipe.outbox.len() >= CHUNK || found % TURN == 0 {
                is_lasting = false;
                if let Some(stop) = self.send(id, search).await? {
                    return Ok(stop.walked(found));
                }
            }
        }
    }

    fn too_many(&self, error: &TooMany) -> Outcome {
        Counters::count(&self.server.counters.candidates_limited);
        Outcome::new(Code::AdminLimitExceeded, error.to_string())
    }

    /// Sends what was found, however long the client takes for it, then pauses.
    async fn send(&mut self, id: i32, search: &Prepared) -> Result<Option<Stop>, Over> {
        search.deadline();
        self.pipe.flush().await?;
        self.pause(id, search).await
    }

    /// Lets others have their turn, then looks whether the search shall go on.
    async fn pause(&mut self, id: i32, search: &Prepared) -> Result<Option<Stop>, Over> {
        let deadline = search.deadline();
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
    pub(super) fn write(&mut self, id: i32, node: &Node, search: &Prepared, judge: &Judge<'_>) {
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
}

/// An entry as a host sees it, if what it sees matches.
async fn shown(eyes: &mut Eyes<'_>, walk: &mut Search<'_>, node: &Arc<Node>) -> Result<Option<Arc<Node>>, TooMany> {
    let seen = match eyes.look(node).await {
        Shown::No => None,
        Shown::Whole => Some(node.clone()),
        Shown::Part(part) => Some(part),
    };
    let effort = eyes.take_effort() / MEMBERS_PER_CANDIDATE;
    let Some(seen) = seen else {
        walk.pass_over(1 + effort)?;
        return Ok(None);
    };
    Ok(walk.judge(&seen)?.then_some(seen))
}
