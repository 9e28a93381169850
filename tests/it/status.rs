//! The status page: its numbers, what it says of trouble, and who may read it. Chromium looks at it in
//! `tests/browser/status.test.js`.

use std::process::Stdio;
use std::time::{Duration, Instant};

use qlik_token_broker::simulator::{Call, Fault, Simulator, World};
use reqwest::{Client, Method};
use serde_json::json;

use super::cli::{Running, free_address, program, wait_for};
use super::harness::{
    Broker, EVIL, KEY, PAGE, Scratch, header, jump, key_table, managed_table, managed_world,
    refused, subject, tenant, tenant_table, token, usual_budget,
};
use super::keeper::Keeper;
use super::wire::raw;

const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; \
    base-uri 'none'; form-action 'none'";

impl Broker {
    /// The page with what happened until now.
    async fn page(&self) -> String {
        self.status.sample(&self.live).await;
        self.ops("/").await.text().await.unwrap()
    }
}

/// The text of a piece of HTML, its words separated by single spaces.
fn text(html: &str) -> String {
    let mut text = String::new();
    let mut in_tag = false;
    for letter in html.chars() {
        match letter {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ if !in_tag => {
                text.push(letter);
                continue;
            }
            _ => {}
        }
        text.push(' ');
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What follows `mark` up to the next `end`, as text.
fn after(page: &str, mark: &str, end: &str) -> String {
    let start = page.find(mark);
    let start = start.unwrap_or_else(|| panic!("no {mark} in {}", text(page)));
    let rest = &page[start..];
    text(&rest[..rest.find(end).unwrap()])
}

/// The row of the tenants' table.
fn tenant_row(page: &str, tenant: &str) -> String {
    let table = &page[page.find("<h2 id=\"tenants\">").unwrap()..];
    after(table, &format!("<th scope=\"row\">{tenant}</th>"), "</tr>")
}

/// What is wrong, in the page's words.
fn findings(page: &str) -> String {
    after(page, "<h1>", "</section>")
}

#[tokio::test]
async fn a_healthy_broker_says_so_in_one_line() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    // Just started: there is no sample yet.
    let empty = broker.ops("/").await.text().await.unwrap();
    let well = "All is well: 1 tenant is ready, 0 users have a token at hand.";
    assert_eq!(findings(&empty), well);
    assert!(empty.contains("nothing yet") && !empty.contains("NaN"));
    assert_eq!(
        after(&empty, "<h2 id=\"errors\">", "</section>"),
        "Last errors None since the broker started."
    );
    broker.token_of("ann").await;
    let page = broker.page().await;
    assert_eq!(
        findings(&page),
        "All is well: 1 tenant is ready, 1 user has a token at hand."
    );
    assert_eq!(tenant.calls(Call::Any), 1, "the page asks nobody");
}

/// The metrics of a process are those of all its brokers, so this one has a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn its_numbers_are_what_happened() {
    let tenant = tenant().await;
    let (public, ops) = (free_address(), free_address());
    let config = key_table(&["acme", "globex"])
        + &tenant_table("acme", &tenant.url())
        + &tenant_table("globex", &tenant.url());
    let config = Scratch::new(&config);
    let child = program()
        .args(["serve", "--sample-every", "50", "--config"])
        .arg(&config.0)
        .env("QTB__SERVER__LISTEN", &public)
        .env("QTB__OPS__LISTEN", &ops)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _running = Running(child);
    wait_for(&format!("http://{ops}/readyz")).await;
    let http = Client::new();
    let ask = async |tenant: &str, user: &str, key: &str| {
        let ask = http.post(format!("http://{public}/session-token"));
        let body = json!({"tenant": tenant, "user_lookup": subject(user)});
        let answer = ask.bearer_auth(key).json(&body).send().await.unwrap();
        answer.status().as_u16()
    };
    for _ in 0..5 {
        assert_eq!(ask("acme", "ann", KEY).await, 200);
    }
    assert_eq!(ask("globex", "ann", KEY).await, 200);
    assert_eq!(ask("acme", "nobody", KEY).await, 403);
    for _ in 0..2 {
        assert_eq!(ask("acme", "ann", "qtb_portal_wrong").await, 401);
    }
    tenant.on(Call::Token, Fault::Throttle { retry_after: 60 });
    for _ in 0..3 {
        assert_eq!(ask("globex", "bob", KEY).await, 503);
    }
    assert_eq!(tenant.calls(Call::Token), 4);

    let page = async || {
        let page = http.get(format!("http://{ops}/")).send().await.unwrap();
        page.text().await.unwrap()
    };
    let mut now = page().await;
    for _ in 0..20 {
        if now.contains("throttled") && after(&now, "told to wait", "</tr>").ends_with(" 3") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        now = page().await;
    }
    // An hour is 240 samples; so fast it is 12 s.
    let hour = |series: &str| {
        let row = after(&now, &format!("</svg>{series}"), "</tr>");
        row.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(
        ["answered", "refused", "told to wait", "failed"].map(hour),
        ["6", "3", "3", "0"]
    );
    assert_eq!(
        [
            "local: from memory",
            "shared: from Redis",
            "minted: by the tenant"
        ]
        .map(hour),
        ["4", "0", "2"]
    );
    assert_eq!(["over 3 h", "under 10 min"].map(hour), ["%", "%"]);
    assert!(now.contains("<td>100 %</td>"), "all had hours to live");
    assert!(tenant_row(&now, "acme").starts_with("acme ready 5 "));
    assert!(tenant_row(&now, "globex").starts_with("globex throttled asked again in "));
    assert!(findings(&now).contains("globex: throttles the broker, for another 5"));
    let errors = after(&now, "<h2 id=\"errors\">", "</section>");
    for line in [
        "3 503 tenant_throttled /session-token globex",
        "1 403 user_unknown /session-token acme",
    ] {
        assert!(errors.contains(line), "{errors}");
    }
    assert!(
        errors.contains(" 2 401 session_invalid /session-token "),
        "{errors}"
    );
}

#[tokio::test]
async fn what_is_wrong_stands_at_the_top_with_what_to_do() {
    let tenant = tenant().await;
    let config = usual_budget(&(key_table(&["acme"]) + &tenant_table("acme", &tenant.url())));
    let broker = Broker::start(&config);
    tenant.on(Call::Token, Fault::WrongSecret);
    let ask = broker
        .ask_for("ann")
        .header("x-request-id", "who-refused-1");
    refused(ask, 502, "tenant_refused_client").await;
    let page = broker.page().await;
    let found = findings(&page);
    for words in [
        "1 thing needs attention",
        "acme: refuses the broker's OAuth client.",
        "status 401, code OAUTH-22",
    ] {
        assert!(found.contains(words), "{found}");
    }
    assert!(tenant_row(&page, "acme").starts_with("acme client_refused asked again in "));
    let errors = after(&page, "<h2 id=\"errors\">", "</section>");
    assert!(
        errors.contains(" 1 502 tenant_refused_client /session-token acme who-refused-1"),
        "{errors}"
    );

    std::fs::write(&broker.file.0, config.replace("user_default", "")).unwrap();
    assert_eq!(broker.ask_to_reload().send().await.unwrap().status(), 422);
    let page = broker.page().await;
    assert!(findings(&page).contains("The last reload was refused; configuration 1 is used on."));
    assert!(
        after(&page, "<h2 id=\"process\">", "</section>")
            .contains("generation 1, loaded 0 s ago last reload refused")
    );
    broker
        .reload(&config.replace("tenant-client-secret", "another-secret"))
        .await;
    let page = broker.page().await;
    assert!(!findings(&page).contains("reload"));
    assert!(
        after(&page, "<h2 id=\"process\">", "</section>")
            .contains("generation 2, loaded 0 s ago Shared")
    );
    assert!(tenant_row(&page, "acme").contains("issuing no. 1 , generation 2, for 0 s"));
}

#[tokio::test]
async fn origins_that_drifted_apart_are_shown_both_ways() {
    let mut world: World = managed_world();
    world.clients[0].origins = [PAGE, "https://embed.acme.test"].map(Into::into).into();
    let tenant = Simulator::start(world).await.unwrap();
    let table = managed_table("acme", &tenant.url()) + "origins_from_client = true\n";
    let config = key_table(&["acme"]) + &table;
    let seldom = Duration::from_secs(3600);
    let broker = Broker::start_following(&config, seldom).await;
    let row = tenant_row(&broker.page().await, "acme");
    assert!(
        row.ends_with("only at the client https://embed.acme.test as of 0 s ago"),
        "{row}"
    );

    let two = format!("allowed_origins = ['{PAGE}', 'https://new.acme.test']");
    let config = config.replace(&format!("allowed_origins = ['{PAGE}']"), &two);
    broker.reload(&config).await;
    let page = broker.page().await;
    let row = tenant_row(&page, "acme");
    assert!(
        row.contains("only here https://new.acme.test only at the client"),
        "{row}"
    );
    let found = findings(&page);
    assert!(
        found.contains("Embeds of https://new.acme.test stay blank."),
        "{found}"
    );

    let unread = Broker::start(&config.replace("= true", "= false"));
    let row = tenant_row(&unread.page().await, "acme");
    assert!(
        row.ends_with("2 here , the client's list is not read"),
        "{row}"
    );
}

#[tokio::test]
async fn origins_that_cannot_be_read_any_more_are_those_of_then() {
    let mut world: World = managed_world();
    world.clients[0].origins = vec![PAGE.into()];
    let tenant = Simulator::start(world).await.unwrap();
    let table = managed_table("acme", &tenant.url()) + "origins_from_client = true\n";
    let config = key_table(&["acme"]) + &table;
    let seldom = Duration::from_secs(3600);
    let broker = Broker::start_following(&config, seldom).await;
    let broker = broker.forgetting_connections();
    let same = "same here and at the client as of ";
    let page = broker.page().await;
    assert!(tenant_row(&page, "acme").ends_with(&format!("{same}0 s ago")));
    assert!(findings(&page).starts_with("All is well"));
    let down = Fault::Status {
        status: 500,
        code: None,
        title: None,
    };
    tenant.on_until_cleared(Call::OauthClient, down);
    jump(12 * 60).await;
    let page = broker.page().await;
    let row = tenant_row(&page, "acme");
    assert!(row.ends_with(&format!("{same}12 min ago")), "{row}");
    let found = findings(&page);
    let known = "acme: the allowed origins of its OAuth client could not be read for 12 min.";
    assert!(found.contains(known), "{found}");

    let never = Broker::start_following(&config, seldom).await;
    let page = never.page().await;
    let row = tenant_row(&page, "acme");
    let unknown = "1 here , the client's list could not be read yet";
    assert!(row.ends_with(unknown), "{row}");
    let found = findings(&page);
    assert!(found.contains("could not be read at all since"), "{found}");
}

#[tokio::test]
async fn the_busiest_are_not_those_of_yesterday() {
    let tenant = tenant().await;
    let names = ["aa-yesterday", "zz-today"];
    let tables = names.map(|name| tenant_table(name, &tenant.url()));
    let config = key_table(&names) + &tables.concat();
    let ask = async |broker: &Broker, tenant: &str, times: usize| {
        for _ in 0..times {
            let body = json!({"tenant": tenant, "user_lookup": subject("ann")});
            token(broker.ask(&body)).await;
        }
    };
    let yesterday = Broker::start(&config);
    ask(&yesterday, "aa-yesterday", 40).await;
    // The numbers are those of the process; what this page knows of them begins now.
    let today = Broker::start(&config);
    today.status.sample(&today.live).await;
    ask(&today, "zz-today", 30).await;
    let page = today.page().await;
    assert!(tenant_row(&page, "zz-today").starts_with("zz-today ready 30 "));
    let row = tenant_row(&page, "aa-yesterday");
    let none = ["aa-yesterday ready 0 ", "aa-yesterday ready – "];
    assert!(none.iter().any(|start| row.starts_with(start)), "{row}");
    let table = after(&page, "<h2 id=\"tenants\">", "</section>");
    assert!(
        table.find("zz-today") < table.find("aa-yesterday"),
        "{table}"
    );
}

#[tokio::test]
async fn users_whose_token_has_ended_are_not_counted() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant).forgetting_connections();
    let users = async || {
        let page = broker.page().await;
        after(&page, "<dt>Users with a token</dt>", "</div>")
    };
    let life = broker.token_of("ann").await.expires_in;
    jump(60).await;
    broker.token_of("bob").await;
    assert_eq!(users().await, "Users with a token 2");
    jump(life - 30).await;
    assert_eq!(users().await, "Users with a token 1");
    broker.token_of("ann").await;
    assert_eq!(users().await, "Users with a token 2");
    let out = json!({"user_lookup": subject("ann")});
    let out = broker.post("/logout").bearer_auth(KEY).json(&out);
    assert_eq!(out.send().await.unwrap().status(), 204);
    assert_eq!(users().await, "Users with a token 1");
}

/// What others can choose: names of the configuration, request ids, origins, claimed tenants.
#[tokio::test]
async fn hostile_text_stays_text_or_out() {
    let (tenant, keeper) = (tenant().await, Keeper::start().await);
    let table = format!(
        "[[session]]\ntype = 'portal_check'\nname = '<img src=x onerror=alert(1)>\"'\nurl = '{}/whoami'\n\
         cookies = ['sid']\nuser = [{{ field = 'subject', value = 'auth0|{{name}}' }}]\ntenant = 'acme'\n",
        keeper.url
    );
    let config = table + &key_table(&["acme"]) + &tenant_table("acme", &tenant.url());
    let broker = Broker::start(&config);
    keeper.answer(Some((503, "")));
    for session in 0..5 {
        let ask = broker
            .post("/session-token")
            .header("x-broker-request", "1");
        let ask = ask.header("cookie", format!("sid=s{session}"));
        refused(ask, 503, "session_service_unavailable").await;
    }
    for (name, value) in [
        ("x-request-id", "<script>"),
        ("origin", EVIL),
        ("host", "<b>"),
    ] {
        let body = json!({"user_lookup": subject("<i>nobody</i>"), "tenant": "<u>"});
        drop(broker.ask(&body).header(name, value).send().await);
    }
    let page = broker.page().await;
    assert!(
        findings(&page).contains("table &lt;img src=x onerror=alert(1)&gt;&quot;."),
        "{}",
        findings(&page)
    );
    for hostile in ["<img", "<script", "<b>", "<i>", "<u>", EVIL, "nobody"] {
        assert!(!page.contains(hostile), "{hostile}");
    }
}

#[tokio::test]
async fn only_who_calls_it_by_its_own_name_reads_it() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    for (target, host, status) in [
        ("/", "127.0.0.1:9090", "200"),
        ("/", "localhost", "200"),
        ("/", "broker:9090", "200"),
        ("/", "evil.test:9090", "403"),
        ("/", "", "403"),
        ("/", "localhost\r\nHost: evil.test", "403"),
        ("http://evil.test/", "localhost", "403"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw(broker.ops, vec![request]).await;
        let got = answer.split(' ').nth(1).unwrap_or_default();
        assert!(
            got == status || (got == "400" && status == "403"),
            "{target} {host}: {answer}"
        );
        assert_eq!(answer.contains("<html"), status == "200", "{target} {host}");
    }
}

/// A page whose name was made to resolve to the broker; and those who come by a name of the operator's.
#[tokio::test]
async fn a_rebound_page_reads_nothing_and_scrapers_and_probes_do() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let scraper =
        "User-Agent: Prometheus/2.42.0\r\nAccept: text/plain\r\nAccept-Encoding: gzip\r\n";
    let probe = "User-Agent: kube-probe/1.30\r\nAccept: */*\r\n";
    // What a page can say at the most of what a browser says: that it is none, in another language.
    let page = "User-Agent: Prometheus/2.42.0\r\nAccept-Language: \r\n";
    let browser = "User-Agent: Mozilla/5.0\r\nAccept: */*\r\n";
    for path in ["/readyz", "/metrics", "/openapi.json"] {
        for (host, headers, status) in [
            ("10.1.2.3:9090", scraper, "200"),
            ("broker.ns.svc:9090", scraper, "200"),
            ("broker-1.acme.internal:9090", scraper, "200"),
            ("broker-1.acme.internal", probe, "200"),
            ("127.0.0.1:9090", browser, "200"),
            ("localhost", page, "200"),
            ("evil.test:9090", browser, "403"),
            ("evil.test:9090", page, "403"),
            ("evil.test", "Sec-Fetch-Site: same-origin\r\n", "403"),
            ("evil.test", "Origin: http://evil.test\r\n", "403"),
            ("evil.test", "Referer: http://evil.test/\r\n", "403"),
            ("evil.test", "Cookie: a=b\r\n", "403"),
            ("127.0.0.1\r\nHost: evil.test", page, "403"),
        ] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n"
            );
            let answer = raw(broker.ops, vec![request]).await;
            let got = answer.split(' ').nth(1).unwrap_or_default();
            // Whether this process has a recorder depends on the tests that ran before.
            let is_fine = got == status || (path, status, got) == ("/metrics", "200", "503");
            let is_fine = is_fine || (got == "400" && status == "403");
            assert!(is_fine, "{path} {host} {headers}: {answer}");
        }
    }
}

#[tokio::test]
async fn c31_it_has_a_policy_of_its_own_and_no_script() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/status.css", "text/css; charset=utf-8"),
        ("/status.svg", "image/svg+xml"),
    ] {
        let url = format!("http://{}{path}", broker.ops);
        for (method, status) in [(Method::GET, 200), (Method::HEAD, 200), (Method::POST, 405)] {
            let answer = broker
                .http
                .request(method.clone(), &url)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), status, "{method} {path}");
            if status == 405 {
                assert_eq!(header(&answer, "allow"), "GET,HEAD");
                continue;
            }
            for (name, value) in [
                ("content-type", kind),
                ("content-security-policy", POLICY),
                ("cache-control", "no-store"),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-resource-policy", "same-origin"),
            ] {
                assert_eq!(header(&answer, name), value, "{method} {path}");
            }
            let body = answer.text().await.unwrap();
            assert_eq!(body.is_empty(), method == Method::HEAD);
            for inline in ["<script", "<style", " style=", "javascript:", " onload="] {
                assert!(!body.contains(inline), "{inline} in {path}");
            }
        }
    }
}

#[tokio::test]
async fn reloading_it_all_the_time_makes_no_page_anew() {
    let tenant = tenant().await;
    let broker = Broker::with(&tenant);
    let started = Instant::now();
    let first = broker.page().await;
    broker.token_of("ann").await;
    let second = broker.ops("/").await.text().await.unwrap();
    assert!(first == second || started.elapsed() > Duration::from_secs(1));
    let third = broker.page().await;
    assert!(
        third.contains("1 user has a token"),
        "a sample brings a new one"
    );
}

#[tokio::test]
async fn many_tenants_fit_on_the_page_and_those_in_trouble_come_first() {
    const TENANTS: usize = 60;
    let (well, ill) = (tenant().await, tenant().await);
    let ids: Vec<String> = (0..TENANTS)
        .map(|tenant| format!("crowd-{tenant:03}"))
        .collect();
    let table = |id: &String| {
        let at = if id == "crowd-059" { &ill } else { &well };
        tenant_table(id, &at.url())
    };
    let tables: String = ids.iter().map(table).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    let broker = Broker::start(&(key_table(&names) + &tables));
    let ask = |tenant: &str, user: &str| {
        broker.ask(&json!({"tenant": tenant, "user_lookup": subject(user)}))
    };
    // As it begins: what was before the first sample is nobody's.
    broker.page().await;
    for _ in 0..3 {
        token(ask("crowd-058", "ann")).await;
    }
    ill.on(Call::Token, Fault::Throttle { retry_after: 60 });
    refused(ask("crowd-059", "ann"), 503, "tenant_throttled").await;
    let page = broker.page().await;
    let table = after(&page, "<h2 id=\"tenants\">", "</section>");
    let first = table.find("crowd-059 throttled").unwrap();
    assert!(first < table.find("crowd-058 ready").unwrap());
    assert!(
        table.ends_with("and 20 less busy tenants, all of them ready"),
        "{table}"
    );
    assert!(page.len() < 400_000, "{}", page.len());
    // Where other brokers of this process have tenants, too, those are counted as well.
    let budgets = after(&page, "<h3 id=\"budgets-title\">", "</figure>");
    assert!(budgets.contains("lowest of "), "{budgets}");
}
