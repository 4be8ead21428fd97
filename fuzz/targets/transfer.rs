//! Any octets as a request for a transfer, with or without a signature.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dns::transfer::fuzz(data));
