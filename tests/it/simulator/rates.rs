//! Tier budgets and their windows.

use super::*;

fn limited(calls: usize, window: Duration) -> World {
    World {
        tier2: Some(RateLimit { calls, window }),
        ..World::demo()
    }
}

async fn assert_throttled(answer: Response) {
    assert_eq!(answer.status(), 429);
    let wait: u64 = answer.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let body: Value = answer.json().await.unwrap();
    let detail = format!("You need to wait {wait} seconds until limit is lifted.");
    let error = json!({ "code": "HTTP-429", "title": "API rate limit reached.", "detail": detail });
    assert_eq!(body, json!({ "errors": [error] }));
}

#[tokio::test]
async fn tier_two_is_shared_by_tokens_and_writes() {
    let tenant = Tenant::of(limited(3, Duration::from_secs(60))).await;
    let admin = tenant.admin().await;
    let new = json!({ "subject": "x" });
    let answer = tenant
        .send(Method::POST, "/api/v1/users", &admin, &new)
        .await;
    assert_eq!(answer.status(), 201);
    tenant.admin().await;
    assert_throttled(tenant.token(&management()).await).await;
    let new = json!({ "subject": "y" });
    let answer = tenant
        .send(Method::POST, "/api/v1/users", &admin, &new)
        .await;
    assert_throttled(answer).await;
    assert_eq!(tenant.get("/api/v1/users", &admin).await.status(), 200);
    tenant.impersonated("auth0|ann").await;
    let body = json!({ "token": admin });
    let answer = tenant.control(Method::POST, "/oauth/revoke", &body).await;
    assert_throttled(answer).await;
    tenant.simulator.reset();
    tenant.admin().await;
}

#[tokio::test]
async fn the_window_slides() {
    let tenant = Tenant::of(limited(2, Duration::from_millis(300))).await;
    tenant.impersonated("auth0|ann").await;
    tenant.impersonated("auth0|ann").await;
    assert_throttled(tenant.token(&impersonation("auth0|ann")).await).await;
    tokio::time::sleep(Duration::from_millis(350)).await;
    tenant.impersonated("auth0|ann").await;
    assert_eq!(tenant.simulator.calls(Call::Token), 4);
}
