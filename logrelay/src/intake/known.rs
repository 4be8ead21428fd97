//! Who a sender is: the inventory's host, or what the header or the address says.
//!
//! Looked up once per connection, and again when the inventory or the rules change. Datagram sockets, and relays that
//! carry the lines of many hosts, keep a bounded table of whom they have met.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::{Sender, Shared};
use crate::{
    config::{Profile, Source},
    hosts::{HostEntry, Rate, SourceCounters},
    labels::{Asked, Labels},
    message::{Field, Flags, Message},
    parse::{Stamp, zone::offset},
    route::Rules,
};

/// Senders, and names in headers, that one intake remembers; all are forgotten when there are more.
const REMEMBERED_MAX: usize = 4_096;
/// Octets of a name in a header that may become a host, and by which a host of another relay is remembered.
const NAME_MAX: usize = 255;

/// What the configuration says of a source, as far as lines are concerned.
#[derive(Debug)]
pub struct Origin {
    /// Name of the source.
    pub name: String,
    /// How its lines are read.
    pub profile: Profile,
    /// See [`Source::keep_hostname`].
    pub keep_hostname: Option<bool>,
    /// Offset of stamps that name none, minutes.
    pub offset_min: i16,
    /// Whether offsets are learned.
    pub learns_zone: bool,
    /// Tags of its messages, as a list field.
    pub tags: String,
    /// What it received.
    pub counters: Arc<SourceCounters>,
}

impl Origin {
    /// From the configuration.
    ///
    /// # Errors
    /// A sentence about the time zone.
    pub fn new(source: &Source, counters: Arc<SourceCounters>) -> Result<Self, String> {
        let learns_zone = source.time_zone.as_deref() == Some("learn");
        let offset_min = match source.time_zone.as_deref() {
            None | Some("learn") => 0,
            Some(text) => offset(text).ok_or_else(|| {
                format!(
                    "source {}: time_zone = {text:?} is neither an offset such as \"+02:00\" nor \"learn\"",
                    source.name
                )
            })?,
        };
        let tags = source.tags.iter().map(|tag| format!("{}\n", tag.replace('\n', " "))).collect();
        let (name, profile, keep_hostname) = (source.name.clone(), source.profile, source.keep_hostname);
        Ok(Self { name, profile, keep_hostname, offset_min, learns_zone, tags, counters })
    }

    /// The same with counters that nobody reads.
    pub(crate) fn aside(&self) -> Self {
        let (name, tags) = (self.name.clone(), self.tags.clone());
        let Self { profile, keep_hostname, offset_min, learns_zone, .. } = *self;
        Self { name, profile, keep_hostname, offset_min, learns_zone, tags, counters: Arc::default() }
    }

    /// The source of what the relay itself says.
    pub fn internal(counters: Arc<SourceCounters>) -> Self {
        let name = crate::route::INTERNAL.to_owned();
        let profile = Profile::Plain;
        Self {
            name,
            profile,
            keep_hostname: Some(false),
            offset_min: 0,
            learns_zone: false,
            tags: String::new(),
            counters,
        }
    }
}

/// What is known of a sender.
#[derive(Debug)]
pub(super) struct Known {
    pub labels: Option<Arc<Labels>>,
    pub entry: Arc<HostEntry>,
    pub profile: Profile,
    pub offset_min: i16,
    pub rate: Option<Rate>,
    /// Whether its zone is learned from its stamps; not if a tag says it.
    learns_zone: bool,
    /// Host for lines that name none, or whose name does not count.
    host: String,
    address: Option<IpAddr>,
    origin: Arc<Origin>,
}

impl Known {
    /// Writes down who the message is from.
    pub(super) fn label<'m>(&'m self, message: &mut Message<'m>, port: u16) {
        message.address = self.address;
        message.port = port;
        message.set(Field::Source, self.origin.name.as_bytes());
        message.set(Field::Tags, self.origin.tags.as_bytes());
        let header = message.field(Field::HeaderHost);
        let Some(labels) = &self.labels else {
            let named = self.origin.keep_hostname != Some(false) && !header.is_empty();
            message.set(Field::Host, if named { header } else { self.host.as_bytes() });
            return;
        };
        message.flags = message.flags.with(Flags::KNOWN);
        if !header.is_empty() && !is_named(header, labels) {
            message.flags = message.flags.with(Flags::MISMATCH);
        }
        message.set(Field::Host, labels.name.as_bytes());
        message.set(Field::Zone, labels.zone.as_bytes());
        message.set(Field::Region, labels.region.as_bytes());
        message.set(Field::Product, labels.product.as_bytes());
        message.set(Field::Roles, labels.roles.as_bytes());
        message.set(Field::Groups, labels.groups.as_bytes());
        message.set(Field::Labels, labels.tags.as_bytes());
    }

    /// The time in a message that names no zone, in that of the host: by its tag, as learned, or as the source says.
    pub(super) fn zoned(&self, stamp: &Stamp, received_us: i64) -> Stamp {
        if stamp.had_zone {
            return *stamp;
        }
        let wall_us = stamp.wall_us();
        let learned = self.learns_zone.then(|| self.entry.learn_zone(&self.origin.name, received_us, wall_us));
        let offset_min = learned.flatten().unwrap_or(self.offset_min);
        Stamp { us: wall_us.saturating_sub(i64::from(offset_min) * 60_000_000), offset_min, ..*stamp }
    }
}

/// Whether a name in a header is the host's own: its label, or a longer name that begins with it.
fn is_named(header: &[u8], labels: &Labels) -> bool {
    let first = header.split(|&octet| octet == b'.').next().unwrap_or_default();
    first.eq_ignore_ascii_case(labels.name.as_bytes())
}

/// Finds senders, and remembers them.
pub(super) struct Senders {
    shared: Arc<Shared>,
    origin: Arc<Origin>,
    generation: u64,
    current: Sender,
    /// By address: ports change with every process, who sends does not.
    met: HashMap<IpAddr, Arc<Known>>,
    names: HashMap<Box<[u8]>, Arc<Known>>,
}

impl Senders {
    pub(super) fn new(shared: Arc<Shared>, origin: Arc<Origin>) -> Self {
        let generation = shared.inventory.generation();
        let (current, met, names) = (Sender::default(), HashMap::new(), HashMap::new());
        Self { shared, origin, generation, current, met, names }
    }

    /// Whether the last sender found is this one; the port it sends from now is noted.
    pub(super) fn is_current(&mut self, sender: &Sender) -> bool {
        self.current.port = sender.port;
        self.current.address == sender.address && self.current.certificate == sender.certificate
    }

    /// The port that the present sender sends from.
    pub(super) fn port(&self) -> u16 {
        self.current.port
    }

    /// Whether the inventory has changed since it was asked.
    pub(super) fn is_stale(&self) -> bool {
        self.shared.inventory.generation() != self.generation
    }

    /// Forgets everybody, and finds the present sender again.
    pub(super) fn again(&mut self, rules: &Rules) -> Arc<Known> {
        self.generation = self.shared.inventory.generation();
        self.met.clear();
        self.names.clear();
        let current = self.current.clone();
        self.find(&current, rules)
    }

    /// Who a sender is; it is the present one from now on.
    pub(super) fn find(&mut self, sender: &Sender, rules: &Rules) -> Arc<Known> {
        self.current.clone_from(sender);
        let met = sender.address.filter(|_| sender.certificate.is_empty()).and_then(|address| self.met.get(&address));
        if let Some(known) = met {
            return known.clone();
        }
        let now_us = (self.shared.clock)();
        let by_certificate = sender.certificate.iter().find_map(|name| (self.shared.inventory.find)(Asked::Name(name)));
        let by_address = || sender.address.and_then(|address| (self.shared.inventory.find)(Asked::Address(address)));
        let labels = by_certificate.or_else(by_address);
        let host = sender.address.map_or_else(|| self.shared.node.clone(), |address| address.to_string());
        let entry = match (&labels, sender.address) {
            (Some(labels), _) => self.shared.hosts.host(labels, now_us),
            (None, Some(address)) => self.shared.hosts.address(address, now_us),
            (None, None) => self.shared.hosts.local(now_us),
        };
        let known = Arc::new(self.known(labels, entry, host, rules));
        if let Some(address) = sender.address.filter(|_| sender.certificate.is_empty()) {
            if self.met.len() >= REMEMBERED_MAX {
                self.met.clear();
            }
            self.met.insert(address, known.clone());
        }
        known
    }

    /// Who a line is from whose sender is a relay that we believe about names; `None` when the sender itself counts.
    pub(super) fn by_header(&mut self, sender: &Known, header: &[u8], rules: &Rules) -> Option<Arc<Known>> {
        if self.origin.keep_hostname != Some(true) || header.is_empty() || header.len() > NAME_MAX {
            return None;
        }
        if let Some(known) = self.names.get(header) {
            return Some(known.clone());
        }
        let name = String::from_utf8_lossy(header).into_owned();
        let labels = (self.shared.inventory.find)(Asked::Name(&name));
        let now_us = (self.shared.clock)();
        let entry = match &labels {
            Some(labels) => self.shared.hosts.host(labels, now_us),
            None => self.shared.hosts.header(header, now_us),
        };
        let mut known = self.known(labels, entry, name, rules);
        known.address = sender.address;
        Some(self.remember(header, known))
    }

    /// Who a record of another relay is from, by the labels in it.
    pub(super) fn of_record(&mut self, message: &Message<'_>, rules: &Rules) -> Arc<Known> {
        let cut = |field: Field| message.field(field).get(..NAME_MAX).unwrap_or(message.field(field));
        let (name, zone) = (cut(Field::Host), cut(Field::Zone));
        let key = [name, b".", zone].concat();
        if let Some(known) = self.names.get(key.as_slice()) {
            return known.clone();
        }
        let text = |field: Field| String::from_utf8_lossy(message.field(field)).into_owned();
        let full = [text(Field::Host), text(Field::Zone), text(Field::Product)].join(".");
        // A host of another region may be unknown here; then it is not one that could be missed here either.
        let ours = message.flags.has(Flags::KNOWN).then(|| (self.shared.inventory.find)(Asked::Name(&full))).flatten();
        let entry = match &ours {
            Some(labels) => self.shared.hosts.host(labels, message.received_us),
            None => self.shared.hosts.header(if zone.is_empty() { name } else { &key }, message.received_us),
        };
        // Its labels stay as they are, so the name is of no use.
        let known = self.known(ours, entry, String::new(), rules);
        self.remember(&key, known)
    }

    fn remember(&mut self, key: &[u8], known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        if self.names.len() >= REMEMBERED_MAX {
            self.names.clear();
        }
        self.names.insert(key.into(), known.clone());
        known
    }

    fn known(&self, labels: Option<Arc<Labels>>, entry: Arc<HostEntry>, host: String, rules: &Rules) -> Known {
        let roles = labels.as_ref().map_or("", |labels| labels.roles.as_str());
        let tagged = labels.as_ref().and_then(|labels| labels.tag("tz")).and_then(offset);
        // Those who share an entry have no zone in common.
        let is_alone = !Arc::ptr_eq(&entry, self.shared.hosts.others());
        // What the relay says of shedding must not be shed.
        let rate = rules.rate(labels.as_deref()).filter(|_| self.origin.name != crate::route::INTERNAL);
        Known {
            entry,
            profile: rules.profile(roles).unwrap_or(self.origin.profile),
            offset_min: tagged.unwrap_or(self.origin.offset_min),
            rate,
            learns_zone: self.origin.learns_zone && tagged.is_none() && is_alone,
            host,
            address: self.current.address,
            origin: self.origin.clone(),
            labels,
        }
    }
}
