//! Scripted faults, over HTTP and in process.

use super::*;

async fn faulted(fault: Value) -> Response {
    let tenant = Tenant::demo().await;
    tenant.script("token_impersonation", &fault).await;
    let answer = tenant.token(&impersonation("auth0|ann")).await;
    assert_eq!(tenant.simulator.calls(Call::TokenImpersonation), 1);
    answer
}

#[tokio::test]
async fn refusals_over_http() {
    for (fault, status, code) in [
        (json!({ "type": "wrong_secret" }), 401, "OAUTH-22"),
        (json!({ "type": "unknown_client" }), 401, "OAUTH-5"),
        (json!({ "type": "unknown_user" }), 400, "OAUTH-902"),
        (json!({ "type": "disabled" }), 403, "OAUTH-903"),
        (json!({ "type": "too_many_tokens" }), 403, "OAUTH-904"),
        (json!({ "type": "bad_scope" }), 400, "OAUTH-905"),
        (json!({ "type": "grant_not_allowed" }), 400, "OAUTH-906"),
        (json!({ "type": "untrusted" }), 401, "OAUTH-14"),
        (json!({ "type": "foreign_origin" }), 400, "OAUTH-29"),
        (json!({ "type": "revoked" }), 401, "OAUTH-907"),
        (json!({ "type": "conflict" }), 409, "HTTP-409"),
        (
            json!({ "type": "assertion_refused", "reason": "too_long" }),
            401,
            "OAUTH-901",
        ),
        (
            json!({ "type": "assertion_refused", "reason": "wrong_audience" }),
            401,
            "OAUTH-901",
        ),
        (
            json!({ "type": "assertion_refused", "reason": "unknown_key" }),
            401,
            "OAUTH-901",
        ),
        (
            json!({ "type": "assertion_refused", "reason": "reused" }),
            401,
            "OAUTH-901",
        ),
        (
            json!({ "type": "assertion_refused", "reason": "bad_signature" }),
            401,
            "OAUTH-901",
        ),
        (
            json!({ "type": "assertion_refused", "reason": "expired" }),
            401,
            "OAUTH-901",
        ),
        (json!({ "type": "status", "status": 503 }), 503, "HTTP-503"),
        (
            json!({ "type": "status", "status": 400, "code": "X-1", "title": "No" }),
            400,
            "X-1",
        ),
    ] {
        refused(faulted(fault).await, status, code).await;
    }
}

#[tokio::test]
async fn odd_answers_over_http() {
    let text = |answer: Response| async { answer.text().await.unwrap() };
    let answer = faulted(json!({ "type": "throttle", "retry_after": 13 })).await;
    assert_eq!(
        (answer.status(), &answer.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"13".parse().unwrap())
    );
    let answer = faulted(json!({ "type": "not_json" })).await;
    assert_eq!(answer.status(), 200);
    assert!(serde_json::from_str::<Value>(&text(answer).await).is_err());
    let answer = faulted(json!({ "type": "html5xx" })).await;
    assert_eq!(answer.status(), 502);
    assert!(text(answer).await.starts_with("<html>"));
    let answer = faulted(json!({ "type": "no_content" })).await;
    assert_eq!(answer.status(), 204);
    let answer = faulted(json!({ "type": "redirect" })).await;
    assert_eq!(
        (answer.status(), answer.headers().contains_key("location")),
        (StatusCode::TEMPORARY_REDIRECT, true)
    );
    let answer = faulted(json!({ "type": "ok_with_errors" })).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.json::<Value>().await.unwrap()["errors"][0]["code"],
        "OAUTH-5"
    );
    let answer = faulted(json!({ "type": "rfc6749", "error": "invalid_client" })).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(
        answer.json::<Value>().await.unwrap()["error"],
        "invalid_client"
    );
    let answer = faulted(json!({ "type": "multi_status" })).await;
    assert_eq!(answer.status(), 207);
    let answer = faulted(json!({ "type": "cut_mid_answer" })).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.is_err());
    let answer = faulted(json!({ "type": "huge_body" })).await;
    assert!(text(answer).await.len() > 1024 * 1024);
}

#[tokio::test]
async fn altered_answers_over_http() {
    for (fault, key, value) in [
        (
            json!({ "type": "missing_expires_in" }),
            "expires_in",
            Value::Null,
        ),
        (
            json!({ "type": "missing_expires_and_at" }),
            "expires_at",
            Value::Null,
        ),
        (json!({ "type": "missing_scope" }), "scope", Value::Null),
        (
            json!({ "type": "missing_token" }),
            "access_token",
            Value::Null,
        ),
        (
            json!({ "type": "narrow_scope", "scope": "apps:read" }),
            "scope",
            json!("apps:read"),
        ),
        (
            json!({ "type": "wrong_token_type" }),
            "token_type",
            json!("mac"),
        ),
        (json!({ "type": "empty_token" }), "access_token", json!("")),
        (
            json!({ "type": "expires_in", "seconds": -5 }),
            "expires_in",
            json!(-5),
        ),
        (
            json!({ "type": "expires_at", "value": "soon" }),
            "expires_at",
            json!("soon"),
        ),
    ] {
        let answer = faulted(fault.clone()).await;
        assert_eq!(answer.status(), 200);
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body[key], value, "{fault}");
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "measures a delay")]
async fn late_answers_over_http() {
    let start = Instant::now();
    assert_eq!(
        faulted(json!({ "type": "slow", "millis": 200 }))
            .await
            .status(),
        200
    );
    assert!(start.elapsed() >= Duration::from_millis(200));
    let tenant = Tenant::demo().await;
    tenant.script("token", &json!({ "type": "hang" })).await;
    let call = tenant
        .call(Method::POST, "/oauth/token")
        .json(&management());
    let call = call.timeout(Duration::from_millis(200)).send().await;
    assert!(call.unwrap_err().is_timeout());
    assert_eq!(tenant.simulator.calls(Call::Token), 1);
    assert_eq!(tenant.simulator.requests()[0].status, None);
}

#[tokio::test]
async fn a_disconnect_gives_no_answer_but_does_the_work() {
    let tenant = Tenant::demo().await;
    let admin = tenant.admin().await;
    tenant
        .script("user_create", &json!({ "type": "disconnect" }))
        .await;
    let call = tenant
        .call(Method::POST, "/api/v1/users")
        .bearer_auth(&admin);
    let new = json!({ "subject": "new", "status": "active" });
    assert!(call.json(&new).send().await.is_err());
    tenant.impersonated("new").await;
}

/// Where the answer has no body either.
#[tokio::test]
async fn a_disconnect_gives_no_answer_to_a_change() {
    let tenant = Tenant::demo().await;
    let admin = tenant.admin().await;
    let path = "/api/v1/users?filter=email%20eq%20%22bob%40example.com%22";
    let list: Value = tenant.get(path, &admin).await.json().await.unwrap();
    let path = format!("/api/v1/users/{}", list["data"][0]["id"].as_str().unwrap());
    let disable = json!([{ "op": "replace", "path": "/status", "value": "disabled" }]);
    tenant.simulator.on(Call::Any, Fault::Disconnect);
    let call = tenant.call(Method::PATCH, &path).bearer_auth(&admin);
    assert!(call.json(&disable).send().await.is_err());
    let user: Value = tenant.get(&path, &admin).await.json().await.unwrap();
    assert_eq!(user["status"], "disabled");
}

#[tokio::test]
async fn work_is_done_after_the_connection_broke() {
    let tenant = Tenant::demo().await;
    let admin = tenant.admin().await;
    tenant
        .script(
            "user_create",
            &json!({ "type": "works_later", "millis": 200 }),
        )
        .await;
    let new = json!({ "subject": "new", "status": "active" });
    let call = tenant
        .call(Method::POST, "/api/v1/users")
        .bearer_auth(&admin);
    assert!(call.json(&new).send().await.is_err());
    let path = "/api/v1/users?filter=subject%20eq%20%22new%22";
    let found = async || {
        let list: Value = tenant.get(path, &admin).await.json().await.unwrap();
        list["data"].as_array().unwrap().len()
    };
    assert_eq!(found().await, 0);
    while found().await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn faults_of_the_users_api() {
    let tenant = Tenant::demo().await;
    let admin = tenant.admin().await;
    tenant
        .script("users", &json!({ "type": "two_users" }))
        .await;
    let path = "/api/v1/users?filter=email%20eq%20%22bob%40example.com%22";
    let list: Value = tenant.get(path, &admin).await.json().await.unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    assert_ne!(list["data"][0]["id"], list["data"][1]["id"]);
    tenant
        .script("user_create", &json!({ "type": "created_meanwhile" }))
        .await;
    let new = json!({ "subject": "race", "status": "active" });
    let answer = tenant
        .send(Method::POST, "/api/v1/users", &admin, &new)
        .await;
    assert_eq!(answer.status(), 409);
    tenant.impersonated("race").await;
    let path = format!("/api/v1/users/{}", user_id(&tenant, "race"));
    tenant.simulator.on(Call::UserPatch, Fault::MultiStatus);
    let change = json!([{ "op": "replace", "path": "/name", "value": "x" }]);
    let answer = tenant.send(Method::PATCH, &path, &admin, &change).await;
    assert_eq!(answer.status(), 207);
    tenant.simulator.on(Call::UserMe, Fault::Revoked);
    let answer = tenant.get("/api/v1/users/me", &admin).await;
    assert_eq!(answer.status(), 401);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["errors"][0]["status"], 401);
}

#[tokio::test]
async fn faults_queue_up_and_the_narrowest_goes_first() {
    let tenant = Tenant::demo().await;
    let simulator = &tenant.simulator;
    let status = |status| Fault::Status {
        status,
        code: None,
        title: None,
    };
    simulator.on_times(Call::Token, status(500), 2);
    simulator.on(Call::Token, status(501));
    simulator.on(Call::TokenImpersonation, status(502));
    simulator.on_until_cleared(Call::Any, status(503));
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(
            tenant
                .token(&impersonation("auth0|ann"))
                .await
                .status()
                .as_u16(),
        );
    }
    assert_eq!(seen, [502, 500, 500, 501, 503, 503]);
    assert_eq!(tenant.get("/api/v1/users", "").await.status(), 503);
    simulator.clear_faults();
    tenant.impersonated("auth0|ann").await;
}

#[tokio::test]
async fn a_fault_for_some_seconds_ends_by_itself() {
    let tenant = Tenant::demo().await;
    let fault = json!({ "type": "status", "status": 503 });
    for (seconds, times) in [(1, Value::Null), (0, json!(5))] {
        let body = json!({ "call": "token", "fault": fault, "seconds": seconds, "times": times });
        let scripted = tenant.control(Method::POST, "/_simulator/faults", &body);
        assert_eq!(scripted.await.status(), 204);
    }
    for _ in 0..2 {
        assert_eq!(
            tenant.token(&impersonation("auth0|ann")).await.status(),
            503
        );
    }
    tokio::time::sleep(Duration::from_millis(1010)).await;
    tenant.impersonated("auth0|ann").await;
}

#[tokio::test]
async fn bad_scripts_are_refused_by_name() {
    let tenant = Tenant::demo().await;
    for (body, hint) in [
        (
            json!({ "call": "token", "fault": { "type": "nonsense" } }),
            "wrong_secret",
        ),
        (
            json!({ "call": "nonsense", "fault": { "type": "hang" } }),
            "token_impersonation",
        ),
        (
            json!({ "call": "token", "fault": { "type": "hang", "x": 1 } }),
            "no fields",
        ),
        (
            json!({ "call": "token", "fault": { "type": "slow", "seconds": 1 } }),
            "millis",
        ),
        (
            json!({ "call": "token", "fault": { "type": "expires_in", "millis": 1 } }),
            "seconds",
        ),
        (
            json!({ "call": "token", "fault": { "type": "hang" }, "often": 2 }),
            "times",
        ),
        (json!({ "call": "token", "fault": "hang" }), "type"),
    ] {
        let answer = tenant
            .control(Method::POST, "/_simulator/faults", &body)
            .await;
        assert_eq!(answer.status(), 400, "{body}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(hint), "{body}: {text}");
    }
}
