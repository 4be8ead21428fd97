//! Forwarding: names that are not ours, from the resolvers in `forward`.
//!
//! `engine` decides between cache, upstream and stale answers; `upstream` asks; `cache` remembers;
//! `delegated` asks the servers of zones that ours delegate; `chase` completes chains of CNAMEs;
//! `message` reads and writes the wire form; `special` answers names that must not leave.

mod cache;
mod chase;
mod check;
mod delegated;
mod engine;
mod kept;
pub mod message;
pub mod special;
mod upstream;

pub(crate) use chase::{Piece, join};
pub use check::{BadForward, check_upstreams};
pub(crate) use delegated::Cut;
pub use engine::{Counters, DEADLINE, Forwarder, STALE_AFTER, UNDER_WAY_MAX, WAITERS_MAX};
pub use message::truncate;
pub use special::local_answer;
pub use upstream::{Health, UpstreamState};
