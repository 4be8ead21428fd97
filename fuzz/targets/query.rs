//! Any datagram gets an answer or silence, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dns::fuzz_query(data));
