//! Tells the program which commit it is built from.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=QTB_BUILD_COMMIT");
    let commit = given().or_else(checked_out).unwrap_or("unknown".into());
    println!("cargo::rustc-env=QTB_COMMIT={commit}");
    let target = variable("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=QTB_TARGET={target}");
}

/// For builds where no repository is, such as those of a container.
fn given() -> Option<String> {
    variable("QTB_BUILD_COMMIT").filter(|commit| is_commit(commit))
}

/// The commit of this folder's own repository. An archive of the sources has none, and may lie in somebody
/// else's.
fn checked_out() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    let commit = git(&["rev-parse", "HEAD"]).filter(|commit| is_commit(commit))?;
    // A commit changes the branch, a checkout changes HEAD. A path that is not there would have all of it
    // built anew each time.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", name])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    Some(commit)
}

/// It goes into a metric's label and on a terminal.
fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the rule is for the program, and this is Cargo's way to speak to a build script"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
