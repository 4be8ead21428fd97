//! Whether a server lives and whether we are in step with it: its contextCSN, asked for again and again beside the sync
//! search and compared with the cookie.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::time::{self, Instant};

use super::{
    connect::Connection,
    cookie::{Csn, SyncCookie},
    root,
};

/// How long a change that the server has may be missing before we ask anew for what changed.
const UNSEEN_MAX: Duration = Duration::from_secs(60);

type Question = Pin<Box<dyn Future<Output = Result<Vec<Csn>, String>> + Send>>;

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// We have what the server has.
    InStep,
    /// The server has a change that may be on its way.
    Waiting,
    /// The server has a change that should have come long ago.
    Missed,
    /// The server lacks changes that we have: it was restored.
    Restored,
}

/// The questions to one server.
#[derive(Default)]
pub(super) struct Pulse {
    /// The question that is under way, and how many messages had come when it was asked.
    question: Option<(Question, u64)>,
    /// What we knew when we came back with a cookie; the server must know it too. Checked once.
    claimed: Option<SyncCookie>,
    /// What the server had that we had not, and since when.
    unseen: Option<(Vec<Csn>, Instant)>,
}

impl Pulse {
    /// Asks for the contextCSN of `suffix`, unless a question is under way.
    pub(super) fn ask(&mut self, connection: &Connection, suffix: &str, limit: Duration) {
        if self.question.is_some() {
            return;
        }
        let (ldap, link) = (connection.ldap.clone(), connection.link.clone());
        let (seen, suffix) = (link.messages(), suffix.to_owned());
        let question = async move {
            let mut connection = Connection { ldap, link };
            let answer = time::timeout(limit, root::context_csns(&mut connection, &suffix, limit)).await;
            answer.unwrap_or_else(|_| Err(format!("the server does not answer within {} s", limit.as_secs())))
        };
        self.question = Some((Box::pin(question), seen));
    }

    /// The answer, when there is one, and how many messages had come when the question was asked.
    pub(super) async fn answer(&mut self) -> (Result<Vec<Csn>, String>, u64) {
        let answer = match &mut self.question {
            Some((question, seen)) => (question.await, *seen),
            None => std::future::pending().await,
        };
        self.question = None;
        answer
    }

    /// Notes with what we came back.
    pub(super) fn claim(&mut self, cookie: SyncCookie) {
        self.claimed = Some(cookie);
    }

    /// What the server's `csns` mean to who has come as far as `cookie`. `is_part` when the server may have changes that
    /// are none of ours, so that its contextCSN says nothing of us.
    pub(super) fn judge(&mut self, csns: Vec<Csn>, cookie: &SyncCookie, is_part: bool, now: Instant) -> Verdict {
        // slapd passes over a server id in our cookie that it does not know: a provider restored to a time before that
        // server's first change says that nothing has changed.
        if let Some(claimed) = self.claimed.take().filter(|_| !csns.is_empty())
            && claimed.exceeds(&csns)
        {
            return Verdict::Restored;
        }
        if csns.is_empty() || is_part || cookie.covers(&csns) {
            self.unseen = None;
            return Verdict::InStep;
        }
        match &self.unseen {
            Some((known, since)) if !cookie.covers(known) => {
                if now.duration_since(*since) > UNSEEN_MAX {
                    return Verdict::Missed;
                }
            }
            _ => self.unseen = Some((csns, now)),
        }
        Verdict::Waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csn(second: u8, sid: u8) -> Csn {
        Csn::parse(&format!("202611202233{second:02}.000000Z#000000#00{sid}#000000")).unwrap()
    }

    fn cookie(csns: &[Csn]) -> SyncCookie {
        let csns: Vec<&str> = csns.iter().map(Csn::as_str).collect();
        SyncCookie::parse(format!("rid=000,csn={}", csns.join(";")).as_bytes())
    }

    #[test]
    fn a_change_may_be_on_its_way_but_not_for_ever() {
        let (mut pulse, begin) = (Pulse::default(), Instant::now());
        let after = |s| begin + Duration::from_secs(s);
        let ours = cookie(&[csn(1, 1)]);
        assert_eq!(pulse.judge(vec![csn(1, 1)], &ours, false, begin), Verdict::InStep);
        assert_eq!(pulse.judge(vec![csn(2, 1)], &ours, false, after(10)), Verdict::Waiting);
        assert_eq!(pulse.judge(vec![csn(3, 1)], &ours, false, after(60)), Verdict::Waiting);
        assert_eq!(pulse.judge(vec![csn(3, 1)], &ours, false, after(71)), Verdict::Missed);
        // What was missing came, and another change is on its way: the time begins anew.
        assert_eq!(pulse.judge(vec![csn(4, 1)], &cookie(&[csn(3, 1)]), false, after(72)), Verdict::Waiting);
        assert_eq!(pulse.judge(vec![csn(4, 1)], &cookie(&[csn(3, 1)]), true, after(200)), Verdict::InStep);
        assert_eq!(pulse.judge(Vec::new(), &ours, false, after(300)), Verdict::InStep);
    }

    #[test]
    fn a_server_that_knows_less_than_we_do_was_restored() {
        let (mut pulse, now) = (Pulse::default(), Instant::now());
        let ours = cookie(&[csn(1, 0), csn(5, 1)]);
        pulse.claim(ours.clone());
        assert_eq!(pulse.judge(vec![csn(1, 0)], &ours, false, now), Verdict::Restored);
        pulse.claim(ours.clone());
        assert_eq!(pulse.judge(vec![csn(1, 0), csn(6, 1)], &ours, true, now), Verdict::InStep);
        // Once only: later the server's answer may be older than what it told meanwhile.
        assert_eq!(pulse.judge(vec![csn(1, 0)], &ours, false, now), Verdict::InStep);
    }
}
