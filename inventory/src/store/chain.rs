//! Reading the standby copy: the newest snapshot and the journals that lead on from it.
//!
//! Only whole change sets count. A torn end of the newest journal is left out: nobody was told of it.
//! Damage further up makes the copy unreadable from there, and says so; then the chain is good for nothing
//! unless the database is whole, because changes that were acknowledged are behind the damage.

use std::{io, path::Path, sync::Arc};

use super::{
    files,
    frame::{Entry, Next, Reader},
    standby::FORMAT,
};
use crate::{
    change::ChangeSet,
    keeper::{HeldBody, HeldList},
    position::Position,
    state::{Conflict, State},
};

/// A standby copy that was read through.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Newest generation, whose journal is to be continued.
    pub(crate) generation: u64,
    /// Whole bytes of that journal.
    pub(crate) journal_len: u64,
    pub(crate) snapshot_bytes: u64,
    /// Generation of the newest snapshot.
    pub(crate) snapshot: u64,
    /// Positions from the snapshot's on, one per change set.
    positions: Vec<Position>,
    /// Changes that are held at the tip.
    pub(crate) held: HeldList,
}

/// What [`walk`] meets.
enum Step {
    Set(Arc<ChangeSet>, Position),
    Hold(HeldBody),
    Unhold(u64),
    /// Held changes get numbers from this one on.
    NextHeld(u64),
}

impl Chain {
    /// Reads all journals. None when there are no standby files; an error is a sentence about the damage.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, String> {
        let cannot = |error: io::Error| format!("{} cannot be listed: {error}", dir.display());
        let generations = files::generations(dir).map_err(cannot)?;
        if generations.is_empty() {
            return Ok(None);
        }
        // A snapshot without its journal was never finished: the journal's name comes last.
        let journals: Vec<u64> = generations.into_iter().filter(|g| files::journal(dir, *g).exists()).collect();
        let has_snapshot = |g: &&u64| files::snapshot(dir, **g).exists();
        let (Some(&generation), Some(&snapshot)) = (journals.last(), journals.iter().rev().find(has_snapshot)) else {
            return Err("there is no standby snapshot with a journal".into());
        };
        let path = files::snapshot(dir, snapshot);
        let bad = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let mut reader = Reader::open(&path).map_err(|e| bad(&e))?;
        let (base, _) = head(&mut reader).map_err(|e| bad(&e))?;
        let snapshot_bytes = path.metadata().map_err(|e| bad(&e))?.len();
        let mut chain =
            Self { generation, journal_len: 0, snapshot_bytes, snapshot, positions: vec![base], held: HeldList::new() };
        let mut positions = vec![base];
        let mut held = HeldList::new();
        chain.journal_len = chain.walk(dir, true, |step| {
            match step {
                Step::Set(_, position) => positions.push(position),
                Step::Hold(body) => {
                    held.raise(body.id + 1);
                    held.bodies.retain(|other| other.id != body.id);
                    held.bodies.push(body);
                }
                Step::Unhold(id) => {
                    held.raise(id + 1);
                    held.bodies.retain(|other| other.id != id);
                }
                Step::NextHeld(next) => held.raise(next),
            }
            Ok(())
        })?;
        (chain.positions, chain.held) = (positions, held);
        Ok(Some(chain))
    }

    /// Where the copy ends.
    pub(crate) fn tip(&self) -> Option<Position> {
        self.positions.last().copied()
    }

    /// Whether the history that the copy tells goes through `position`.
    pub(crate) fn contains(&self, position: &Position) -> bool {
        self.positions.contains(position)
    }

    /// The change sets after `serial`.
    pub(crate) fn sets_after(&self, dir: &Path, serial: u64) -> Result<Vec<(Arc<ChangeSet>, Position)>, String> {
        let mut sets = Vec::new();
        self.walk(dir, false, |step| {
            if let Step::Set(set, position) = step
                && set.serial > serial
            {
                sets.push((set, position));
            }
            Ok(())
        })?;
        Ok(sets)
    }

    /// The state at the tip: snapshot, then journals, every hash compared.
    pub(crate) fn state(&self, dir: &Path) -> Result<State, String> {
        let mut state = read_snapshot(&files::snapshot(dir, self.snapshot))?;
        self.walk(dir, false, |step| {
            if let Step::Set(set, position) = step {
                let serial = set.serial;
                state = state.apply(set).map_err(|conflicts| {
                    let why: Vec<String> = conflicts.iter().map(Conflict::to_string).collect();
                    format!("change {serial} of the standby journal does not fit: {}", why.join("; "))
                })?;
                if state.position() != position {
                    return Err(format!("change {serial} of the standby journal leads to another state hash"));
                }
            }
            Ok(())
        })?;
        Ok(state)
    }

    /// Visits everything in the journals from the snapshot on; with `light`, change sets come without their rows.
    /// Returns the whole bytes of the last journal.
    fn walk(&self, dir: &Path, light: bool, mut visit: impl FnMut(Step) -> Result<(), String>) -> Result<u64, String> {
        let mut tip = self.positions.first().copied();
        let mut whole = 0;
        for generation in self.snapshot..=self.generation {
            let path = files::journal(dir, generation);
            let bad = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
            let mut reader = Reader::open(&path).map_err(|e| bad(&e))?.passing_rows(light);
            let (start, next_held) = head(&mut reader).map_err(|e| bad(&e))?;
            visit(Step::NextHeld(next_held))?;
            if tip.is_some_and(|tip| tip != start) {
                return Err(bad(&"it does not begin where the file before it ends"));
            }
            whole = journal(&mut reader, &mut tip, &mut visit).map_err(|e| bad(&e))?;
        }
        Ok(whole)
    }
}

/// Reads the rest of one journal; `tip` follows.
fn journal(
    reader: &mut Reader,
    tip: &mut Option<Position>,
    visit: &mut impl FnMut(Step) -> Result<(), String>,
) -> Result<u64, String> {
    let mut open: Option<ChangeSet> = None;
    let mut whole = reader.offset();
    loop {
        match reader.next().map_err(|e| e.to_string())? {
            Next::End | Next::Torn => return Ok(whole),
            Next::Damaged => return Err(format!("damaged at byte {}", reader.offset())),
            Next::Passed => continue,
            Next::Entry(Entry::Begin { epoch, serial, author }) => {
                open = Some(ChangeSet { epoch, serial, author, rows: Vec::new() });
                continue;
            }
            Next::Entry(Entry::Changes(rows)) => {
                open.as_mut().ok_or("rows stand outside of a change")?.rows.extend(rows);
                continue;
            }
            Next::Entry(Entry::End { position }) => {
                let set = open.take().ok_or("a change ends that did not begin")?;
                if tip.is_some_and(|tip| set.serial != tip.serial + 1 || position.serial != set.serial) {
                    return Err(format!("change {} does not follow the one before it", set.serial));
                }
                *tip = Some(position);
                visit(Step::Set(Arc::new(set), position))?;
            }
            Next::Entry(Entry::Hold(body)) => visit(Step::Hold(body))?,
            Next::Entry(Entry::Unhold(id)) => visit(Step::Unhold(id))?,
            Next::Entry(Entry::Head { .. } | Entry::Rows(_)) => {
                return Err("it holds what belongs in a snapshot".into());
            }
        }
        whole = reader.offset();
    }
}

/// The position in the first frame, and the number of the next held change.
fn head(reader: &mut Reader) -> Result<(Position, u64), String> {
    match reader.next().map_err(|e| e.to_string())? {
        Next::Entry(Entry::Head { format, position, next_held }) if format == FORMAT => Ok((position, next_held)),
        Next::Entry(Entry::Head { format, .. }) => Err(format!("format {format} is unknown to this version")),
        _ => Err("its head cannot be read".into()),
    }
}

fn read_snapshot(path: &Path) -> Result<State, String> {
    let bad = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let mut reader = Reader::open(path).map_err(|e| bad(&e))?;
    let (start, _) = head(&mut reader).map_err(|e| bad(&e))?;
    let mut failure = None;
    let mut ended = false;
    let rows = std::iter::from_fn(|| match reader.next() {
        Ok(Next::Entry(Entry::Rows(rows))) => Some(rows),
        Ok(Next::Entry(Entry::End { .. })) => {
            ended = true;
            None
        }
        Ok(_) => None,
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    let state = State::from_rows(start.cluster_id, start.epoch, start.serial, rows.flatten()).map_err(|e| bad(&e))?;
    if let Some(error) = failure {
        return Err(bad(&error));
    }
    if !ended {
        return Err(bad(&format!("damaged at byte {}", reader.offset())));
    }
    if state.position() != start {
        return Err(bad(&"its rows do not have the state hash that it names"));
    }
    Ok(state)
}

/// Whether a snapshot is whole: every frame has its checksum, and the last is the end.
pub(crate) fn is_whole(snapshot: &Path) -> io::Result<bool> {
    let mut reader = Reader::open(snapshot)?.passing_rows(true);
    loop {
        match reader.next()? {
            Next::Passed | Next::Entry(Entry::Head { .. }) => {}
            Next::Entry(Entry::End { .. }) => return Ok(matches!(reader.next()?, Next::End)),
            _ => return Ok(false),
        }
    }
}
