//! Compare (RFC 4511 section 4.10).

use std::sync::Arc;

use ldap3_proto::{
    LdapFilter,
    proto::{LdapCompareRequest, LdapResultCode as Code},
};

use super::{
    connection::Connection,
    counters::Counters,
    eyes::{Eyes, Shown},
    judge::{self, Judge},
    reply::{self, Outcome},
    sight::Sight,
};
use crate::{
    dn::Dn,
    filter::{Context, Filter, Truth},
    tree::Node,
};

impl Connection<'_> {
    pub(super) async fn compare(&mut self, id: i32, request: &LdapCompareRequest) {
        Counters::count(&self.server.counters.compares);
        let outcome = self.compared(request).await;
        reply::result(&mut self.pipe.outbox, id, reply::tag::COMPARE, &outcome);
    }

    async fn compared(&self, request: &LdapCompareRequest) -> Outcome {
        let sight = self.sight();
        if sight == Sight::Nothing {
            Counters::count(&self.server.counters.denied);
            return self.denied();
        }
        let Ok(dn) = Dn::parse(&request.dn) else {
            Counters::count(&self.server.counters.malformed);
            return Outcome::new(Code::InvalidDNSyntax, "the name to compare is no DN");
        };
        let Some(node) = self.seen(&dn, &sight).await else {
            return Outcome::no_such_object(self.matched(&dn, &sight).await);
        };
        let Ok(value) = std::str::from_utf8(&request.val) else {
            return Outcome::new(Code::InvalidAttributeSyntax, "values are compared as UTF-8");
        };
        let now_s = self.clock.now_s();
        let judge = Judge { access: &self.view.access, now_s, stale: self.server.is_stale(self.clock.now_ms) };
        let admits = |node: &Node, place: &str| judge.admits(node, place);
        let sudo = |node: &Node, host: &str| judge.sudo(node, host);
        let context = Context { admits: &admits, sudo: &sudo };
        let asked = LdapFilter::Equality(request.atype.clone(), value.to_owned());
        for asked in judge::asked(&asked, node.entry.text("uid")) {
            if self.may_ask(&sight, &asked.host) {
                self.server.record_asked(&self.view.access, &asked, self.clock, self.peer);
            }
        }
        let filter =
            Filter::equality(&request.atype, value).asking_only(&|place| self.may_ask(&sight, judge::split(place).0));
        match filter.evaluate(&node, &context) {
            Truth::True => Outcome::new(Code::CompareTrue, ""),
            Truth::False if Filter::presence(&request.atype).matches(&node, &context) => {
                Outcome::new(Code::CompareFalse, "")
            }
            Truth::False => Outcome::new(Code::NoSuchAttribute, ""),
            Truth::Undefined => {
                Counters::count(&self.server.counters.denied);
                Outcome::new(Code::InsufficentAccessRights, "this attribute is not compared")
            }
        }
    }

    /// Whether a client may ask who comes in at a host: one that sees only what concerns it asks about itself.
    pub(super) fn may_ask(&self, sight: &Sight, name: &str) -> bool {
        let Sight::Of(own) = sight else { return true };
        self.view.access.host(name).is_ok_and(|host| host.key == own.key)
    }

    /// The entry with a name as the client sees it.
    pub(super) async fn seen(&self, dn: &Dn, sight: &Sight) -> Option<Arc<Node>> {
        let node = self.view.tree.by_dn(dn).cloned().or_else(|| self.sudo_node(dn, sight));
        match sight {
            Sight::Nothing => None,
            Sight::Everything => node,
            Sight::Of(host) => {
                let node = node?;
                match Eyes::new(&self.server.known, &self.view, host, self.clock.now_s()).look(&node).await {
                    Shown::No => None,
                    Shown::Whole => Some(node),
                    Shown::Part(part) => Some(part),
                }
            }
        }
    }

    fn sudo_node(&self, dn: &Dn, sight: &Sight) -> Option<Arc<Node>> {
        let host = if let Sight::Of(host) = sight { Some(&**host) } else { None };
        self.view.sudo.by_dn(dn, host, self.clock.now_s()).cloned()
    }

    /// The DN of the nearest entry above a name that the client sees (RFC 4511 section 4.1.9).
    pub(super) async fn matched(&self, dn: &Dn, sight: &Sight) -> String {
        let mut above = dn.parent();
        while let Some(dn) = above {
            if let Some(node) = self.seen(&dn, sight).await {
                return node.entry.dn.to_string();
            }
            above = dn.parent();
        }
        String::new()
    }

    /// The answer to whoever may not see the content.
    pub(super) fn denied(&self) -> Outcome {
        let text = if self.names.is_empty() {
            "bind first; this network is not in allow_anonymous"
        } else {
            "bind first; the certificate names no host of the inventory"
        };
        Outcome::new(Code::InsufficentAccessRights, text)
    }
}
