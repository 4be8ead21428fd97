//! What metrics and status show of a sender.

use std::net::IpAddr;

use serde::Serialize;

use super::{books::SourceReport, entry::HostEntry, who::Who};

/// Everything known of a sender. Times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostReport {
    /// Who.
    pub who: Who,
    /// `host`, `header`, `address`, `local`, `others`.
    pub kind: &'static str,
    /// Address of the last message.
    pub address: Option<IpAddr>,
    /// When it was first heard.
    pub first_us: Option<i64>,
    /// When it was last heard.
    pub last_us: Option<i64>,
    /// Its books.
    #[serde(flatten)]
    pub counters: SourceReport,
    /// Messages whose header names another host than the inventory.
    pub mismatches: u64,
    /// The last such name.
    pub mismatch: Option<Box<str>>,
    /// Milliseconds that its clock is ahead of ours; negative when it is behind.
    pub skew_ms: Option<i64>,
    /// Average pause between messages, microseconds.
    pub pause_us: Option<i64>,
    /// The pause that 99 of 100 are shorter than, microseconds; none before 20 are known.
    pub pause_high_us: Option<i64>,
}

impl HostEntry {
    /// Everything known of it.
    pub fn report(&self) -> HostReport {
        let ((mismatches, mismatch), (pause_us, pause_high_us)) = (self.mismatches(), self.pauses_us());
        HostReport {
            who: self.who().clone(),
            kind: self.who().kind(),
            address: self.last_address(),
            first_us: self.first_us(),
            last_us: self.last_us(),
            counters: self.counters().report(),
            mismatches,
            mismatch,
            skew_ms: self.skew_ms(),
            pause_us,
            pause_high_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Hosts, Tally};
    use crate::message::Message;

    #[test]
    fn the_report_is_flat_json() {
        let hosts = Hosts::new(10);
        let entry = hosts.address("10.0.0.1".parse().unwrap(), 5);
        let mut tally = Tally::default();
        tally.read(&Message::unread(b"abc", 7));
        entry.add(&tally, Some("10.0.0.1".parse().unwrap()));
        let json = serde_json::to_value(entry.report()).unwrap();
        assert_eq!((&json["who"], &json["kind"]), (&"10.0.0.1".into(), &"address".into()));
        assert_eq!(
            (&json["received"], &json["status"]["unparsed"], &json["first_us"]),
            (&1.into(), &1.into(), &7.into())
        );
        assert!(json["shed"]["rate"] == 0 && json["pause_us"].is_null());
    }
}
