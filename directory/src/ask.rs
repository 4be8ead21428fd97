//! Questions of instances: may this person come in here, and with which keys?
//!
//! On the wire a question is an LDAP extended operation (RFC 4511 section 4.12) with the name [`OID`]. Its request value is
//! [`Asked`] as JSON, its response value [`Answer`] as JSON, with result code success whatever the verdict: a denial is an
//! answer. Any other result code means that this appliance cannot judge, and the client asks the next one. The host is
//! never part of the question: the server knows it from the client's certificate.
//!
//! Requests are read strictly (an unknown field is an error, so that no condition is ignored), answers tolerantly (an
//! older client can read a newer appliance).

use serde::{Deserialize, Serialize};

pub use crate::policy::SERVICE_DEFAULT;
use crate::policy::Verdict;

pub mod cache;
pub mod client;
pub mod hedge;
mod judge;
mod talk;

pub use judge::{ALLOW_VALID_S, DENY_VALID_S, answer};

/// Name of the extended operation: 2.25 and a random UUID, 9b1a97d6-7fd1-4f28-af7c-d89a148fa42a (X.667).
pub const OID: &str = "2.25.206168418703218430834311559187308454954";
/// Most octets of a request value.
pub const REQUEST_OCTETS_MAX: usize = 4096;
/// Most octets of a response value.
pub const ANSWER_OCTETS_MAX: usize = 128 * 1024;
/// Most keys in an answer.
pub const KEYS_MAX: usize = 64;
/// Most octets of all keys in an answer: half of [`ANSWER_OCTETS_MAX`], since JSON may double what it escapes.
pub const KEYS_OCTETS_MAX: usize = ANSWER_OCTETS_MAX / 2;

/// Most octets of a user's name.
const USER_OCTETS_MAX: usize = 256;
/// Most octets of a service's name, of a host's name and of a terminal's.
const NAME_OCTETS_MAX: usize = 255;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Login name.
    pub user: String,
    /// PAM service.
    #[serde(default = "service")]
    pub service: String,
    /// What is wanted.
    pub what: What,
    /// Where the person comes from, as PAM or sshd knows it; for the decision log only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rhost: Option<String>,
    /// The terminal; for the decision log only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<String>,
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The decision and the SSH keys.
    Keys,
    /// The decision.
    Check,
}

impl What {
    /// The word for logs and folders.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Check => "check",
        }
    }
}

fn service() -> String {
    SERVICE_DEFAULT.into()
}

/// Why octets are no question, or a question must not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuestion {
    /// More than [`REQUEST_OCTETS_MAX`] octets.
    #[error("the question has {0} octets, more than {REQUEST_OCTETS_MAX}")]
    Large(usize),
    /// Not the JSON of a question.
    #[error("the question cannot be read: {0}")]
    Json(String),
    /// A field that is empty, long, or holds control characters.
    #[error("{field} of the question {why}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong.
        why: &'static str,
    },
}

impl Asked {
    /// Reads a request value.
    ///
    /// # Errors
    /// What is wrong with it; the server answers with protocolError and this text.
    pub fn parse(octets: &[u8]) -> Result<Self, BadQuestion> {
        if octets.len() > REQUEST_OCTETS_MAX {
            return Err(BadQuestion::Large(octets.len()));
        }
        let asked: Self = serde_json::from_slice(octets).map_err(|e| BadQuestion::Json(e.to_string()))?;
        asked.checked()
    }

    /// The question when every field is sound.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn checked(self) -> Result<Self, BadQuestion> {
        text("user", &self.user, USER_OCTETS_MAX)?;
        text("service", &self.service, NAME_OCTETS_MAX)?;
        self.rhost.iter().try_for_each(|rhost| text("rhost", rhost, NAME_OCTETS_MAX))?;
        self.tty.iter().try_for_each(|tty| text("tty", tty, NAME_OCTETS_MAX))?;
        Ok(self)
    }

    /// The request value.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and unit variants always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn text(field: &'static str, text: &str, octets_max: usize) -> Result<(), BadQuestion> {
    let why = if text.is_empty() {
        "is empty"
    } else if text.len() > octets_max {
        "is too long"
    } else if text.chars().any(char::is_control) {
        "holds a control character"
    } else {
        return Ok(());
    };
    Err(BadQuestion::Field { field, why })
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// May they?
    pub verdict: Verdict,
    /// One of the closed list of reasons, in snake_case.
    pub reason: String,
    /// The decision for people.
    pub sentence: String,
    /// The grant and pattern, or the entry and attribute, that decided.
    #[serde(default)]
    pub rule: Option<String>,
    /// Whether the directory knows the user. Unknown users are left to the instance's own accounts.
    pub known: bool,
    /// The asking host, as the appliance knows it.
    #[serde(default)]
    pub host: String,
    /// Epoch of the state that decided.
    #[serde(default)]
    pub epoch: u32,
    /// Serial of the state that decided.
    #[serde(default)]
    pub serial: u64,
    /// Lines for authorized_keys, only when asked for and only when the verdict is allow; without the option
    /// `expiry-time`, which the instance writes in its own time zone.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Keys that were left out because of [`KEYS_MAX`] or [`KEYS_OCTETS_MAX`].
    #[serde(default)]
    pub keys_left_out: usize,
    /// First second at which the grant no longer holds, seconds since 1970-01-01 UTC.
    #[serde(default)]
    pub until: Option<u64>,
    /// Seconds for which the instance may use this answer while no appliance answers; 0 for not at all.
    #[serde(default)]
    pub valid_for_s: u64,
    /// Seconds since the appliance last knew its data to be equal to its source's; absent when it cannot tell.
    #[serde(default)]
    pub age_s: Option<u64>,
}

/// Why octets are no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// More than [`ANSWER_OCTETS_MAX`] octets.
    #[error("the answer has {0} octets, more than {ANSWER_OCTETS_MAX}")]
    Large(usize),
    /// Not the JSON of an answer.
    #[error("the answer cannot be read: {0}")]
    Json(String),
    /// A key that is more than one line would let its second line in as a key of its own.
    #[error("the answer holds a key of more than one line")]
    Key,
}

impl Answer {
    /// Reads a response value.
    ///
    /// # Errors
    /// What is wrong with it; the client then asks the next appliance.
    pub fn parse(octets: &[u8]) -> Result<Self, BadAnswer> {
        if octets.len() > ANSWER_OCTETS_MAX {
            return Err(BadAnswer::Large(octets.len()));
        }
        let answer: Self = serde_json::from_slice(octets).map_err(|e| BadAnswer::Json(e.to_string()))?;
        if answer.keys.iter().any(|key| key.chars().any(char::is_control)) {
            return Err(BadAnswer::Key);
        }
        Ok(answer)
    }

    /// The response value.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and lists of strings always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Whether the person may come in.
    pub fn is_allow(&self) -> bool {
        self.verdict == Verdict::Allow
    }

    /// The same answer with the age of the data, which the server knows.
    #[must_use]
    pub fn aged(mut self, age_s: Option<u64>) -> Self {
        self.age_s = age_s;
        self
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The question of sshd for alice's keys.
    pub(crate) fn asked(user: &str, what: What) -> Asked {
        Asked { user: user.into(), service: "sshd".into(), what, rhost: None, tty: None }
    }

    /// An answer that admits her.
    pub(crate) fn admitted() -> Answer {
        Answer {
            verdict: Verdict::Allow,
            reason: "grant".into(),
            sentence: "alice may come in".into(),
            rule: Some("grant dba pattern *.us-east-1".into()),
            known: true,
            host: "dev-mysql01.us-east-1b".into(),
            epoch: 1,
            serial: 7,
            keys: vec!["ssh-ed25519 AAAA alice".into()],
            keys_left_out: 0,
            until: None,
            valid_for_s: 3600,
            age_s: Some(2),
        }
    }

    fn fault(json: &str) -> String {
        Asked::parse(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_oid_is_that_of_its_uuid() {
        let uuid = 0x9b1a_97d6_7fd1_4f28_af7c_d89a_148f_a42a_u128;
        assert_eq!(OID, format!("2.25.{uuid}"));
    }

    #[test]
    fn questions_survive_the_wire() {
        let mut question = asked("alice", What::Keys);
        assert_eq!(Asked::parse(&question.to_json()), Ok(question.clone()));
        (question.rhost, question.tty) = (Some("10.9.8.7".into()), Some("ssh".into()));
        assert_eq!(Asked::parse(&question.to_json()), Ok(question));
        let short = Asked::parse(br#"{"user":"alice","what":"check"}"#).unwrap();
        assert_eq!(short, asked("alice", What::Check), "the service is sshd when none is named");
    }

    #[test]
    fn questions_are_read_strictly() {
        let unknown = r#"{"user":"alice","what":"keys","until":"2027"}"#;
        assert!(fault(unknown).contains("unknown field `until`"), "a condition that we do not know is not ignored");
        assert!(fault("{}").contains("missing field `user`"));
        assert!(fault(r#"{"user":"alice","what":"shell"}"#).contains("unknown variant `shell`"));
        assert_eq!(fault(r#"{"user":"","what":"keys"}"#), "user of the question is empty");
        assert_eq!(fault(r#"{"user":"a\nb","what":"keys"}"#), "user of the question holds a control character");
        let long = format!(r#"{{"user":"{}","what":"keys"}}"#, "a".repeat(257));
        assert_eq!(fault(&long), "user of the question is too long");
        assert_eq!(fault(&" ".repeat(5000)), "the question has 5000 octets, more than 4096");
    }

    #[test]
    fn answers_are_read_tolerantly() {
        let answer = admitted();
        assert_eq!(Answer::parse(&answer.to_json()), Ok(answer));
        let newer = br#"{"verdict":"deny","reason":"x","sentence":"no","known":true,"mood":"fine"}"#;
        assert_eq!(Answer::parse(newer).unwrap().verdict, Verdict::Deny);
        assert!(Answer::parse(br#"{"reason":"x","sentence":"no","known":true}"#).is_err(), "no verdict is no answer");
    }

    #[test]
    fn a_key_is_one_line() {
        let mut answer = admitted();
        answer.keys = vec!["ssh-ed25519 AAAA\nssh-ed25519 BBBB".into()];
        assert_eq!(Answer::parse(&answer.to_json()), Err(BadAnswer::Key));
    }
}
