//! One connection to a server that pushes: refreshAndPersist of RFC 4533.
//!
//! The refresh is collected whole and published as one proposal; afterwards what arrives within a few milliseconds is
//! one. The cookie goes with what it stands for, or by itself once a minute when nothing else changes. Every few seconds
//! the server is asked for its contextCSN: that tells whether it lives, and whether we are in step with it.

use std::time::Duration;

use inventory::{Author, Edit, Row};
use ldap3::controls::{MakeCritical, RawControl, RefreshMode, SyncRequest};
use tokio::time::{self, Instant, MissedTickBehavior};

use super::{
    changes::Changes,
    compare::Comparison,
    connect::Connection,
    control::{SyncDone, SyncInfo, SyncState, What},
    cookie::{Csn, SyncCookie},
    ends::{self, Ended, Stage},
    entry,
    job::{End, Job},
    names, poll,
    publish::{self, Published},
    pulse::{Pulse, Verdict},
    refresh::{BadRefresh, Content, Refresh},
    root::Root,
    search::{Item, Search},
    status::{Phase, now_ms},
};
use crate::config::Follow;

/// How long changes that arrive together are collected.
const COLLECT: Duration = Duration::from_millis(4);
/// Changes of one proposal.
const BATCH_MAX: usize = 2000;
/// How often the server is asked whether it lives.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How often a cookie is stored that comes without changes.
const COOKIE_EVERY: Duration = Duration::from_secs(60);
/// Silence during a refresh after which it is given up; a server may take its time to begin.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Follows a server, from `cookie`, until something ends it.
pub(super) async fn run(job: Job, connection: Connection, root: Root, cookie: SyncCookie) -> End {
    Session::new(job, connection, root, cookie).run().await
}

struct Session {
    job: Job,
    connection: Connection,
    root: Root,
    /// With everything that came so far.
    cookie: SyncCookie,
    /// The cookie that was sent was none.
    whole: bool,
    /// None once the refresh is over.
    refresh: Option<Refresh>,
    changes: Changes,
    publish_at: Option<Instant>,
    heard: Instant,
    stored: Instant,
    pulse: Pulse,
    comparison: Comparison,
}

impl Session {
    fn new(job: Job, connection: Connection, root: Root, cookie: SyncCookie) -> Self {
        let whole = cookie == SyncCookie::None;
        let refresh = Some(Refresh::new(whole, job.upstream.entries_max));
        Self {
            job,
            connection,
            root,
            cookie,
            whole,
            refresh,
            changes: Changes::default(),
            publish_at: None,
            heard: Instant::now(),
            stored: Instant::now(),
            pulse: Pulse::default(),
            comparison: Comparison::default(),
        }
    }

    async fn run(mut self) -> End {
        match self.follow().await {
            Ok(never) => match never {},
            Err(End::Failed(why)) => {
                // What came before the end is right.
                match self.publish(false).await {
                    Ok(()) => End::Failed(why),
                    Err(end) => end,
                }
            }
            Err(end) => end,
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, End> {
        let mode = RefreshMode::RefreshAndPersist;
        let cookie = Some(self.cookie.encode()).filter(|cookie| !cookie.is_empty());
        let control: RawControl = SyncRequest { mode, cookie, reload_hint: false }.critical().into();
        let request = self.job.request();
        let search = Search::start(&mut self.connection, &request, vec![control], None).await;
        let mut search = search.map_err(End::Failed)?;
        self.begins();
        let mut tick = time::interval_at(Instant::now() + PROBE_EVERY, PROBE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let at = self.publish_at;
            tokio::select! {
                biased;
                () = time::sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => self.publish(false).await?,
                _ = tick.tick() => self.tick().await?,
                answer = self.pulse.answer() => self.answered(answer)?,
                () = self.job.status.comparison() => self.compare(),
                found = self.comparison.found() => self.compared(found)?,
                item = search.next() => self.take(item.map_err(End::Failed)?).await?,
            }
        }
    }

    fn begins(&self) {
        // What stands still for a reason says so until there is content.
        let report = self.job.status.report();
        if report.phase != Phase::Held {
            self.job.status.phase(Phase::Refreshing, "");
        }
        tracing::info!(url = %self.job.url, whole = self.whole, "following the directory");
    }

    async fn take(&mut self, item: Item) -> Result<(), End> {
        self.heard = Instant::now();
        match item {
            Item::Entry(tag, Some(state)) => self.entry(*tag, state).await,
            Item::Entry(_, None) => Err(End::Failed("the server sent an entry without a Sync State control".into())),
            Item::Info(info) => self.info(info).await,
            Item::Other => Ok(()),
            Item::Done(result, done) => self.done(&result, done).await,
        }
    }

    async fn entry(&mut self, tag: ldap3::asn1::StructureTag, sync: SyncState) -> Result<(), End> {
        let wrong = |why| End::Failed(format!("the server sent an entry, but {why}"));
        let (dn, attributes) = entry::parse(tag).map_err(wrong)?;
        let sent = entry::filed(sync.id, dn, attributes);
        let state = self.job.keeper.state();
        if let Some(refresh) = &mut self.refresh {
            return refresh.entry(&state, sync.what, sent).map_err(|why| bad(&self.job, why));
        }
        match sync.what {
            What::Add | What::Modify => {
                if !self.changes.put(&state, sent) {
                    self.job.status.change(|report| report.outdated += 1);
                }
            }
            What::Delete => self.changes.remove(sync.id),
            What::Present => {}
        }
        self.told(sync.cookie.as_deref());
        self.publish_if_full().await
    }

    /// Something was told after the refresh.
    fn told(&mut self, cookie: Option<&[u8]>) {
        if let Some(cookie) = cookie {
            self.cookie.merge(cookie);
        }
        if !self.changes.is_empty() {
            self.publish_at.get_or_insert_with(|| Instant::now() + COLLECT);
        }
    }

    async fn publish_if_full(&mut self) -> Result<(), End> {
        if self.changes.len() >= BATCH_MAX { self.publish(false).await } else { Ok(()) }
    }

    async fn info(&mut self, info: SyncInfo) -> Result<(), End> {
        if let Some(refresh) = &mut self.refresh {
            let over = refresh.info(&info).map_err(|why| bad(&self.job, why))?;
            let (SyncInfo::RefreshDelete { cookie, .. } | SyncInfo::RefreshPresent { cookie, .. }) = info else {
                return Ok(());
            };
            return if over { self.refreshed(cookie).await } else { Ok(()) };
        }
        let cookie = match info {
            SyncInfo::NewCookie(cookie) => Some(cookie),
            SyncInfo::RefreshDelete { cookie, .. } | SyncInfo::RefreshPresent { cookie, .. } => cookie,
            SyncInfo::IdSet { cookie, deletes, ids } => {
                ids.into_iter().filter(|_| deletes).for_each(|id| self.changes.remove(id));
                cookie
            }
        };
        self.told(cookie.as_deref());
        self.publish_if_full().await
    }

    /// The end of the refresh: publishes it whole.
    async fn refreshed(&mut self, cookie: Option<Vec<u8>>) -> Result<(), End> {
        let at = now_ms();
        let Some(refresh) = self.refresh.take() else { return Ok(()) };
        let (state, sent) = (self.job.keeper.state(), refresh.len());
        let finished = tokio::task::spawn_blocking(move || refresh.finish(&state)).await;
        let content = finished.map_err(|_| End::Failed("the node is stopping".into()))?;
        match content.map_err(|why| bad(&self.job, why))? {
            Content::All(entries) => {
                self.cookie = SyncCookie::parse(cookie.as_deref().unwrap_or_default());
                let row = self.job.cookie_row(&self.cookie);
                let why = format!("all of {}", self.job.url);
                let (job, before) = (&self.job, self.job.waiting.as_ref());
                let proposed = publish::propose_whole(&job.keeper, &job.status, entries, row, before, &why).await;
                proposed.map_err(|why| self.refused(&why))?.map_err(End::Held)?;
                self.job.status.change(|report| report.compared_ms = Some(at));
            }
            Content::Since(changes) => {
                self.cookie.merge(cookie.as_deref().unwrap_or_default());
                self.changes = changes;
                self.publish(true).await?;
            }
        }
        self.stored = Instant::now();
        tracing::info!(url = %self.job.url, sent, "the directory is in step");
        self.job.status.change(|report| {
            report.csn = self.cookie.newest().map(|csn| csn.as_str().to_owned());
            report.compared_ms.get_or_insert(at);
        });
        self.job.has_content(Phase::Following, at);
        if !self.whole {
            self.pulse.claim(self.cookie.clone());
            self.ask();
        }
        Ok(())
    }

    fn refused(&self, why: &str) -> End {
        self.job.discarded();
        End::Broken(format!("what the server sent cannot be taken over: {why}"))
    }

    /// Proposes what was collected, with the cookie; `always` the cookie even if nothing else changes.
    async fn publish(&mut self, always: bool) -> Result<(), End> {
        self.publish_at = None;
        let changes = std::mem::take(&mut self.changes);
        if self.refresh.is_some() || (changes.is_empty() && !always) {
            return Ok(());
        }
        let state = self.job.keeper.state();
        let edits = changes.edits_aside(state.clone()).await;
        let mut edits = edits.map_err(|_| End::Failed("the node is stopping".into()))?;
        let row = self.job.cookie_row(&self.cookie);
        let news = row.filter(|row| state.cookie(inventory::entry::DIRECTORY) != Some(row));
        if edits.is_empty() && !(always && news.is_some()) {
            return Ok(());
        }
        edits.extend(news.map(|row| Edit::Put(Row::Cookie(row))));
        let why = format!("from {}", self.job.url);
        match publish::propose(&self.job.keeper, &self.job.status, edits, &why).await {
            Published::Done => {
                self.stored = Instant::now();
                let csn = self.cookie.newest().map(|csn| csn.as_str().to_owned());
                self.job.status.change(|report| report.csn = csn);
                Ok(())
            }
            Published::Held { id, reasons } => {
                // A part of a content cannot wait: what comes after it would be lost. The whole can.
                let author = Author { who: "directory".into(), when_ms: now_ms(), why: "the whole is read".into() };
                let _ = self.job.keeper.discard(id, author).await;
                Err(End::Whole(reasons))
            }
            Published::Refused(why) => Err(End::Whole(format!("what the server told does not fit: {why}"))),
        }
    }

    /// The end of the search.
    async fn done(&mut self, result: &ldap3::LdapResult, done: Option<SyncDone>) -> Result<(), End> {
        let refreshing = self.refresh.is_some();
        let may_poll = self.job.upstream.follow == Follow::Auto;
        match ends::judge(result, done, Stage { refreshing, resumed: !self.whole, may_poll }) {
            Ended::Refreshed(done) => {
                if let Some(refresh) = &mut self.refresh {
                    refresh.done(&done);
                }
                self.refreshed(done.cookie).await?;
                // It does not push: ask again when a poll is due.
                time::sleep(Duration::from_secs(self.job.upstream.poll_s.max(1))).await;
                Err(End::CatchUp)
            }
            Ended::CatchUp => {
                self.publish(false).await?;
                Err(End::CatchUp)
            }
            Ended::Whole(why) => {
                self.publish(false).await?;
                Err(End::Whole(why))
            }
            Ended::Poll => {
                let connection = Connection { ldap: self.connection.ldap.clone(), link: self.connection.link.clone() };
                Err(poll::run(self.job.clone(), connection, &self.root).await)
            }
            Ended::Failed(why) => {
                if refreshing {
                    self.job.discarded();
                }
                Err(End::Failed(why))
            }
        }
    }

    /// Every few seconds: whether the server lives, whether the cookie should be kept, whether to compare everything.
    async fn tick(&mut self) -> Result<(), End> {
        if self.refresh.is_some() && self.heard.elapsed() > SILENCE_MAX {
            let s = SILENCE_MAX.as_secs();
            return Err(End::Failed(format!("the server has sent nothing for {s} s although the refresh is not over")));
        }
        if self.refresh.is_none() && self.stored.elapsed() > COOKIE_EVERY {
            self.stored = Instant::now();
            self.publish(true).await?;
        }
        self.ask();
        let every_ms = self.job.upstream.reconcile_h.saturating_mul(3_600_000);
        let last = self.job.status.report().compared_ms.unwrap_or_else(now_ms);
        let due = every_ms > 0 && now_ms().saturating_sub(last) >= every_ms;
        if due {
            self.compare();
        }
        Ok(())
    }

    /// Begins the full comparison, unless one is under way.
    fn compare(&mut self) {
        if self.refresh.is_none() {
            self.comparison.begin(&self.job, self.root.paged);
        }
    }

    fn ask(&mut self) {
        self.pulse.ask(&self.connection, &self.root.suffix, Duration::from_secs(self.job.upstream.timeout_s.max(1)));
    }

    /// The server's answer to the question whether it lives.
    fn answered(&mut self, (answer, seen): (Result<Vec<Csn>, String>, u64)) -> Result<(), End> {
        let csns = match answer {
            Ok(csns) => csns,
            // Results that are on their way are a sign of life as well.
            Err(_) if self.connection.link.messages() > seen => return Ok(()),
            Err(why) => return Err(End::Failed(why)),
        };
        if self.refresh.is_some() {
            return Ok(());
        }
        let newest = csns.iter().filter_map(Csn::time_ms).max();
        let ours = self.cookie.newest().and_then(Csn::time_ms);
        let behind = newest.zip(ours).map(|(newest, ours)| newest.saturating_sub(ours));
        self.job.status.change(|report| report.behind_ms = behind);
        match self.pulse.judge(csns, &self.cookie, self.is_part(), Instant::now()) {
            Verdict::InStep => self.job.status.in_step(now_ms()),
            Verdict::Waiting => {}
            Verdict::Missed => return Err(End::CatchUp),
            Verdict::Restored => {
                return Err(End::Whole("the server knows less than we do, as one that was restored".into()));
            }
        }
        Ok(())
    }

    /// Whether the server may have changes that are none of ours, so that its contextCSN says nothing of us.
    fn is_part(&self) -> bool {
        let everything = self.job.upstream.filter.eq_ignore_ascii_case("(objectClass=*)");
        !everything || names::normal(&self.job.upstream.base) != names::normal(&self.root.suffix)
    }

    /// The whole content was compared.
    fn compared(&mut self, found: Result<usize, String>) -> Result<(), End> {
        let now = now_ms();
        self.job.status.change(|report| report.compared_ms = Some(now));
        match found {
            Ok(0) => Ok(()),
            Ok(drift) => {
                self.job.status.change(|report| report.drift += drift as u64);
                Err(End::Whole(format!("{drift} entries differ from the server's although it told of no change")))
            }
            Err(why) => {
                tracing::warn!(url = %self.job.url, %why, "the directory could not be compared; it is tried again later");
                Ok(())
            }
        }
    }
}

fn bad(job: &Job, why: BadRefresh) -> End {
    job.discarded();
    match why {
        BadRefresh::Many(_) | BadRefresh::Large => End::Broken(why.to_string()),
        BadRefresh::NoList => End::Whole(why.to_string()),
        BadRefresh::Lacking(_) if job.cookie() != SyncCookie::None => End::Whole(why.to_string()),
        BadRefresh::Lacking(_) => End::Failed(why.to_string()),
    }
}
