//! The groups that a session names: set before the token is minted that has to show them.

use std::time::Duration;

use qlik_token_broker::simulator::{Call, Fault, Group, World};
use serde_json::{Value, json};

use super::{PROFILE, Setup};
use crate::directory::BY_SUBJECT;
use crate::harness::{Token, managed_world, refused, token, who_is};

/// A pause short enough to be waited for.
const PAUSE: &str = "[cache]\nrenewal_pause = '1s'\n";

fn world() -> World {
    let mut world = managed_world();
    world.group_settings.auto_create = true;
    world
}

async fn setup(world: World) -> Setup {
    let profile = PROFILE.replace(" }", ", groups = '{groups}' }");
    Setup::of(world, BY_SUBJECT, &profile, PAUSE).await
}

impl Setup {
    /// The names and kinds of a user's groups.
    fn groups(&self, subject: &str) -> Vec<(String, String)> {
        let user = self.user(subject).unwrap();
        let groups = user.groups.into_iter();
        groups
            .map(|group| (group.name, group.provider_type))
            .collect()
    }

    /// What the last patch said.
    fn last_patch(&self) -> Value {
        let requests = self.tenant.requests().into_iter();
        let mut patches = requests.filter(|request| request.call == Call::UserPatch);
        patches.next_back().unwrap().body.unwrap()
    }

    /// Asks until it is another token than `held`: after the renewal pause.
    async fn next_token(&self, user: &str, claims: &Value, held: &Token) -> Token {
        for _ in 0..60 {
            let got = token(self.ask(user, claims)).await;
            if got.id != held.id {
                return got;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no new token within 3 s");
    }
}

fn idp(names: &[&str]) -> Vec<(String, String)> {
    let groups = names.iter();
    groups.map(|name| ((*name).into(), "idp".into())).collect()
}

#[tokio::test]
async fn a_created_user_is_put_into_its_groups_before_the_token() {
    let setup = setup(world()).await;
    let claims = json!({"groups": ["sales", "emea"]});
    let theirs = token(setup.ask("new", &claims)).await;
    assert_eq!(who_is(&setup.tenant, &theirs.text).await, "auth0|new");
    assert_eq!(setup.calls(), [1, 1, 1, 1]);
    assert_eq!(setup.groups("auth0|new"), idp(&["emea", "sales"]));
    let value = json!([
        {"name": "emea", "providerType": "idp"},
        {"name": "sales", "providerType": "idp"},
    ]);
    let patch = json!([{"op": "replace", "path": "/assignedGroups", "value": value}]);
    assert_eq!(setup.last_patch(), patch);
    let order: Vec<_> = setup.tenant.requests().iter().map(|r| r.call).collect();
    let position = |call| order.iter().position(|made| *made == call);
    assert!(position(Call::UserPatch) < position(Call::TokenImpersonation));
}

#[tokio::test]
async fn groups_that_are_set_already_are_not_set_again() {
    let mut world = world();
    let groups = ["sales", "emea"].map(|name| Group {
        id: name.into(),
        name: name.into(),
        provider_type: "idp".into(),
    });
    world.users[0].groups = groups.into();
    let setup = setup(world).await;
    token(setup.ask("ann", &json!({"groups": ["emea", "sales", "emea"]}))).await;
    assert_eq!(setup.calls(), [1, 0, 0, 1]);
    let narrow = json!({"scope": "apps:read spaces:read"});
    let claims = json!({"groups": ["sales", "emea"]});
    token(setup.ask("ann", &claims).json(&narrow)).await;
    assert_eq!(setup.calls(), [2, 0, 0, 2], "nor for other scopes");
}

#[tokio::test]
async fn another_set_of_groups_is_one_patch_and_one_mint() {
    let setup = setup(world()).await;
    let first = token(setup.ask("ann", &json!({"groups": ["sales"]}))).await;
    let same = json!({"groups": ["sales"], "jti": "same"});
    assert_eq!(token(setup.ask("ann", &same)).await.id, first.id);
    assert_eq!(setup.calls(), [1, 0, 1, 1]);
    let other = json!({"groups": ["board"], "jti": "other"});
    let second = setup.next_token("ann", &other, &first).await;
    assert_eq!(who_is(&setup.tenant, &second.text).await, "auth0|ann");
    assert_eq!(setup.groups("auth0|ann"), idp(&["board"]));
    assert_eq!(setup.calls(), [2, 0, 2, 2]);
    let again = token(setup.ask("ann", &other)).await;
    assert_eq!((again.id, again.source), (second.id, "local".into()));
    assert_eq!(setup.calls(), [2, 0, 2, 2]);
}

/// Each of them saw a token of its own groups, and that is enough.
#[tokio::test]
async fn two_sessions_that_disagree_do_not_take_turns() {
    let setup = setup(world()).await;
    let [sales, board] = ["sales", "board"].map(|group| {
        let claims = json!({"name": "Ann", "groups": [group]});
        setup.portal.session_with("ann", &claims)
    });
    let ask = |session: &str| token(setup.broker.ask_as(session));
    ask(&sales).await;
    for session in [&board, &sales, &board, &sales] {
        tokio::time::sleep(Duration::from_secs(1)).await;
        ask(session).await;
    }
    assert_eq!(setup.calls(), [2, 0, 2, 2]);
}

#[tokio::test]
async fn a_session_in_no_group_is_taken_out_of_all_and_one_without_the_claim_is_left_alone() {
    let mut world = world();
    world.users[0].groups = vec![Group {
        id: "sales".into(),
        name: "sales".into(),
        provider_type: "idp".into(),
    }];
    let setup = setup(world).await;
    token(setup.ask("ann", &json!({"groups": null}))).await;
    // Whoever lost a group would keep it.
    for odd in [
        json!(7),
        json!([["sales"]]),
        json!({"a": "b"}),
        json!(["a", 7]),
        json!([""]),
    ] {
        let asking = setup.ask("ann", &json!({"groups": odd}));
        refused(asking, 403, "user_not_mapped").await;
    }
    assert_eq!(setup.groups("auth0|ann"), idp(&["sales"]));
    assert_eq!(setup.calls()[1..], [0, 0, 1]);
    let claims = json!({"groups": [], "jti": "none"});
    let held = token(setup.ask("ann", &json!({}))).await;
    setup.next_token("ann", &claims, &held).await;
    assert_eq!(setup.groups("auth0|ann"), []);
    assert_eq!(setup.calls()[1..], [0, 1, 2]);
}

#[tokio::test]
async fn groups_that_are_taken_in_part_give_no_token() {
    let setup = setup(world()).await;
    setup
        .tenant
        .on_until_cleared(Call::UserPatch, Fault::MultiStatus);
    let claims = json!({"groups": ["sales"]});
    for _ in 0..2 {
        refused(setup.ask("ann", &claims), 502, "tenant_malformed").await;
        assert_eq!(setup.calls(), [1, 0, 1, 0], "remembered");
    }
    token(setup.ask("bob", &json!({}))).await;
}

/// Without its groups a token would show too much, or too little.
#[tokio::test]
async fn without_the_management_client_groups_give_no_token() {
    let setup = setup(world()).await;
    let down = Fault::Status {
        status: 500,
        code: None,
        title: None,
    };
    setup.tenant.on_until_cleared(Call::Users, down);
    let claims = json!({"groups": ["sales"]});
    refused(setup.ask("ann", &claims), 503, "tenant_unavailable").await;
    assert_eq!(setup.calls()[3], 0);
    token(setup.ask("bob", &json!({}))).await;
}

#[tokio::test]
async fn groups_that_the_tenant_does_not_have_give_no_token() {
    let setup = setup(managed_world()).await;
    let claims = json!({"groups": ["sales"]});
    refused(setup.ask("ann", &claims), 502, "tenant_refused_client").await;
    assert_eq!(setup.calls(), [1, 0, 1, 0]);
    token(setup.ask("bob", &json!({}))).await;
}

/// The identity provider knows nothing of groups that the tenant keeps itself.
#[tokio::test]
async fn the_tenant_s_own_groups_of_a_user_stay() {
    let custom = Group {
        id: "vip".into(),
        name: "vip".into(),
        provider_type: "custom".into(),
    };
    let mut world = world();
    world.groups.push(custom.clone());
    world.users[0].groups = vec![custom];
    let setup = setup(world).await;
    token(setup.ask("ann", &json!({"groups": ["sales"]}))).await;
    let vip = ("vip".to_owned(), "custom".to_owned());
    assert!(setup.groups("auth0|ann").contains(&vip));
    assert!(setup.groups("auth0|ann").contains(&idp(&["sales"])[0]));
}
