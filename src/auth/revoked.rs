//! Tokens that were taken back before their end: for each user the time before which tokens count no more. Bounded;
//! what is forgotten stays revoked. Never closes a connection and never reads the clock.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::claims::Claims;

/// What was revoked.
#[derive(Debug)]
pub struct Revocations {
    by_user: HashMap<Arc<str>, u64>,
    /// The same by time, so that the earliest is found.
    by_time: BTreeSet<(u64, Arc<str>)>,
    /// Tokens of every user that were issued before it are revoked.
    floor: u64,
    users_max: usize,
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new(USERS_MAX)
    }
}

impl Revocations {
    /// Room for this many users, at least one.
    pub fn new(users_max: usize) -> Self {
        let users_max = users_max.max(1);
        Self { by_user: HashMap::new(), by_time: BTreeSet::new(), floor: 0, users_max }
    }

    /// Revokes the tokens of a user that were issued before this time, in seconds since 1970. A later time extends an
    /// earlier one; an earlier one changes nothing.
    ///
    /// Without room the earliest revocation becomes that of everybody: tokens older than it are refused whoever has
    /// them, so nothing comes back to life. With tokens that live for hours that reaches nobody.
    pub fn revoke(&mut self, user: &str, issued_before: u64) {
        if issued_before <= self.floor {
            return;
        }
        match self.by_user.get_key_value(user) {
            Some((_, known)) if *known >= issued_before => return,
            Some((user, known)) => {
                let (user, known) = (Arc::clone(user), *known);
                self.by_time.remove(&(known, Arc::clone(&user)));
                self.insert(user, issued_before);
            }
            None => self.insert(user.into(), issued_before),
        }
        if self.by_user.len() > self.users_max
            && let Some((earliest, user)) = self.by_time.pop_first()
        {
            self.by_user.remove(&user);
            self.floor = self.floor.max(earliest);
        }
    }

    /// Whether a token with these claims was revoked. One that does not say when it was issued counts as the oldest.
    pub fn is_revoked(&self, claims: &Claims) -> bool {
        self.is_revoked_since(&claims.user, claims.issued_at.unwrap_or(0))
    }

    /// The same for a connection that is open: its user and when its token was issued, as
    /// [`Identity`](super::Identity) has it.
    pub fn is_revoked_since(&self, user: &str, issued_at: u64) -> bool {
        issued_at < self.floor || self.by_user.get(user).is_some_and(|before| issued_at < *before)
    }

    /// Users with a revocation of their own.
    pub fn len(&self) -> usize {
        self.by_user.len()
    }

    /// Whether nothing was revoked.
    pub fn is_empty(&self) -> bool {
        self.by_user.is_empty() && self.floor == 0
    }

    fn insert(&mut self, user: Arc<str>, issued_before: u64) {
        self.by_time.insert((issued_before, Arc::clone(&user)));
        self.by_user.insert(user, issued_before);
    }
}

/// Users with a revocation: about 20 MB at the most, and more than anybody revokes one by one.
pub const USERS_MAX: usize = 100_000;
