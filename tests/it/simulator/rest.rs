//! Tokens, tenant, groups, spaces, preflights.

use super::*;

#[tokio::test]
async fn tokens_are_listed_and_deleted() {
    let tenant = Tenant::demo().await;
    let admin = tenant.admin().await;
    let ann = tenant.impersonated("auth0|ann").await;
    let bob = tenant.impersonated("auth0|bob").await;
    let path = format!(
        "/api/v1/oauth-tokens?userId={}",
        user_id(&tenant, "auth0|ann")
    );
    assert_eq!(tenant.get(&path, &bob).await.status(), 403);
    let list: Value = tenant.get(&path, &admin).await.json().await.unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(list["data"][0]["clientId"], "demo-broker");
    let one = format!(
        "/api/v1/oauth-tokens/{}",
        list["data"][0]["id"].as_str().unwrap()
    );
    let delete = |bearer: String| {
        let call = tenant.call(Method::DELETE, &one).bearer_auth(bearer);
        call.send()
    };
    assert_eq!(delete(bob).await.unwrap().status(), 403);
    assert_eq!(delete(admin.clone()).await.unwrap().status(), 204);
    assert_eq!(delete(admin).await.unwrap().status(), 404);
    assert!(!tenant.simulator.is_live(&ann));
}

#[tokio::test]
async fn the_tenant_and_its_small_resources() {
    let tenant = Tenant::demo().await;
    let admin = tenant.admin().await;
    let me: Value = tenant
        .get("/api/v1/tenants/me", &admin)
        .await
        .json()
        .await
        .unwrap();
    let address = tenant.simulator.address().to_string();
    assert_eq!(me["hostnames"], json!([address]));
    assert!(me["id"].is_string() && me["name"].is_string());
    let spaces: Value = tenant
        .get("/api/v1/spaces", &admin)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(spaces["data"], json!([]));
    let entry = json!({ "origin": PORTAL, "frameAncestors": true });
    let answer = tenant
        .send(Method::POST, "/api/v1/csp-origins", &admin, &entry)
        .await;
    assert_eq!(answer.status(), 201);
    let list: Value = tenant
        .get("/api/v1/csp-origins", &admin)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(list["data"][0]["origin"], PORTAL);
    let text = tenant.get("/", "").await.text().await.unwrap();
    assert!(text.contains("simulator"));
    assert_eq!(tenant.get("/api/v1/none", &admin).await.status(), 404);
}

#[tokio::test]
async fn preflights_know_listed_origins_only() {
    let tenant = Tenant::demo().await;
    let preflight = |origin: &'static str| {
        let call = tenant.call(Method::OPTIONS, "/api/v1/users/me");
        call.header("origin", origin)
            .header("access-control-request-method", "GET")
            .header(
                "access-control-request-headers",
                "authorization,qlik-api-version",
            )
            .send()
    };
    let answer = preflight(PORTAL).await.unwrap();
    assert_eq!(answer.status(), 204);
    let headers = answer.headers();
    assert_eq!(headers["access-control-allow-origin"], PORTAL);
    let allowed = headers["access-control-allow-headers"].to_str().unwrap();
    for header in ["authorization", "content-type", "qlik-api-version"] {
        assert!(allowed.contains(header), "{header}");
    }
    let answer = preflight("http://evil.example").await.unwrap();
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    assert_eq!(tenant.simulator.calls(Call::Preflight), 2);
    assert_eq!(tenant.simulator.calls(Call::Any), 0);
}
