//! Extended operations (RFC 4511 section 4.12): StartTLS, Who am I?, Cancel, and the questions of instances.

use ldap3_proto::proto::{LdapExtendedRequest, LdapResultCode as Code};

use super::{
    connection::{Connection, Next},
    counters::Counters,
    frame, judge,
    reply::{self, Outcome},
    sight::Who,
};
use crate::{ask, decisions::Entry};

impl Connection<'_> {
    pub(super) fn extended(&mut self, id: i32, request: LdapExtendedRequest) -> Next {
        let counters = &self.server.counters;
        let LdapExtendedRequest { name, value } = request;
        match name.as_str() {
            super::START_TLS => return self.start_tls(id),
            ask::OID => self.ask(id, value.as_deref().unwrap_or_default()),
            super::WHO_AM_I => {
                Counters::count(&counters.extended);
                let own = self.who_am_i();
                reply::extended(&mut self.pipe.outbox, id, &Outcome::SUCCESS, None, Some(own.as_bytes()));
            }
            super::CANCEL => {
                Counters::count(&counters.extended);
                let outcome = self.cancel(value.as_deref().unwrap_or_default());
                reply::extended(&mut self.pipe.outbox, id, &outcome, None, None);
            }
            super::PASSWORD_MODIFY => {
                Counters::count(&counters.writes_refused);
                let text = "this directory is a copy for reading; change the password where its entries come from";
                reply::extended(&mut self.pipe.outbox, id, &Outcome::new(Code::UnwillingToPerform, text), None, None);
            }
            _ => {
                Counters::count(&counters.extended);
                let outcome = Outcome::new(Code::ProtocolError, "this extended operation is not served");
                reply::extended(&mut self.pipe.outbox, id, &outcome, None, None);
            }
        }
        Next::Go
    }

    /// StartTLS (RFC 4511 section 4.14). Operations are done one after the other, so none is outstanding; but octets
    /// behind the request, which anybody on the way could have put there, end the connection.
    fn start_tls(&mut self, id: i32) -> Next {
        let refused = if self.is_tls {
            Some((Code::OperationsError, "TLS is there already", Next::Go))
        } else if self.server.parts.tls.is_none() {
            Some((Code::ProtocolError, "this server has no certificate", Next::Go))
        } else if !self.pipe.inbox.is_empty() {
            Some((Code::OperationsError, "something was sent behind StartTLS, outside of TLS", Next::Close))
        } else {
            None
        };
        let (outcome, next) = match refused {
            None => (Outcome::SUCCESS, Next::StartTls),
            Some((code, text, next)) => {
                Counters::count(&self.server.counters.tls_refused);
                (Outcome::new(code, text), next)
            }
        };
        reply::extended(&mut self.pipe.outbox, id, &outcome, Some(super::START_TLS), None);
        next
    }

    /// The authorization identity (RFC 4513 section 5.2.1.8).
    fn who_am_i(&self) -> String {
        match &self.who {
            Who::Person(entry) => {
                let node = self.view.tree.by_id(*entry);
                node.map_or_else(String::new, |node| format!("dn:{}", node.entry.dn))
            }
            Who::Host => self.host().map_or_else(String::new, |host| format!("u:host/{}", judge::name_of(&host))),
            Who::Anonymous => String::new(),
        }
    }

    fn cancel(&mut self, value: &[u8]) -> Outcome {
        match frame::cancelled(value).and_then(|id| i32::try_from(id).ok()) {
            None => Outcome::new(Code::ProtocolError, "the request names no message"),
            Some(id) if self.cancelled.take_if(|cancelled| *cancelled == id).is_some() => Outcome::SUCCESS,
            Some(_) => Outcome::new(Code::NoSuchOperation, "that operation is over"),
        }
    }

    /// A question of an instance. The host is never taken from the question.
    fn ask(&mut self, id: i32, value: &[u8]) {
        let counters = &self.server.counters;
        let refuse = |out: &mut _, code, text: String| {
            Counters::count(&counters.asks_refused);
            reply::extended(out, id, &Outcome::new(code, text), None, None);
        };
        let Some(host) = self.host() else {
            let text = if self.names.is_empty() {
                "present the certificate of a host; hosts are known by address only in hosts_by_address".to_owned()
            } else {
                let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
                format!("the inventory has no host named {}", names.join(" or "))
            };
            return refuse(&mut self.pipe.outbox, Code::InsufficentAccessRights, text);
        };
        if self.view.tree.counts().entries == 0 {
            let text = "no directory content has been received yet".to_owned();
            return refuse(&mut self.pipe.outbox, Code::Unavailable, text);
        }
        let asked = match ask::Asked::parse(value) {
            Ok(asked) => asked,
            Err(error) => return refuse(&mut self.pipe.outbox, Code::ProtocolError, error.to_string()),
        };
        Counters::count(&counters.asks);
        let (name, now_s) = (judge::name_of(&host), self.clock.now_s());
        let stale = self.server.is_stale(self.clock.now_ms);
        let age_s = (self.server.parts.age)(self.clock.now_ms).map(|age_ms| age_ms / 1000);
        let answer = ask::answer(&self.view, &name, &asked, now_s, stale).aged(age_s);
        self.server.put(Entry {
            when_ms: self.clock.now_ms,
            user: judge::cut(&asked.user),
            host: judge::cut(&name),
            service: judge::cut(&asked.service),
            verdict: answer.verdict.as_str().into(),
            reason: answer.reason.as_str().into(),
            rule: answer.rule.as_deref().map(judge::cut),
            position: judge::position(self.view.position()),
            via: asked.what.as_str().into(),
            source: Some(self.peer),
            age_s,
        });
        reply::extended(&mut self.pipe.outbox, id, &Outcome::SUCCESS, None, Some(&answer.to_json()));
    }
}
