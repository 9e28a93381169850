//! The `qlik-token-broker` program. Everything it does is in the library.

use std::process::ExitCode;

/// A hit allocates in one thread and frees in another; on two cores, glibc's arenas cost a JWT hit a
/// sixth of its throughput (83 000 a second against 96 000).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    qlik_token_broker::cli::main()
}
