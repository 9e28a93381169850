//! The OAuth clients API, from creation to rotation.

use super::*;

fn seed() -> Value {
    json!({
        "appType": "web", "clientName": "my-embedded-portal",
        "description": "This is an OAuth client created using API calls.",
        "allowedScopes": ["user_default"], "redirectUris": ["https://my-web-app.com/callback"],
        "allowedGrantTypes": [CLIENT_CREDENTIALS, IMPERSONATION],
    })
}

#[tokio::test]
async fn the_documented_provisioning_works_end_to_end() {
    let tenant = Tenant::demo().await;
    let admin = tenant.admin().await;
    let answer = tenant
        .send(Method::POST, "/api/v1/oauth-clients", &admin, &seed())
        .await;
    assert_eq!(answer.status(), 201);
    let client: Value = answer.json().await.unwrap();
    let mut keys: Vec<_> = client.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "allowedGrantTypes",
            "allowedScopes",
            "appType",
            "clientId",
            "clientName",
            "clientSecret",
            "clientSecretHint",
            "clientUri",
            "createdAt",
            "description",
            "logoUri",
            "ownerId",
            "redirectUris",
        ]
    );
    let (id, secret) = (
        client["clientId"].as_str().unwrap(),
        client["clientSecret"].as_str().unwrap(),
    );
    assert_eq!((id.len(), secret.len()), (32, 64));
    assert_eq!(client["clientSecretHint"].as_str().unwrap().len(), 5);
    assert_eq!(client["createdAt"].as_str().unwrap().len(), 30);
    let body = with(impersonation("auth0|ann"), "client_id", json!(id));
    let body = with(body, "client_secret", json!(secret));
    refused(tenant.token(&body).await, 401, "OAUTH-14").await;
    let path = format!("/api/v1/oauth-clients/{id}/connection-configs/me");
    let trust = json!([{ "op": "replace", "path": "/consentMethod", "value": "trusted" }]);
    let answer = tenant.send(Method::PATCH, &path, &admin, &trust).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.text().await.unwrap(), "");
    let config: Value = tenant.get(&path, &admin).await.json().await.unwrap();
    assert_eq!(config["consentMethod"], "trusted");
    assert_eq!(tenant.token(&body).await.status(), 200);
    let answer = tenant
        .send(Method::DELETE, &path, &admin, &Value::Null)
        .await;
    assert_eq!(answer.status(), 204);
    refused(tenant.token(&body).await, 401, "OAUTH-14").await;
}

#[tokio::test]
async fn secrets_rotate_up_to_five() {
    let tenant = Tenant::demo().await;
    let admin = tenant.admin().await;
    let path = "/api/v1/oauth-clients/demo-broker/client-secrets";
    let mut secrets = vec![World::DEMO_BROKER_SECRET.to_owned()];
    let mut hint = String::new();
    for _ in 0..4 {
        let answer = tenant.send(Method::POST, path, &admin, &Value::Null).await;
        assert_eq!(answer.status(), 201);
        let secret: Value = answer.json().await.unwrap();
        for key in ["clientId", "clientSecret", "hint", "createdAt", "createdBy"] {
            assert!(secret[key].is_string(), "{key}");
        }
        secrets.push(secret["clientSecret"].as_str().unwrap().to_owned());
        hint = secret["hint"].as_str().unwrap().to_owned();
    }
    let sixth = tenant.send(Method::POST, path, &admin, &Value::Null).await;
    assert_eq!(sixth.status(), 409);
    for secret in &secrets {
        let body = with(impersonation("auth0|ann"), "client_secret", json!(secret));
        assert_eq!(tenant.token(&body).await.status(), 200);
    }
    let read: Value = tenant
        .get("/api/v1/oauth-clients/demo-broker", &admin)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(read["clientSecrets"].as_array().unwrap().len(), 5);
    assert!(read.get("clientSecret").is_none());
    let drop = format!("{path}/{hint}");
    let answer = tenant
        .send(Method::DELETE, &drop, &admin, &Value::Null)
        .await;
    assert_eq!(answer.status(), 204);
    let answer = tenant
        .send(Method::DELETE, &drop, &admin, &Value::Null)
        .await;
    assert_eq!(answer.status(), 404);
    let body = with(
        impersonation("auth0|ann"),
        "client_secret",
        json!(secrets.last()),
    );
    refused(tenant.token(&body).await, 401, "OAUTH-22").await;
}

#[tokio::test]
async fn patches_answer_204_or_202_with_a_secret() {
    let tenant = Tenant::demo().await;
    let admin = tenant.admin().await;
    let body = with(seed(), "allowedAuthMethods", json!(["private_key_jwt"]));
    let answer = tenant
        .send(Method::POST, "/api/v1/oauth-clients", &admin, &body)
        .await;
    let client: Value = answer.json().await.unwrap();
    assert!(client.get("clientSecret").is_none(), "{client}");
    let path = format!(
        "/api/v1/oauth-clients/{}",
        client["clientId"].as_str().unwrap()
    );
    let change = |path: &'static str, value: Value| json!([{ "op": "replace", "path": path, "value": value }]);
    let origins = change("/allowedOrigins", json!([PORTAL]));
    let answer = tenant.send(Method::PATCH, &path, &admin, &origins).await;
    assert_eq!(answer.status(), 204);
    let methods = change(
        "/allowedAuthMethods",
        json!(["private_key_jwt", "client_secret"]),
    );
    let answer = tenant.send(Method::PATCH, &path, &admin, &methods).await;
    assert_eq!(answer.status(), 202);
    let secret: Value = answer.json().await.unwrap();
    assert_eq!(secret["clientSecret"].as_str().unwrap().len(), 64);
    for bad in [
        change("/appType", json!("spa")),
        change("/allowedScopes", json!("user_default")),
        change("/allowedGrantTypes", json!(["password"])),
        json!([{ "op": "move", "path": "/clientName", "value": "x" }]),
        json!([]),
        json!({}),
    ] {
        let answer = tenant.send(Method::PATCH, &path, &admin, &bad).await;
        assert_eq!(answer.status(), 400, "{bad}");
    }
    let read: Value = tenant.get(&path, &admin).await.json().await.unwrap();
    assert_eq!(read["allowedOrigins"], json!([PORTAL]));
    assert_eq!(read["connectionConfig"]["consentMethod"], "required");
    let publish = format!("{path}/actions/publish");
    let answer = tenant
        .send(Method::POST, &publish, &admin, &Value::Null)
        .await;
    assert_eq!(answer.status(), 201);
    assert!(answer.json::<Value>().await.unwrap()["publishedAt"].is_string());
    let answer = tenant
        .send(Method::DELETE, &path, &admin, &Value::Null)
        .await;
    assert_eq!(answer.status(), 204);
    assert_eq!(tenant.get(&path, &admin).await.status(), 404);
}

#[tokio::test]
async fn creation_is_checked_and_lists_are_filtered() {
    let tenant = Tenant::demo().await;
    let admin = tenant.admin().await;
    let create = |body: Value| {
        let call = tenant.call(Method::POST, "/api/v1/oauth-clients");
        call.bearer_auth(&admin).json(&body).send()
    };
    for bad in [
        without(seed(), "clientName"),
        with(seed(), "appType", json!("desktop")),
        with(seed(), "appType", json!("spa")),
        with(seed(), "allowedGrantTypes", json!(["password"])),
        with(
            seed(),
            "connectionConfig",
            json!({ "consentMethod": "required" }),
        ),
        with(seed(), "publicKeys", json!([{ "kty": "RSA" }])),
    ] {
        assert_eq!(create(bad.clone()).await.unwrap().status(), 400, "{bad}");
    }
    let trusted = with(
        seed(),
        "connectionConfig",
        json!({ "consentMethod": "trusted" }),
    );
    let trusted = with(trusted, "allowedOrigins", json!([PORTAL]));
    assert_eq!(create(trusted.clone()).await.unwrap().status(), 201);
    tenant
        .simulator
        .with_world(|world| world.origins_at_creation = false);
    assert_eq!(create(trusted).await.unwrap().status(), 400);
    let filter = r#"clientName eq "my-embedded-portal""#;
    let list = tenant.call(Method::GET, &filtered("/api/v1/oauth-clients", filter));
    let list: Value = list
        .bearer_auth(&admin)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        list["data"][0]["connectionConfig"]["consentMethod"],
        "trusted"
    );
    let ann = tenant.impersonated("auth0|ann").await;
    let list: Value = tenant
        .get("/api/v1/oauth-clients", &ann)
        .await
        .json()
        .await
        .unwrap();
    assert!(list["data"][0].get("allowedOrigins").is_none());
    let answer = tenant
        .send(Method::POST, "/api/v1/oauth-clients", &ann, &seed())
        .await;
    assert_eq!(answer.status(), 403);
}
