//! Log lines: how much is written, and in which form.

use serde_json::Value;

use super::cli::program;
use super::harness::{tenant, token};
use super::program::Program;

const LISTENING: &str = "listening";

#[tokio::test(flavor = "multi_thread")]
async fn rooms_have_levels_of_their_own_and_audit_lines_are_always_there() {
    let tenant = tenant().await;
    for (level, listens) in [
        ("info", true),
        ("warn", false),
        ("off", false),
        ("warn,cli=info", true),
        ("info,cli::serve=warn", false),
    ] {
        let more = format!("[log]\nlevel = '{level}'\n");
        let program = Program::start(&tenant, &more).await;
        token(program.ask_for("ann")).await;
        let written = program.stop().await;
        assert_eq!(written.contains(LISTENING), listens, "{level}: {written}");
        assert_eq!(
            written.matches("\"target\":\"audit\"").count(),
            1,
            "{level}"
        );
        for line in written.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let target = line["target"].as_str().unwrap();
            let is_ours = target == "audit" || target.starts_with("qlik_token_broker");
            assert!(is_ours, "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_goes_over_the_configuration() {
    let tenant = tenant().await;
    let more = "[log]\nlevel = 'off'\nformat = 'pretty'\n";
    let arguments = ["--log", "off,cli=info"];
    let program = Program::start_with(&tenant, more, &arguments).await;
    let reload = program.http.post(format!("http://{}/reload", program.ops));
    let reload = reload.header("x-broker-request", "1").send().await.unwrap();
    let body: Value = reload.json().await.unwrap();
    assert_eq!(body["restart_needed"], serde_json::json!([]), "{body}");
    let written = program.stop().await;
    let line = written
        .lines()
        .find(|line| line.contains(LISTENING))
        .unwrap();
    assert!(
        line.contains(" INFO ") && line.contains("public=127.0.0.1:"),
        "{line}"
    );
    assert!(
        !written.contains('\u{1b}'),
        "no colours where there is no terminal"
    );
    assert!(!written.contains("reloaded"), "the other rooms say nothing");

    for odd in ["loud", "info,nothing=debug", "info,hyper=trace"] {
        let output = program_with(&["serve", "--log", odd]);
        assert_eq!(output.status.code(), Some(2), "{odd}");
    }
}

fn program_with(arguments: &[&str]) -> std::process::Output {
    program().args(arguments).output().unwrap()
}
