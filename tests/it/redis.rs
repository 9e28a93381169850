//! Real Redis servers: one, behind sentinels, or as a cluster. Each is a process on a free port that
//! keeps nothing on disk, is killed when dropped, and does not outlive a test that is killed itself.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::harness::Folder;

/// The name under which sentinels know their master.
const SERVICE: &str = "qtb";
/// A server that does not answer a command for this long hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether tests that need Redis can run here. Where they cannot they say so, and in
/// `scripts/test` they fail.
pub fn available() -> bool {
    let ran = server().arg("--version").output();
    let found = ran.is_ok_and(|output| output.status.success());
    assert!(
        found || std::env::var_os("QTB_NEEDS_SERVICES").is_none(),
        "redis-server or setpriv is missing: scripts/test installs them"
    );
    if !found {
        eprintln!("skipped: there is no redis-server");
    }
    found
}

/// A server that ends with the thread that starts it, which in a test is the one of the runtime: a
/// test that is killed drops nothing. A server left behind would also keep what it inherited open.
fn server() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "redis-server"]);
    command
}

/// What a server answers, as its protocol has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Nil,
    Bytes(Vec<u8>),
    Number(i64),
    List(Vec<Reply>),
    Error(String),
}

impl Reply {
    fn read(from: &mut impl BufRead) -> std::io::Result<Self> {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let Some(line) = line.strip_suffix("\r\n") else {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        };
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse().unwrap();
        Ok(match (kind, rest) {
            ("+", _) => Self::Bytes(rest.into()),
            ("-", _) => Self::Error(rest.into()),
            (":", _) => Self::Number(number()),
            ("$" | "*", "-1") => Self::Nil,
            ("$", _) => {
                let mut bytes = vec![0; usize::try_from(number()).unwrap() + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Self::Bytes(bytes)
            }
            ("*", _) => Self::List(
                (0..number())
                    .map(|_| Self::read(from))
                    .collect::<Result<_, _>>()?,
            ),
            _ => return Err(std::io::ErrorKind::InvalidData.into()),
        })
    }

    /// The texts in it, however deep.
    fn flat(self) -> Vec<Vec<u8>> {
        match self {
            Self::Nil => Vec::new(),
            Self::Bytes(bytes) => vec![bytes],
            Self::Number(number) => vec![number.to_string().into()],
            Self::List(list) => list.into_iter().flat_map(Self::flat).collect(),
            Self::Error(error) => panic!("{error}"),
        }
    }

    fn text(self) -> String {
        let lines = self.flat();
        String::from_utf8(lines.join(&b'\n')).unwrap()
    }
}

/// One server.
pub struct Redis {
    pub port: u16,
    password: Option<String>,
    arguments: Vec<String>,
    folder: Folder,
    child: Option<Child>,
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Redis {
    pub async fn start() -> Self {
        Self::launch(None, &[]).await
    }

    /// A server that takes no command without this password.
    pub async fn with_password(password: &str) -> Self {
        Self::launch(Some(password), &[]).await
    }

    async fn launch(password: Option<&str>, arguments: &[&str]) -> Self {
        let mut redis = Self {
            port: free_port(),
            password: password.map(str::to_owned),
            arguments: arguments.iter().map(|&one| one.to_owned()).collect(),
            folder: Folder::new(),
            child: None,
        };
        // Somebody else may have taken the port meanwhile.
        for _ in 0..10 {
            if redis.try_start().await {
                return redis;
            }
            redis.port = free_port();
        }
        panic!("redis-server ends at once");
    }

    /// Whether it came up.
    async fn try_start(&mut self) -> bool {
        let mut command = server();
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--dir", self.folder.0.to_str().unwrap()]);
        command.args(["--save", "", "--appendonly", "no"]);
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        self.run(command.args(&self.arguments)).await
    }

    async fn run(&mut self, command: &mut Command) -> bool {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = self.child.insert(command.spawn().unwrap());
        // Whoever else has the port may answer as well.
        let own = format!("process_id:{}\r\n", child.id());
        while child.try_wait().unwrap().is_none() {
            match ask(self.port, self.password.as_deref(), &[b"INFO", b"server"]) {
                Ok(Reply::Bytes(said)) if String::from_utf8_lossy(&said).contains(&own) => {
                    return true;
                }
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, and all that it holds is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Comes up again on the same port, empty.
    pub async fn restart(&mut self) {
        self.kill();
        for _ in 0..50 {
            if self.try_start().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("port {} is taken", self.port);
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// It takes connections and answers nothing, until it is resumed.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Any command, by whoever may write here.
    pub fn command(&self, words: &[&[u8]]) -> std::io::Result<Reply> {
        ask(self.port, self.password.as_deref(), words)
    }

    fn said(&self, words: &str) -> String {
        let words: Vec<_> = words.split(' ').map(str::as_bytes).collect();
        self.command(&words).unwrap().text()
    }

    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.command(&[b"GET", key]).unwrap() {
            Reply::Nil => None,
            reply => reply.flat().pop(),
        }
    }

    /// Sets a text, whatever was there, with the life that it had.
    pub fn set(&self, key: &[u8], value: &[u8]) {
        let reply = self.command(&[b"SET", key, value, b"KEEPTTL"]).unwrap();
        assert_eq!(reply, Reply::Bytes(b"OK".into()));
    }

    pub fn del(&self, key: &[u8]) {
        self.command(&[b"DEL", key]).unwrap();
    }

    pub fn flush(&self) {
        self.said("FLUSHALL");
    }

    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.command(&[b"KEYS", b"*"]).unwrap().flat()
    }

    /// Every key with all that is under it, its parts one per line.
    pub fn everything(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let value = |key: &[u8]| {
            let kind = self.command(&[b"TYPE", key]).unwrap().text();
            let words: &[&[u8]] = match kind.as_str() {
                "string" => &[b"GET", key],
                "hash" => &[b"HGETALL", key],
                "list" => &[b"LRANGE", key, b"0", b"-1"],
                "set" => &[b"SMEMBERS", key],
                "zset" => &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
                "stream" => &[b"XRANGE", key, b"-", b"+"],
                // It has run out since its key was listed.
                "none" => return Vec::new(),
                other => panic!("there is a {other}"),
            };
            self.command(words).unwrap().flat().join(&b'\n')
        };
        let pair = |key: Vec<u8>| (key.clone(), value(&key));
        self.keys().into_iter().map(pair).collect()
    }

    /// How often a command was run since the server started, in scripts too. `name` is in lower
    /// case, as in `set` or `config|get`.
    pub fn calls(&self, name: &str) -> usize {
        let stats = self.said("INFO commandstats");
        let prefix = format!("cmdstat_{name}:calls=");
        let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// One command on a connection of its own.
fn ask(port: u16, password: Option<&str>, words: &[&[u8]]) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut ask = |words: &[&[u8]]| {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend(format!("${}\r\n", word.len()).bytes());
            request.extend(*word);
            request.extend(b"\r\n");
        }
        stream.write_all(&request)?;
        Reply::read(&mut answers)
    };
    if let Some(password) = password {
        ask(&[b"AUTH", password.as_bytes()])?;
    }
    ask(words)
}

/// Asks until it is so.
async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..400 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("in vain: {what}");
}

/// The value after a name in a flat list of names and values.
fn field(list: &str, name: &str) -> Option<String> {
    let mut lines = list.lines().skip_while(|line| *line != name);
    lines.nth(1).map(str::to_owned)
}

/// A master with a replica, watched by three sentinels.
pub struct Sentinel {
    /// The master first, until it is killed.
    pub servers: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl Sentinel {
    pub async fn start() -> Self {
        // Replicas would wait for others to join them.
        let master = Redis::launch(None, &["--repl-diskless-sync-delay", "0"]).await;
        let port = master.port.to_string();
        let replica = Redis::launch(None, &["--replicaof", "127.0.0.1", &port]).await;
        let is_linked = || replica.said("INFO replication").contains("link_status:up");
        wait_until("the replica follows its master", is_linked).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(Self::watcher(&port).await);
        }
        let knows_all = |one: &Redis| {
            let seen = one.said(&format!("SENTINEL MASTER {SERVICE}"));
            field(&seen, "num-slaves").as_deref() == Some("1")
                && field(&seen, "num-other-sentinels").as_deref() == Some("2")
        };
        let know_each_other = || sentinels.iter().all(knows_all);
        wait_until("the sentinels know each other", know_each_other).await;
        Self {
            servers: vec![master, replica],
            sentinels,
        }
    }

    /// A sentinel writes to its file, and looks more often than is usual.
    async fn watcher(master: &str) -> Redis {
        let mut sentinel = Redis {
            port: free_port(),
            password: None,
            arguments: Vec::new(),
            folder: Folder::new(),
            child: None,
        };
        for _ in 0..10 {
            let config = format!(
                "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor {SERVICE} 127.0.0.1 {master} 2\n\
                 sentinel failover-timeout {SERVICE} 2000\n",
                sentinel.port,
                sentinel.folder.0.display()
            );
            let config = sentinel.folder.write("sentinel.conf", &config);
            let mut command = server();
            if sentinel.run(command.args([&config, "--sentinel"])).await {
                sentinel.said("SENTINEL DEBUG info-period 200 publish-period 200 ping-period 100");
                return sentinel;
            }
            sentinel.port = free_port();
        }
        panic!("redis-server --sentinel ends at once");
    }

    /// As fred reads it.
    pub fn url(&self) -> String {
        let [first, second, third] = [0, 1, 2].map(|index: usize| self.sentinels[index].port);
        format!(
            "redis-sentinel://127.0.0.1:{first}?sentinelServiceName={SERVICE}&node=127.0.0.1:{second}&node=127.0.0.1:{third}"
        )
    }

    /// Where the sentinels say that the master is.
    fn master(sentinel: &Redis) -> u16 {
        let asked = format!("SENTINEL GET-MASTER-ADDR-BY-NAME {SERVICE}");
        let address = sentinel.said(&asked);
        address.lines().nth(1).unwrap().parse().unwrap()
    }

    /// Kills the master, and returns when the replica is one and all sentinels say so. One sentinel is
    /// told to see to it: votes may be split, and repeated only after seconds.
    pub async fn fail_over(&mut self) {
        self.servers.remove(0).kill();
        self.sentinels[0].said(&format!("SENTINEL FAILOVER {SERVICE}"));
        let promoted = &self.servers[0];
        let is_promoted = || {
            let agree = |one| Self::master(one) == promoted.port;
            promoted.said("ROLE").starts_with("master") && self.sentinels.iter().all(agree)
        };
        wait_until("the replica is promoted", is_promoted).await;
    }
}

/// Three masters that share the slots.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            // The usual second port, 10000 above the first, need not exist.
            let bus = free_port().to_string();
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "1000",
            ];
            nodes.push(Redis::launch(None, &arguments).await);
        }
        for (node, slots) in nodes.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
            node.said(&format!("CLUSTER ADDSLOTSRANGE {slots}"));
        }
        for node in &nodes[1..] {
            let bus = &node.arguments[3];
            nodes[0].said(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port));
        }
        let is_whole = |node: &Redis| {
            let info = node.said("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        wait_until("the cluster is whole", || nodes.iter().all(is_whole)).await;
        Self { nodes }
    }

    /// As fred reads it.
    pub fn url(&self) -> String {
        let ports: Vec<_> = self.nodes.iter().map(|node| node.port).collect();
        let [first, second, third] = ports[..] else {
            panic!("one of {ports:?} is dead");
        };
        format!("redis-cluster://127.0.0.1:{first}?node=127.0.0.1:{second}&node=127.0.0.1:{third}")
    }

    /// Kills one node, and returns when the others know: nobody has its slots, so the cluster is down.
    pub async fn kill_one(&mut self) {
        self.nodes.pop().unwrap().kill();
        let knows = |node: &Redis| node.said("CLUSTER INFO").contains("cluster_state:fail");
        wait_until("the cluster is down", || self.nodes.iter().all(knows)).await;
    }
}

#[tokio::test]
async fn a_redis_can_be_read_killed_emptied_and_held_up() {
    if !available() {
        return;
    }
    let mut redis = Redis::start().await;
    assert_eq!(redis.url(), format!("redis://127.0.0.1:{}", redis.port));
    redis.set(b"text", b"one\r\ntwo");
    assert_eq!(redis.get(b"text").as_deref(), Some(&b"one\r\ntwo"[..]));
    assert_eq!((redis.calls("set"), redis.calls("hset")), (1, 0));
    for words in [
        "HSET hash field value",
        "RPUSH list a b",
        "SADD set member",
        "ZADD zset 1 scored",
        "XADD stream 1-1 name entry",
    ] {
        redis.said(words);
    }
    let mut all = redis.everything();
    all.sort();
    let all: Vec<_> = all
        .iter()
        .map(|(key, value)| {
            let [key, value] = [key, value].map(|bytes| String::from_utf8_lossy(bytes));
            format!("{key}={value}").replace('\n', " ")
        })
        .collect();
    let expected = [
        "hash=field value",
        "list=a b",
        "set=member",
        "stream=1-1 name entry",
        "text=one\r two",
        "zset=scored 1",
    ];
    assert_eq!(all, expected);
    redis.del(b"text");
    assert_eq!((redis.get(b"text"), redis.keys().len()), (None, 5));
    redis.flush();
    assert_eq!(redis.keys(), Vec::<Vec<u8>>::new());

    redis.set(b"text", b"kept");
    redis.pause();
    assert!(redis.command(&[b"PING"]).is_err(), "it hangs");
    redis.resume();
    assert_eq!(redis.get(b"text").as_deref(), Some(&b"kept"[..]));
    redis.kill();
    assert!(redis.command(&[b"PING"]).is_err(), "it is gone");
    redis.restart().await;
    assert_eq!(redis.get(b"text"), None);
}

#[tokio::test]
async fn a_redis_with_a_password_asks_for_it() {
    if !available() {
        return;
    }
    let redis = Redis::with_password("open sesame").await;
    redis.set(b"text", b"value");
    let stranger = ask(redis.port, None, &[b"GET", b"text"]).unwrap();
    assert!(matches!(stranger, Reply::Error(why) if why.starts_with("NOAUTH")));
}

#[tokio::test]
async fn sentinels_promote_the_replica_of_a_master_that_is_killed() {
    if !available() {
        return;
    }
    let mut sentinel = Sentinel::start().await;
    assert!(
        sentinel
            .url()
            .ends_with(&sentinel.sentinels[2].port.to_string())
    );
    let [master, replica] = &sentinel.servers[..] else {
        panic!("two servers");
    };
    master.set(b"text", b"value");
    assert_eq!(Sentinel::master(&sentinel.sentinels[0]), master.port);
    wait_until("the replica has it", || replica.get(b"text").is_some()).await;
    sentinel.fail_over().await;
    sentinel.servers[0].set(b"text", b"another");
}

#[tokio::test]
async fn a_cluster_shares_the_keys_and_is_down_without_one_of_its_nodes() {
    if !available() {
        return;
    }
    let mut cluster = Cluster::start().await;
    assert!(cluster.url().ends_with(&cluster.nodes[2].port.to_string()));
    // The slots of these keys are 12182, 5061 and 4813.
    let asked = |node: &Redis, key: &[u8]| node.command(&[b"SET", key, b"value"]).unwrap();
    assert_eq!(asked(&cluster.nodes[2], b"foo"), Reply::Bytes(b"OK".into()));
    assert_eq!(asked(&cluster.nodes[0], b"bar"), Reply::Bytes(b"OK".into()));
    let moved = asked(&cluster.nodes[0], b"foo");
    assert!(matches!(moved, Reply::Error(to) if to.starts_with("MOVED 12182")));
    cluster.kill_one().await;
    let down = asked(&cluster.nodes[0], b"bar");
    assert!(matches!(down, Reply::Error(why) if why.starts_with("CLUSTERDOWN")));
}
