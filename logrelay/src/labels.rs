//! What the inventory says of a sender. The root hands a function in; this crate does not know the inventory.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Acquire},
    },
};

/// What is known of a host. Lists are in the form of [`Field`](crate::message::Field): each item followed by a newline.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// Host label: `dev-mysql01`.
    pub name: String,
    /// Availability zone.
    pub zone: String,
    /// Region.
    pub region: String,
    /// Product.
    pub product: String,
    /// List of roles.
    pub roles: String,
    /// List of groups.
    pub groups: String,
    /// List of tags, `key=value`.
    pub tags: String,
    /// Whether it is expected to log: it runs, and was not withdrawn.
    pub expected: bool,
}

impl Labels {
    /// The value of a tag.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.lines().find_map(|tag| tag.strip_prefix(key)?.strip_prefix('='))
    }

    /// What makes the host unique, and what people type: `dev-mysql01.us-east-1b`.
    pub fn short(&self) -> String {
        format!("{}.{}", self.name, self.zone)
    }
}

/// By what a host is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The address that a message came from.
    Address(IpAddr),
    /// A name in a certificate or in a header that is trusted: short, with zone, or in full.
    Name(&'a str),
}

/// Finds a host, if there is one.
pub type Find = dyn Fn(Asked<'_>) -> Option<Arc<Labels>> + Send + Sync;

/// The published inventory, as this crate sees it. Cheap to clone; looking up takes no lock that a writer holds.
#[derive(Clone)]
pub struct Inventory {
    /// Grows whenever an answer of `find` may have changed; what was found before is asked anew then.
    pub generation: Arc<AtomicU64>,
    /// The host, if there is one.
    pub find: Arc<Find>,
    /// All hosts that are named, running or not.
    pub all: Arc<dyn Fn() -> Vec<Arc<Labels>> + Send + Sync>,
}

impl Inventory {
    /// An inventory without hosts.
    pub fn empty() -> Self {
        Self { generation: Arc::default(), find: Arc::new(|_| None), all: Arc::new(Vec::new) }
    }

    /// The present generation.
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inventory").field("generation", &self.generation()).finish_non_exhaustive()
    }
}
