//! The token endpoint, revocation and discovery.

use super::*;

#[tokio::test]
async fn impersonation_answers_as_documented() {
    let tenant = Tenant::demo().await;
    let id = user_id(&tenant, "auth0|ann");
    let lookup = json!({ "field": "userId", "value": id });
    let answer = tenant
        .token(&with(impersonation(""), "user_lookup", lookup))
        .await;
    assert_eq!(answer.status(), 200);
    let body: Value = answer.json().await.unwrap();
    let mut keys: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "access_token",
            "expires_at",
            "expires_in",
            "scope",
            "token_type"
        ]
    );
    assert_eq!(body["scope"], "user_default");
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["expires_in"], 21600);
    let at = body["expires_at"].as_str().unwrap();
    assert!(
        at.len() == 24 && at.ends_with('Z') && at.as_bytes()[19] == b'.',
        "{at}"
    );
}

#[tokio::test]
async fn tokens_are_es384_and_say_nothing_about_the_user() {
    let tenant = Tenant::demo().await;
    let token = tenant.impersonated("auth0|ann").await;
    let other = tenant.impersonated("auth0|ann").await;
    let (header, payload) = claims(&token);
    assert!(
        token.starts_with(&URL_SAFE_NO_PAD.encode(r#"{"alg":"ES384","typ":"#)[..24]),
        "{token}"
    );
    assert_eq!(header["alg"], "ES384");
    let mut keys: Vec<_> = payload.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(
        keys,
        ["aud", "exp", "iat", "iss", "jti", "purpose", "subType"]
    );
    assert_eq!(payload["aud"], tenant.simulator.url());
    assert_eq!(payload["iss"], "qlik.api");
    assert_eq!(payload["subType"], "user");
    assert_eq!(payload["purpose"], "accessToken");
    assert_eq!(
        payload["exp"].as_i64().unwrap() - payload["iat"].as_i64().unwrap(),
        21600
    );
    assert_ne!(payload["jti"], claims(&other).1["jti"]);
}

#[tokio::test]
async fn the_key_set_verifies_tokens() {
    let tenant = Tenant::demo().await;
    let token = tenant.impersonated("auth0|ann").await;
    let answer = tenant.get("/.well-known/jwks.json", "").await;
    let keys: Value = answer.json().await.unwrap();
    let key = &keys["keys"][0];
    assert_eq!(key["kid"], claims(&token).0["kid"]);
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let point = [vec![4], part("x"), part("y")].concat();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED,
        point,
    );
    key.verify(
        signed.as_bytes(),
        &URL_SAFE_NO_PAD.decode(signature).unwrap(),
    )
    .unwrap();
}

#[tokio::test]
async fn credentials_work_in_body_header_and_form() {
    let tenant = Tenant::demo().await;
    let answer = tenant.token(&management()).await;
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["scope"], "admin_classic user_default");
    let basic = tenant
        .call(Method::POST, "/oauth/token")
        .basic_auth("demo-management", Some(World::DEMO_MANAGEMENT_SECRET));
    let answer = basic
        .json(&json!({ "grant_type": CLIENT_CREDENTIALS }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let form = format!(
        "grant_type=client_credentials&client_id=demo-management&client_secret={}&scope=user_default",
        World::DEMO_MANAGEMENT_SECRET
    );
    let call = tenant.call(Method::POST, "/oauth/token").header(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    );
    let body: Value = call.body(form).send().await.unwrap().json().await.unwrap();
    assert_eq!(body["scope"], "user_default", "{body}");
    assert_eq!(tenant.simulator.calls(Call::TokenClientCredentials), 3);
}

#[tokio::test]
async fn bad_credentials_are_told_apart() {
    let tenant = Tenant::demo().await;
    let wrong = with(management(), "client_secret", json!("no"));
    refused(tenant.token(&wrong).await, 401, "OAUTH-22").await;
    let unknown = with(management(), "client_id", json!("nobody"));
    refused(tenant.token(&unknown).await, 401, "OAUTH-5").await;
    let none = without(management(), "client_secret");
    refused(tenant.token(&none).await, 401, "OAUTH-5").await;
    let both = tenant
        .call(Method::POST, "/oauth/token")
        .basic_auth("demo-management", Some("x"))
        .json(&management())
        .send();
    refused(both.await.unwrap(), 400, "OAUTH-900").await;
}

#[tokio::test]
async fn scopes_are_one_text_within_the_clients() {
    let tenant = Tenant::demo().await;
    let scoped = |scope: Value| with(impersonation("auth0|ann"), "scope", scope);
    let answer = tenant
        .token(&scoped(json!("user_default spaces:read")))
        .await;
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["scope"], "user_default spaces:read");
    let answer = tenant
        .token(&without(impersonation("auth0|ann"), "scope"))
        .await;
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["scope"], "user_default apps:read spaces:read");
    refused(
        tenant.token(&scoped(json!("admin_classic"))).await,
        400,
        "OAUTH-905",
    )
    .await;
    refused(
        tenant.token(&scoped(json!("user_default,apps:read"))).await,
        400,
        "OAUTH-905",
    )
    .await;
    refused(
        tenant.token(&scoped(json!(["user_default"]))).await,
        400,
        "OAUTH-900",
    )
    .await;
}

#[tokio::test]
async fn grants_and_consent_are_checked() {
    let world = World::demo().with_client(
        ClientSetup::new("new")
            .secret("s")
            .grant(IMPERSONATION)
            .scopes("user_default"),
    );
    let tenant = Tenant::of(world).await;
    let wrong = with(
        impersonation("auth0|ann"),
        "grant_type",
        json!(CLIENT_CREDENTIALS),
    );
    refused(tenant.token(&wrong).await, 400, "OAUTH-906").await;
    let untrusted = with(impersonation("auth0|ann"), "client_id", json!("new"));
    let untrusted = with(untrusted, "client_secret", json!("s"));
    refused(tenant.token(&untrusted).await, 401, "OAUTH-14").await;
    let refresh = with(management(), "grant_type", json!("refresh_token"));
    refused(tenant.token(&refresh).await, 401, "OAUTH-907").await;
    let other = with(management(), "grant_type", json!("password"));
    refused(tenant.token(&other).await, 400, "OAUTH-900").await;
}

#[tokio::test]
async fn users_must_exist_and_be_active() {
    let tenant = Tenant::demo().await;
    refused(
        tenant.token(&impersonation("nobody")).await,
        400,
        "OAUTH-902",
    )
    .await;
    tenant
        .simulator
        .with_world(|world| world.refusals.unknown_user = Refusal::new(404, "X-1", "No"));
    refused(tenant.token(&impersonation("nobody")).await, 404, "X-1").await;
    refused(tenant.token(&impersonation("AUTH0|ann")).await, 404, "X-1").await;
    let id = user_id(&tenant, "auth0|bob");
    tenant
        .simulator
        .with_world(|world| world.user_mut(&id).unwrap().status = UserStatus::Disabled);
    refused(
        tenant.token(&impersonation("auth0|bob")).await,
        403,
        "OAUTH-903",
    )
    .await;
    let email = json!({ "field": "email", "value": "ann@example.com" });
    let email = with(impersonation(""), "user_lookup", email);
    refused(tenant.token(&email).await, 400, "OAUTH-900").await;
    let missing = without(impersonation(""), "user_lookup");
    refused(tenant.token(&missing).await, 400, "OAUTH-900").await;
}

#[tokio::test]
async fn a_maximum_of_tokens_per_user_can_be_set() {
    let world = World {
        max_tokens_per_user: Some(1),
        ..World::demo()
    };
    let tenant = Tenant::of(world).await;
    let first = tenant.impersonated("auth0|ann").await;
    refused(
        tenant.token(&impersonation("auth0|ann")).await,
        403,
        "OAUTH-904",
    )
    .await;
    tenant.impersonated("auth0|bob").await;
    let revoked = tenant
        .control(Method::POST, "/oauth/revoke", &json!({ "token": first }))
        .await;
    assert_eq!(revoked.status(), 200);
    tenant.impersonated("auth0|ann").await;
}

#[tokio::test]
async fn exchange_is_public_but_bound_to_the_origin() {
    let tenant = Tenant::demo().await;
    let token = tenant.impersonated("auth0|ann").await;
    let body = json!({
        "grant_type": EXCHANGE, "client_id": "demo-broker", "purpose": "websocket",
        "subject_token": token, "subject_token_type": ACCESS, "redirect_uri": "http://localhost:3000/",
    });
    let from = |origin: &'static str| {
        let call = tenant.call(Method::POST, "/oauth/token").json(&body);
        call.header("origin", origin).send()
    };
    let answer = from(PORTAL).await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-origin"], PORTAL);
    assert_eq!(answer.headers()["access-control-allow-credentials"], "true");
    assert_eq!(answer.headers()["vary"], "Origin");
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["issued_token_type"], ACCESS);
    let exchanged = answer["access_token"].as_str().unwrap();
    assert_eq!(claims(exchanged).1["purpose"], "websocket");
    assert_eq!(
        tenant.get("/api/v1/users/me", exchanged).await.status(),
        401
    );
    let foreign = from("http://evil.example").await.unwrap();
    assert!(
        !foreign
            .headers()
            .contains_key("access-control-allow-origin")
    );
    refused(foreign, 400, "OAUTH-29").await;
    assert_eq!(tenant.simulator.revoke_user("auth0|ann"), 2);
    refused(from(PORTAL).await.unwrap(), 401, "OAUTH-907").await;
    let purpose = with(body.clone(), "purpose", json!("download"));
    refused(tenant.token(&purpose).await, 400, "OAUTH-900").await;
    assert_eq!(tenant.simulator.calls(Call::TokenExchange), 4);
}

#[tokio::test]
async fn impersonation_with_a_foreign_origin_is_refused() {
    let tenant = Tenant::demo().await;
    let call = tenant
        .call(Method::POST, "/oauth/token")
        .json(&impersonation("auth0|ann"));
    let answer = call.header("origin", "http://evil.example").send().await;
    refused(answer.unwrap(), 400, "OAUTH-29").await;
    let record = tenant.simulator.requests().remove(0);
    assert_eq!(record.headers["origin"], "http://evil.example");
}

#[tokio::test]
async fn tokens_expire() {
    let world = World {
        token_life: Duration::from_millis(300),
        ..World::demo()
    };
    let tenant = Tenant::of(world).await;
    let token = tenant.impersonated("auth0|ann").await;
    assert_eq!(tenant.get("/api/v1/users/me", &token).await.status(), 307);
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(tenant.get("/api/v1/users/me", &token).await.status(), 401);
    assert!(!tenant.simulator.is_live(&token));
}

#[tokio::test]
async fn revoked_tokens_die() {
    let tenant = Tenant::demo().await;
    let token = tenant.impersonated("auth0|ann").await;
    let form = tenant
        .call(Method::POST, "/oauth/revoke")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("token={token}&token_type_hint=access_token"));
    assert_eq!(form.send().await.unwrap().status(), 200);
    let answer = tenant.get("/api/v1/users/me", &token).await;
    assert_eq!(answer.status(), 401);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["errors"][0]["status"], 401);
    let unknown = json!({ "token": "unknown" });
    let answer = tenant
        .control(Method::POST, "/oauth/revoke", &unknown)
        .await;
    refused(answer, 400, "OAUTH-908").await;
    tenant
        .simulator
        .with_world(|world| world.refusals.unknown_token.status = 200);
    let answer = tenant
        .control(Method::POST, "/oauth/revoke", &unknown)
        .await;
    assert_eq!(answer.status(), 200);
    let answer = tenant
        .control(Method::POST, "/oauth/revoke", &json!({}))
        .await;
    refused(answer, 400, "OAUTH-900").await;
}

#[tokio::test]
async fn discovery_names_the_endpoints() {
    let tenant = Tenant::demo().await;
    let answer = tenant
        .get("/.well-known/oauth-authorization-server", "")
        .await;
    let body: Value = answer.json().await.unwrap();
    let url = tenant.simulator.url();
    assert_eq!(body["issuer"], url);
    assert_eq!(body["token_endpoint"], format!("{url}/oauth/token"));
    assert_eq!(body["revocation_endpoint"], format!("{url}/oauth/revoke"));
    assert_eq!(body["jwks_uri"], format!("{url}/.well-known/jwks.json"));
}
