//! The recipes: what an operator copies and fills in.

use std::collections::BTreeSet;
use std::path::Path;

use qlik_token_broker::config::{Config, SessionKind, Sources, load};
use qlik_token_broker::tenant::TenantId;

use super::{load_text, repository_file};

/// Every recipe with the kinds that it promises, in their order.
const RECIPES: &[(&str, &[&str])] = &[
    ("aspnet", &["api_key", "handle"]),
    ("django", &["portal_check", "api_key"]),
    ("express", &["portal_check", "api_key"]),
    ("nextjs", &["portal_check"]),
    ("oauth2-proxy", &["trusted_header"]),
    ("oidc", &["jwt"]),
    ("spring", &["api_key", "handle"]),
];

fn kinds(config: &Config) -> Vec<&'static str> {
    let kind = |kind: &SessionKind| match kind {
        SessionKind::ApiKey(_) => "api_key",
        SessionKind::Jwt(_) => "jwt",
        SessionKind::Handle(_) => "handle",
        SessionKind::Introspection(_) => "introspection",
        SessionKind::PortalCheck(_) => "portal_check",
        SessionKind::TrustedHeader(_) => "trusted_header",
        SessionKind::ClientCertificate(_) => "client_certificate",
    };
    let tables = config.sessions.iter();
    tables.map(|table| kind(&table.kind)).collect()
}

fn text(name: &str) -> String {
    repository_file(&format!("config/recipes/{name}.toml"))
}

#[test]
fn every_recipe_loads_as_it_stands_with_the_kinds_that_it_promises() {
    for (name, promised) in RECIPES {
        let file = format!("config/recipes/{name}.toml");
        let config = load(&Sources {
            files: vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)],
            env: Vec::new(),
        });
        let config = config.unwrap_or_else(|problems| panic!("{file}: {problems}"));
        assert_eq!(kinds(&config), *promised, "{file}");
        assert_eq!(config.warnings, [], "{file}");
        let tenants: Vec<_> = config.tenants.keys().map(TenantId::as_str).collect();
        assert_eq!(tenants, ["acme"], "{file}");
    }
}

#[test]
fn every_recipe_is_in_this_table_and_linked_from_the_guide() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/recipes");
    let files = std::fs::read_dir(folder).unwrap();
    let found: BTreeSet<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let known = RECIPES.iter().map(|(name, _)| format!("{name}.toml"));
    assert_eq!(found, known.collect());
    let guide = repository_file("docs/sessions.md");
    for file in &found {
        let link = format!("(../config/recipes/{file})");
        assert!(
            guide.contains(&link),
            "docs/sessions.md does not link {file}"
        );
    }
    let linked = guide.split("(../config/recipes/").skip(1);
    for file in linked.map(|rest| rest.split(')').next().unwrap()) {
        assert!(found.contains(file), "docs/sessions.md links {file}");
    }
}

/// Whoever forgets to replace one of these is let in nowhere.
#[test]
fn no_recipe_holds_a_secret_or_an_address_of_somebody() {
    let placeholders = [
        "replace-me",
        "replace-me-by-32-random-characters",
        "/run/secrets/",
    ];
    for (name, _) in RECIPES {
        let text = text(name);
        for secret in ["client_secret = ", "value = ", "client_id = ", "sha256 = "] {
            for value in text.split(secret).skip(1) {
                let value = value.trim_start_matches("{ file = ");
                let value = value.trim_start_matches('"').split('"').next().unwrap();
                let is_placeholder = match secret {
                    "client_secret = " => placeholders.iter().any(|known| value.starts_with(known)),
                    "client_id = " => {
                        ["0123456789abcdef0123456789abcdef", "qlik-token-broker"].contains(&value)
                    }
                    "sha256 = " => value == "0".repeat(64),
                    _ => {
                        value.contains('{')
                            || placeholders.iter().any(|known| value.starts_with(known))
                    }
                };
                assert!(is_placeholder, "{name}: {secret}{value}");
            }
        }
        for trace in ["qtb_", "qtbs_", "PRIVATE KEY", "eyJ"] {
            assert!(!text.contains(trace), "{name} holds {trace}");
        }
        let hosts = text.split("https://").skip(1);
        for host in hosts.map(|rest| rest.split(['/', '"']).next().unwrap()) {
            let is_example = host.ends_with(".example.com") || host == "acme.eu.qlikcloud.com";
            assert!(is_example, "{name}: {host}");
        }
    }
}

/// A table that is commented out has to be right as well.
#[test]
fn the_other_table_of_the_oidc_recipe_loads_in_the_place_of_the_first() {
    let text = text("oidc");
    let (before, rest) = text.split_once("[[session]]").unwrap();
    let (_, other) = rest.split_once("# [[session]]").unwrap();
    let (other, after) = other.split_once("\n\n").unwrap();
    let other = other.replace("\n# ", "\n");
    let config = load_text(&format!("{before}[[session]]{other}\n\n{after}"));
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(kinds(&config), ["introspection"]);
    assert_eq!(config.warnings, []);
}
