//! Forwarding: names that are not ours, from the resolvers in `forward`.
//!
//! `engine` decides between cache, upstream and stale answers; `upstream` asks; `cache` remembers;
//! `message` reads and writes the wire form; `special` answers names that must not leave.

mod cache;
mod chase;
mod engine;
mod kept;
pub mod message;
pub mod special;
mod upstream;

pub use engine::{BadForward, Counters, DEADLINE, Forwarder, STALE_AFTER, UNDER_WAY_MAX, WAITERS_MAX, check_upstreams};
pub use message::truncate;
pub use special::local_answer;
pub use upstream::{Health, UpstreamState};
