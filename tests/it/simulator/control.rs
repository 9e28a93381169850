//! The control interface and the life of the server.

use super::*;

#[tokio::test]
async fn counters_and_log_hold_no_secret() {
    let tenant = Tenant::demo().await;
    let token = tenant.impersonated("auth0|ann").await;
    tenant.get("/api/v1/users/me?accessToken=abc", &token).await;
    let body = json!({ "token": token });
    tenant.control(Method::POST, "/oauth/revoke", &body).await;
    let call = tenant.call(Method::GET, "/_simulator/calls");
    let answer = call
        .header("origin", "http://anywhere")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    let calls: Value = answer.json().await.unwrap();
    assert_eq!(
        (
            &calls["token"],
            &calls["token_impersonation"],
            &calls["users"],
            &calls["any"]
        ),
        (&json!(1), &json!(1), &json!(0), &json!(3))
    );
    let answer = tenant
        .control(Method::GET, "/_simulator/requests", &Value::Null)
        .await;
    let text = answer.text().await.unwrap();
    assert!(!text.contains(World::DEMO_BROKER_SECRET) && !text.contains(&token));
    let log: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(log[0]["path"], "/oauth/token");
    assert_eq!(log[0]["call"], "token_impersonation");
    assert_eq!(log[0]["status"], 200);
    assert_eq!(log[0]["body"]["client_secret"], "[redacted]");
    assert_eq!(log[0]["body"]["user_lookup"]["value"], "auth0|ann");
    assert_eq!(log[1]["headers"]["authorization"], "Bearer");
    assert_eq!(log[1]["query"], "accessToken=[redacted]");
    for (after, first) in [("0", json!(1)), ("2", json!(3)), ("3", Value::Null)] {
        let path = format!("/_simulator/requests?after={after}");
        let answer = tenant.control(Method::GET, &path, &Value::Null).await;
        let later: Value = answer.json().await.unwrap();
        assert_eq!(later[0]["number"], first);
    }
    let answer = tenant
        .control(Method::POST, "/_simulator/reset", &Value::Null)
        .await;
    assert_eq!(answer.status(), 204);
    assert_eq!(tenant.simulator.calls(Call::Token), 0);
    assert!(tenant.simulator.requests().is_empty());
}

#[tokio::test]
async fn users_and_tokens_are_steered() {
    let tenant = Tenant::demo().await;
    let post = |path: &'static str, body: Value| tenant.call(Method::POST, path).json(&body).send();
    let new = json!({ "subject": "eve", "email": "eve@example.com" });
    assert_eq!(
        post("/_simulator/users", new.clone())
            .await
            .unwrap()
            .status(),
        201
    );
    assert_eq!(post("/_simulator/users", new).await.unwrap().status(), 409);
    let eve = tenant.impersonated("eve").await;
    let answer = post("/_simulator/revoke-user", json!({ "subject": "eve" }))
        .await
        .unwrap();
    assert_eq!(
        answer.json::<Value>().await.unwrap(),
        json!({ "revoked": 1 })
    );
    assert_eq!(tenant.get("/api/v1/users/me", &eve).await.status(), 401);
    let answer = post("/_simulator/revoke-user", json!({ "subject": "nobody" })).await;
    assert_eq!(answer.unwrap().status(), 404);
    let disable = json!({ "status": "disabled" });
    let answer = tenant
        .control(Method::PATCH, "/_simulator/users/eve", &disable)
        .await;
    assert_eq!(answer.status(), 204);
    refused(tenant.token(&impersonation("eve")).await, 403, "OAUTH-903").await;
    let users = tenant
        .control(Method::GET, "/_simulator/users", &Value::Null)
        .await;
    assert!(
        users
            .json::<Value>()
            .await
            .unwrap()
            .as_array()
            .unwrap()
            .len()
            >= 4
    );
}

#[tokio::test]
async fn settings_change_while_running() {
    let tenant = Tenant::demo().await;
    let settings = json!({
        "token_life_seconds": 7, "tier2": null, "tier1": { "calls": 1 }, "clock_skew_seconds": 3600,
        "refusals": { "unknown_user": { "status": 404, "code": "OAUTH-7", "title": "Nobody" } },
    });
    let answer = tenant
        .control(Method::PATCH, "/_simulator/settings", &settings)
        .await;
    assert_eq!(answer.status(), 200);
    let shown: Value = answer.json().await.unwrap();
    assert_eq!(shown["tier1"], json!({ "calls": 1, "window_seconds": 300 }));
    assert_eq!(shown["tier2"], Value::Null);
    assert_eq!(shown["special"]["calls"], 200);
    refused(tenant.token(&impersonation("nobody")).await, 404, "OAUTH-7").await;
    let answer = tenant.token(&impersonation("auth0|ann")).await;
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["expires_in"], 7);
    let ann = body["access_token"].as_str().unwrap();
    assert_eq!(tenant.get("/api/v1/tenants/me", ann).await.status(), 200);
    assert_eq!(tenant.get("/api/v1/tenants/me", ann).await.status(), 429);
    for bad in [
        json!({ "nonsense": 1 }),
        json!({ "refusals": { "nonsense": { "status": 1, "code": "", "title": "" } } }),
        json!({ "tier2": { "calls": 1, "window": 2 } }),
    ] {
        let answer = tenant
            .control(Method::PATCH, "/_simulator/settings", &bad)
            .await;
        assert_eq!(answer.status(), 400, "{bad}");
    }
}

#[tokio::test]
async fn the_index_lists_the_controls() {
    let tenant = Tenant::demo().await;
    let answer = tenant
        .control(Method::GET, "/_simulator/", &Value::Null)
        .await;
    let index: Value = answer.json().await.unwrap();
    assert!(index["POST /_simulator/faults"].is_string());
    let answer = tenant
        .control(Method::OPTIONS, "/_simulator/faults", &Value::Null)
        .await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    let answer = tenant
        .control(Method::GET, "/_simulator/nothing", &Value::Null)
        .await;
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn a_stopped_tenant_is_gone() {
    let tenant = Tenant::demo().await;
    let url = tenant.simulator.url();
    tenant.simulator.on(Call::UserMe, Fault::Hang);
    let hanging = tokio::spawn(tenant.get_url(format!("{url}/api/v1/users/me")));
    tokio::time::sleep(Duration::from_millis(50)).await;
    tenant.simulator.stopped().await;
    let _ = hanging.await;
    assert!(
        Client::new()
            .get(url)
            .send()
            .await
            .unwrap_err()
            .is_connect()
    );
}

impl Tenant {
    fn get_url(&self, url: String) -> impl Future<Output = bool> + use<> {
        let call = self.http.get(url).send();
        async move { call.await.is_ok() }
    }
}
