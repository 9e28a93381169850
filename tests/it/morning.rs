//! Nine o'clock on Monday: 2000 people at once, a hundred times as fast as a real tenant has them.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use qlik_token_broker::simulator::{Call, RateLimit, Simulator};
use qlik_token_broker::tenant::Rate;

use super::harness::{Broker, header, key_table, tenant_table, token, world};
use super::portal::{Key, Portal};

const CROWD: usize = 2000;
const WARM: usize = 20;
/// A tenant's 500 calls in 5 minutes.
const WINDOW: RateLimit = RateLimit {
    calls: 500,
    window: Duration::from_secs(3),
};
/// 72 a minute and 100 at once: in fast motion the way to the tenant takes a part of the window.
const PER_SECOND: u32 = 120;
const BURST: u32 = 100;

/// Asks as `client.js` does: after a 503 again, when the answer says so. Returns when it was served,
/// and by how many tries.
async fn insist(broker: &Broker, session: &str, started: Instant) -> (Duration, usize) {
    for tries in 1.. {
        let answer = broker.ask_as(session).send().await.unwrap();
        if answer.status() == 200 {
            return (started.elapsed(), tries);
        }
        assert_eq!(answer.status(), 503);
        let wait: u64 = header(&answer, "retry-after").parse().unwrap();
        assert!((1..=45).contains(&wait));
        tokio::time::sleep(Duration::from_secs(wait)).await;
    }
    unreachable!()
}

/// How long hits take, in microseconds, for as long as `going` says; sorted.
async fn hits(broker: &Broker, sessions: &[String], until: Instant) -> Vec<u128> {
    let hitting = sessions.iter().map(|session| async move {
        let mut took = Vec::new();
        while Instant::now() < until {
            let asked = Instant::now();
            assert_eq!(token(broker.ask_as(session)).await.source, "local");
            took.push(asked.elapsed().as_micros());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        took
    });
    let mut all = join_all(hitting).await.concat();
    all.sort_unstable();
    all
}

fn percentile(sorted: &[u128], percent: usize) -> u128 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[ignore = "needs the machine for itself: scripts/test runs it"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_people_at_nine_o_clock() {
    let mut world = world();
    for user in 0..CROWD + WARM {
        world = world.with_user(format!("auth0|u{user}"), format!("u{user}@acme.test"));
    }
    world.tier2 = Some(WINDOW);
    let tenant = Simulator::start(world).await.unwrap();
    let portal = Portal::start(Key::p256()).await;
    let config = "[server]\nrequest_timeout = '1s'\n[limits]\nsession_per_minute = 0\n".to_owned()
        + &key_table(&["acme"])
        + &portal.table()
        + &tenant_table("acme", &tenant.url());
    let rate = Rate {
        per_minute: NonZeroU32::new(PER_SECOND * 60).unwrap(),
        burst: NonZeroU32::new(BURST).unwrap(),
    };
    let broker = Broker::start_paced(&config, rate);
    let session = |user: usize| portal.session(&format!("u{user}"));
    let warm: Vec<_> = (CROWD..CROWD + WARM).map(session).collect();
    for session in &warm {
        token(broker.ask_as(session)).await;
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    let quiet = hits(&broker, &warm, Instant::now() + Duration::from_secs(3)).await;

    let cold: Vec<_> = (0..CROWD).map(session).collect();
    let started = Instant::now();
    let crowd = cold.iter().enumerate().map(|(index, session)| {
        let broker = &broker;
        async move {
            // In the order of their numbers.
            tokio::time::sleep(Duration::from_millis(index as u64)).await;
            insist(broker, session, started).await
        }
    });
    // In the first rush this machine is also busy with being the crowd.
    let meanwhile = async {
        let rush = hits(&broker, &warm, started + Duration::from_secs(3)).await;
        let busy = hits(&broker, &warm, started + Duration::from_secs(12)).await;
        (rush, busy)
    };
    let (served, (rush, busy)) = tokio::join!(join_all(crowd), meanwhile);

    let last = served.iter().map(|(at, _)| *at).max().unwrap();
    let arithmetic =
        Duration::from_secs(u64::try_from(CROWD).unwrap() - u64::from(BURST)) / PER_SECOND;
    // Who is told to come back in whole seconds comes a second late, and so does the test's machine.
    assert!(last + Duration::from_secs(1) >= arithmetic, "{last:?}");
    assert!(
        last < arithmetic + Duration::from_secs(6),
        "{last:?} for {arithmetic:?}"
    );
    let requests = tenant.requests();
    assert!(
        requests.iter().all(|request| request.status != Some(429)),
        "a 429 was provoked"
    );
    // A call that the busy machine answered too late was made again.
    let calls = tenant.calls(Call::TokenImpersonation);
    assert!(
        (CROWD + WARM..CROWD + WARM + CROWD / 20).contains(&calls),
        "{calls} calls"
    );

    // First come, first served, as far as the machine let them come in the order of their numbers.
    let minted = requests.iter().filter_map(|request| {
        let user = request.body.as_ref()?["user_lookup"]["value"].as_str()?;
        user.strip_prefix("auth0|u")?.parse::<usize>().ok()
    });
    let minted: Vec<_> = minted.filter(|user| *user < CROWD).collect();
    let displaced = minted
        .iter()
        .enumerate()
        .map(|(place, user)| place.abs_diff(*user));
    let displaced = displaced.max().unwrap();
    assert!(displaced < CROWD / 4, "somebody was {displaced} places off");

    println!(
        "{CROWD} cold users: the last one served after {last:.1?} (arithmetic {arithmetic:.1?}), {} tries at most, \
         at most {displaced} places off; warm hits quiet p50 {} us p99 {} us, in the rush p50 {} us p99 {} us, after it p50 {} us p99 {} us",
        served.iter().map(|(_, tries)| tries).max().unwrap(),
        percentile(&quiet, 50),
        percentile(&quiet, 99),
        percentile(&rush, 50),
        percentile(&rush, 99),
        percentile(&busy, 50),
        percentile(&busy, 99),
    );
}
