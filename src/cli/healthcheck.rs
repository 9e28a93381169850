//! `healthcheck`: asks a running broker whether it lives. Images without a shell or curl need it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;

const PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(super) struct Options {
    /// The ops listener's address
    #[arg(long, default_value = "127.0.0.1:9090")]
    address: SocketAddr,
    /// Ask for readiness instead of life
    #[arg(long)]
    ready: bool,
}

/// One request without a client: nothing is started that would take longer than the answer.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let path = if options.ready { "/readyz" } else { "/healthz" };
    let address = options.address;
    let stream = connect(&address);
    let mut stream = stream.with_context(|| format!("nobody listens on {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    let status = answer.split_whitespace().nth(1).unwrap_or("no status");
    ensure!(status == "200", "{path} answered {status}");
    println!("ok");
    Ok(())
}

/// A broker that was started this moment does not listen yet, and refuses at once: worth waiting for.
fn connect(address: &SocketAddr) -> io::Result<TcpStream> {
    let mut left = PATIENCE;
    loop {
        match TcpStream::connect_timeout(address, left) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && left > PAUSE => {
                sleep(PAUSE);
                left -= PAUSE;
            }
            connected => return connected,
        }
    }
}
