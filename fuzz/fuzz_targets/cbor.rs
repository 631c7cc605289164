//! Fuzzes `cbor` of `fuzz/src/lib.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| packstone_fuzz::run("cbor", data));
