//! The `qlik-token-broker` program. Everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    qlik_token_broker::cli::main()
}
