//! Any text as a zone file: records or faults, and what was read is the same after it was written and read again.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dns::zonefile::fuzz(data));
