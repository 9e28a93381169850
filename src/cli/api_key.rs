//! `api-key new`: makes a key for a back end.

use clap::Subcommand;

use crate::session::api_key::make;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print a new key once, with the lines that the configuration needs of it
    New {
        /// Names the key: 1 to 32 of a-z, 0-9 and -
        id: String,
    },
}

pub(super) fn run(command: &Command) -> anyhow::Result<()> {
    let Command::New { id } = command;
    let key = make(id)
        .ok_or_else(|| anyhow::anyhow!("an id is 1 to 32 of a-z, 0-9 and -, such as portal-1"))?;
    println!("The key, for the back end only. It is shown once:\n");
    println!("{}\n", key.key.expose());
    println!("For the configuration, which knows its digest only:\n");
    println!(
        "[[session]]\ntype = \"api_key\"\nkeys = [{{ id = \"{id}\", sha256 = \"{}\" }}]",
        key.sha256
    );
    Ok(())
}
