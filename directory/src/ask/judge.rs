//! The answering side: a decision of the policy as an instance needs it. No clock, no I/O.

use std::cmp::min;

use super::{Answer, Asked, KEYS_MAX, KEYS_OCTETS_MAX, SERVICE_DEFAULT, What};
use crate::{
    policy::{Decision, Question, Reason, Rule},
    view::View,
};

/// Seconds for which an instance may admit somebody when every appliance is gone: an outage that begins on a Friday is
/// over by then. A grant or an account that ends earlier ends the answer as well.
pub const ALLOW_VALID_S: u64 = 7 * 86_400;
/// Seconds for which a denial is remembered. It only spares the person the wrong explanation: without an answer nobody
/// comes in either.
pub const DENY_VALID_S: u64 = 3600;

/// Most characters of an answer's rule and of its sentence.
const TEXT_CHARS_MAX: usize = 512;

/// Answers a question of `host`, a name as [`Access::host`](crate::policy::Access::host) takes it. `stale` as for [`Question`]. The age of the data is
/// not known here: see [`Answer::aged`].
pub fn answer(view: &View, host: &str, asked: &Asked, now_s: u64, stale: bool) -> Answer {
    let access = &view.access;
    let decision = access.decide(&Question { user: &asked.user, host, service: &asked.service, now_s, stale });
    let host = access.host(host).map_or_else(|_| host.to_owned(), |host| host.short());
    let of_grant = decision.rule.as_ref().and_then(Rule::grant).and_then(|grant| grant.until);
    let of_account = access.barred_from(&asked.user, now_s);
    let until = of_grant.into_iter().chain(of_account).min().filter(|_| decision.is_allowed());
    let is_sshd = asked.service.eq_ignore_ascii_case(SERVICE_DEFAULT);
    let gives_keys = asked.what == What::Keys && is_sshd && decision.is_allowed();
    let (keys, keys_left_out) = if gives_keys { bounded(access.keys(&asked.user)) } else { (Vec::new(), 0) };
    Answer {
        sentence: cut(sentence(asked, &host, &decision)),
        verdict: decision.verdict,
        reason: decision.reason.as_str().into(),
        rule: decision.rule.as_ref().map(ToString::to_string).map(cut),
        known: decision.reason != Reason::UnknownUser,
        host,
        epoch: decision.position.epoch,
        serial: decision.position.serial,
        keys,
        keys_left_out,
        until,
        valid_for_s: valid_for_s(decision.is_allowed(), until, now_s),
        age_s: None,
    }
}

fn valid_for_s(is_allowed: bool, until: Option<u64>, now_s: u64) -> u64 {
    match (is_allowed, until) {
        (false, _) => DENY_VALID_S,
        (true, None) => ALLOW_VALID_S,
        (true, Some(until)) => min(ALLOW_VALID_S, until.saturating_sub(now_s)),
    }
}

fn sentence(asked: &Asked, host: &str, decision: &Decision) -> String {
    let (user, service) = (&asked.user, &asked.service);
    let rule = decision.rule.as_ref().map(|rule| format!(" ({rule})")).unwrap_or_default();
    if decision.is_allowed() {
        format!("{user} may use {service} on {host}{rule}")
    } else {
        format!("{user} may not use {service} on {host}: {}{rule}", decision.reason.sentence())
    }
}

/// A text of bounded length: a DN may be long.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        // In place of the last character, so that an end that is missing is seen.
        let end = text.get(..end).and_then(|text| text.char_indices().next_back()).map_or(0, |(at, _)| at);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// As many keys as an answer holds, and how many are left out.
fn bounded(keys: Vec<&str>) -> (Vec<String>, usize) {
    let mut octets = 0;
    let count = keys.len();
    let fits = |key: &&str| {
        octets += key.len();
        octets <= KEYS_OCTETS_MAX
    };
    let keys: Vec<String> = keys.into_iter().take(KEYS_MAX).take_while(fits).map(str::to_owned).collect();
    let left_out = count - keys.len();
    (keys, left_out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use inventory::{State, change::Row};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        ask::{ANSWER_OCTETS_MAX, tests::asked},
        policy::Verdict,
    };

    const NOW: u64 = 1_780_000_000;
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    const HOST: &str = "dev-mysql01.us-east-1b";

    fn entry(n: usize, uid: &str, keys: &[String]) -> Row {
        let list: Value = json!([["objectClass", ["posixAccount"]], ["uid", [uid]], ["sshPublicKey", keys]]);
        let id = format!("597ae2f6-16a6-1027-98f4-{n:012}");
        let dn = format!("uid={uid},dc=acme");
        let entry = json!({ "id": id, "dn": dn, "attributes": list, "source": "directory" });
        Row::Entry(Arc::new(serde_json::from_value(entry).unwrap()))
    }

    /// alice may come in until `until`, bob may not, and both have `keys`.
    fn view(until: Option<u64>, keys: &[String]) -> View {
        let host = json!({ "product": "acme", "name": "dev-mysql01", "zone": "us-east-1b", "region": "us-east-1",
            "private_ip": "10.0.0.9", "source": "api" });
        let grant = json!({ "name": "dba", "who": ["alice"], "on": ["*.us-east-1"], "until": until, "by": "t",
            "why": "t", "source": "api" });
        let rows = [
            Row::Host(Arc::new(serde_json::from_value(host).unwrap())),
            Row::Grant(Arc::new(serde_json::from_value(grant).unwrap())),
            entry(1, "alice", keys),
            entry(2, "bob", keys),
        ];
        View::build(Arc::new(State::from_rows(1, 3, 9, rows).unwrap()), &crate::dn::Dn::parse("dc=acme").unwrap())
    }

    fn one_key() -> Vec<String> {
        vec![format!("{KEY} laptop")]
    }

    #[test]
    fn who_may_come_in_gets_keys_and_an_explanation() {
        let answer = answer(&view(None, &one_key()), HOST, &asked("alice", What::Keys), NOW, false);
        assert_eq!((answer.verdict, answer.reason.as_str(), answer.known), (Verdict::Allow, "granted", true));
        assert_eq!(answer.keys, one_key());
        assert_eq!(answer.sentence, "alice may use sshd on dev-mysql01.us-east-1b (grant dba pattern *.us-east-1)");
        assert_eq!((answer.epoch, answer.serial, answer.host.as_str()), (3, 9, HOST));
        assert_eq!((answer.until, answer.valid_for_s), (None, ALLOW_VALID_S));
    }

    #[test]
    fn nobody_else_gets_keys() {
        let view = view(None, &one_key());
        let denied = answer(&view, HOST, &asked("bob", What::Keys), NOW, false);
        assert_eq!((denied.verdict, denied.reason.as_str(), denied.known), (Verdict::Deny, "no_grant", true));
        assert_eq!(denied.keys, Vec::<String>::new());
        assert_eq!(denied.valid_for_s, DENY_VALID_S);
        assert_eq!(
            denied.sentence,
            "bob may not use sshd on dev-mysql01.us-east-1b: nothing admits the person to this host"
        );
        let elsewhere = answer(&view, "web01.us-east-1b", &asked("alice", What::Keys), NOW, false);
        assert_eq!((elsewhere.reason.as_str(), elsewhere.keys.len()), ("unknown_host", 0));
        let check = answer(&view, HOST, &asked("alice", What::Check), NOW, false);
        assert_eq!((check.verdict, check.keys.len()), (Verdict::Allow, 0), "keys were not asked for");
        let login = Asked { service: "login".into(), ..asked("alice", What::Keys) };
        let login = answer(&view, HOST, &login, NOW, false);
        assert_eq!((login.verdict, login.keys.len()), (Verdict::Allow, 0), "keys are sshd's");
    }

    #[test]
    fn local_users_are_not_ours_to_judge() {
        let answer = answer(&view(None, &[]), HOST, &asked("root", What::Check), NOW, false);
        assert_eq!((answer.verdict, answer.known), (Verdict::Deny, false));
    }

    #[test]
    fn an_answer_does_not_outlive_its_grant() {
        let view = view(Some(NOW + 60), &one_key());
        let early = answer(&view, HOST, &asked("alice", What::Keys), NOW, false);
        assert_eq!((early.until, early.valid_for_s), (Some(NOW + 60), 60));
        let late = answer(&view, HOST, &asked("alice", What::Keys), NOW + 60, false);
        assert_eq!((late.reason.as_str(), late.keys.len(), late.until), ("grant_expired", 0, None));
    }

    #[test]
    fn an_answer_does_not_outlive_the_account() {
        let view = |until: Option<u64>| {
            let day = (NOW / 86_400 + 2).to_string();
            let of_ada = json!([["objectClass", ["posixAccount"]], ["uid", ["ada"]], ["shadowExpire", [day]]]);
            let id = "597ae2f6-16a6-1027-98f4-000000000009";
            let ada = json!({ "id": id, "dn": "uid=ada", "attributes": of_ada, "source": "directory" });
            let grant = json!({ "name": "g", "who": ["ada"], "on": ["*"], "until": until, "by": "t", "why": "t",
                "source": "api" });
            let host = json!({ "product": "acme", "name": "dev-mysql01", "zone": "us-east-1b", "region": "us-east-1",
                "private_ip": "10.0.0.9", "source": "api" });
            let rows = [
                Row::Entry(Arc::new(serde_json::from_value(ada).unwrap())),
                Row::Grant(Arc::new(serde_json::from_value(grant).unwrap())),
                Row::Host(Arc::new(serde_json::from_value(host).unwrap())),
            ];
            View::build(Arc::new(State::from_rows(1, 3, 9, rows).unwrap()), &crate::dn::Dn::parse("dc=acme").unwrap())
        };
        let end = (NOW / 86_400 + 2) * 86_400;
        for (of_grant, until) in [(None, end), (Some(end + 9), end), (Some(NOW + 60), NOW + 60)] {
            let answer = answer(&view(of_grant), HOST, &asked("ada", What::Keys), NOW, false);
            assert_eq!((answer.until, answer.valid_for_s), (Some(until), until - NOW));
        }
    }

    #[test]
    fn texts_have_a_greatest_length() {
        let short = "é".repeat(TEXT_CHARS_MAX);
        assert_eq!(cut(short.clone()), short);
        let long = cut(format!("{short}x"));
        assert_eq!((long.chars().count(), long.chars().next_back()), (TEXT_CHARS_MAX, Some('…')));
    }

    #[test]
    fn the_largest_answer_can_be_read() {
        let keys: Vec<String> = (0..200).map(|n| format!("{KEY} {n}{}", "\\\"".repeat(1000))).collect();
        let view = view(None, &keys);
        let answer = answer(&view, HOST, &asked("alice", What::Keys), NOW, false);
        assert_eq!(answer.keys.len() + answer.keys_left_out, 200);
        assert!(answer.keys_left_out > 136, "limited by octets: {}", answer.keys_left_out);
        let octets = answer.to_json();
        assert!(octets.len() > KEYS_OCTETS_MAX && octets.len() <= ANSWER_OCTETS_MAX, "{}", octets.len());
        assert_eq!(Answer::parse(&octets), Ok(answer));
    }
}
