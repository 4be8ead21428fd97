//! Bind (RFC 4511 section 4.2, RFC 4513 section 5).

use std::{panic::resume_unwind, sync::Arc};

use compact_str::CompactString;
use ldap3_proto::proto::{LdapBindCred, LdapBindRequest, LdapResultCode as Code, SaslCredentials};
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use super::{
    Parts,
    connection::Connection,
    counters::Counters,
    frame::Control,
    is_in, judge,
    pipe::Over,
    reply::{self, Outcome},
    sight::Who,
};
use crate::{decisions::Entry, dn::Dn, password::Checked};

/// A password policy response without warnings or errors.
const NO_WARNING: &[u8] = &[0x30, 0];

impl Connection<'_> {
    pub(super) async fn bind(&mut self, id: i32, bind: LdapBindRequest, controls: &[Control]) -> Result<(), Over> {
        // A bind begins by forgetting who the client was (RFC 4511 section 4.2.1).
        self.forget();
        let outcome = match bind {
            LdapBindRequest { version: 3, dn, cred } => match cred {
                LdapBindCred::Simple(password) => self.simple(&dn, &password).await?,
                LdapBindCred::SASL(sasl) => self.sasl(&sasl),
                LdapBindCred::Unsupported => {
                    Counters::count(&self.server.counters.binds_refused);
                    Outcome::new(Code::AuthMethodNotSupported, "bind with a password, or with SASL EXTERNAL")
                }
            },
            LdapBindRequest { .. } => {
                Counters::count(&self.server.counters.binds_refused);
                Outcome::new(Code::ProtocolError, "only version 3 of LDAP is served")
            }
        };
        if controls.iter().any(|control| control.oid == super::PASSWORD_POLICY) {
            let oid = super::PASSWORD_POLICY;
            reply::result_with(&mut self.pipe.outbox, id, reply::tag::BIND, &outcome, oid, NO_WARNING);
        } else {
            reply::result(&mut self.pipe.outbox, id, reply::tag::BIND, &outcome);
        }
        Ok(())
    }

    /// Answers a bind whose password is no UTF-8 (RFC 4513 section 5.1.3): it is wrong.
    pub(super) fn bind_unreadable(&mut self, id: i32) {
        self.forget();
        Counters::count(&self.server.counters.binds_wrong);
        reply::result(&mut self.pipe.outbox, id, reply::tag::BIND, &Outcome::new(Code::InvalidCredentials, ""));
    }

    async fn simple(&mut self, dn: &str, password: &str) -> Result<Outcome, Over> {
        let counters = &self.server.counters;
        let wrong = || Outcome::new(Code::InvalidCredentials, "");
        let empty = || {
            // RFC 4513 section 5.1.2: a client that forgot to ask for the password must not think that it was right.
            Outcome::new(Code::UnwillingToPerform, "a bind with a DN needs a password")
        };
        if dn.is_empty() {
            return Ok(if password.is_empty() {
                Counters::count(&counters.binds_anonymous);
                Outcome::SUCCESS
            } else {
                Counters::count(&counters.binds_wrong);
                wrong()
            });
        }
        if password.is_empty() {
            Counters::count(&counters.binds_empty);
            return Ok(empty());
        }
        let Ok(dn) = Dn::parse(dn) else {
            Counters::count(&counters.binds_wrong);
            return Ok(Outcome::new(Code::InvalidDNSyntax, "the name to bind as is no DN"));
        };
        let is_secure = self.is_tls || is_in(&self.server.parts.config.plain_binds, self.peer);
        // Others who asked before must not wait for whoever judges the password.
        self.pipe.flush().await?;
        let found = self.view.tree.by_dn(&dn).map(|node| node.entry.clone());
        let is_known = found.is_some();
        let checked = self.check(found, &dn, password, is_secure).await?;
        self.record_bind(is_known.then_some(&dn), checked);
        let (counter, outcome) = match checked {
            Checked::Right { entry, .. } => {
                self.who = Who::Person(entry);
                (&counters.binds_right, Outcome::SUCCESS)
            }
            Checked::Wrong(_) => (&counters.binds_wrong, wrong()),
            Checked::NotSecure => {
                let text = "passwords are taken under TLS only; use StartTLS or ldaps";
                (&counters.binds_not_secure, Outcome::new(Code::ConfidentialityRequired, text))
            }
            Checked::EmptyPassword => (&counters.binds_empty, empty()),
            Checked::Busy(_) => {
                let text = "too many passwords are being checked; try again";
                (&counters.binds_busy, Outcome::new(Code::Busy, text))
            }
            Checked::Unavailable => {
                let text = "the upstream directory is gone and nothing here can check this password";
                (&counters.binds_unavailable, Outcome::new(Code::Unavailable, text))
            }
        };
        Counters::count(counter);
        Ok(outcome)
    }

    /// Has a password judged on the runtime that has timers: whoever judges waits for the upstream and for its turn.
    /// If that panics, so does the connection.
    async fn check(
        &self,
        found: Option<Arc<inventory::Entry>>,
        dn: &Dn,
        password: &str,
        is_secure: bool,
    ) -> Result<Checked, Over> {
        // What is refused in any case is not worth a task.
        if !is_secure {
            return Ok(Checked::NotSecure);
        }
        let Parts { passwords, timers, .. } = &self.server.parts;
        let (passwords, dn, peer) = (passwords.clone(), dn.clone(), self.peer);
        let password = Zeroizing::new(password.as_bytes().to_vec());
        let check = async move { passwords.check(found, dn.as_str(), &password, peer, true).await };
        match AbortOnDropHandle::new(timers.spawn(check)).await {
            Ok(checked) => Ok(checked),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The node ends.
                Err(_) => Err(Over::Gone),
            },
        }
    }

    /// Records a bind that was judged. The others have counters: nobody may fill the log without a try at a password.
    /// A name that nobody has is not told, so that tries of many names become one line.
    fn record_bind(&self, dn: Option<&Dn>, checked: Checked) {
        let is_unjudged = matches!(
            checked,
            Checked::NotSecure | Checked::EmptyPassword | Checked::Busy(_) | Checked::Wrong("throttled")
        );
        if is_unjudged {
            return;
        }
        let (verdict, via) = match checked {
            Checked::Right { via, .. } => ("allow", via.as_str()),
            _ => ("deny", "bind"),
        };
        let position = self.view.position();
        self.server.put(Entry {
            when_ms: self.clock.now_ms,
            user: dn.map(|dn| judge::cut(dn.as_str())).unwrap_or_default(),
            host: CompactString::const_new(""),
            service: CompactString::const_new("bind"),
            verdict: verdict.into(),
            reason: checked.reason().into(),
            rule: None,
            position: judge::position(position),
            via: via.into(),
            source: Some(self.peer),
            age_s: (self.server.parts.age)(self.clock.now_ms).map(|age_ms| age_ms / 1000),
        });
    }

    fn sasl(&mut self, sasl: &SaslCredentials) -> Outcome {
        let counters = &self.server.counters;
        let refuse = |code, text| {
            Counters::count(&counters.binds_refused);
            Outcome::new(code, text)
        };
        if !sasl.mechanism.eq_ignore_ascii_case("EXTERNAL") {
            return refuse(Code::AuthMethodNotSupported, "the only SASL mechanism is EXTERNAL");
        }
        if self.names.is_empty() {
            return refuse(
                Code::InappropriateAuthentication,
                "EXTERNAL needs a certificate of a configured root under TLS",
            );
        }
        let Some(host) = self.host() else {
            return refuse(Code::InvalidCredentials, "the certificate names no host of the inventory");
        };
        let own = format!("u:host/{}", judge::name_of(&host));
        if !sasl.credentials.is_empty() && sasl.credentials != own.as_bytes() {
            return refuse(Code::InvalidCredentials, "a host may not act for somebody else");
        }
        Counters::count(&counters.binds_external);
        self.who = Who::Host;
        Outcome::SUCCESS
    }
}
