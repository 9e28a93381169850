//! Where the users' cells live: bounded by number, found by digest.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::census::{Census, Counted};
use super::error::MintError;
use super::issued::UserToken;
use crate::digest;
use crate::expiring::ExpiringCell;
use crate::kept::Kept;
use crate::mapping::UserLookup;
use crate::tenant::{Grant, ScopeSet, Tenant};

/// Cells without a token yet: mints in flight and the memory of failures. They have a place of
/// their own, so that users who get no token push out nobody who has one.
const ARRIVING: u64 = 16_384;

/// A cell that was ended, and the token it held.
pub(super) type Ended = (Arc<UserCell>, Option<Arc<UserToken>>);

/// A user's cell.
pub type UserCell = ExpiringCell<UserToken, MintError>;

/// The digest of everything that decides what is asked of the tenant. Two grants share a key if
/// and only if their upstream requests are equal; no personal data is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserKey([u8; 32]);

impl UserKey {
    /// The key of a grant.
    pub fn of(grant: &Grant) -> Self {
        Self::new(&grant.tenant, &grant.user, &grant.scopes)
    }

    /// The digest itself.
    pub(super) fn digest(self) -> [u8; 32] {
        self.0
    }

    pub(super) fn new(tenant: &Tenant, user: &UserLookup, scopes: &ScopeSet) -> Self {
        let parts = parts(tenant, user).into_iter().chain([scopes.as_str()]);
        Self(digest::of("token", parts))
    }

    /// One user is one user, whatever the scopes.
    pub(super) fn person(tenant: &Tenant, user: &UserLookup) -> Self {
        Self(digest::of("person", parts(tenant, user)))
    }

    pub(super) fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

fn parts<'a>(tenant: &'a Tenant, user: &'a UserLookup) -> [&'a str; 5] {
    [
        tenant.id.as_str(),
        &tenant.url,
        &tenant.client_id,
        user.field().as_str(),
        user.value(),
    ]
}

/// A user's cell among the users, and how long its token counts.
#[derive(Debug)]
struct Resident {
    cell: Arc<UserCell>,
    /// `None` while it has none that does.
    counted: Option<Counted>,
}

/// All the users' cells of this process.
#[derive(Debug)]
pub(super) struct Cells {
    users: Kept<UserKey, Resident>,
    arriving: Kept<UserKey, Arc<UserCell>>,
    /// The tokens of the users that live.
    live: Arc<Census>,
    /// Whose tokens were ended, and until when that is a moment ago.
    ended: Kept<UserKey, Instant>,
    ended_for: Duration,
}

impl Cells {
    /// `ended_for`: how long that somebody's tokens were ended is remembered.
    pub fn new(max_users: u64, idle: Duration, ended_for: Duration) -> Self {
        Self {
            users: Kept::new(max_users, idle),
            arriving: Kept::new(ARRIVING, idle),
            live: Arc::new(Census::new()),
            ended: Kept::new(ARRIVING, ended_for),
            ended_for,
        }
    }

    fn user(&self, key: UserKey) -> Option<Arc<UserCell>> {
        self.users.look(&key, |user| Arc::clone(&user.cell))
    }

    pub fn find(&self, key: UserKey) -> Option<Arc<UserCell>> {
        self.user(key).or_else(|| self.arriving.get(&key))
    }

    pub fn find_or_add(&self, key: UserKey) -> Arc<UserCell> {
        if let Some(cell) = self.user(key) {
            return cell;
        }
        let new = self.arriving.get_or_insert_with(key, Arc::default);
        // One may have been promoted between the two looks: the older cell is the one. The new one stays
        // behind, since somebody else may have got it.
        self.user(key).unwrap_or(new)
    }

    /// Moves a cell that got a token, which ends then, among the users, if the place under its key is
    /// still its own: a cell that was ended, or had to leave while its mint was in flight, stays out.
    pub fn promote(&self, key: UserKey, cell: &Arc<UserCell>, end: Instant) {
        let is_it = |found: &Arc<UserCell>| Arc::ptr_eq(found, cell);
        // Who ends it between here and there retires it first.
        let arrives = self.arriving.get(&key).as_ref().is_some_and(is_it);
        let counted = Some(self.live.count_until(end));
        let is_placed = self.place(key, cell, counted, |there| {
            there.map_or(arrives, |user| is_it(&user.cell))
        });
        if is_placed {
            self.arriving.remove_if(&key, is_it);
        }
    }

    /// A token is dead: its cell lets go of it, and the user counts for none until there is another.
    pub fn discard(&self, key: UserKey, cell: &Arc<UserCell>, token: &Arc<UserToken>) {
        let end = Some(self.live.second_of(token.ends()));
        let counts_for_it = |user: &Resident| {
            Arc::ptr_eq(&user.cell, cell) && user.counted.as_ref().map(Counted::end) == end
        };
        if cell.discard(token) {
            self.place(key, cell, None, |there| there.is_some_and(counts_for_it));
        }
    }

    /// Puts a cell among the users, if it `may` take the place of who is there: whether it did. Not one
    /// that was ended: who ends one retires it before taking it out, so a look under the lock misses none.
    fn place(
        &self,
        key: UserKey,
        cell: &Arc<UserCell>,
        counted: Option<Counted>,
        may: impl FnOnce(Option<&Resident>) -> bool,
    ) -> bool {
        let resident = Resident {
            cell: Arc::clone(cell),
            counted,
        };
        let is_free = |there: Option<&Resident>| may(there) && !cell.is_retired();
        self.users.insert_if(key, resident, is_free)
    }

    /// Retires a user's cells and takes them out, with the tokens they held.
    pub fn end(&self, key: UserKey) -> Vec<Ended> {
        self.ended.insert(key, Instant::now() + self.ended_for);
        // `promote` adds to the users before it leaves the arriving: looking in this order, a cell
        // on its way cannot be missed. Retiring comes before removing, see `place`.
        let retire = |cell: Arc<UserCell>| {
            let held = cell.retire();
            (cell, held)
        };
        let arriving = self.arriving.get(&key).map(retire);
        let ended = arriving
            .into_iter()
            .chain(self.user(key).map(retire))
            .collect();
        // Not one that came since: nobody would end that.
        self.arriving.remove_if(&key, |cell| cell.is_retired());
        self.users.remove_if(&key, |user| user.cell.is_retired());
        ended
    }

    /// If [`Cells::end`] was called for this user a moment ago: how long that still counts.
    pub fn ended_recently(&self, key: UserKey) -> Option<Duration> {
        let left = self.ended.get(&key)?.checked_duration_since(Instant::now());
        left.filter(|left| !left.is_zero())
    }

    /// Retires this cell, and takes it out if it is the one that is found.
    pub fn end_this(&self, key: UserKey, cell: &Arc<UserCell>) -> Ended {
        let held = cell.retire();
        self.arriving
            .remove_if(&key, |found| Arc::ptr_eq(found, cell));
        self.users
            .remove_if(&key, |found| Arc::ptr_eq(&found.cell, cell));
        (Arc::clone(cell), held)
    }

    /// Users whose token lives, to the second. By tokio's clock, so that what ended while the machine
    /// slept counts for as long again.
    pub fn live(&self) -> u64 {
        self.users.tidy();
        self.live.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::LookupField;
    use crate::tenant::TenantId;
    use proptest::prelude::*;

    type Inputs = (String, String, String, bool, String, Vec<String>);

    fn key((id, url, client, by_subject, value, scopes): &Inputs) -> UserKey {
        let field = if *by_subject {
            LookupField::Subject
        } else {
            LookupField::UserId
        };
        let scopes = ScopeSet::parse(&scopes.join(" ")).unwrap();
        let tenant = Tenant {
            id: TenantId::parse(id).unwrap(),
            url: url.clone(),
            client_id: client.clone(),
            scopes: scopes.clone(),
            optional_scopes: Vec::new(),
            allowed_origins: Vec::new(),
            client_origins: arc_swap::ArcSwapOption::empty(),
            provision: None,
        };
        UserKey::new(&tenant, &UserLookup::new(field, value).unwrap(), &scopes)
    }

    /// Few letters and the likely delimiters: collisions of a careless key would be common here.
    fn inputs() -> impl Strategy<Value = Inputs> {
        (
            "[ab_-]{1,3}",
            "[ab:/.]{1,3}",
            "[ab|_ ]{0,3}",
            any::<bool>(),
            "[ab|_: ]{1,3}",
            prop::collection::vec("[ab:_]{1,2}", 1..3),
        )
    }

    fn canonical((id, url, client, by_subject, value, scopes): &Inputs) -> Inputs {
        let mut scopes = scopes.clone();
        scopes.sort();
        scopes.dedup();
        (
            id.clone(),
            url.clone(),
            client.clone(),
            *by_subject,
            value.clone(),
            scopes,
        )
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn cells() -> (Cells, UserKey) {
        (Cells::new(10, HOUR, HOUR), UserKey::from_digest([7; 32]))
    }

    fn is_user(cells: &Cells, key: UserKey, cell: &Arc<UserCell>) -> bool {
        cells.user(key).is_some_and(|user| Arc::ptr_eq(&user, cell))
    }

    #[tokio::test]
    async fn a_cell_that_was_ended_is_not_placed_and_takes_nobodys_place() {
        let (cells, key) = cells();
        let end = Instant::now() + HOUR;
        let first = cells.find_or_add(key);
        first.retire();
        cells.promote(key, &first, end);
        assert!(
            cells.user(key).is_none(),
            "it is ended, and not yet taken out"
        );
        assert_eq!(cells.end(key).len(), 1);
        let second = cells.find_or_add(key);
        assert!(!Arc::ptr_eq(&first, &second));
        cells.promote(key, &second, end);
        cells.promote(key, &first, end);
        assert!(is_user(&cells, key, &second));
        assert_eq!((cells.live(), cells.arriving.tidy()), (1, 0));
        cells.end_this(key, &first);
        assert!(is_user(&cells, key, &second));
        assert_eq!(cells.end(key).len(), 1);
        assert!(second.is_retired());
        assert_eq!((cells.live(), cells.users.tidy()), (0, 0));
    }

    #[tokio::test]
    async fn a_cell_that_had_to_leave_is_not_placed() {
        let (cells, key) = cells();
        let cell = cells.find_or_add(key);
        cells.arriving.remove(&key);
        cells.promote(key, &cell, Instant::now() + HOUR);
        assert!(cells.find(key).is_none());
    }

    #[tokio::test]
    async fn a_user_counts_once_until_its_last_token_ends() {
        let (cells, key) = cells();
        let cell = cells.find_or_add(key);
        let (first, second) = (Instant::now() + HOUR, Instant::now() + 2 * HOUR);
        cells.promote(key, &cell, first);
        cells.promote(key, &cell, second);
        assert_eq!(cells.live(), 1);
        let resident = |users: &Resident| users.counted.as_ref().map(Counted::end);
        assert_eq!(
            cells.users.look(&key, resident),
            Some(Some(cells.live.second_of(second)))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn two_grants_share_a_key_if_and_only_if_all_inputs_are_equal(one in inputs(), two in inputs()) {
            prop_assert_eq!(key(&one) == key(&two), canonical(&one) == canonical(&two));
            prop_assert_eq!(key(&one), key(&canonical(&one)));
        }
    }
}
