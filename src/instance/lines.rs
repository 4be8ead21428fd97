//! What goes in and comes out as text: the question from PAM's environment, keys for sshd, sentences for people, the line
//! for the log.

use directory::ask::{Answer, Asked, SERVICE_DEFAULT, What, client::Appliance};
use jiff::{Timestamp, tz::TimeZone};

use super::{
    Outcome,
    syslog::{Level, Line},
};
use crate::{args, clock};

/// Longest text that only goes to the logs, in octets.
const CLIP: usize = 255;
/// Most octets of a name in a line of the log, as it is written there. Of 1024 octets most are left for the decision.
const LOGGED_NAME_MAX: usize = 64;
/// The same for where a person comes from.
const LOGGED_RHOST_MAX: usize = 128;

/// The service of sudo, and what Debian's sudo calls itself for `sudo -i`.
const SUDO: &str = "sudo";
const SUDO_LOGIN: &str = "sudo-i";

/// A question about a user, for sshd.
pub(super) fn about(user: &str, what: What) -> Asked {
    Asked { user: user.into(), service: SERVICE_DEFAULT.into(), what, rhost: None, tty: None }
}

/// The question of `gatehouse access check`: of its arguments, else of pam_exec's environment. None at the end of a
/// session, which nobody is to be kept from.
///
/// # Errors
/// A sentence when neither names a user.
pub(super) fn question(
    args: &args::AccessCheck,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<Asked>, &'static str> {
    let env = |name| env(name).filter(|value| !value.is_empty());
    if let Some(user) = &args.user {
        let asked = about(user, What::Check);
        return Ok(Some(Asked { service: args.service.clone().unwrap_or(asked.service), ..asked }));
    }
    let user = env("PAM_USER").ok_or("no USER is given, and PAM_USER is not set; name the user")?;
    if env("PAM_TYPE").as_deref() == Some("close_session") {
        return Ok(None);
    }
    let asked = about(&user, What::Check);
    // Debian's sudo has a file of its own for `sudo -i`; it is the same right.
    let from_pam = || env("PAM_SERVICE").map(|name| if name == SUDO_LOGIN { SUDO.into() } else { name });
    let service = args.service.clone().or_else(from_pam).unwrap_or(asked.service);
    let (rhost, tty) = (env("PAM_RHOST").map(clipped), env("PAM_TTY").map(clipped));
    Ok(Some(Asked { user, service, what: What::Check, rhost, tty }))
}

/// Where a person comes from is said by the network: it must not make a question unsound.
fn clipped(text: String) -> String {
    let mut text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    text.truncate(text.floor_char_boundary(CLIP));
    text
}

/// A line for authorized_keys (sshd(8)). The end of the grant is written in the time zone of this machine, because sshd
/// before 9.1 knows no other.
pub(super) fn key(key: &str, until: Option<u64>, zone: &TimeZone) -> String {
    let Some(end) = until.and_then(|until| Timestamp::from_second(i64::try_from(until).ok()? - 1).ok()) else {
        return key.into();
    };
    let expiry = end.to_zoned(zone.clone()).strftime("expiry-time=\"%Y%m%d%H%M%S\"").to_string();
    let first = key.split_whitespace().next().unwrap_or_default();
    let is_type = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| first.starts_with(start)) && !first.contains('=');
    // Options before the key are a list separated by commas.
    let separator = if is_type { ' ' } else { ',' };
    format!("{expiry}{separator}{key}")
}

/// The decision for the person who waits for it.
pub(super) fn for_people(asked: &Asked, outcome: &Outcome) -> String {
    let text = match outcome {
        Outcome::Heard(heard) => heard.answer.sentence.clone(),
        Outcome::Kept(answer, age_s, _) => {
            let age = clock::age(age_s.max(&1).saturating_mul(1000));
            format!("{} (as decided {age} ago: no appliance answers now)", answer.sentence)
        }
        Outcome::Nobody(why) => {
            format!("nobody can decide whether {} may use {} here: {why}", asked.user, asked.service)
        }
    };
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The line for the log, and how much it matters.
pub(super) fn log(what: What, asked: &Asked, outcome: &Outcome, appliances: &[Appliance]) -> (Level, Line) {
    let head = outcome.answer().map_or("nobody can decide", |answer| answer.verdict.as_str());
    let said = [
        ("user", Some(&asked.user), LOGGED_NAME_MAX),
        ("service", Some(&asked.service), LOGGED_NAME_MAX),
        ("rhost", asked.rhost.as_ref(), LOGGED_RHOST_MAX),
        ("tty", asked.tty.as_ref(), LOGGED_NAME_MAX),
    ];
    let line = said.into_iter().fold(Line::new(&format!("{}: {head}", what.as_str())), |line, (key, value, max)| {
        value.into_iter().fold(line, |line, value| line.with_clipped(key, value, max))
    });
    match outcome {
        Outcome::Heard(heard) => {
            let level = if heard.answer.is_allow() { Level::Info } else { Level::Notice };
            let failures = Some(heard.failures.join("; ")).filter(|text| !text.is_empty());
            let line = of_answer(line, what, &heard.answer).maybe("via", appliances.get(heard.from));
            (level, line.maybe("though", failures))
        }
        Outcome::Kept(answer, age_s, why) => {
            let line = of_answer(line, what, answer).with("via", "disk");
            (Level::Warning, line.with("decided_s_ago", age_s).with("because", why))
        }
        Outcome::Nobody(why) => (Level::Warning, line.with("because", why)),
    }
}

fn of_answer(line: Line, what: What, answer: &Answer) -> Line {
    let line = line.with("host", &answer.host).with("reason", &answer.reason).maybe("rule", answer.rule.as_ref());
    let keys = (what == What::Keys).then_some(answer.keys.len());
    let left_out = Some(answer.keys_left_out).filter(|n| *n > 0);
    let line = line.with("epoch", answer.epoch).with("serial", answer.serial).maybe("age_s", answer.age_s);
    line.maybe("keys", keys).maybe("keys_left_out", left_out)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn pam(pairs: &'static [(&'static str, &'static str)]) -> Result<Option<Asked>, &'static str> {
        let args = args::AccessCheck { user: None, service: None, config: PathBuf::new() };
        question(&args, |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into()))
    }

    #[test]
    fn pam_asks_through_the_environment() {
        let pairs = &[("PAM_USER", "alice"), ("PAM_SERVICE", "sudo"), ("PAM_RHOST", ""), ("PAM_TTY", "/dev/pts/0")];
        let asked = pam(pairs).unwrap().unwrap();
        assert_eq!((asked.user.as_str(), asked.service.as_str()), ("alice", "sudo"));
        assert_eq!((asked.rhost, asked.tty.as_deref()), (None, Some("/dev/pts/0")));
        let asked = pam(&[("PAM_USER", "alice"), ("PAM_RHOST", "evil\nhost")]).unwrap().unwrap();
        assert_eq!((asked.service.as_str(), asked.rhost.as_deref()), ("sshd", Some("evil?host")));
        assert!(pam(&[]).unwrap_err().contains("PAM_USER"));
    }

    #[test]
    fn a_login_by_sudo_is_sudo() {
        let asked = pam(&[("PAM_USER", "alice"), ("PAM_SERVICE", "sudo-i")]).unwrap().unwrap();
        assert_eq!(asked.service, "sudo", "and not a service that every grant is for");
    }

    #[test]
    fn a_long_name_leaves_room_for_the_decision_in_the_log() {
        let value = "\"".repeat(255);
        let asked = Asked {
            service: value.clone(),
            rhost: Some(value.clone()),
            tty: Some(value.clone()),
            ..about(&value, What::Check)
        };
        let (_, line) = log(What::Check, &asked, &Outcome::Nobody("no appliance answered".into()), &[]);
        let text = format!("{line:?}");
        assert!(text.contains("no appliance answered") && text.len() < 800, "{text}");
    }

    #[test]
    fn nobody_is_kept_from_logging_out() {
        assert_eq!(pam(&[("PAM_USER", "alice"), ("PAM_TYPE", "close_session")]), Ok(None));
        assert!(pam(&[("PAM_USER", "alice"), ("PAM_TYPE", "open_session")]).unwrap().is_some());
    }

    #[test]
    fn arguments_come_before_the_environment() {
        let args = args::AccessCheck { user: Some("bob".into()), service: None, config: PathBuf::new() };
        let asked = question(&args, |_| Some("alice".into())).unwrap().unwrap();
        assert_eq!(asked, about("bob", What::Check));
    }

    #[test]
    fn keys_expire_with_the_grant() {
        let plain = "ssh-ed25519 AAAA alice";
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(key(plain, None, &zone), plain);
        assert_eq!(
            key(plain, Some(1_321_000_000), &zone),
            "expiry-time=\"20111111102639\" ssh-ed25519 AAAA alice",
            "the last second at which the grant holds, in local time"
        );
        assert_eq!(
            key("no-pty,from=\"10.0.0.0/8\" ssh-ed25519 AAAA", Some(1_321_000_000), &zone),
            "expiry-time=\"20111111102639\",no-pty,from=\"10.0.0.0/8\" ssh-ed25519 AAAA"
        );
        assert_eq!(key(plain, Some(u64::MAX), &zone), plain, "an end that no calendar holds is none");
    }

    #[test]
    fn people_are_told_that_nobody_could_decide() {
        let outcome = Outcome::Nobody("no appliance answered: 10.0.0.2:636: refused".into());
        assert_eq!(
            for_people(&about("alice", What::Check), &outcome),
            "nobody can decide whether alice may use sshd here: no appliance answered: 10.0.0.2:636: refused"
        );
    }
}
