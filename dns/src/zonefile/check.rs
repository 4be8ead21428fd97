//! What makes records a zone (RFC 1034 section 4.2.1, RFC 2181 sections 5.2 and 10.1, RFC 6672 section 2.4).

use std::{cmp::Ordering, sync::Arc};

use super::{FAULTS_MAX, Fault, ZoneFile, read::Line};
use crate::{
    name::{self, Name},
    rr::rtype,
    text::type_name,
    zone::Soa,
};

/// Checks the records together; the faults name both sides.
pub(super) fn zone(lines: Vec<Line>, files: &[Arc<str>], expected: Option<&Name>) -> Result<ZoneFile, Vec<Fault>> {
    let mut check = Check { lines: &lines, files, faults: Vec::new(), warnings: Vec::new() };
    let soa = match check.soa(expected) {
        Ok(soa) => soa,
        Err(fault) => return Err(vec![fault]),
    };
    let apex = &lines[soa].rr.owner;
    check.outside(apex);
    // In the order of trees, so that an owner's records and those below it are neighbours.
    let mut order: Vec<u32> = (0..lines.len() as u32).collect();
    let by_tree = |a: &u32, b: &u32| {
        let (a, b) = (&lines[*a as usize].rr, &lines[*b as usize].rr);
        tree_order(&a.owner, &b.owner).then_with(|| a.rtype.cmp(&b.rtype))
    };
    order.sort_by(by_tree);
    let mut keep = vec![true; lines.len()];
    let mut ttl = Vec::new();
    check.sets(&order, &mut keep, &mut ttl);
    check.dname(&order);
    check.hidden(&order, apex);
    if !lines.iter().any(|line| line.rr.rtype == rtype::NS && line.rr.owner == *apex) {
        check.fault(soa, format!("{apex} has a SOA record but no NS record"));
    }
    let Check { mut faults, warnings, .. } = check;
    if !faults.is_empty() {
        faults.sort_by(|a, b| (a.file.as_ref(), a.line).cmp(&(b.file.as_ref(), b.line)));
        return Err(faults);
    }
    keep[soa] = false;
    let origin = apex.clone();
    let Some(soa) = Soa::from_rdata(lines[soa].rr.ttl, &lines[soa].rr.rdata) else {
        return Err(vec![fault_at(&lines[soa], files, "the SOA record is malformed".into())]);
    };
    let mut records: Vec<_> = lines.into_iter().map(|line| line.rr).collect();
    for (at, seconds) in ttl {
        records[at].ttl = seconds;
    }
    let mut keep = keep.into_iter();
    records.retain(|_| keep.next().unwrap_or(true));
    Ok(ZoneFile { origin, soa, records, warnings })
}

/// Parents before children, and everything below a name directly behind it.
fn tree_order(a: &[u8], b: &[u8]) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (mut a_at, mut b_at) = ([0_u8; name::LABELS_MAX], [0_u8; name::LABELS_MAX]);
    let (a_count, b_count) = (label_starts(a, &mut a_at), label_starts(b, &mut b_at));
    for depth in 1..=a_count.min(b_count) {
        let a_label = name::first_label(&a[usize::from(a_at[a_count - depth])..]);
        let b_label = name::first_label(&b[usize::from(b_at[b_count - depth])..]);
        match a_label.cmp(b_label) {
            Ordering::Equal => {}
            other => return other,
        }
    }
    a_count.cmp(&b_count)
}

fn label_starts(wire: &[u8], starts: &mut [u8; name::LABELS_MAX]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Some(&length) = wire.get(at).filter(|length| **length > 0) {
        let Some(start) = starts.get_mut(count) else { break };
        *start = at as u8;
        at += usize::from(length) + 1;
        count += 1;
    }
    count
}

fn fault_at(line: &Line, files: &[Arc<str>], text: String) -> Fault {
    Fault { file: files[line.file as usize].clone(), line: line.line, text }
}

struct Check<'a> {
    lines: &'a [Line],
    files: &'a [Arc<str>],
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Check<'_> {
    fn fault(&mut self, at: usize, text: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault_at(&self.lines[at], self.files, text));
        }
    }

    fn warn(&mut self, at: usize, text: String) {
        if self.warnings.len() < FAULTS_MAX {
            self.warnings.push(fault_at(&self.lines[at], self.files, text));
        }
    }

    /// `line 7`, with the file's name if it is another than that of `from`.
    fn place(&self, at: usize, from: usize) -> String {
        let (line, from) = (&self.lines[at], &self.lines[from]);
        match line.file == from.file {
            true => format!("line {}", line.line),
            false => format!("{} line {}", self.files[line.file as usize], line.line),
        }
    }

    /// Index of the one SOA record.
    fn soa(&self, expected: Option<&Name>) -> Result<usize, Fault> {
        let whole = |text| Fault { file: self.files.first().cloned().unwrap_or_default(), line: 0, text };
        let mut all = (0..self.lines.len()).filter(|at| self.lines[*at].rr.rtype == rtype::SOA);
        let Some(first) = all.next() else {
            return Err(whole("there is no SOA record, so this is no zone".into()));
        };
        let owner = &self.lines[first].rr.owner;
        let same = |at: &usize| self.lines[*at].rr == self.lines[first].rr;
        if let Some(second) = all.find(|at| !same(at)) {
            let text = format!(
                "a second SOA record, of {}, but {} has one on {}",
                self.lines[second].rr.owner,
                owner,
                self.place(first, second)
            );
            return Err(fault_at(&self.lines[second], self.files, text));
        }
        match expected.filter(|expected| *expected != owner) {
            Some(expected) => {
                let text = format!("the SOA record is that of {owner}, but the zone is to be {expected}");
                Err(fault_at(&self.lines[first], self.files, text))
            }
            None => Ok(first),
        }
    }

    fn outside(&mut self, apex: &Name) {
        for at in 0..self.lines.len() {
            let owner = &self.lines[at].rr.owner;
            if !name::is_within(owner, apex) {
                self.fault(at, format!("{owner} lies outside the zone {apex}"));
            }
        }
    }

    /// Duplicates, TTLs within an RRset, and what may stand beside CNAME and DNAME.
    fn sets(&mut self, order: &[u32], keep: &mut [bool], ttl: &mut Vec<(usize, u32)>) {
        let lines = self.lines;
        let rr = |at: &u32| &lines[*at as usize].rr;
        for owner in order.chunk_by(|a, b| rr(a).owner == rr(b).owner) {
            for set in owner.chunk_by(|a, b| rr(a).rtype == rr(b).rtype) {
                self.set(set, keep, ttl);
            }
            let Some(&cname) = owner.iter().find(|at| rr(at).rtype == rtype::CNAME) else { continue };
            // DNSSEC's own types may stand beside a CNAME (RFC 2181 section 10.1, RFC 4034).
            if let Some(&other) = owner.iter().find(|at| !matches!(rr(at).rtype, rtype::CNAME | 25 | 46 | 47)) {
                let text = format!(
                    "{} has a CNAME record, but also {} data on {}",
                    rr(&cname).owner,
                    type_name(rr(&other).rtype),
                    self.place(other as usize, cname as usize)
                );
                self.fault(cname as usize, text);
            }
        }
    }

    fn set(&mut self, set: &[u32], keep: &mut [bool], ttl: &mut Vec<(usize, u32)>) {
        let [first, rest @ ..] = set else { return };
        let first = *first as usize;
        if rest.is_empty() {
            return;
        }
        // Equal records are neighbours when sorted by their data; the first of them stays.
        let mut by_data: Vec<usize> = set.iter().map(|at| *at as usize).collect();
        by_data.sort_by(|a, b| self.lines[*a].rr.rdata.cmp(&self.lines[*b].rr.rdata));
        for pair in by_data.windows(2) {
            keep[pair[1]] = self.lines[pair[0]].rr.rdata != self.lines[pair[1]].rr.rdata;
        }
        let (owner, rtype, seconds) = {
            let rr = &self.lines[first].rr;
            (rr.owner.clone(), rr.rtype, rr.ttl)
        };
        for &at in rest {
            let at = at as usize;
            if self.lines[at].rr.ttl != seconds {
                let text = format!(
                    "{owner} {} has a TTL of {}, but {seconds} on {}; {seconds} is used for all of them",
                    type_name(rtype),
                    self.lines[at].rr.ttl,
                    self.place(first, at)
                );
                self.warn(at, text);
                ttl.push((at, seconds));
            }
        }
        let kept = set.iter().filter(|at| keep[**at as usize]).count();
        if matches!(rtype, rtype::CNAME | rtype::DNAME) && kept > 1 {
            let second = set.iter().map(|at| *at as usize).find(|at| *at != first && keep[*at]).unwrap_or(first);
            let text = format!(
                "{owner} has a second {} record, but one stands on {}",
                type_name(rtype),
                self.place(first, second)
            );
            self.fault(second, text);
        }
    }

    /// Nothing may exist below a DNAME (RFC 6672 section 2.4).
    fn dname(&mut self, order: &[u32]) {
        let lines = self.lines;
        let mut above: Option<usize> = None;
        for &at in order {
            let (at, rr) = (at as usize, &lines[at as usize].rr);
            if let Some(dname) = above {
                let top = &lines[dname].rr.owner;
                if rr.owner == *top {
                    continue;
                }
                if name::is_within(&rr.owner, top) {
                    let place = self.place(dname, at);
                    self.fault(at, format!("{} lies below {top}, which has a DNAME record on {place}", rr.owner));
                    continue;
                }
                above = None;
            }
            if rr.rtype == rtype::DNAME {
                above = Some(at);
            }
        }
    }

    /// Below a delegation only addresses are of use, as glue (RFC 1034 section 4.2.1); the rest is never answered.
    fn hidden(&mut self, order: &[u32], apex: &Name) {
        let lines = self.lines;
        let mut cut: Option<usize> = None;
        for &at in order {
            let (at, rr) = (at as usize, &lines[at as usize].rr);
            if let Some(ns) = cut {
                let top = &lines[ns].rr.owner;
                if name::is_within(&rr.owner, top) {
                    if rr.owner != *top && !matches!(rr.rtype, rtype::A | rtype::AAAA) {
                        let (text, place) = (type_name(rr.rtype), self.place(ns, at));
                        let owner = &rr.owner;
                        self.warn(
                            at,
                            format!(
                                "{owner} {text} lies below {top}, which is delegated on {place}; it is never answered"
                            ),
                        );
                    }
                    continue;
                }
                cut = None;
            }
            if rr.rtype == rtype::NS && rr.owner != *apex {
                cut = Some(at);
            }
        }
    }
}
