//! Opening: headers, cursors, and the records of the last segment.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use tokio::sync::watch;

use super::{
    Damage, Options, Room, SpoolError,
    counters::{Counters, add},
    cursors::{self, Cursors, Slot},
    disk::Disk,
    found::{Found, failed, find},
    header::{Bad, path_of},
    origins::Origins,
    queue::Queue,
    shared::Shared,
    state::{Segment, State},
    table::Totals,
    tail::Tail,
    writer::Writer,
};

/// What was found, put together.
struct Recovered {
    state: State,
    origins: Origins,
    next: u64,
    epoch: u64,
    relay: Option<String>,
}

/// Recovers segments; the end of the last one is cut if it is torn.
fn recover(
    disk: &dyn Disk,
    dir: &Path,
    mut found: Vec<Found>,
    slot: Option<&Slot>,
    counters: &Counters,
    now_us: i64,
) -> Result<Recovered, SpoolError> {
    let (deleted_below, holes) = slot.map_or((0, vec![]), |slot| (slot.deleted_below, slot.holes.clone()));
    let mut state = State { deleted_below, holes, ..State::default() };
    // A deletion that a crash cut short goes on.
    for segment in found.extract_if(.., |segment| state.is_deleted(segment.first)) {
        let path = path_of(dir, segment.first);
        disk.remove(&path).map_err(failed(&path))?;
        add(&counters.segments_deleted, 1);
    }
    let newest = found.iter().rev().find_map(|segment| segment.header.as_ref().ok()).map(|(header, _)| header.clone());
    let before = newest.as_ref().map_or(0, |header| header.epoch).max(slot.map_or(0, |slot| slot.epoch));
    // A spool that was restored from a backup must not take an epoch that was used since: receivers would take new
    // records for duplicates.
    let epoch = before.saturating_add(1).max(u64::try_from(now_us / 1_000_000).unwrap_or(0));
    let relay = slot.map(|slot| slot.relay.clone()).or_else(|| newest.as_ref().map(|header| header.relay.clone()));
    let mut table = slot.map(|slot| slot.table.clone()).or_else(|| newest.map(|h| h.table)).unwrap_or_default();

    let mut bases = bases(disk, dir, &found, counters).map_err(failed(dir))?;
    let durable = slot.map_or(0, |slot| slot.next.saturating_sub(1));
    let end = end(disk, dir, &mut found, &mut bases, durable, counters)?;
    let next = end.next.max(slot.map_or(1, |slot| slot.next.max(deleted_below))).max(1);
    disk.sync_dir(dir).map_err(failed(dir))?;
    if let Some(totals) = end.totals {
        table.totals = totals;
    }
    for (id, destination) in &mut table.destinations {
        let total = table.totals.get(*id);
        if destination.done.records > total.records {
            destination.done = total;
        }
    }
    (state.table, state.durable) = (table, next - 1);
    state.segments = segments(&found, bases, epoch, now_us);
    if let Some(segment) = state.segments.back_mut() {
        segment.inexact |= end.inexact;
    }
    missing(&found, &mut state, counters, now_us);
    Ok(Recovered { state, origins: end.origins, next, epoch, relay })
}

/// What is known behind the last record.
#[derive(Default)]
struct End {
    totals: Option<Totals>,
    origins: Origins,
    next: u64,
    inexact: bool,
}

/// Finds the last record. Segments without one are removed, and what is torn behind it is cut off.
fn end(
    disk: &dyn Disk,
    dir: &Path,
    found: &mut Vec<Found>,
    bases: &mut Vec<(Totals, Origins)>,
    mut durable: u64,
    counters: &Counters,
) -> Result<End, SpoolError> {
    let (mut end, mut before) = (End::default(), u64::MAX);
    while let (Some(last), Some((base, streams))) = (found.pop(), bases.pop()) {
        let path = path_of(dir, last.first);
        let file = disk.open(&path, true).map_err(failed(&path))?;
        let scan = last.scan(Arc::clone(&file), before, durable, base.clone(), streams).map_err(failed(&path))?;
        end.next = end.next.max(last.first).max(scan.last.saturating_add(1));
        add(&counters.read_errors, scan.unreadable);
        // A header that is in order knows all that was durable before it; what was read counts if there is none behind.
        if end.totals.is_none() && (scan.records > 0 || scan.unreadable > 0 || last.header.is_ok()) {
            (end.totals, end.origins) = (Some(scan.totals), scan.origins);
        }
        // What cannot be read now is not torn; readers try again, and count it. Nothing is appended to it.
        let is_unreadable = scan.unreadable > 0;
        if is_unreadable && scan.records == 0 {
            add(&counters.damaged_segments, 1);
            end.next = end.next.max(last.first.saturating_add(1));
        }
        let kept = if is_unreadable { last.len } else { scan.end };
        add(&counters.torn_bytes, last.len.saturating_sub(kept));
        if scan.records == 0 && !is_unreadable {
            // Made, and never written to. Behind the end of the one before may be what a failed write left there.
            disk.remove(&path).map_err(failed(&path))?;
            before = last.first;
            if last.header.is_ok() {
                durable = durable.max(last.first.saturating_sub(1));
            }
            continue;
        }
        if kept < last.len {
            file.set_len(kept).map_err(failed(&path))?;
        }
        // What was read may be in the page cache only. A file that cannot be read is not made better by an error here.
        match file.sync() {
            Err(error) if !is_unreadable => return Err(failed(&path)(error)),
            _ => {}
        }
        end.inexact = scan.damaged > 0 || scan.unreadable > 0;
        bases.push((base, Origins::default()));
        found.push(Found { len: kept, ..last });
        break;
    }
    Ok(end)
}

/// Totals and origins before each segment. Only behind a damaged header must records be read to know them.
fn bases(disk: &dyn Disk, dir: &Path, found: &[Found], counters: &Counters) -> io::Result<Vec<(Totals, Origins)>> {
    let mut bases: Vec<(Totals, Origins)> = Vec::with_capacity(found.len());
    for (at, segment) in found.iter().enumerate() {
        let base = match (&segment.header, at.checked_sub(1).and_then(|at| Some((found.get(at)?, bases.last()?)))) {
            (Ok((header, _)), _) => (header.table.totals.clone(), header.origins.clone()),
            (Err(_), None) => Default::default(),
            (Err(_), Some((previous, (totals, origins)))) => {
                let file = disk.open(&path_of(dir, previous.first), false)?;
                let scan = previous.scan(file, segment.first, u64::MAX, totals.clone(), origins.clone())?;
                add(&counters.read_errors, scan.unreadable);
                (scan.totals, scan.origins)
            }
        };
        let is_last = at + 1 == found.len();
        if matches!(segment.header, Err(Bad::Unreadable)) {
            add(&counters.read_errors, 1);
        }
        if segment.header.is_err() && !is_last {
            add(&counters.damaged_segments, 1);
        }
        bases.push(base);
    }
    Ok(bases)
}

fn segments(found: &[Found], bases: Vec<(Totals, Origins)>, epoch: u64, now_us: i64) -> VecDeque<Segment> {
    let mut segments: VecDeque<Segment> = VecDeque::with_capacity(found.len());
    // From the newest on: one with a damaged header is taken to be of the epoch of the one behind it, so that what
    // reads epochs and sequences never sees them fall.
    let (mut epoch, mut created_us) = (epoch, now_us);
    for (segment, (totals, _)) in found.iter().zip(bases).rev() {
        if let Ok((header, _)) = &segment.header {
            (epoch, created_us) = (header.epoch, header.created_us);
        }
        let (first, len, header_len) = (segment.first, segment.len, segment.start());
        let inexact = segment.header.is_err();
        segments.push_front(Segment { first, len, header_len, created_us, epoch, totals, inexact, index: Vec::new() });
    }
    segments
}

/// Counts segments that are not there although the one behind them says that they were.
fn missing(found: &[Found], state: &mut State, counters: &Counters, at_us: i64) {
    for pair in found.windows(2) {
        if let [before, segment] = pair
            && let Ok((header, _)) = &segment.header
            && header.previous > before.first
            && !state.is_deleted(header.previous)
        {
            add(&counters.missing_segments, 1);
            state.remember_damage(Damage { from: header.previous, to: segment.first - 1, at_us });
        }
    }
}

/// `node-` and random octets; what could be taken for a part of an origin is replaced.
fn new_relay(node: &str) -> Result<String, SpoolError> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let mut relay: String = node.chars().map(plain).take(64).collect();
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| SpoolError::Options(error.to_string()))?;
    let _ = write!(relay, "-{:016x}", u64::from_le_bytes(random));
    Ok(relay)
}

fn check(options: &Options) -> Result<(), SpoolError> {
    let wrong = |what: &str| Err(SpoolError::Options(format!("[logrelay.spool]: {what}")));
    // Of that a header takes an eighth at most for origins, and more only for very many destinations.
    if options.segment_bytes < 16 << 10 {
        return wrong("segment_bytes is below 16 KiB, but a header takes some of that; raise it");
    }
    if options.max_bytes < options.segment_bytes.saturating_mul(4) {
        return wrong("max_bytes is below four times segment_bytes, but segments are deleted whole; raise it");
    }
    if options.sync_bytes == 0 || options.queue_bytes == 0 {
        return wrong("sync_bytes or queue_bytes is 0, but a batch needs some; raise it");
    }
    if options.sync_every > Duration::from_secs(60) {
        return wrong("sync_ms is above a minute, but senders wait for it; lower it");
    }
    Ok(())
}

/// Opens the spool and starts its thread.
pub(super) fn open(options: Options, disk: Arc<dyn Disk>, clock: fn() -> i64) -> Result<Arc<Shared>, SpoolError> {
    check(&options)?;
    let dir = &options.path;
    disk.create_dir(dir).map_err(failed(dir))?;
    let names = disk.list(dir).map_err(failed(dir))?;
    let path = dir.join(cursors::NAME);
    let exists = names.iter().any(|(name, _)| name == cursors::NAME);
    let (cursors, slot) = Cursors::open(&disk, dir, exists).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => SpoolError::Locked(path.clone()),
        _ => failed(&path)(error),
    })?;
    // Only now that it is ours: another process might have been writing.
    let names = disk.list(dir).map_err(failed(dir))?;
    let counters = Counters::default();
    let found = find(&*disk, dir, &names)?;
    let recovered = recover(&*disk, dir, found, slot.as_ref(), &counters, clock())?;
    let Recovered { state, origins, next, epoch, relay } = recovered;
    let relay = relay.map_or_else(|| new_relay(&options.node), Ok)?;
    let (frontier, frontier_seen) = watch::channel(next - 1);
    let (room, room_seen) = watch::channel(Room::Free);
    let queue = Queue::new(next, options.queue_bytes, options.sync_bytes);
    let shared = Arc::new(Shared {
        disk,
        clock,
        relay,
        epoch,
        queue,
        state: Mutex::new(state),
        tail: Mutex::new(Tail::default()),
        cursors: Mutex::new(Some(cursors)),
        seen: Mutex::default(),
        counters,
        frontier: frontier_seen,
        room: room_seen,
        options,
    });
    // The epoch must be taken before anything is written in it.
    shared.write_cursors(true).map_err(failed(&path))?;
    let writer = Writer::new(Arc::clone(&shared), frontier, room, origins);
    let thread = thread::Builder::new().name("spool".into()).spawn(move || writer.run());
    thread.map(|_| shared).map_err(failed(&path))
}
