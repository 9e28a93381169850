//! What is said of faulty configurations: all of it at once, and never a configured value.

use serde_json::{Value, json};

use super::{ACME, CANARY, JWT, load_text, paths, repository_file};

/// Faulty configurations with the paths of all their faults. `{C}` is a secret.
const FAULTY: &[(&str, &[&str])] = &[
    ("", &["session", "tenants"]),
    (
        "surprise = '{C}'\nsession = '{C}'\ntenants = 3",
        &["session", "surprise", "tenants"],
    ),
    (
        "[server]\nlisten = 'localhost:80'\nrequest_timeout = '{C}'\nshutdown_grace = '-1s'\nlisten_on = '{C}'\n\
         public_url = 'https://u:{C}@x'\ntrusted_proxies = ['10.0.0.0/8', '{C}']\n{JWT}{ACME}",
        &[
            "server.listen",
            "server.listen_on",
            "server.public_url",
            "server.request_timeout",
            "server.shutdown_grace",
            "server.trusted_proxies[1]",
        ],
    ),
    (
        "[server]\nrequest_timeout = '10ms'\nshutdown_delay = '2h'\npublic_url = 'https://x/?{C}'\n\
         [ops]\nlisten = '0.0.0.0:8080'\n{JWT}{ACME}",
        &[
            "server.public_url",
            "server.request_timeout",
            "server.shutdown_delay",
        ],
    ),
    (
        "[ops]\nlisten = '0.0.0.0:8080'\n[audit]\nkey = 'c4nary'\n{JWT}{ACME}",
        &["audit.key", "ops.listen"],
    ),
    (
        "[server]\nmax_in_flight = 0\nmax_waiting = '{C}'\nreplicas = 1.5\n[log]\nlevel = '{C}'\nformat = 3\n\
         [cache]\nmax_users = true\nrevoke_on_logout = '{C}'\n{JWT}{ACME}",
        &[
            "cache.max_users",
            "cache.revoke_on_logout",
            "log.format",
            "log.level",
            "server.max_in_flight",
            "server.max_waiting",
            "server.replicas",
        ],
    ),
    (
        "[telemetry]\notlp_endpoint = 'ftp://{C}'\nsample = 1.5\ntrusted_peers = ['10.0.0.0/8', '{C}']\n\
         [telemetry.headers]\nhost = '{C}'\n'x y' = 'y'\nauthorization = { file = '/nowhere' }\nx-key = \"{C}\\n\"\n{JWT}{ACME}",
        &[
            "telemetry.headers.\"x y\"",
            "telemetry.headers.authorization",
            "telemetry.headers.host",
            "telemetry.headers.x-key",
            "telemetry.otlp_endpoint",
            "telemetry.sample",
            "telemetry.trusted_peers[1]",
        ],
    ),
    (
        "[shared]\nurl = 'memcached://{C}'\nencryption_keys = [{ id = 'k 1', key = '{C}' }, { id = 'k2', key = 'YQ==' }]\n\
         ca_file = '/nowhere/{C}'\npassword = { file = '/nowhere' }\n{JWT}{ACME}",
        &[
            "shared.ca_file",
            "shared.encryption_keys[0].id",
            "shared.encryption_keys[1].key",
            "shared.password",
        ],
    ),
    (
        "[shared]\nurl = 'redis-sentinel://localhost'\nencryption_keys = []\n{JWT}{ACME}",
        &["shared.encryption_keys", "shared.url"],
    ),
    (
        "[cache]\nidle = '0s'\nrefresh_margin = '{C}'\nmin_life = '2h'\nrenewal_pause = '0s'\n\
         [upstream]\nproxy = 'ftp://{C}'\n{JWT}{ACME}",
        &[
            "cache.idle",
            "cache.min_life",
            "cache.refresh_margin",
            "cache.renewal_pause",
            "upstream.proxy",
        ],
    ),
    (
        "[audit]\nkey = { file = '/nowhere/x', env = '{C}' }\n[upstream]\nproxy = ['{C}']\n{JWT}{ACME}",
        &["audit.key", "upstream.proxy"],
    ),
    (
        "[audit]\nkey = { file = '/nowhere/x' }\n{JWT}{ACME}client_secrets = ['{C}']\n",
        &["audit.key", "tenants.acme.client_secrets"],
    ),
    (
        "{JWT}[tenants.acme]\nurl = 'http://acme.example.com'\nclient_id = ''\nclient_secret = '{C}'\nscopes = 3\n\
         [tenants.'Big Co']\nurl = 'https://x'\nclient_id = 'c'\nclient_secret = '{C}'\nscopes = 'user_default'",
        &[
            "tenants.\"Big Co\"",
            "tenants.acme.client_id",
            "tenants.acme.scopes",
            "tenants.acme.url",
        ],
    ),
    (
        "{JWT}[tenants.acme]\nurl = 'http://acme.example.com'\nclient_id = 'c'\nscopes = ' '\n\
         optional_scopes = ['apps:read', 'admin_classic', '', 'user_default offline_access']\n\
         allowed_origins = ['https://*.example.com', 'https://x/{C}', 'https://ok.example.com']\nca_file = '/nowhere'",
        &[
            "tenants.acme.allowed_origins[0]",
            "tenants.acme.allowed_origins[1]",
            "tenants.acme.ca_file",
            "tenants.acme.client_secret",
            "tenants.acme.optional_scopes[1]",
            "tenants.acme.optional_scopes[2]",
            "tenants.acme.optional_scopes[3]",
            "tenants.acme.scopes",
            "tenants.acme.url",
        ],
    ),
    (
        "{JWT}[tenants.acme]\nurl = 'https://acme.example.com/{C}'\nclient_id = 'c'\nclient_secret = ''\nscopes = 'admin'",
        &[
            "tenants.acme.client_secret",
            "tenants.acme.scopes",
            "tenants.acme.url",
        ],
    ),
    (
        "{JWT}[tenants.acme]\nurl = 'https://{C}@acme.example.com'\nclient_id = 'c'\nscopes = 'admin'\n\
         client_secrets = ['{C}', { env = 'QTB_TEST_NO_SUCH_VARIABLE' }, { file = '/nowhere' }]",
        &[
            "tenants.acme.client_secrets[1]",
            "tenants.acme.client_secrets[2]",
            "tenants.acme.scopes",
            "tenants.acme.url",
        ],
    ),
    (
        "{JWT}[tenants.acme]\nurl = 'ftp://acme.example.com'\nclient_id = 'c'\nscopes = 'user_default'\nclient_secret = '{C}'\n\
         private_key = { kid = 'k', algorithm = 'ES384', pem = { file = '/nowhere' } }",
        &["tenants.acme.private_key", "tenants.acme.url"],
    ),
    (
        "{JWT}[tenants.acme]\nurl = 'https://a.example.com'\nclient_id = 'c'\nscopes = 'user_default'\n\
         private_key = { algorithm = 'none', pem = '{C}', secret = '{C}' }\n",
        &[
            "tenants.acme.private_key.algorithm",
            "tenants.acme.private_key.pem",
            "tenants.acme.private_key.secret",
        ],
    ),
    (
        "[[session]]\nissuer = '{C}'\n[[session]]\ntype = '{C}'\n[[session]]\ntype = 'jwt'\nkey = '{C}'\naudience = 1\n{ACME}",
        &[
            "session[0].type",
            "session[1].type",
            "session[2].algorithms",
            "session[2].audience",
            "session[2].issuer",
            "session[2].jwks_url",
            "session[2].key",
            "session[2].user",
        ],
    ),
    (
        "{JWT}hmac_secret = '{C}'\nleeway = '61s'\njwks_refresh = '0s'\ncookie = 'a b'\ndeny = ['*']\nscope = 'other'\n\
         tenant = '{org'\n{ACME}",
        &[
            "session[0].algorithms",
            "session[0].cookie",
            "session[0].deny[0]",
            "session[0].hmac_secret",
            "session[0].jwks_refresh",
            "session[0].leeway",
            "session[0].scope",
            "session[0].tenant",
        ],
    ),
    (
        "[[session]]\ntype = 'jwt'\nissuer = 'portal'\naudience = 'a'\nalgorithms = ['RS256', 'HS256']\ndiscovery = true\n\
         tenant = 'umbrella'\nuser = [{ field = 'subject', value = '{sub}{org}' }, { field = 'userId', value = '{id|x}' }]\n{ACME}",
        &[
            "session[0].algorithms",
            "session[0].issuer",
            "session[0].tenant",
            "session[0].user[0].value",
            "session[0].user[1].value",
        ],
    ),
    (
        "[[session]]\ntype = 'jwt'\nissuer = ''\naudience = ''\nalgorithms = []\ntyp = ''\nname = ''\nleeway = 3\n\
         user = [{ field = '{C}', value = '', x = '{C}' }]\n{ACME}",
        &[
            "session[0].algorithms",
            "session[0].audience",
            "session[0].issuer",
            "session[0].jwks_url",
            "session[0].leeway",
            "session[0].name",
            "session[0].typ",
            "session[0].user[0].field",
            "session[0].user[0].value",
            "session[0].user[0].x",
        ],
    ),
    (
        "[[session]]\ntype = 'jwt'\nissuer = 'i'\naudience = 'a'\nalgorithms = ['HS256']\nhmac_secret = 'c4nary'\nuser = []\n{ACME}",
        &["session[0].hmac_secret", "session[0].user"],
    ),
    (
        "[[session]]\ntype = 'jwt'\nissuer = 'i'\naudience = 'a'\nalgorithms = ['HS256']\nhmac_secret = 'c4nary'\n\
         user = [{ field = 'subject', value = '}' }]\n{JWT}{ACME}",
        &[
            "session[0].hmac_secret",
            "session[0].user[0].value",
            "session[1].name",
        ],
    ),
    (
        "[[session]]\ntype = 'jwt'\nissuer = 'i'\naudience = 'a'\nalgorithms = ['HS512']\n\
         user = [{ field = 'subject', value = '{sub}' }]\n{ACME}",
        &["session[0].algorithms", "session[0].jwks_url"],
    ),
    (
        "{JWT}jwks_file = '/nowhere/{C}'\n[[session]]\ntype = 'jwt'\nname = 'file'\nissuer = 'i'\naudience = 'a'\n\
         algorithms = ['ES256']\njwks_file = '/nowhere'\nuser = [{ field = 'subject', value = '{sub}' }]\n{ACME}",
        &["session[0].jwks_file", "session[1].jwks_file"],
    ),
    (
        "[[session]]\ntype = 'api_key'\nkeys = [\n{ id = 'A b', sha256 = '{C}' },\n{ id = 'b', sha256 = '{SHA}', allow = [] },\n\
         { id = 'c', allow = ['all'], tenants = [] },\n]\nissuer = '{C}'\n{ACME}",
        &[
            "session[0].issuer",
            "session[0].keys[0].id",
            "session[0].keys[0].sha256",
            "session[0].keys[1].allow",
            "session[0].keys[2].allow[0]",
            "session[0].keys[2].sha256",
            "session[0].keys[2].tenants",
        ],
    ),
    (
        "[[session]]\ntype = 'api_key'\nkeys = [{ id = 'a', sha256 = '{SHA}', expires = '{C}' },\n\
         { id = 'a', sha256 = '{SHA}', tenants = ['acme', 'umbrella'], expires = '2027-01-01T00:00:00' }]\n\
         [[session]]\ntype = 'api_key'\nkeys = [{ id = 'a', sha256 = '{SHA}' }]\n{ACME}",
        &[
            "session[0].keys[0].expires",
            "session[0].keys[1].expires",
            "session[0].keys[1].id",
            "session[0].keys[1].tenants[1]",
            "session[1].keys[0].id",
            "session[1].name",
        ],
    ),
    (
        "[[session]]\ntype = 'api_key'\nkeys = [{ id = 'a', sha256 = '{SHA}' }]\n{JWT}scope = 'apps:read spaces:read'\n{ACME}\
         [tenants.b]\nurl = 'https://b.example.com'\nclient_id = 'c'\nclient_secret = '{C}'\nscopes = 'user_default'",
        &[
            "session[0].keys[0].tenants",
            "session[1].scope",
            "session[1].tenant",
        ],
    ),
    (
        "{JWT}scope = 'apps:read'\nleeway = '2m'\n[tenants.acme]\nurl = 'http://a.example.com'\nclient_secret = 5\n\
         optional_scopes = 'apps:read'\nallow_admin_scopes = '{C}'\nallowed_origins = ['*']\nscopes = 'admin_classic'",
        &[
            "session[0].leeway",
            "tenants.acme.allow_admin_scopes",
            "tenants.acme.allowed_origins[0]",
            "tenants.acme.client_id",
            "tenants.acme.client_secret",
            "tenants.acme.optional_scopes",
            "tenants.acme.scopes",
            "tenants.acme.url",
        ],
    ),
    (
        "session = ['{C}', { type = 'jwt', hmac_secret = 'c4nary', leeway = '2m', user = [{ value = '{sub' }] }]\n\
         server = '{C}'\n[tenants]\nacme = '{C}'\nb = { url = 'http://b.example.com', client_secret = '{C}' }",
        &[
            "server",
            "session[0]",
            "session[1].algorithms",
            "session[1].audience",
            "session[1].hmac_secret",
            "session[1].issuer",
            "session[1].leeway",
            "session[1].tenant",
            "session[1].user[0].field",
            "session[1].user[0].value",
            "tenants.acme",
            "tenants.b.client_id",
            "tenants.b.scopes",
            "tenants.b.url",
        ],
    ),
    (
        "[[session]]\ntype = 'handle'\nttl = '0s'\nidle = '{C}'\ncookie = 'a b'\n\
         [[session]]\ntype = 'handle'\nname = 'second'\nttl = '31d'\n\
         [[session]]\ntype = 'introspection'\nurl = 'http://issuer.example.com'\nclient_id = 'c'\nclient_secret = { file = '/nowhere' }\n\
         cache = '2h'\nrequired_scope = 'a b'\nuser = [{ field = 'email', value = '{email}' }]\n\
         [[session]]\ntype = 'introspection'\nname = 'bare'\n{ACME}",
        &[
            "session[0].cookie",
            "session[0].idle",
            "session[0].ttl",
            "session[1].ttl",
            "session[1].type",
            "session[2].audience",
            "session[2].cache",
            "session[2].client_secret",
            "session[2].required_scope",
            "session[2].url",
            "session[2].user[0].field",
            "session[3].audience",
            "session[3].client_id",
            "session[3].client_secret",
            "session[3].url",
            "session[3].user",
        ],
    ),
    (
        "[[session]]\ntype = 'portal_check'\nurl = 'http://portal.example.com'\ncookies = []\ncache = '{C}'\nmax_in_flight = 0\n\
         forward_headers = ['X-Site', 'Cookie', 'Authorization', 'a b', 'Sec-Fetch-Site']\nuser = [{ field = 'subject', value = '{id}' }]\n\
         [[session]]\ntype = 'portal_check'\nname = 'second'\nurl = 'https://{C}@portal.example.com'\ncookies = ['sid', 'a=b']\n\
         negative_cache = '2h'\nrefuse_admins = true\nuser = [{ field = 'subject', value = '{id}' }]\n{ACME}",
        &[
            "session[0].cache",
            "session[0].cookies",
            "session[0].forward_headers[1]",
            "session[0].forward_headers[2]",
            "session[0].forward_headers[3]",
            "session[0].forward_headers[4]",
            "session[0].max_in_flight",
            "session[0].url",
            "session[1].cookies[1]",
            "session[1].negative_cache",
            "session[1].refuse_admins",
            "session[1].url",
        ],
    ),
    (
        "[[session]]\ntype = 'trusted_header'\nheader = 'X-User'\nuser = [{ field = 'subject', value = '{sub}' }]\n\
         [[session]]\ntype = 'trusted_header'\nname = 'all'\nheader = 'Authorization'\nfrom = ['10.0.0.0/8', '0.0.0.0/0']\n\
         headers = { sub = 'X-Sub', email = 'a b' }\nshared_secret = { header = 'Cookie', value = '' }\nuser = [{ field = 'subject', value = '{sub}' }]\n\
         [[session]]\ntype = 'trusted_header'\nname = 'six'\nheader = 'X-User'\nfrom = ['::/0', '{C}']\nuser = [{ field = 'subject', value = '{sub}' }]\n\
         [[session]]\ntype = 'trusted_header'\nname = 'none'\nheader = 'X-User'\nfrom = []\nuser = [{ field = 'subject', value = '{sub}' }]\n{ACME}",
        &[
            "session[0].from",
            "session[1].from[1]",
            "session[1].header",
            "session[1].headers.email",
            "session[1].headers.sub",
            "session[1].shared_secret.header",
            "session[1].shared_secret.value",
            "session[2].from[1]",
            "session[3].from",
        ],
    ),
    (
        "[server]\ntls = { certificate = '{C}', key = { file = '/nowhere' } }\n\
         [[session]]\ntype = 'client_certificate'\nclients = [{ name = 'a.internal', allow = ['sessions', 'service_token'] }, { name = 'a.internal' }]\n\
         [[session]]\ntype = 'api_key'\nkeys = [{ id = 'a', sha256 = '{SHA}', allow = ['token', 'sessions', 'service_token'] }]\n{ACME}",
        &[
            "server.tls.certificate",
            "session[0].clients[0].allow[0]",
            "session[0].clients[0].allow[1]",
            "session[0].clients[1].name",
            "session[0].type",
            "session[1].keys[0].allow[1]",
            "session[1].keys[0].allow[2]",
        ],
    ),
    (
        "{JWT}{ACME}budget = { per_minute = 80, burst = 101 }\n[tenants.b]\nurl = 'https://b.example.com'\nclient_id = 'c'\n\
         client_secret = '{C}'\nscopes = 'user_default'\nbudget = { per_minute = 101, burst = 0 }",
        &[
            "session[0].tenant",
            "tenants.acme.budget",
            "tenants.b.budget.burst",
            "tenants.b.budget.per_minute",
        ],
    ),
    (
        "{JWT}{ACME}origins_from_client = true\nprovision_users = { subject = '{sub}', name = '{name}' }\n\
         service = { client_id = 's', scopes = 'admin_classic' }",
        &[
            "tenants.acme.origins_from_client",
            "tenants.acme.provision_users",
            "tenants.acme.service.client_secret",
            "tenants.acme.service.scopes",
        ],
    ),
    (
        "{JWT}{ACME}provision_users = { subject = 'everybody', name = '{name', email = '{}', groups = 'a{groups}' }\n\
         management = { client_id = '', scopes = '', client_secret = '{C}', client_secrets = ['{C}'] }",
        &[
            "tenants.acme.management.client_id",
            "tenants.acme.management.client_secrets",
            "tenants.acme.management.scopes",
            "tenants.acme.provision_users.email",
            "tenants.acme.provision_users.groups",
            "tenants.acme.provision_users.name",
            "tenants.acme.provision_users.subject",
        ],
    ),
];

fn filled_in(text: &str) -> String {
    text.replace("{JWT}", JWT)
        .replace("{ACME}", ACME)
        .replace("{SHA}", &"ab".repeat(32))
        .replace("{C}", CANARY)
}

/// The same by the program: a line for each fault, exit code 1, within a second.
#[test]
fn the_program_refuses_each_within_a_second() {
    assert!(FAULTY.len() >= 20);
    for (text, expected) in FAULTY {
        let file = crate::harness::Scratch::new(&filled_in(text));
        let started = std::time::Instant::now();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_qlik-token-broker"))
            .args(["serve", "--config"])
            .arg(&file.0)
            .output()
            .unwrap();
        assert!(
            started.elapsed() < std::time::Duration::from_secs(1),
            "{text}"
        );
        assert_eq!(output.status.code(), Some(1), "{text}");
        let said = String::from_utf8(output.stderr).unwrap();
        for path in *expected {
            assert!(said.contains(&format!("{path}: ")), "{path}\n{said}");
        }
        assert!(
            output.stdout.is_empty() && !said.contains("c4nary"),
            "{said}"
        );
    }
}

#[test]
fn all_faults_are_reported_at_once_and_no_value_is_shown() {
    for (text, expected) in FAULTY {
        let text = filled_in(text);
        let problems = load_text(&text).map(|_| ()).unwrap_err();
        assert_eq!(paths(&problems), *expected, "{text}\n{problems}");
        assert!(
            problems
                .0
                .iter()
                .all(|problem| !problem.remedy.is_empty() && !problem.message.is_empty())
        );
        let shown = format!("{problems} {problems:?}");
        assert!(!shown.contains("c4nary"), "{shown}");
        assert_eq!(problems.to_string().lines().count(), expected.len());
    }
}

/// Whatever key a secret is written to by mistake, it does not come back.
#[test]
fn a_secret_in_any_wrong_place_is_not_shown() {
    let example: Value = toml::from_str(&repository_file("config/example.toml")).unwrap();
    let mut pointers = Vec::new();
    leaves("", &example, &mut pointers);
    assert!(pointers.len() > 40);
    for pointer in pointers {
        for wrong in [
            json!(CANARY),
            json!([CANARY]),
            json!({"key": CANARY}),
            json!(4_815_162_342_i64),
        ] {
            let mut faulty = example.clone();
            *faulty.pointer_mut(&pointer).unwrap() = wrong;
            if let Err(problems) = load_text(&toml::to_string(&faulty).unwrap()) {
                let shown = format!("{problems} {problems:?}");
                assert!(!shown.contains("c4nary"), "{pointer}: {shown}");
                assert!(!shown.contains("4815162342"), "{pointer}: {shown}");
            }
        }
    }
}

fn leaves(pointer: &str, value: &Value, pointers: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, item)| leaves(&format!("{pointer}/{index}"), item, pointers));
        }
        Value::Object(entries) => {
            entries
                .iter()
                .for_each(|(name, value)| leaves(&format!("{pointer}/{name}"), value, pointers));
        }
        _ => pointers.push(pointer.to_owned()),
    }
}
