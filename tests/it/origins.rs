//! `origins_from_client`: pages that the tenant's OAuth client lists count as well.

use std::time::Duration;

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, Fault, Simulator, World};
use reqwest::Method;

use super::directory::{BY_SUBJECT, mapped};
use super::harness::{Broker, EVIL, PAGE, header, managed_table, managed_world};
use super::portal::{Key, Portal};

/// A page that only the OAuth client lists.
const CLIENT_PAGE: &str = "https://embed.acme.test";
/// How often the list is read in these tests.
const OFTEN: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_secs(3600);

struct Setup {
    tenant: Simulator,
    session: String,
    broker: Broker,
}

fn listing(origins: &[&str]) -> World {
    let mut world = managed_world();
    world.clients[0].origins = origins.iter().map(|page| (*page).into()).collect();
    world
}

/// Has the issuing client list these from now on.
fn list(tenant: &Simulator, origins: &[&str]) {
    tenant.with_world(|world| {
        world.clients[0].origins = origins.iter().map(|page| (*page).into()).collect();
    });
}

impl Setup {
    async fn of(world: World, line: &str, every: Duration) -> Self {
        let tenant = Simulator::start(world).await.unwrap();
        Self::at(tenant, line, every).await
    }

    async fn at(tenant: Simulator, line: &str, every: Duration) -> Self {
        let portal = Portal::start(Key::p256()).await;
        let config = mapped(&portal, BY_SUBJECT, "") + &managed_table("acme", &tenant.url()) + line;
        let broker = Broker::start_following(&config, every).await;
        Self {
            tenant,
            session: portal.session("ann"),
            broker,
        }
    }

    /// The status and the allowed origin of a page's request, and of its preflight.
    async fn page(&self, origin: &str) -> [(u16, String); 2] {
        let asking = self.broker.ask_as(&self.session);
        let preflight = self
            .broker
            .call(Method::OPTIONS, "/session-token")
            .header("access-control-request-method", "POST");
        let asking = [asking, preflight].map(|request| async {
            let response = request.header("origin", origin).send().await.unwrap();
            let allowed = header(&response, "access-control-allow-origin");
            (response.status().as_u16(), allowed)
        });
        join_all(asking).await.try_into().unwrap()
    }

    async fn allows(&self, origin: &str) -> bool {
        let answers = self.page(origin).await;
        let yes = [(200, origin.to_owned()), (204, origin.to_owned())];
        let no = [(403, String::new()), (403, String::new())];
        assert!(answers == yes || answers == no, "{origin}: {answers:?}");
        answers == yes
    }

    /// Waits until so many more reads of the list were answered.
    async fn reads(&self, more: usize) {
        let before = self.tenant.calls(Call::OauthClient);
        for _ in 0..80 {
            // One more, since the last of them may still be under way.
            if self.tenant.calls(Call::OauthClient) > before + more {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the list is not read any more");
    }
}

const ON: &str = "origins_from_client = true\n";

#[tokio::test]
async fn a_page_that_only_the_client_lists_is_allowed_from_the_start() {
    let setup = Setup::of(listing(&[CLIENT_PAGE]), ON, SELDOM).await;
    assert_eq!(setup.tenant.calls(Call::OauthClient), 1);
    for page in [CLIENT_PAGE, PAGE] {
        assert!(setup.allows(page).await, "{page}");
    }
    for page in [
        EVIL,
        "https://embed.acme.test:8443",
        "http://embed.acme.test",
        "null",
    ] {
        assert!(!setup.allows(page).await, "{page}");
    }
    assert_eq!(
        setup.tenant.calls(Call::OauthClient),
        1,
        "no page makes the broker look"
    );
}

#[tokio::test]
async fn it_is_off_unless_configured() {
    for line in ["", "origins_from_client = false\n"] {
        let setup = Setup::of(listing(&[CLIENT_PAGE]), line, OFTEN).await;
        assert!(!setup.allows(CLIENT_PAGE).await && setup.allows(PAGE).await);
        tokio::time::sleep(OFTEN * 3).await;
        assert_eq!(setup.tenant.calls(Call::OauthClient), 0);
    }
}

#[tokio::test]
async fn what_the_client_lists_later_counts_and_what_it_drops_does_not() {
    let setup = Setup::of(listing(&[]), ON, OFTEN).await;
    assert!(!setup.allows(CLIENT_PAGE).await);
    list(&setup.tenant, &[CLIENT_PAGE]);
    setup.reads(1).await;
    assert!(setup.allows(CLIENT_PAGE).await);
    list(&setup.tenant, &[]);
    setup.reads(1).await;
    assert!(!setup.allows(CLIENT_PAGE).await);
    assert!(setup.allows(PAGE).await, "what is configured stays");
}

#[tokio::test]
async fn only_the_issuing_client_s_own_list_counts() {
    let mut world = listing(&[]);
    world.clients[1].origins = vec![CLIENT_PAGE.into()];
    let setup = Setup::of(world, ON, SELDOM).await;
    assert!(!setup.allows(CLIENT_PAGE).await);
}

#[tokio::test]
async fn a_failing_tenant_keeps_the_last_good_list() {
    let down = |status| Fault::Status {
        status,
        code: None,
        title: None,
    };
    let faults = [
        down(500),
        down(403),
        down(404),
        Fault::Disconnect,
        Fault::CutMidAnswer,
        Fault::NotJson,
        Fault::NoContent,
        Fault::Redirect,
    ];
    join_all(faults.into_iter().map(|fault| async move {
        let setup = Setup::of(listing(&[CLIENT_PAGE]), ON, OFTEN).await;
        setup
            .tenant
            .on_until_cleared(Call::OauthClient, fault.clone());
        list(&setup.tenant, &[EVIL]);
        setup.reads(2).await;
        assert!(setup.allows(CLIENT_PAGE).await, "{fault:?}");
        assert!(!setup.allows(EVIL).await, "{fault:?}");
        setup.tenant.clear_faults();
        list(&setup.tenant, &[]);
        setup.reads(1).await;
        assert!(!setup.allows(CLIENT_PAGE).await, "{fault:?}: it heals");
    }))
    .await;
}

#[tokio::test]
async fn a_throttling_tenant_keeps_the_last_good_list() {
    let setup = Setup::of(listing(&[CLIENT_PAGE]), ON, OFTEN).await;
    let throttled = Fault::Throttle { retry_after: 13 };
    setup.tenant.on_until_cleared(Call::OauthClient, throttled);
    setup.reads(0).await;
    tokio::time::sleep(OFTEN * 2).await;
    assert!(setup.allows(CLIENT_PAGE).await && setup.allows(PAGE).await);
}

/// A client that may not administer the tenant is shown less of the issuing client: no list at all.
#[tokio::test]
async fn an_answer_without_a_list_is_not_an_empty_list() {
    let demoted = Setup::of(listing(&[CLIENT_PAGE]), ON, OFTEN).await;
    demoted.tenant.with_world(|world| {
        for user in &mut world.users {
            user.roles.clear();
        }
    });
    let disguised = Setup::of(listing(&[CLIENT_PAGE]), ON, OFTEN).await;
    let errors = Fault::OkWithErrors;
    disguised.tenant.on_until_cleared(Call::OauthClient, errors);
    for (setup, what) in [(demoted, "demoted"), (disguised, "errors in a 200")] {
        setup.reads(2).await;
        assert!(setup.allows(CLIENT_PAGE).await, "{what}");
    }
}

#[tokio::test]
async fn a_tenant_that_fails_at_the_start_is_asked_again() {
    let tenant = Simulator::start(listing(&[CLIENT_PAGE])).await.unwrap();
    tenant.on_times(Call::OauthClient, Fault::NotJson, 2);
    let setup = Setup::at(tenant, ON, OFTEN).await;
    assert!(!setup.allows(CLIENT_PAGE).await && setup.allows(PAGE).await);
    setup.reads(2).await;
    assert!(setup.allows(CLIENT_PAGE).await);
}

#[tokio::test]
async fn what_no_browser_sends_is_ignored_and_the_rest_counts() {
    let odd = [
        "https://*.acme.test",
        "*",
        "https://evil.test/",
        "https://evil.test/portal",
        "https://EVIL.test",
        "https://evil.test:443",
        "evil.test",
        "null",
        "",
        "file:///evil",
        "javascript:alert(1)",
        "https://user@evil.test",
        CLIENT_PAGE,
    ];
    let setup = Setup::of(listing(&odd), ON, SELDOM).await;
    assert!(setup.allows(CLIENT_PAGE).await);
    for page in [
        "https://sub.acme.test",
        "https://*.acme.test",
        "*",
        EVIL,
        "null",
        "file://",
    ] {
        assert!(!setup.allows(page).await, "{page}");
    }
}

#[tokio::test]
async fn a_page_of_another_tenant_s_client_is_not_this_tenant_s() {
    let acme = Simulator::start(listing(&[])).await.unwrap();
    let other = Simulator::start(listing(&[CLIENT_PAGE])).await.unwrap();
    let portal = Portal::start(Key::p256()).await;
    let config = mapped(&portal, BY_SUBJECT, "tenant = '{org}'")
        + &managed_table("acme", &acme.url())
        + ON
        + &managed_table("other", &other.url())
        + ON;
    let broker = Broker::start_following(&config, SELDOM).await;
    for (tenant, status) in [("other", 200), ("acme", 403)] {
        let claims = serde_json::json!({"org": tenant});
        let session = portal.session_with("ann", &claims);
        let asking = broker.ask_as(&session).header("origin", CLIENT_PAGE);
        assert_eq!(asking.send().await.unwrap().status(), status, "{tenant}");
    }
    assert_eq!(acme.calls(Call::TokenImpersonation), 0);
}
