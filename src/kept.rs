//! What is kept of many, in bounded memory: beyond a number the least recently seen leave first, and
//! who is not seen for long leaves too.
//!
//! A list in the order of the last look, cut into shards with a lock each. Who is looked for and not
//! there is made under the same lock, so that all who look at the same moment get one and the same.
//! Time is tokio's.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashlink::LinkedHashMap;
use hashlink::linked_hash_map::{RawEntryMut, RawOccupiedEntryMut};
use tokio::time::Instant;

/// So many make a shard worth its lock. Fewer than twice as many are in one, in their exact order.
const SHARD: usize = 1024;
/// More locks than cores that want one at the same moment.
const MOST_SHARDS: usize = 64;
/// A look takes out no more who were not seen for long, beside those in its own way, so that none pays
/// for all of them.
const AT_ONCE: usize = 64;

/// See the module.
pub struct Kept<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    most: usize,
    count: AtomicUsize,
    started: Instant,
    /// In milliseconds.
    idle: AtomicU64,
}

/// The least recently seen are in front.
type Shard<K, V> = LinkedHashMap<K, Seen<V>, RandomState>;
type Entry<'a, K, V> = RawOccupiedEntryMut<'a, K, Seen<V>, RandomState>;

struct Seen<V> {
    value: V,
    /// When, in milliseconds since the start.
    at: u64,
}

impl<K: Hash + Eq, V> Kept<K, V> {
    /// Keeps `most`, which is one at least, and nobody who was not seen for `idle`.
    pub fn new(most: u64, idle: Duration) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
        let shards = (most / SHARD).clamp(1, MOST_SHARDS);
        let hasher = RandomState::new();
        let shard = |_| Mutex::new(Shard::with_hasher(hasher.clone()));
        Self {
            shards: (0..shards).map(shard).collect(),
            hasher,
            most,
            count: AtomicUsize::new(0),
            started: Instant::now(),
            idle: AtomicU64::new(millis(idle)),
        }
    }

    /// From now on nobody leaves who was seen within `idle`. It is never shortened.
    pub fn keep_for(&self, idle: Duration) {
        self.idle.fetch_max(millis(idle), Ordering::Relaxed);
    }

    /// Whether there is one under a key, which is not seen by that.
    pub fn has(&self, key: &K) -> bool {
        self.open(key).entry(key).is_some()
    }

    /// The value under a key, which is seen by that.
    pub fn get(&self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        self.look(key, V::clone)
    }

    /// Looks at the value under a key, which is seen by that. `look` has the lock: it has to be short.
    pub fn look<R>(&self, key: &K, look: impl FnOnce(&V) -> R) -> Option<R> {
        let mut shard = self.open(key);
        shard.find(key).map(|value| look(value))
    }

    /// The value under a key; a `new` one if there is none. `new` has the lock: it has to be short.
    pub fn get_or_insert_with(&self, key: K, new: impl FnOnce() -> V) -> V
    where
        V: Clone,
    {
        self.look_or_insert_with(key, new, V::clone)
    }

    /// Looks at the value under a key; at a `new` one if there is none.
    pub fn look_or_insert_with<R>(
        &self,
        key: K,
        new: impl FnOnce() -> V,
        look: impl FnOnce(&V) -> R,
    ) -> R {
        let mut shard = self.open(&key);
        if let Some(value) = shard.find(&key) {
            return look(value);
        }
        let value = new();
        let outcome = look(&value);
        shard.add(key, value);
        outcome
    }

    /// Puts a value under a key, in the place of the one that is there.
    pub fn insert(&self, key: K, value: V) {
        self.insert_if(key, value, |_| true);
    }

    /// The same, if it `may` take that one's place, or be there at all, which is asked under the lock.
    /// Whether it did.
    pub fn insert_if(&self, key: K, value: V, may: impl FnOnce(Option<&V>) -> bool) -> bool {
        let mut shard = self.open(&key);
        let there = shard.find(&key);
        if !may(there.as_deref()) {
            return false;
        }
        match there {
            Some(there) => {
                let replaced = mem::replace(there, value);
                shard.gone.push(replaced);
            }
            None => shard.add(key, value),
        }
        true
    }

    /// Takes out what is under a key.
    pub fn remove(&self, key: &K) -> Option<V> {
        self.remove_if(key, |_| true)
    }

    /// Takes out what is under a key, if it `is_it`.
    pub fn remove_if(&self, key: &K, is_it: impl FnOnce(&V) -> bool) -> Option<V> {
        let mut shard = self.open(key);
        let entry = shard.entry(key).filter(|it| is_it(&it.get().value))?;
        let taken = entry.remove().value;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(taken)
    }

    /// Drops who was not seen for long, which else happens when others are looked for. How many stay.
    pub fn tidy(&self) -> u64 {
        for shard in &self.shards {
            while self.lock(shard).gone.len() == AT_ONCE {}
        }
        self.count.load(Ordering::Relaxed) as u64
    }

    fn open(&self, key: &K) -> Open<'_, K, V> {
        let hash = self.hasher.hash_one(key);
        // By two bytes that the map in the shard does not go by, which takes the first and the last ones.
        let [_, high, low, ..] = hash.to_be_bytes();
        let number = usize::from(u16::from_be_bytes([high, low])) % self.shards.len();
        let mut open = self.lock(&self.shards[number]);
        open.hash = hash;
        open
    }

    fn lock<'a>(&'a self, shard: &'a Mutex<Shard<K, V>>) -> Open<'a, K, V> {
        let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let now = millis(self.started.elapsed());
        let mut open = Open {
            shard,
            gone: Vec::new(),
            kept: self,
            hash: 0,
            now,
            since: (now + 1).saturating_sub(self.idle.load(Ordering::Relaxed)),
        };
        while open.gone.len() < AT_ONCE
            && open.shard.front().is_some_and(|(_, it)| it.at < open.since)
        {
            open.pop();
        }
        open
    }
}

/// A shard while nobody else has it.
struct Open<'a, K, V> {
    shard: MutexGuard<'a, Shard<K, V>>,
    /// Who leaves is dropped after the lock.
    gone: Vec<V>,
    kept: &'a Kept<K, V>,
    /// Of the key that is looked for.
    hash: u64,
    now: u64,
    /// Who was not seen since is not there any more.
    since: u64,
}

impl<K: Hash + Eq, V> Open<'_, K, V> {
    fn entry(&mut self, key: &K) -> Option<Entry<'_, K, V>> {
        let at = self.shard.raw_entry_mut();
        let RawEntryMut::Occupied(entry) = at.from_key_hashed_nocheck(self.hash, key) else {
            return None;
        };
        if entry.get().at >= self.since {
            return Some(entry);
        }
        self.gone.push(entry.remove().value);
        self.kept.count.fetch_sub(1, Ordering::Relaxed);
        None
    }

    fn find(&mut self, key: &K) -> Option<&mut V> {
        let now = self.now;
        let mut entry = self.entry(key)?;
        entry.to_back();
        let seen = entry.into_mut();
        seen.at = now;
        Some(&mut seen.value)
    }

    /// Adds one that is not found.
    fn add(&mut self, key: K, value: V) {
        let seen = Seen {
            value,
            at: self.now,
        };
        let at = self.shard.raw_entry_mut();
        if let RawEntryMut::Vacant(place) = at.from_key_hashed_nocheck(self.hash, &key) {
            place.insert_hashed_nocheck(self.hash, key, seen);
            self.kept.count.fetch_add(1, Ordering::Relaxed);
        }
        let count = &self.kept.count;
        while count.load(Ordering::Relaxed) > self.kept.most && self.shard.len() > 1 {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, left)) = self.shard.pop_front() {
            self.kept.count.fetch_sub(1, Ordering::Relaxed);
            self.gone.push(left.value);
        }
    }
}

impl<K, V> fmt::Debug for Kept<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count.load(Ordering::Relaxed);
        f.debug_struct("Kept")
            .field("count", &count)
            .finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::{Arc, Barrier, Weak};
    use tokio::time::advance;

    const IDLE: Duration = Duration::from_secs(10);

    #[derive(Clone, Debug)]
    enum Step {
        Get(u8),
        GetOrInsert(u8),
        Insert(u8),
        InsertIf(u8, bool),
        Remove(u8),
        Has(u8),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = 0..8_u8;
        prop_oneof![
            key.clone().prop_map(Step::Get),
            key.clone().prop_map(Step::GetOrInsert),
            key.clone().prop_map(Step::Insert),
            (key.clone(), any::<bool>()).prop_map(|(key, is_there)| Step::InsertIf(key, is_there)),
            key.clone().prop_map(Step::Remove),
            key.prop_map(Step::Has),
            (0..12_u64).prop_map(Step::Wait),
        ]
    }

    /// The same without any cleverness: key, value and last look, in the order of the looks.
    #[derive(Default)]
    struct Model(Vec<(u8, usize, Instant)>);

    impl Model {
        fn get(&mut self, key: u8) -> Option<usize> {
            let there = self.0.iter().position(|it| it.0 == key)?;
            let (key, value, _) = self.0.remove(there);
            self.0.push((key, value, Instant::now()));
            Some(value)
        }

        fn insert(&mut self, key: u8, value: usize, most: usize) {
            self.0.retain(|it| it.0 != key);
            self.0.push((key, value, Instant::now()));
            if self.0.len() > most {
                self.0.remove(0);
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_a_list_in_the_order_of_the_last_looks(
            most in 1..6_usize,
            steps in prop::collection::vec(step(), 1..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let (kept, mut model) = (Kept::new(most as u64, IDLE), Model::default());
                for (number, step) in steps.into_iter().enumerate() {
                    model.0.retain(|it| it.2.elapsed() < IDLE);
                    match step {
                        Step::Get(key) => assert_eq!(kept.get(&key), model.get(key)),
                        Step::GetOrInsert(key) => {
                            let expected = model.get(key).unwrap_or(number);
                            model.insert(key, expected, most);
                            assert_eq!(kept.get_or_insert_with(key, || number), expected);
                        }
                        Step::Insert(key) => {
                            model.insert(key, number, most);
                            kept.insert(key, number);
                        }
                        Step::InsertIf(key, if_there) => {
                            let expected = model.get(key).is_some() == if_there;
                            if expected {
                                model.insert(key, number, most);
                            }
                            let may = |there: Option<&usize>| there.is_some() == if_there;
                            assert_eq!(kept.insert_if(key, number, may), expected);
                        }
                        Step::Has(key) => {
                            let expected = model.0.iter().any(|it| it.0 == key);
                            assert_eq!(kept.has(&key), expected);
                        }
                        Step::Remove(key) => {
                            let there = model.get(key);
                            model.0.retain(|it| it.0 != key);
                            assert_eq!(kept.remove(&key), there);
                        }
                        Step::Wait(seconds) => advance(Duration::from_secs(seconds)).await,
                    }
                }
                model.0.retain(|it| it.2.elapsed() < IDLE);
                assert_eq!(kept.tidy(), model.0.len() as u64);
            });
        }
    }

    #[test]
    fn of_those_who_look_at_the_same_moment_one_makes_it() {
        let kept = Kept::<_, Arc<()>>::new(100_000, IDLE);
        let (barrier, threads) = (Barrier::new(4), 4);
        for key in 0..200 {
            let look = || {
                barrier.wait();
                kept.get_or_insert_with(key, Arc::default)
            };
            let looks: Vec<_> = std::thread::scope(|scope| {
                let looking: Vec<_> = (0..threads).map(|_| scope.spawn(look)).collect();
                looking.into_iter().map(|it| it.join().unwrap()).collect()
            });
            assert!(looks.iter().all(|it| Arc::ptr_eq(it, &looks[0])));
        }
    }

    #[test]
    fn in_many_shards_there_are_never_more_than_so_many() {
        const MOST: u64 = 10_000;
        let kept = Kept::new(MOST, IDLE);
        assert!(kept.shards.len() > 1);
        for key in 0..MOST {
            kept.insert(key, ());
        }
        assert_eq!(kept.tidy(), MOST, "one full shard pushes nobody out");
        for key in MOST..10 * MOST {
            kept.insert(key, ());
        }
        assert_eq!(kept.tidy(), MOST);
        let newest = (9 * MOST + MOST / 2)..10 * MOST;
        assert!(newest.clone().all(|key| kept.get(&key).is_some()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_kept_for_longer_is_never_kept_for_less() {
        let kept = Kept::new(10, IDLE);
        kept.keep_for(2 * IDLE);
        kept.keep_for(IDLE);
        kept.insert((), ());
        advance(IDLE).await;
        assert_eq!(kept.tidy(), 1);
        advance(IDLE).await;
        assert_eq!(kept.tidy(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_not_seen_for_long_is_gone_before_it_is_taken_out() {
        let kept = Kept::new(1000, IDLE);
        for key in 0..10 * AT_ONCE {
            kept.insert(key, key);
        }
        advance(IDLE).await;
        let last = 10 * AT_ONCE - 1;
        assert_eq!(
            kept.get(&last),
            None,
            "one of those that it did not take out yet"
        );
        assert_eq!(kept.get_or_insert_with(last - 1, || 7), 7);
        assert!(!kept.has(&(last - 2)));
        assert_eq!(kept.remove(&(last - 3)), None);
        kept.insert(last - 4, 7);
        assert!(kept.count.load(Ordering::Relaxed) > 2);
        assert_eq!(kept.tidy(), 2);
    }

    /// Looks back when it is dropped, which would never end under the lock.
    struct Back(Weak<Kept<u8, Back>>);

    impl Drop for Back {
        fn drop(&mut self) {
            if let Some(kept) = self.0.upgrade() {
                kept.look(&0, |_| ());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_is_dropped_after_the_lock() {
        let kept = Arc::new(Kept::new(1, IDLE));
        let back = || Back(Arc::downgrade(&kept));
        kept.insert(0, back());
        kept.insert(0, back());
        kept.insert(1, back());
        assert!(kept.remove(&1).is_some());
        kept.insert(1, back());
        advance(IDLE).await;
        assert_eq!(kept.tidy(), 0);
    }
}
