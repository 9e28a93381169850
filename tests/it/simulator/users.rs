//! The users API: redirect, filter, paging, creation, patch, permissions.

use super::*;

#[tokio::test]
async fn me_redirects_to_the_user_or_answers() {
    let tenant = Tenant::demo().await;
    let token = tenant.impersonated("auth0|ann").await;
    let id = user_id(&tenant, "auth0|ann");
    let answer = tenant.get("/api/v1/users/me", &token).await;
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()["location"], format!("/api/v1/users/{id}"));
    let user: Value = tenant
        .get(&format!("/api/v1/users/{id}"), &token)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(user["subject"], "auth0|ann");
    assert_eq!(user["status"], "active");
    assert_eq!(user["id"].as_str().unwrap().len(), 24);
    tenant
        .simulator
        .with_world(|world| world.users_me_redirects = false);
    let answer = tenant.get("/api/v1/users/me?fields=id,name", &token).await;
    assert_eq!(answer.status(), 200);
    let user: Value = answer.json().await.unwrap();
    assert_eq!(user, json!({ "id": id, "name": "Ann Archer" }));
}

#[tokio::test]
async fn a_bot_is_the_user_of_client_credentials() {
    let tenant = Tenant::demo().await;
    let token = tenant.admin().await;
    let followed = Client::new()
        .get(format!("{}/api/v1/users/me", tenant.simulator.url()))
        .bearer_auth(&token);
    let user: Value = followed.send().await.unwrap().json().await.unwrap();
    assert_eq!(user["subject"], "qlikbot\\demo-management");
    assert_eq!(user["clientId"], "demo-management");
    assert_eq!(user["assignedRoles"][0]["name"], "TenantAdmin");
}

async fn found(tenant: &Tenant, token: &str, filter: &str) -> Vec<String> {
    let call = tenant
        .call(Method::POST, "/api/v1/users/actions/filter")
        .bearer_auth(token)
        .json(&json!({ "filter": filter }));
    let answer: Value = call.send().await.unwrap().json().await.unwrap();
    let get = tenant
        .call(Method::GET, &filtered("/api/v1/users", filter))
        .bearer_auth(token);
    let listed: Value = get.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"], listed["data"], "{filter}: {listed}");
    let hits = listed["data"]
        .as_array()
        .unwrap_or_else(|| panic!("{filter}: {listed}"));
    hits.iter()
        .map(|user| user["subject"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn filters_find_users() {
    let odd = r#"odd "quoted" \ and (x"#;
    let tenant = Tenant::of(
        World::demo()
            .with_user(odd, "odd@example.com")
            .with_user("AUTH0|ANN", "ann@example.com"),
    )
    .await;
    let token = tenant.admin().await;
    let anns = ["auth0|ann", "AUTH0|ANN"];
    assert_eq!(
        found(&tenant, &token, r#"email eq "ANN@example.com""#).await,
        anns
    );
    assert_eq!(
        found(&tenant, &token, r#"subject eq "auth0|ann""#).await,
        anns
    );
    assert_eq!(
        found(&tenant, &token, r#"email co "bob" and status eq "active""#).await,
        ["auth0|bob"]
    );
    let group = r#"name co "bob" and (status eq "disabled" or status eq "active")"#;
    assert_eq!(found(&tenant, &token, group).await, ["auth0|bob"]);
    let quoted = format!("subject eq {}", Value::from(odd));
    assert_eq!(found(&tenant, &token, &quoted).await, [odd]);
    assert_eq!(
        found(
            &tenant,
            &token,
            r#"assignedRoles.name eq "TenantAdmin" and email co "@""#
        )
        .await,
        ["auth0|admin"]
    );
    assert_eq!(
        found(&tenant, &token, r#"clientId eq "demo-management""#).await,
        ["qlikbot\\demo-management"]
    );
    assert!(found(&tenant, &token, r#"id eq "none""#).await.is_empty());
}

#[tokio::test]
async fn bad_filters_are_refused() {
    let tenant = Tenant::demo().await;
    let token = tenant.admin().await;
    for filter in [
        "",
        "email",
        r#"email eq "open"#,
        "email eq ann",
        r#"picture eq "x""#,
        r#"id co "x""#,
        r#"email gt "x""#,
        r#"(email eq "x""#,
        r#"email eq "x" email eq "y""#,
        r#"email eq "x" and status eq "active" and status eq "invited""#,
        r#"status eq "active" or status eq "invited""#,
        r#"email eq "\q""#,
    ] {
        let call = tenant.call(Method::GET, &filtered("/api/v1/users", filter));
        let answer = call.bearer_auth(&token).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{filter}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["errors"][0]["status"], 400);
    }
    let deep =
        json!({ "filter": format!("{}email eq \"x\"{}", "(".repeat(5000), ")".repeat(5000)) });
    let call = tenant.send(Method::POST, "/api/v1/users/actions/filter", &token, &deep);
    assert_eq!(call.await.status(), 400);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let mut world = World::demo();
    for number in 0..45 {
        world = world.with_user(
            format!("p{number:02}"),
            format!("p{number:02}@pages.example"),
        );
    }
    let tenant = Tenant::of(world).await;
    let token = tenant.admin().await;
    let mut path =
        "/api/v1/users?limit=20&totalResults=true&sort=-email&filter=email%20co%20%22pages%22"
            .to_owned();
    let mut seen = Vec::new();
    let mut pages = 0;
    loop {
        let page: Value = tenant.get(&path, &token).await.json().await.unwrap();
        assert_eq!(page["totalResults"], 45, "{page}");
        pages += 1;
        for user in page["data"].as_array().unwrap() {
            seen.push(user["subject"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["links"]["next"]["href"].as_str() else {
            assert!(page["links"]["prev"]["href"].is_string());
            break;
        };
        path = next
            .strip_prefix(&tenant.simulator.url())
            .unwrap()
            .to_owned();
    }
    assert_eq!((pages, seen.len()), (3, 45));
    assert!(seen.is_sorted_by(|one, other| one > other));
    for query in ["limit=0", "limit=101", "next=zzz", "sort=picture"] {
        let answer = tenant.get(&format!("/api/v1/users?{query}"), &token).await;
        assert_eq!(answer.status(), 400, "{query}");
    }
}

#[tokio::test]
async fn users_are_created_once() {
    let tenant = Tenant::demo().await;
    let token = tenant.admin().await;
    let create = |body: Value| {
        let call = tenant
            .call(Method::POST, "/api/v1/users")
            .bearer_auth(&token);
        call.json(&body).send()
    };
    let new = json!({ "subject": "auth0|eve", "name": "Eve", "email": "eve@example.com", "status": "active",
        "assignedRoles": [{ "name": "Developer" }] });
    let answer = create(new.clone()).await.unwrap();
    assert_eq!(answer.status(), 201);
    let user: Value = answer.json().await.unwrap();
    assert_eq!(user["assignedRoles"][0]["name"], "Developer");
    assert_eq!(create(new.clone()).await.unwrap().status(), 409);
    tenant.impersonated("auth0|eve").await;
    let groups = with(
        with(new.clone(), "subject", json!("x")),
        "assignedGroups",
        json!([]),
    );
    assert_eq!(create(groups).await.unwrap().status(), 400);
    let status = with(
        with(new, "subject", json!("x")),
        "status",
        json!("disabled"),
    );
    assert_eq!(create(status).await.unwrap().status(), 400);
    assert_eq!(create(json!({ "name": "x" })).await.unwrap().status(), 400);
    let invited = create(json!({ "subject": "inv" })).await.unwrap();
    assert_eq!(invited.json::<Value>().await.unwrap()["status"], "invited");
    refused(tenant.token(&impersonation("inv")).await, 403, "OAUTH-903").await;
}

#[tokio::test]
async fn users_are_patched_as_a_whole() {
    let tenant = Tenant::demo().await;
    let token = tenant.admin().await;
    let path = format!("/api/v1/users/{}", user_id(&tenant, "auth0|ann"));
    let change = |body: Value| {
        let call = tenant.call(Method::PATCH, &path).bearer_auth(&token);
        call.json(&body).send()
    };
    let custom = json!([{ "name": "vip", "providerType": "custom" }]);
    let groups = json!([{ "op": "replace", "path": "/assignedGroups", "value": custom }]);
    assert_eq!(change(groups.clone()).await.unwrap().status(), 400);
    let group = json!({ "name": "vip", "providerType": "custom" });
    let made = tenant
        .send(Method::POST, "/api/v1/groups", &token, &group)
        .await;
    assert_eq!(made.status(), 201);
    let made = tenant
        .send(Method::POST, "/api/v1/groups", &token, &group)
        .await;
    assert_eq!(made.status(), 409);
    assert_eq!(change(groups).await.unwrap().status(), 204);
    let auto = json!([{ "op": "replace", "path": "/autoCreateGroups", "value": true }]);
    let answer = tenant
        .send(Method::PATCH, "/api/v1/groups/settings", &token, &auto)
        .await;
    assert_eq!(answer.status(), 204);
    let both = json!([
        { "op": "add", "path": "/assignedGroups", "value": [{ "name": "sales" }] },
        { "op": "replace", "path": "/name", "value": "Ann A." },
    ]);
    assert_eq!(change(both).await.unwrap().status(), 204);
    let half = json!([
        { "op": "replace", "path": "/name", "value": "other" },
        { "op": "replace", "path": "/email", "value": "other@example.com" },
    ]);
    assert_eq!(change(half).await.unwrap().status(), 400);
    let user: Value = tenant.get(&path, &token).await.json().await.unwrap();
    assert_eq!(user["name"], "Ann A.");
    let groups = user["assignedGroups"].as_array().unwrap();
    let names: Vec<_> = groups
        .iter()
        .map(|group| group["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["vip", "sales"]);
    let listed: Value = tenant
        .get("/api/v1/groups", &token)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let disable = json!([{ "op": "replace", "path": "/status", "value": "disabled" }]);
    let ann = tenant.impersonated("auth0|ann").await;
    assert_eq!(change(disable).await.unwrap().status(), 204);
    refused(
        tenant.token(&impersonation("auth0|ann")).await,
        403,
        "OAUTH-903",
    )
    .await;
    assert_eq!(tenant.get("/api/v1/users/me", &ann).await.status(), 401);
}

#[tokio::test]
async fn permissions_follow_token_and_role() {
    let tenant = Tenant::demo().await;
    let ann = tenant.impersonated("auth0|ann").await;
    assert_eq!(
        tenant
            .call(Method::GET, "/api/v1/users")
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
    assert_eq!(tenant.get("/api/v1/users", "wrong").await.status(), 401);
    assert_eq!(tenant.get("/api/v1/users", &ann).await.status(), 200);
    let new = json!({ "subject": "x" });
    let answer = tenant.send(Method::POST, "/api/v1/users", &ann, &new).await;
    assert_eq!(answer.status(), 403);
    let body = with(impersonation("auth0|ann"), "scope", json!("apps:read"));
    let narrow = access_token(tenant.token(&body).await).await;
    assert_eq!(tenant.get("/api/v1/users", &narrow).await.status(), 403);
    assert_eq!(tenant.get("/api/v1/spaces", &narrow).await.status(), 403);
    let own = format!("/api/v1/users/{}", user_id(&tenant, "auth0|ann"));
    assert_eq!(tenant.get(&own, &narrow).await.status(), 200);
    let answer = tenant.get("/api/v1/users/none", &ann).await;
    assert_eq!(answer.status(), 404);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["errors"][0]["code"], "USERS-7");
    assert_eq!(body["errors"][0]["status"], 404);
}
