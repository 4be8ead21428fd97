//! What the end of a sync search means. A plain function of the result and of how far we had come.

use ldap3::LdapResult;

use super::{control::SyncDone, search};

/// The texts with which slapd says, under code 53, that a cookie is of no use (syncprov.c).
const NO_USE: [&str; 2] = ["consumer state is newer than provider", "consumer has state info but provider doesn't"];
/// e-syncRefreshRequired (RFC 4533 section 3.8).
const REFRESH_REQUIRED: u32 = 4096;
/// unwillingToPerform, unavailableCriticalExtension (RFC 4511 appendix A).
const UNWILLING: u32 = 53;
const NO_SUCH_CONTROL: u32 = 12;

/// How far the search had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage {
    /// The refresh was not over.
    pub(super) refreshing: bool,
    /// It began with a cookie.
    pub(super) resumed: bool,
    /// Polling will do as well.
    pub(super) may_poll: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The refresh is complete, and there is no more: the server does not push.
    Refreshed(SyncDone),
    /// Ask again with the cookie.
    CatchUp,
    /// Ask again without a cookie.
    Whole(String),
    /// Poll: the control is not known for this content.
    Poll,
    /// Try later, or another server.
    Failed(String),
}

/// Judges the end of a search.
pub(super) fn judge(result: &LdapResult, done: Option<SyncDone>, stage: Stage) -> Ended {
    let text = || result.text.chars().take(200).collect::<String>();
    match (result.rc, done) {
        (0, Some(done)) if stage.refreshing => Ended::Refreshed(done),
        (0, _) => Ended::Failed("the server ended the search".into()),
        // The cookie that may come with it would bring no more than ours does.
        (REFRESH_REQUIRED, Some(SyncDone { cookie: Some(_), .. })) if !stage.refreshing => Ended::CatchUp,
        (REFRESH_REQUIRED, _) if stage.resumed || !stage.refreshing => {
            Ended::Whole("the server asks for a full refresh".into())
        }
        (UNWILLING, _) if stage.resumed && NO_USE.iter().any(|known| result.text.contains(known)) => {
            Ended::Whole(format!("the server says: {}", text()))
        }
        (NO_SUCH_CONTROL, _) if stage.refreshing && stage.may_poll => Ended::Poll,
        _ => Ended::Failed(search::refusal(result)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Stage = Stage { refreshing: true, resumed: false, may_poll: true };
    const RESUMED: Stage = Stage { refreshing: true, resumed: true, may_poll: false };
    const LATER: Stage = Stage { refreshing: false, resumed: true, may_poll: true };

    fn ended(rc: u32, text: &str, done: Option<SyncDone>, stage: Stage) -> Ended {
        let result = LdapResult { rc, matched: String::new(), text: text.into(), refs: Vec::new(), ctrls: Vec::new() };
        judge(&result, done, stage)
    }

    fn is_failed(ended: &Ended) -> bool {
        matches!(ended, Ended::Failed(_))
    }

    fn is_whole(ended: &Ended) -> bool {
        matches!(ended, Ended::Whole(_))
    }

    #[test]
    fn a_cookie_that_is_of_no_use_is_dropped_and_nothing_else_is() {
        for text in ["consumer state is newer than provider!", "consumer has state info but provider doesn't!"] {
            assert!(is_whole(&ended(53, text, None, RESUMED)));
            assert!(is_failed(&ended(53, text, None, FIRST)), "there was none to drop");
        }
        assert!(is_failed(&ended(53, "shutting down", None, RESUMED)));
        assert!(is_whole(&ended(4096, "", None, RESUMED)));
        assert!(is_failed(&ended(4096, "", None, FIRST)));
        let with = SyncDone { cookie: Some(b"rid=000".to_vec()), deletes: false };
        assert!(is_whole(&ended(4096, "", Some(with.clone()), RESUMED)));
        assert_eq!(ended(4096, "", Some(with), LATER), Ended::CatchUp);
    }

    #[test]
    fn only_success_with_its_control_completes_a_refresh() {
        let done = SyncDone { cookie: None, deletes: true };
        assert_eq!(ended(0, "", Some(done.clone()), FIRST), Ended::Refreshed(done.clone()));
        assert!(is_failed(&ended(0, "", None, FIRST)));
        assert!(is_failed(&ended(0, "", Some(done.clone()), LATER)));
        for code in [1, 3, 4, 11, 32, 50, 51, 80] {
            assert!(is_failed(&ended(code, "", Some(done.clone()), FIRST)), "{code}");
        }
        assert_eq!(ended(12, "", None, FIRST), Ended::Poll);
        assert!(is_failed(&ended(12, "", None, RESUMED)));
    }
}
