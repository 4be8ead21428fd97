//! Any octets as a segment of the log spool and as its cursors: what opening keeps, readers find; never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| logrelay::spool::fuzz(data));
