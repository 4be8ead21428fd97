//! Searches by the client library, with results as they came and an account of what was taken.

use std::{sync::Arc, time::Duration};

use inventory::{Attribute, Entry};
use ldap3::{
    LdapResult, ResultEntry, Scope, SearchStream,
    asn1::PL,
    controls::{PagedResults, RawControl},
};

use super::{
    connect::Connection,
    control::{self, BadSync, PAGED, SYNC_DONE, SYNC_INFO, SYNC_STATE, SyncDone, SyncInfo, SyncState},
    entry,
    gate::Link,
    range,
};

/// Entries of one page.
const PAGE: i32 = 1000;
/// Values or entries that a single answer may have.
const ANSWER_MAX: usize = 64;

/// A search that is under way.
pub(super) struct Search {
    stream: SearchStream<'static, String, Vec<String>>,
    link: Arc<Link>,
}

/// What a search asks for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) base: String,
    pub(super) scope: Scope,
    pub(super) filter: String,
    pub(super) attributes: Vec<String>,
}

/// One result.
pub(super) enum Item {
    /// An entry with its Sync State, if it has one.
    Entry(Box<ldap3::asn1::StructureTag>, Option<SyncState>),
    /// A Sync Info message.
    Info(SyncInfo),
    /// A referral, or a message of another kind.
    Other,
    /// The end, with its Sync Done, if it has one.
    Done(LdapResult, Option<SyncDone>),
}

impl Search {
    /// Sends the request. Each answer must come within `limit`, if there is one.
    pub(super) async fn start(
        connection: &mut Connection,
        request: &Request,
        controls: Vec<RawControl>,
        limit: Option<Duration>,
    ) -> Result<Self, String> {
        let link = connection.link.clone();
        let ldap = connection.ldap.with_controls(controls);
        if let Some(limit) = limit {
            ldap.with_timeout(limit);
        }
        let Request { base, scope, filter, attributes } = request;
        match ldap.streaming_search(base, *scope, filter, attributes.clone()).await {
            Ok(stream) => Ok(Self { stream, link }),
            Err(ldap3::LdapError::FilterParsing) => {
                Err(format!("{filter:?} is no filter; correct [directory.upstream] filter"))
            }
            Err(error) => Err(link.why(error).await),
        }
    }

    /// The next result. Dropping the future loses nothing. Not to be called again after the end or an error.
    pub(super) async fn next(&mut self) -> Result<Item, String> {
        match self.stream.next().await {
            Ok(Some(found)) => {
                self.link.taken();
                item(found)
            }
            Ok(None) => {
                let result = self.stream.finish().await;
                let done = value(&result.ctrls, SYNC_DONE).map(control::sync_done).transpose();
                let done = done.map_err(|why| format!("the server sent a Sync Done control that is wrong: {why}"))?;
                Ok(Item::Done(result, done))
            }
            Err(error) => Err(self.link.why(error).await),
        }
    }
}

fn value<'a>(controls: &'a [ldap3::controls::Control], oid: &str) -> Option<&'a [u8]> {
    let found = controls.iter().find(|control| control.1.ctype == oid);
    found.map(|control| control.1.val.as_deref().unwrap_or_default())
}

fn item(found: ResultEntry) -> Result<Item, String> {
    if found.is_ref() {
        return Ok(Item::Other);
    }
    let wrong = |what: &str, why: BadSync| format!("the server sent a {what} that is wrong: {why}");
    if found.is_intermediate() {
        let PL::C(parts) = found.0.payload else { return Ok(Item::Other) };
        let part = |id: u64| parts.iter().find(|part| part.id == id).map(|part| &part.payload);
        return match (part(0), part(1)) {
            (Some(PL::P(oid)), Some(PL::P(value))) if oid == SYNC_INFO.as_bytes() => {
                control::sync_info(value).map(Item::Info).map_err(|why| wrong("Sync Info message", why))
            }
            _ => Ok(Item::Other),
        };
    }
    let state = value(&found.1, SYNC_STATE).map(control::sync_state).transpose();
    let state = state.map_err(|why| wrong("Sync State control", why))?;
    Ok(Item::Entry(Box::new(found.0), state))
}

/// The attributes of one entry; none when it is not there or may not be read.
pub(super) async fn read_base(
    connection: &mut Connection,
    base: &str,
    attributes: &[&str],
    limit: Duration,
) -> Result<Vec<Attribute>, String> {
    let attributes = attributes.iter().map(|name| (*name).to_owned()).collect();
    let request = Request { base: base.to_owned(), scope: Scope::Base, filter: "(objectClass=*)".into(), attributes };
    let mut search = Search::start(connection, &request, Vec::new(), Some(limit)).await?;
    let mut found = Vec::new();
    for _ in 0..ANSWER_MAX {
        match search.next().await? {
            Item::Entry(tag, _) => {
                let (_, attributes) =
                    entry::parse(*tag).map_err(|why| format!("the server sent an entry, but {why}"))?;
                found.extend(attributes);
            }
            Item::Done(..) => return Ok(found),
            Item::Info(_) | Item::Other => {}
        }
    }
    Err("the server answers a question for one entry with many".into())
}

/// Why a listing is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unlisted {
    /// The connection, or the server's answer.
    Failed(String),
    /// More than is taken over.
    Many(usize),
}

/// The whole content by an ordinary search, in pages if the server has them. Anything but success discards it.
pub(super) async fn list(
    connection: &mut Connection,
    request: &Request,
    paged: bool,
    entries_max: usize,
    limit: Duration,
) -> Result<Vec<Entry>, Unlisted> {
    let mut found = Vec::new();
    let mut cookie = Vec::new();
    loop {
        let page = PagedResults { size: PAGE, cookie: std::mem::take(&mut cookie) };
        let controls = if paged { vec![RawControl::from(page)] } else { Vec::new() };
        let mut search = Search::start(connection, request, controls, Some(limit)).await.map_err(Unlisted::Failed)?;
        let mut in_parts = Vec::new();
        let result = loop {
            match search.next().await.map_err(Unlisted::Failed)? {
                Item::Entry(tag, _) => {
                    let wrong = |why| Unlisted::Failed(format!("the server sent an entry, but {why}"));
                    let (dn, attributes) = entry::parse(*tag).map_err(wrong)?;
                    match range::is_in_parts(&attributes) {
                        true => in_parts.push((dn, attributes)),
                        false => found.push(entry::identified(dn, attributes)),
                    }
                    if found.len() + in_parts.len() > entries_max {
                        return Err(Unlisted::Many(entries_max));
                    }
                }
                Item::Done(result, _) => break result,
                Item::Info(_) | Item::Other => {}
            }
        };
        if result.rc != 0 {
            return Err(Unlisted::Failed(refusal(&result)));
        }
        if paged && let Some(value) = value(&result.ctrls, PAGED) {
            let wrong = |why| Unlisted::Failed(format!("the server sent a paged-results control that is wrong: {why}"));
            cookie = control::page_cookie(value).map_err(wrong)?;
        }
        drop(search);
        for (dn, attributes) in in_parts {
            let attributes = range::complete(connection, &dn, attributes, limit).await.map_err(Unlisted::Failed)?;
            found.push(entry::identified(dn, attributes));
        }
        if cookie.is_empty() {
            return Ok(found);
        }
    }
}

/// What a result code other than success means here, with the remedy where there is one.
pub(super) fn refusal(result: &LdapResult) -> String {
    let (code, text) = (result.rc, result.text.chars().take(200).collect::<String>());
    let meaning = match code {
        3 => "its time limit was reached; allow our identity more (slapd: olcLimits time=unlimited)",
        4 => "its size limit was reached; allow our identity more (slapd: olcLimits size=unlimited)",
        11 => "an administrative limit was reached; allow our identity more",
        12 => "it does not have the sync control here; load syncprov for this database, or set follow = \"poll\"",
        32 => "there is no such base; correct [directory.upstream] base, or let our identity read it",
        49 => "our identity or its password is wrong; correct bind_dn or the file of bind_password_file",
        50 => "our identity may not do that; allow it to read below base",
        51 | 52 => "it is busy or unavailable",
        _ => "it gives no content",
    };
    format!("the server answers with code {code} {text:?}: {meaning}")
}
