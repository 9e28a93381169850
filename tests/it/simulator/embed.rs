//! What pages with embeds load from the tenant. What it does in a browser, `tests/browser` shows.

use super::*;

#[tokio::test]
async fn a_page_loads_the_runtime_of_its_embeds_from_the_tenant_without_a_token() {
    let tenant = Tenant::demo().await;
    let call = tenant.call(Method::GET, "/qlik-embed/main.js");
    let answer = call.header("origin", PORTAL).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers();
    assert_eq!(headers["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(headers["access-control-allow-origin"], PORTAL);
    let script = answer.text().await.unwrap();
    for module in ["embed-vanilla@v1", "auth@v1", "invoke-fetch@v1"] {
        assert!(script.contains(&format!("\"{module}\": {{")), "{module}");
    }
    assert_eq!(tenant.simulator.calls(Call::EmbedRuntime), 1);
}

#[tokio::test]
async fn the_runtime_is_charged_to_nobody_and_can_fail() {
    let tenant = Tenant::demo().await;
    let none = RateLimit {
        calls: 0,
        window: Duration::from_secs(60),
    };
    tenant
        .simulator
        .with_world(|world| world.tier1 = Some(none));
    let load = || tenant.call(Method::GET, "/qlik-embed/main.js").send();
    assert_eq!(load().await.unwrap().status(), 200);
    let down = Fault::Status {
        status: 503,
        code: None,
        title: None,
    };
    tenant.simulator.on(Call::EmbedRuntime, down);
    assert_eq!(load().await.unwrap().status(), 503);
}
