//! The documentation, held against the program: commands run as they stand, links lead somewhere, options
//! exist.

mod page;
mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use page::{Mark, blocks, links, prose, spans};
use reader::Reader;

use super::cli::program;

/// What keeps a command from running here. More words than these are a page's own excuse.
const NEEDS: [&str; 8] = [
    "docker",
    "kubernetes",
    "systemd",
    "redis",
    "prometheus",
    "network",
    "a portal",
    "qlik-cli",
];
/// Options in the pages that are of other programs, and stand there without them.
const OTHERS: [&str; 4] = [
    "--reverse-proxy",
    "--set-xauthrequest",
    "--target",
    "--upstream",
];

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// README.md, SECURITY.md and what is in `docs/`.
fn pages() -> Vec<String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let names = std::fs::read_dir(docs).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| has_extension(name, "md"));
    let mut pages: Vec<_> = names.map(|name| format!("docs/{name}")).collect();
    pages.extend(["README.md".to_owned(), "SECURITY.md".to_owned()]);
    pages.sort();
    pages
}

fn has_extension(name: &str, wanted: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|found| found == wanted)
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_docs_runs_or_says_what_it_needs() {
    let (mut readers, mut count) = (Vec::new(), 0);
    for page in pages() {
        let blocks = blocks(&read(&page));
        let typed = blocks.iter().filter(|block| !block.runs_elsewhere());
        count += typed.map(|block| block.steps().len()).sum::<usize>();
        let reader = Reader::of(&page).await;
        readers.push(tokio::task::spawn_blocking(move || reader.follow()));
    }
    let mut faults = Vec::new();
    for reader in readers {
        faults.extend(reader.await.unwrap());
    }
    assert_none(&faults);
    assert!(
        count > 30,
        "{count} commands are not all that the pages have"
    );
}

#[test]
fn every_mark_is_known_and_leads_somewhere() {
    let mut faults = Vec::new();
    for page in pages() {
        for block in blocks(&read(&page)) {
            let place = format!("{page}:{}", block.line);
            match block.mark {
                Some(Mark::Needs(what)) if !NEEDS.contains(&what.as_str()) => {
                    faults.push(format!("{place}: needs one of {NEEDS:?}, not {what}"));
                }
                Some(Mark::RunBy(file))
                    if !Path::new(env!("CARGO_MANIFEST_DIR")).join(&file).exists() =>
                {
                    faults.push(format!("{place}: there is no {file}"));
                }
                _ => {}
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_link_leads_somewhere() {
    let mut all = pages();
    all.extend(["CHANGELOG.md", "CONTRIBUTING.md", "web/README.md"].map(str::to_owned));
    for folder in [
        "",
        "express/",
        "nextjs/",
        "plain-html/",
        "portal/",
        "react/",
    ] {
        all.push(format!("examples/{folder}README.md"));
    }
    let mut faults = Vec::new();
    for page in all {
        for link in links(&read(&page)) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(&page);
            let target = match file {
                "" => folder,
                file => folder.parent().unwrap().join(file),
            };
            let found = match std::fs::read_to_string(&target) {
                _ if anchor.is_empty() => target.exists(),
                Ok(text) => page::anchors(&text).iter().any(|known| known == anchor),
                Err(_) => false,
            };
            if !found {
                faults.push(format!("{page}: {link} leads nowhere"));
            }
        }
    }
    assert_none(&faults);
}

/// The options of each command, by its name; what a command holds itself is there by both names.
fn options() -> BTreeMap<String, BTreeSet<String>> {
    let help = |words: &[&str]| -> String {
        let output = program().args(words).arg("--help").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = |text: &str| -> Vec<String> {
        let list = text.split("Commands:\n").nth(1).unwrap_or_default();
        let list = list.split("\n\n").next().unwrap();
        let names = list.lines().filter_map(|line| line.strip_prefix("  "));
        let names = names.filter(|line| !line.starts_with(' '));
        names
            .filter_map(|line| line.split(' ').next().map(str::to_owned))
            .collect()
    };
    let mut found = BTreeMap::new();
    for name in commands(&help(&[])) {
        if name == "help" {
            continue;
        }
        let own = help(&[&name]);
        for inner in commands(&own) {
            found.insert(format!("{name} {inner}"), flags(&help(&[&name, &inner])));
        }
        found.insert(name, flags(&own));
    }
    found
}

fn flags(text: &str) -> BTreeSet<String> {
    let in_flag = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let words = text.split(|c: char| !in_flag(c));
    let flags = words.filter(|word| word.starts_with("--") && word.len() > 3);
    flags.map(str::to_owned).collect()
}

#[test]
fn every_option_in_the_docs_is_one_of_its_command() {
    let options = options();
    assert!(options.contains_key("api-key new") && options["check"].contains("--live"));
    let own: BTreeSet<_> = options.values().flatten().map(String::as_str).collect();
    let mut faults = Vec::new();
    for page in pages() {
        let text = read(&page);
        let (mut code, _) = spans(&prose(&text));
        // Those of other programs pass ours on, between options of their own.
        let others = ["docker", "kubernetes"].map(|what| Some(Mark::Needs(what.into())));
        for block in blocks(&text) {
            if others.contains(&block.mark) {
                continue;
            }
            code.extend(block.steps().into_iter().map(|step| step.command));
        }
        for code in code {
            if code.starts_with("--") {
                let unknown = flags(code.split(' ').next().unwrap());
                let mut unknown = unknown.iter().filter(|flag| {
                    !own.contains(flag.as_str()) && !OTHERS.contains(&flag.as_str())
                });
                faults.extend(
                    unknown
                        .next()
                        .map(|flag| format!("{page}: nobody has {flag}")),
                );
            }
            let ours = code.split("qlik-token-broker ").skip(1).map(str::to_owned);
            let bare = options
                .keys()
                .any(|name| code.starts_with(&format!("{name} ")));
            for call in ours.chain(bare.then(|| code.clone())) {
                let call = call.split(['|', ';', '&', ')', '>']).next().unwrap();
                let name = options.keys().rev().find(|name| {
                    call.strip_prefix(name.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
                });
                let Some(name) = name else { continue };
                let unknown = flags(call)
                    .into_iter()
                    .filter(|flag| !options[name].contains(flag));
                faults.extend(unknown.map(|flag| format!("{page}: {name} has no {flag}")));
            }
        }
    }
    assert_none(&faults);
}

/// The places where a page names a test: `` [`name`](file) ``.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let named = text.split("[`").skip(1);
    let named = named.filter_map(|rest| rest.split(')').next()?.split_once("`]("));
    named
        .filter(|(_, file)| file.starts_with("tests/"))
        .collect()
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let text = read("SECURITY.md");
    let named = named_tests(&text);
    assert!(named.len() > 40, "{named:?}");
    let is_there = |name: &str, file: &str| {
        if file.ends_with(&format!("/{name}")) {
            return Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists();
        }
        // Rust's are functions, and JavaScript's have their names in quotes of some kind.
        let is_rust = has_extension(file, "rs");
        let wanted = if is_rust {
            format!("fn {name}(")
        } else {
            name.to_owned()
        };
        read(file).contains(&wanted)
    };
    let missing = named.iter().filter(|(name, file)| !is_there(name, file));
    let faults: Vec<_> = missing
        .map(|(name, file)| format!("{file} has no {name}"))
        .collect();
    assert_none(&faults);
}
