//! What a release says of itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cli::program;
use super::harness::{Broker, Folder, tenant};

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn version_says_commit_target_and_features() {
    let version = env!("CARGO_PKG_VERSION");
    let short = said(program().arg("-V"));
    let commit = short
        .trim_end()
        .strip_prefix(&format!("qlik-token-broker {version} ("))
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap();
    assert!(is_commit(commit) || commit == "unknown", "{short}");

    let long = said(program().arg("--version"));
    let lines: Vec<_> = long.lines().collect();
    assert_eq!(lines[0], format!("qlik-token-broker {version}"));
    assert_eq!(lines[1], format!("commit    {commit}"));
    let target = lines[2].strip_prefix("target    ").unwrap();
    assert_eq!(target.split('-').next().unwrap(), std::env::consts::ARCH);
    assert_eq!(lines[3], "features  simulator");
}

#[tokio::test]
async fn the_metric_of_the_build_has_version_and_commit() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let metrics = broker.http.get(format!("http://{}/metrics", broker.ops));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("qtb_build_info{"))
        .unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(line.contains(&format!("version=\"{version}\"")), "{line}");
    let short = said(program().arg("-V"));
    let commit = short.split(['(', ')']).nth(1).unwrap();
    assert!(line.contains(&format!("commit=\"{commit}\"")), "{line}");
}

/// The build script alone, as a program.
struct Script(PathBuf);

impl Script {
    fn compile(folder: &Folder) -> Self {
        let script = folder.0.join("script");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
        said(
            Command::new(rustc)
                .args(["--edition", "2024", "-o"])
                .args([&script, &source]),
        );
        Self(script)
    }

    /// The commit that it tells, and what it watches, when it runs there.
    fn run(&self, folder: &Path, given: Option<&str>) -> (String, Vec<PathBuf>) {
        let mut command = Command::new(&self.0);
        command.current_dir(folder).env_remove("QTB_BUILD_COMMIT");
        command.envs(given.map(|commit| ("QTB_BUILD_COMMIT", commit)));
        let said = said(&mut command);
        let values = |key: &str| -> Vec<String> {
            let lines = said.lines();
            let values = lines.filter_map(|line| line.strip_prefix(key).map(str::to_owned));
            values.collect()
        };
        let [commit] = values("cargo::rustc-env=QTB_COMMIT=").try_into().unwrap();
        let watched = values("cargo::rerun-if-changed=");
        (
            commit,
            watched.iter().map(|path| folder.join(path)).collect(),
        )
    }
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
    said(
        Command::new("git")
            .current_dir(folder)
            .args(identity)
            .args(arguments),
    )
}

#[test]
fn the_commit_is_the_one_given_or_the_repository_s_own_or_unknown() {
    if Command::new("git").arg("--version").output().is_err() {
        eprintln!("skipped: there is no git");
        return;
    }
    let folder = Folder::new();
    let script = Script::compile(&folder);
    let given = "0123456789abcdef0123456789abcdef01234567";
    let repository = folder.0.join("repository");
    let archive = repository.join("archive");
    std::fs::create_dir_all(&archive).unwrap();
    assert_eq!(script.run(&archive, None).0, "unknown");
    assert_eq!(script.run(&archive, Some(given)).0, given);

    git(&repository, &["init", "--quiet"]);
    std::fs::write(repository.join("build.rs"), "").unwrap();
    assert_eq!(script.run(&repository, None).0, "unknown", "no commit yet");
    git(&repository, &["add", "build.rs"]);
    git(&repository, &["commit", "--quiet", "--message", "one"]);
    let (commit, watched) = script.run(&repository, None);
    assert!(is_commit(&commit), "{commit}");
    assert!(watched.len() > 2 && watched.iter().all(|path| path.exists()));
    assert_eq!(
        script.run(&archive, None).0,
        "unknown",
        "an archive in somebody else's repository"
    );
    assert_eq!(script.run(&repository, Some(given)).0, given);
    for odd in ["", "main", "0123\"} 1\nx 2", "dirty-0123456"] {
        assert_eq!(script.run(&repository, Some(odd)).0, commit, "{odd:?}");
    }

    git(&repository, &["worktree", "add", "--quiet", "../worktree"]);
    let worktree = folder.0.join("worktree");
    std::fs::write(worktree.join("new"), "").unwrap();
    git(&worktree, &["add", "new"]);
    git(&worktree, &["commit", "--quiet", "--message", "two"]);
    let (other, watched) = script.run(&worktree, None);
    assert!(is_commit(&other) && other != commit, "{other}");
    let watched: Vec<_> = watched
        .iter()
        .filter(|path| !path.ends_with("build.rs"))
        .collect();
    assert!(watched.len() > 1 && watched.iter().all(|path| path.exists()));
}
