//! Named points at which a test makes the process die or the disk fail.
//!
//! The environment variable `GATEHOUSE_FAULT` lists what shall happen, comma-separated, each entry
//! `point=action[@first[+count]]`: `abort` ends the process at once as kill -9 would, `enospc`
//! returns "no space left on device" from the point. `first` is the passing (from 1) at which it begins, `count` how many
//! passings it lasts (for ever if absent). Without the variable a point costs one atomic load.
//!
//! | point | where |
//! |---|---|
//! | `commit.before-sqlite` | before the transaction begins |
//! | `commit.before-journal` | rows are in the open transaction, the standby journal is untouched |
//! | `journal.torn` | half of the journal record is written |
//! | `journal.before-sync` | the journal record is written, not synced |
//! | `commit.after-journal` | the journal is synced, SQLite has not committed |
//! | `commit.after-sqlite` | both are durable, nothing is published or acknowledged (abort only) |
//! | `open.before-commit` | what only the standby journal has is in the open transaction, not committed |
//! | `commit.before-reply` | published, not acknowledged (abort only) |
//! | `standby.before-journal` | a new journal generation is about to be made |
//! | `standby.half-snapshot` | half of a snapshot is written |
//! | `standby.before-rename` | a snapshot is complete under its temporary name |
//! | `standby.before-cleanup` | a new generation is in place, older files are still there |
//! | `rebuild.before-aside` | a rebuilt database is complete under its temporary name |
//! | `rebuild.before-rename` | the damaged database is moved aside, the new one not yet in place |

use std::{
    io,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// The environment variable.
pub const VARIABLE: &str = "GATEHOUSE_FAULT";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Abort,
    NoSpace,
}

#[derive(Debug)]
struct Armed {
    name: String,
    action: Action,
    first: u64,
    count: u64,
    passed: AtomicU64,
}

/// Passes the point `name`: nothing, the end of the process, or an I/O error, as the environment says.
pub fn point(name: &'static str) -> io::Result<()> {
    static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| std::env::var(VARIABLE).map(|text| parse(&text)).unwrap_or_default());
    for fault in armed {
        if fault.name == name {
            fault.pass()?;
        }
    }
    Ok(())
}

impl Armed {
    fn pass(&self) -> io::Result<()> {
        let nth = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
        if nth < self.first || nth - self.first >= self.count {
            return Ok(());
        }
        match self.action {
            Action::Abort => std::process::abort(),
            Action::NoSpace => Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device (fault point)")),
        }
    }
}

/// Entries that make no sense are left out: a fault is never armed by accident.
fn parse(text: &str) -> Vec<Armed> {
    text.split(',').filter_map(parse_one).collect()
}

fn parse_one(entry: &str) -> Option<Armed> {
    let (name, rest) = entry.trim().split_once('=')?;
    let (action, when) = rest.split_once('@').unwrap_or((rest, "1"));
    let action = match action {
        "abort" => Action::Abort,
        "enospc" => Action::NoSpace,
        _ => return None,
    };
    let (first, count) = match when.split_once('+') {
        Some((first, count)) => (first.parse().ok()?, count.parse().ok()?),
        None => (when.parse().ok()?, u64::MAX),
    };
    Some(Armed { name: name.to_owned(), action, first, count, passed: AtomicU64::new(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_lasts_for_the_passings_it_names() {
        let armed = parse("a=enospc@2+2, b=abort@7");
        let a = &armed[0];
        let failed: Vec<bool> = (0..5).map(|_| a.pass().is_err()).collect();
        assert_eq!(failed, [false, true, true, false, false]);
        assert_eq!((armed[1].action, armed[1].first, armed[1].count), (Action::Abort, 7, u64::MAX));
    }

    #[test]
    fn nonsense_arms_nothing() {
        assert!(parse("").is_empty());
        assert!(parse("a=explode,b,c=abort@x").is_empty());
    }
}
