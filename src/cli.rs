//! The command line. Exit codes: 0 ok, 1 findings or failure, 2 wrong usage.

mod api_key;
mod check;
mod clients;
mod config_schema;
#[cfg(feature = "simulator")]
mod demo;
mod explain;
mod healthcheck;
mod keygen;
mod openapi;
mod power;
mod provision;
mod rotate_secret;
mod serve;
#[cfg(feature = "simulator")]
mod simulate;
mod token;

use std::io::{IsTerminal, stderr, stdin};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, Sources};
use crate::telemetry::build;

/// Verifies a portal's session and hands out cached Qlik Cloud impersonation tokens.
#[derive(Parser)]
#[command(version = build::SHORT, long_version = build::long(), about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the broker
    Serve(serve::Options),
    /// Run the broker with a simulated tenant and two users, and print what to try
    #[cfg(feature = "simulator")]
    Demo(demo::Options),
    /// Run the simulated tenant alone
    #[cfg(feature = "simulator")]
    Simulate(simulate::Options),
    /// Check the configuration, and with --live the tenants and issuers it names
    Check(check::Options),
    /// Say which user a session's claims lead to, by which rule; the claims come as JSON on standard input
    Explain(explain::Options),
    /// Mint one token and print it
    Token(token::Options),
    /// Make a key for a back end
    #[command(subcommand)]
    ApiKey(api_key::Command),
    /// Make a key pair for private key JWT; the public JWK goes to standard output
    Keygen(keygen::Options),
    /// Set up the OAuth clients of a tenant, and write what the broker needs to know of them
    Provision(Box<provision::Options>),
    /// Replace the secret or private key of a client while the broker uses it
    RotateSecret(Box<rotate_secret::Options>),
    /// List, show or delete the OAuth clients of a tenant
    #[command(subcommand)]
    Clients(Box<clients::Command>),
    /// Print the JSON Schema of the configuration
    ConfigSchema,
    /// Print what both listeners answer, as OpenAPI 3.1
    Openapi,
    /// Ask a running broker whether it lives; for containers
    Healthcheck(healthcheck::Options),
}

/// Which configuration to read.
#[derive(Args, Clone)]
struct ConfigFiles {
    /// A TOML file, or a directory of them; may be repeated, later ones win
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl ConfigFiles {
    fn sources(&self) -> Sources {
        Sources::from_process(self.files.clone())
    }

    /// Prints all that is wrong when it cannot be used.
    fn load(&self) -> anyhow::Result<Config> {
        config::load(&self.sources()).map_err(|problems| {
            let count = problems.0.len();
            anyhow::anyhow!(
                "the configuration cannot be used ({count} problem{}):\n{problems}",
                if count == 1 { "" } else { "s" }
            )
        })
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(options) => serve::run(&options),
        #[cfg(feature = "simulator")]
        Command::Demo(options) => demo::run(&options),
        #[cfg(feature = "simulator")]
        Command::Simulate(options) => simulate::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Token(options) => token::run(&options),
        Command::ApiKey(command) => api_key::run(&command),
        Command::Keygen(options) => keygen::run(&options),
        Command::Provision(options) => provision::run(&options),
        Command::RotateSecret(options) => rotate_secret::run(&options),
        Command::Clients(command) => clients::run(&command),
        Command::ConfigSchema => {
            config_schema::run();
            Ok(())
        }
        Command::Openapi => {
            openapi::run();
            Ok(())
        }
        Command::Healthcheck(options) => healthcheck::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The alternate form has the whole chain in one line.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Goes on when whoever is at the terminal agrees.
fn confirm(question: &str) -> anyhow::Result<()> {
    ensure!(
        stdin().is_terminal() && stderr().is_terminal(),
        "nobody is there to be asked; add --yes to do it"
    );
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    stdin()
        .read_line(&mut answer)
        .context("the answer could not be read")?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was changed");
    }
    Ok(())
}

/// A runtime with all cores, for the commands that serve.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}
