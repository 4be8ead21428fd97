//! Files: lines are gathered for each path, and written with one call for each file and chunk.
//!
//! The path comes from a template and stays below the folder before its first macro, whatever messages say (`beneath`).
//! After an error every line that is whole in its file counts as delivered and is not written again; a line that was torn
//! by a full disk is cut off. A crash within a chunk may have written some of its lines: they come twice.
//!
//! With `fsync = true` a line counts when it is on disk, and a power cut loses none. With `fsync = false` it counts when the
//! kernel has it, and files are made durable (fdatasync) about once a second: a power cut may lose about a second of lines,
//! a process that is killed none.
//!
//! Limits: `open_files` files, and up to 72 closed ones until they are on disk; the lines of one chunk in memory.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{
    Delivered, Identity, SinkState, Times, Trouble, Unsendable,
    counters::{Counters, count},
    key, local_offset_min, read,
};
use crate::{
    config,
    message::{Message, Records},
    template::{DateCache, FILE_TEMPLATE, Template},
};

mod beneath;
mod link;
mod options;
mod paths;
mod rotate;
mod slot;
mod table;
mod unsynced;

use beneath::Fault;
use options::Options;
use paths::Paths;
use table::Table;

/// A message of the chunk: where it stands and where it goes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Index of the record in the chunk.
    record: u32,
    /// Its slot; [`WRITTEN`] for one that was in its file before.
    slot: u32,
    /// Which line of the slot it is.
    line: u32,
}

/// In place of a slot: the message came with an earlier attempt at this chunk, and is in its file.
const WRITTEN: u32 = u32::MAX;

/// How often it is said that lines are left out, microseconds.
const WARN_EVERY_US: i64 = 60_000_000;

/// Writes messages to files.
#[derive(Debug)]
pub struct FileSink {
    table: Table,
    template: Template,
    paths: Paths,
    loghost: String,
    times: Times,
    dates: DateCache,
    path_text: String,
    /// The messages of the chunk.
    entries: Vec<Entry>,
    /// Slots with lines, in the order in which they got the first.
    touched: Vec<usize>,
    /// Messages that are in their files though the chunk they came in was not delivered in full, and how often.
    ahead: HashMap<u64, u32>,
    since_us: i64,
    /// The last time that was told.
    seen_us: i64,
    last_error: Option<(i64, String)>,
    /// When lines were last said to be left out, microseconds.
    warned_us: i64,
}

impl FileSink {
    /// Reads the keys; opens nothing.
    pub(super) fn build(config: &config::Destination, identity: Identity<'_>) -> Result<Self, String> {
        let text = config.file.clone().unwrap_or_default();
        let mut wrong = Vec::new();
        let options = Options::read(config, &text).map_err(|all| wrong.extend(all)).ok();
        let mut parse = |key: &str, text: &str| {
            let failed = |error| wrong.push(format!("destination {}: {key}: {error}", config.name));
            Template::parse(text).map_err(failed).ok()
        };
        let path = parse("file", &text);
        let template = parse("template", config.template.as_deref().unwrap_or(FILE_TEMPLATE));
        let link = config.to_file.symlink.as_deref().map(|link| parse("symlink", link));
        for (key, template) in [("file", &path), ("symlink", &link.clone().flatten())] {
            if let Some(Err(error)) = template.as_ref().filter(|_| wrong.is_empty()).map(Template::check_path) {
                wrong.push(format!("destination {}: {key}: {error}", config.name));
            }
        }
        let times = Times::read(config).map_err(|error| wrong.push(error)).ok();
        let (Some(options), Some(path), Some(template), Some(times), true) =
            (options, path, template, times, wrong.is_empty())
        else {
            return Err(wrong.join(" "));
        };
        Ok(Self {
            table: Table::new(options, Arc::default()),
            template,
            paths: Paths::new(path, link.flatten()),
            loghost: identity.node.to_owned(),
            times,
            dates: DateCache::default(),
            path_text: text,
            entries: Vec::new(),
            touched: Vec::new(),
            ahead: HashMap::new(),
            since_us: 0,
            seen_us: 0,
            last_error: None,
            warned_us: i64::MIN,
        })
    }

    /// See [`Sink::deliver`](super::Sink::deliver).
    pub(super) fn deliver(&mut self, chunk: Records<'_>, number: u16, now_us: i64) -> Result<Delivered, Trouble> {
        self.seen_us = now_us;
        let mut delivered = Delivered::default();
        self.gather(chunk.clone(), number, now_us, &mut delivered);
        let mut fault = None;
        for i in 0..self.touched.len() {
            let at = self.touched[i];
            match self.table.flush(at, now_us) {
                Ok(()) => {}
                Err(bad) if bad.bad_path => {
                    // Also when the clock was set back.
                    if !(0..WARN_EVERY_US).contains(&now_us.saturating_sub(self.warned_us)) {
                        self.warned_us = now_us;
                        let (destination, reason) = (&self.table.options.name, &bad.text);
                        tracing::warn!(
                            destination,
                            reason,
                            "lines are left out; others of this minute are only counted"
                        );
                    }
                    let slot = &mut self.table.slots[at];
                    let written = slot.ends.partition_point(|end| *end <= slot.written);
                    let lines = (slot.ends.len() - written) as u64;
                    let octets = (slot.buffer.len() - slot.written) as u64;
                    slot.written = slot.buffer.len();
                    delivered.messages -= lines;
                    delivered.octets -= octets;
                    delivered.unsendable += lines;
                    self.table.counters.unsendable(Unsendable::Path, lines);
                    self.last_error = Some((now_us, bad.text));
                }
                Err(bad) => {
                    fault = Some(bad);
                    break;
                }
            }
        }
        let result = match fault {
            None => {
                self.ahead.clear();
                Ok(delivered)
            }
            Some(fault) => Err(self.partly(chunk, number, delivered, fault, now_us)),
        };
        let delivered = result.as_ref().map_or_else(|trouble| trouble.delivered, |delivered| *delivered);
        self.table.counters.messages.fetch_add(delivered.messages, Relaxed);
        self.table.counters.octets.fetch_add(delivered.octets, Relaxed);
        if self.table.end_chunk(&mut self.touched) {
            self.paths.forget();
        }
        if result.is_err() {
            // The next attempt, and the next look after files, may be a minute away.
            self.sync_written(now_us);
        }
        self.entries.clear();
        if self.since_us == 0 {
            self.since_us = now_us;
        }
        result
    }

    /// Puts the lines of the chunk into the buffers of their slots. Counts all as delivered.
    fn gather(&mut self, chunk: Records<'_>, number: u16, now_us: i64, delivered: &mut Delivered) {
        let offset_min = local_offset_min(now_us);
        let env = self.times.env(now_us, &self.loghost, offset_min);
        for (record, octets) in chunk.enumerate() {
            let message = match read(octets, number) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(_) => {
                    delivered.unsendable += 1;
                    self.table.counters.unsendable(Unsendable::Unreadable, 1);
                    continue;
                }
            };
            if !self.ahead.is_empty() && take(&mut self.ahead, &message, octets) {
                self.entries.push(Entry { record: record as u32, slot: WRITTEN, line: 0 });
                continue;
            }
            let at = self.paths.slot(&mut self.table, &message, &env, &mut self.dates);
            let slot = &mut self.table.slots[at];
            if slot.ends.is_empty() {
                self.touched.push(at);
            }
            let before = slot.buffer.len();
            self.template.write(&message, &env, &mut self.dates, &mut slot.buffer);
            delivered.add(slot.buffer.len() - before);
            self.entries.push(Entry { record: record as u32, slot: at as u32, line: slot.ends.len() as u32 });
            slot.ends.push(slot.buffer.len());
        }
    }

    /// The chunk is in its files in part: which messages are, so that they are not written again.
    fn partly(
        &mut self,
        chunk: Records<'_>,
        number: u16,
        mut delivered: Delivered,
        fault: Fault,
        now_us: i64,
    ) -> Trouble {
        let slots = &self.table.slots;
        let end_of = |entry: &Entry| slots.get(entry.slot as usize).and_then(|slot| slot.ends.get(entry.line as usize));
        let is_done = |entry: &Entry| {
            let slot = slots.get(entry.slot as usize);
            entry.slot == WRITTEN || slot.zip(end_of(entry)).is_some_and(|(slot, end)| *end <= slot.written)
        };
        self.ahead.clear();
        let first = self.entries.iter().find(|entry| !is_done(entry)).map_or(u32::MAX, |entry| entry.record);
        let mut entries = self.entries.iter().peekable();
        for (record, octets) in chunk.clone().enumerate().skip(first as usize) {
            while entries.next_if(|entry| (entry.record as usize) < record).is_some() {}
            let message = match read(octets, number) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(_) => {
                    // It will be given again, and counted then.
                    delivered.unsendable -= 1;
                    self.table.counters.unreadable.fetch_sub(1, Relaxed);
                    continue;
                }
            };
            let Some(entry) = entries.next_if(|entry| entry.record as usize == record) else { continue };
            if is_done(entry) {
                *self.ahead.entry(key(&message, octets)).or_default() += 1;
            } else {
                let slot = &slots[entry.slot as usize];
                let begin = entry.line.checked_sub(1).map_or(0, |line| slot.ends[line as usize]);
                delivered.messages -= 1;
                delivered.octets -= (slot.ends[entry.line as usize] - begin) as u64;
            }
        }
        count(&self.table.counters.troubles);
        let reason = format!("destination {}: {}.", self.table.options.name, fault.text);
        self.last_error = Some((now_us, reason.clone()));
        Trouble { retry: !fault.lasting, ..Trouble::at(chunk, first as usize, delivered, reason) }
    }

    /// See [`Sink::reopen`](super::Sink::reopen).
    pub(super) fn reopen(&mut self) {
        self.table.close_all();
        // Nothing stays open, so that a file system may be unmounted.
        self.sync_written(self.seen_us);
    }

    /// See [`Sink::continue_from`](super::Sink::continue_from).
    pub(super) fn continue_from(&mut self, mut former: Self) {
        self.ahead = std::mem::take(&mut former.ahead);
        self.table.counters = former.table.counters.clone();
    }

    /// See [`Sink::idle`](super::Sink::idle).
    pub(super) fn idle(&mut self, now_us: i64) {
        self.seen_us = now_us;
        self.sync_written(now_us);
        if self.table.idle(now_us) {
            self.paths.forget();
        }
    }

    fn sync_written(&mut self, now_us: i64) {
        if let Err(fault) = self.table.sync_written() {
            let reason =
                format!("destination {}: {}; lines may be lost in a power cut.", self.table.options.name, fault.text);
            tracing::warn!(reason, "files are not durable");
            self.last_error = Some((now_us, reason));
        }
    }

    /// See [`Sink::close`](super::Sink::close).
    pub(super) fn close(&mut self) {
        self.table.close_all();
        self.sync_written(self.seen_us);
        self.table.stop();
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.table.counters
    }

    pub(super) fn state(&self) -> SinkState {
        SinkState {
            target: Some(self.path_text.clone()),
            since_us: self.since_us,
            last_error: self.last_error.clone(),
            open_files: self.table.open_files(),
        }
    }
}

/// Whether the message is in its file already.
fn take(ahead: &mut HashMap<u64, u32>, message: &Message<'_>, octets: &[u8]) -> bool {
    let key = key(message, octets);
    let Some(times) = ahead.get_mut(&key) else { return false };
    *times -= 1;
    if *times == 0 {
        ahead.remove(&key);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Batch, Field};

    fn batch(hosts: std::ops::Range<usize>) -> Batch {
        let mut batch = Batch::default();
        for host in hosts {
            let host = format!("h{host}");
            let mut message = Message::unread(b"x", 0);
            message.set(Field::Host, host.as_bytes());
            message.set(Field::Destinations, &[1, 0]);
            batch.push(&message);
        }
        batch
    }

    /// A sender chooses the names; with them it must not stop the lines of all others.
    #[test]
    fn what_is_in_the_way_of_one_path_is_not_in_the_way_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("name = \"d\"\nfile = \"{}/${{HOST}}.log\"", dir.path().display());
        let mut sink = FileSink::build(&toml::from_str(&text).unwrap(), Identity { node: "n", relay: "n" }).unwrap();
        std::fs::create_dir(dir.path().join("h1.log")).unwrap();
        std::os::unix::fs::symlink("h0.log", dir.path().join("h2.log")).unwrap();
        let delivered = sink.deliver(batch(0..4).records(), 1, 0).unwrap();
        assert_eq!((delivered.messages, delivered.unsendable), (2, 2));
        assert_eq!(sink.counters().bad_path.load(Relaxed), 2);
        assert!(sink.state().last_error.is_some_and(|(_, text)| text.contains("h2.log")));
        assert!(std::fs::read_to_string(dir.path().join("h3.log")).unwrap().contains('x'));
    }

    #[test]
    fn what_was_written_is_made_durable_once_a_second_and_before_a_pause() {
        let dir = tempfile::tempdir().unwrap();
        let build = |keys: &str| {
            let text = format!("name = \"d\"\nfile = \"{}/logs/${{HOST}}.log\"\n{keys}", dir.path().display());
            FileSink::build(&toml::from_str(&text).unwrap(), Identity { node: "n", relay: "n" }).unwrap()
        };
        let unsynced = |sink: &FileSink| sink.table.slots.iter().flat_map(|slot| &slot.open).any(|open| open.unsynced);
        let files_open = || {
            std::fs::read_dir("/proc/self/fd")
                .unwrap()
                .flatten()
                .filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path.starts_with(dir.path())))
                .count()
        };
        let mut sink = build("open_files = 8\nclose_s = 0");
        sink.deliver(batch(0..100).records(), 1, 0).unwrap();
        assert!(unsynced(&sink) && files_open() > 64, "closed files are open until they are on disk: {}", files_open());
        sink.idle(1_000_000);
        assert_eq!((unsynced(&sink), files_open()), (false, 0));
        // A trouble is followed by a pause.
        sink.deliver(batch(4..5).records(), 1, 2_000_000).unwrap();
        std::fs::rename(dir.path().join("logs"), dir.path().join("away")).unwrap();
        std::fs::write(dir.path().join("logs"), "").unwrap();
        assert!(sink.deliver(batch(5..6).records(), 1, 2_000_001).is_err());
        assert_eq!((unsynced(&sink), files_open()), (false, 1));
        std::fs::remove_file(dir.path().join("logs")).unwrap();
        sink.deliver(batch(0..3).records(), 1, 3_000_000).unwrap();
        sink.reopen();
        assert_eq!(files_open(), 0);
        sink.deliver(batch(0..3).records(), 1, 4_000_000).unwrap();
        drop(sink);
        assert_eq!(files_open(), 0);
        let mut sink = build("fsync = true");
        sink.deliver(batch(0..3).records(), 1, 0).unwrap();
        assert!(!unsynced(&sink) && sink.table.counters.sync_failed.load(Relaxed) == 0);
    }
}
