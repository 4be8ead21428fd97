//! Any octets as what an LDAP client sends: frames, controls, operations, filters, DNs; never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| directory::server::fuzz(data));
