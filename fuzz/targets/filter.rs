//! Any text as a filter (first line) over an entry of any attributes and values (the other lines), and as the DN of that
//! entry: read, evaluated and encoded, never a panic.
#![no_main]

use std::sync::Arc;

use directory::{
    filter::{Context, Filter},
    policy::OldFilter,
    tree::{Node, Selection},
};
use inventory::{Attribute, Entry, EntryId, entry::DIRECTORY};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let (filter, dn) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let attribute = |line: &str| {
        let (name, value) = line.split_once(':')?;
        (!name.is_empty()).then(|| Attribute(name.into(), [value.as_bytes().to_vec().into()].into()))
    };
    let attributes = lines.filter_map(attribute).collect();
    let entry = Entry { id: EntryId([7; 16]), dn: dn.into(), attributes, source: DIRECTORY.into() };
    let _ = OldFilter::parse(filter);
    let (Ok(filter), Ok(node)) = (Filter::parse(filter), Node::new(Arc::new(entry), 1)) else { return };
    let _ = filter.evaluate(&node, &Context::NOBODY);
    let mut out = Default::default();
    node.encode(&Selection::new(["*", "+"]), false, &mut out);
});
