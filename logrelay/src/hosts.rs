//! What is known and counted per sending host: books, rates, and who should be logging and is not.
//!
//! [`Hosts`] holds a [`HostEntry`] per sender. Hosts of the inventory are known by their name in it, so that a change of
//! address, or another host at an address, mixes nothing up; other senders are known by address, or by the name in the
//! header when a relay that is trusted sends. A connection asks for its entry once and adds a [`Tally`] per batch; only
//! the decision about rates is made per message, on one atomic number.
//!
//! Limits: `[logrelay.limits] hosts` entries of about 0.5 KiB each; the sender that was not heard for longest and is not
//! in the inventory makes room (of a few looked at), and when there is none, a sender shares one entry with the others.
//!
//! After a crash, who was seen and what was learned is what [`Hosts::save`] last gave; counters begin at 0.

mod books;
mod entry;
mod gaps;
mod notice;
mod rate;
mod report;
mod rules;
mod save;
mod silence;
mod skew;
mod table;
mod tally;
mod who;

pub use books::{Imbalance, ShedReport, SourceCounters, SourceReport, StatusReport};
pub use entry::HostEntry;
pub use notice::Notice;
pub use rate::{Admit, Rate};
pub use report::HostReport;
pub use rules::Rules;
pub use save::Damaged;
pub use silence::{Change, Silence, State, changes, look, review};
pub use table::{Hosts, HostsCounters};
pub use tally::{Outcome, Tally};
pub use who::Who;

#[cfg(test)]
mod tests;
