//! One look at a store, for `check`: whether it can be reached, read and written, and what it is.

use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface, LuaInterface};
use fred::types::{Builder, InfoKind};
use tokio::time::timeout;
use uuid::Uuid;

use super::pace::TAKE;
use super::{Shared, SharedSettings, expiration, link};

/// For all of a connection: name, handshake, log-in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(2);
/// What is written to try it ends soon, should the connection break before it is removed.
const LIFE: Duration = Duration::from_secs(5);

/// What names an error of the handshake.
const TLS_WORDS: [&str; 3] = ["InvalidCertificate", "InvalidMessage", "AlertReceived"];

/// Why a store is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(&'static str),
    /// No connection, or no answer.
    #[error("the store is out of reach")]
    Unreachable,
    /// A connection, and no TLS.
    #[error("no TLS connection: the certificate is not trusted, or the store speaks no TLS")]
    Tls,
    /// The user or the password is wrong, or missing.
    #[error("the store refuses the user or the password")]
    Credentials,
    /// A command is refused.
    #[error("the store refuses a command that is needed: {0}")]
    Denied(&'static str),
    /// It is full.
    #[error("the store is full")]
    Full,
    /// It is a replica.
    #[error("the store is a replica, which takes no writes")]
    ReadOnly,
}

/// What a store says of itself; `None` where it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    /// Its major version, as far as clients are concerned: 7 of a Valkey 8.
    pub version: Option<u32>,
    /// The policy by which it forgets what it should keep, when it is full.
    pub evicts_by: Option<String>,
}

/// Connects, writes a value, reads and removes it, and asks what the store is. Then connects as a
/// replica does, to hear what it tells.
pub async fn probe(settings: &SharedSettings) -> Result<Store, StoreFault> {
    let mut config = link::config(settings).map_err(|error| StoreFault::Settings(error.0))?;
    config.fail_fast = true;
    let client = Builder::from_config(config)
        .with_connection_config(|connection| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = PATIENCE;
            connection.max_command_attempts = 1;
        })
        .build()
        .map_err(|_| StoreFault::Settings("cannot be used"))?;
    let found = look(&client).await;
    let quitting = timeout(PATIENCE, client.quit()).await;
    drop(quitting);
    let store = found?;
    let shared = Shared::connect(settings).map_err(|error| StoreFault::Settings(error.0))?;
    shared.ready(PATIENCE).await;
    if !shared.is_up() {
        return Err(StoreFault::Denied("PUBLISH or SUBSCRIBE"));
    }
    Ok(store)
}

async fn look(client: &Client) -> Result<Store, StoreFault> {
    let connecting = timeout(CONNECT_TIMEOUT, client.init()).await;
    let connected = connecting.map_err(|_| StoreFault::Unreachable)?;
    connected.map_err(|error| fault(&error, "CLIENT ID"))?;
    let key = format!("qtb:check:{}", Uuid::new_v4());
    let () = within(
        "SET",
        client.set(&key, "x", Some(expiration(LIFE)), None, false),
    )
    .await?;
    let read: Option<String> = within("GET", client.get(&key)).await?;
    let _left: i64 = within("PTTL", client.pttl(&key)).await?;
    let () = within("DEL", client.del(&key)).await?;
    // One of the scripts, with all that it calls: a turn of a tenant that nobody has.
    let script = "EVAL, or what its scripts call";
    let turn = vec!["1000", "1", "0", "0"];
    let taking = client.eval::<Vec<i64>, _, _, _>(TAKE, vec![key.as_str()], turn);
    let _taken = within(script, taking).await?;
    let () = within("DEL", client.del(&key)).await?;
    if read.as_deref() != Some("x") {
        return Err(StoreFault::Denied("GET"));
    }
    // It need not say what it is.
    let server = within("INFO", client.info(Some(InfoKind::Server))).await;
    let memory = within("INFO", client.info(Some(InfoKind::Memory))).await;
    let (server, memory): (String, String) =
        (server.unwrap_or_default(), memory.unwrap_or_default());
    let version = field(&server, "redis_version").and_then(|text| text.split('.').next());
    let is_bounded = field(&memory, "maxmemory").is_some_and(|bytes| bytes != "0");
    let policy = field(&memory, "maxmemory_policy").filter(|_| is_bounded);
    // What the store calls it goes to a terminal.
    let is_policy = |text: &&str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    Ok(Store {
        version: version.and_then(|text| text.parse().ok()),
        evicts_by: policy
            .filter(|&policy| policy != "noeviction")
            .filter(is_policy)
            .map(|policy| policy.chars().take(32).collect()),
    })
}

async fn within<T>(
    command: &'static str,
    running: impl Future<Output = Result<T, Error>>,
) -> Result<T, StoreFault> {
    match timeout(PATIENCE, Box::pin(running)).await {
        Ok(outcome) => outcome.map_err(|error| fault(&error, command)),
        Err(_) => Err(StoreFault::Unreachable),
    }
}

/// The store's own words decide, and are not repeated.
fn fault(error: &Error, command: &'static str) -> StoreFault {
    let said = error.details();
    let says = |word| said.starts_with(word);
    match error.kind() {
        ErrorKind::Auth => StoreFault::Credentials,
        ErrorKind::Tls => StoreFault::Tls,
        _ if says("NOAUTH") || says("WRONGPASS") || says("ERR invalid password") => {
            StoreFault::Credentials
        }
        // Of a command within a script it says so further on.
        _ if says("NOPERM") || says("ERR unknown command") || said.contains("ACL failure") => {
            StoreFault::Denied(command)
        }
        _ if says("OOM") => StoreFault::Full,
        _ if says("READONLY") => StoreFault::ReadOnly,
        // The library shows the handshake's error in the form for developers.
        ErrorKind::IO if TLS_WORDS.iter().any(|word| said.contains(word)) => StoreFault::Tls,
        _ => StoreFault::Unreachable,
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim())
}
