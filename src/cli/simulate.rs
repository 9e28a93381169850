//! `simulate`: the simulated tenant alone, for development against something that counts and fails
//! on purpose.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;

use super::serve::stop_signal;
use crate::simulator::{Simulator, World};

#[derive(Args)]
pub(super) struct Options {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:9400")]
    listen: SocketAddr,
    /// The address under which clients reach it, if that is another one
    #[arg(long)]
    url: Option<String>,
    /// Further users, for load tests: auth0|u0, auth0|u1 and so on
    #[arg(long, default_value_t = 0)]
    users: usize,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    super::runtime()?.block_on(async {
        let stop = stop_signal()?;
        let listener = TcpListener::bind(options.listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", options.listen))?;
        let mut world = World::demo();
        world.public_url.clone_from(&options.url);
        for user in 0..options.users {
            world = world.with_user(format!("auth0|u{user}"), format!("u{user}@example.com"));
        }
        let simulator = Simulator::start_on(listener, world).await?;
        let url = simulator.url();
        println!("A simulated tenant listens on {url}");
        println!("Users: auth0|ann, auth0|bob. Clients: demo-broker, demo-management.");
        println!("What can be scripted and counted: {url}/_simulator/");
        stop.await;
        simulator.stopped().await;
        Ok(())
    })
}
