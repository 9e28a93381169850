#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    targets::upstream::run(data);
});
