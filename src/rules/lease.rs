//! Leases: who holds one, and with which fencing token.
//!
//! A lease is a string with a TTL, so that clients without the module can take one with `SET … NX PX`. Beside
//! it stand the last token of the scope and the holder who got that token. A lease whose holder is not the one
//! on record was written by such a client: it is honoured, but has no token yet (0).

/// The token of a tenure that has none: leases written without the module.
pub const NO_TOKEN: i64 = 0;

/// A lease as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease<'a> {
    /// Who holds it now, if anyone.
    pub holder: Option<&'a [u8]>,
    /// The last token that was given out in this scope; 0 for none.
    pub last_token: i64,
    /// Who got that token.
    pub token_holder: Option<&'a [u8]>,
}

/// What to do about a lease that somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A new tenure begins, with this token.
    Grant(i64),
    /// The tenure goes on, with this token, which is on record already.
    Extend(i64),
    /// No: it is somebody else's, or it has run out.
    Refuse,
    /// There is no higher token left.
    Exhausted,
}

impl Lease<'_> {
    /// The token of the tenure that is running; 0 if it has none, or if nobody holds the lease.
    #[must_use]
    pub fn token(&self) -> i64 {
        if self.holder.is_some() && self.holder == self.token_holder {
            self.last_token
        } else {
            NO_TOKEN
        }
    }

    /// `who` wants the lease, whether or not he holds it already.
    #[must_use]
    pub fn acquire(&self, who: &[u8]) -> Decision {
        match self.holder {
            None => self.next_tenure(),
            Some(holder) if holder == who => self.go_on(),
            Some(_) => Decision::Refuse,
        }
    }

    /// `who` believes that he holds the lease, with this token if he names one.
    #[must_use]
    pub fn renew(&self, who: &[u8], token: Option<i64>) -> Decision {
        if !self.is_held_by(who, token) {
            return Decision::Refuse;
        }
        self.go_on()
    }

    /// Whether `who` holds the lease now, with this token if one is named.
    #[must_use]
    pub fn is_held_by(&self, who: &[u8], token: Option<i64>) -> bool {
        self.holder == Some(who) && token.is_none_or(|token| token == self.token())
    }

    fn go_on(&self) -> Decision {
        match self.token() {
            NO_TOKEN => self.next_tenure(),
            token => Decision::Extend(token),
        }
    }

    fn next_tenure(&self) -> Decision {
        match self.last_token.max(NO_TOKEN).checked_add(1) {
            Some(token) => Decision::Grant(token),
            None => Decision::Exhausted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FREE: Lease<'_> = Lease { holder: None, last_token: 7, token_holder: Some(b"a") };
    const OF_A: Lease<'_> = Lease { holder: Some(b"a"), ..FREE };
    const RAW_OF_B: Lease<'_> = Lease { holder: Some(b"b"), ..FREE };

    #[test]
    fn tenures_and_tokens() {
        assert_eq!(FREE.acquire(b"a"), Decision::Grant(8));
        assert_eq!(OF_A.acquire(b"a"), Decision::Extend(7));
        assert_eq!(OF_A.acquire(b"b"), Decision::Refuse);
        assert_eq!(OF_A.renew(b"a", Some(7)), Decision::Extend(7));
        assert_eq!(OF_A.renew(b"a", Some(6)), Decision::Refuse);
        assert_eq!(FREE.renew(b"a", Some(7)), Decision::Refuse);
        assert_eq!(FREE.token(), NO_TOKEN);
    }

    #[test]
    fn a_lease_written_without_the_module_is_honoured_and_gets_a_token_of_its_own() {
        assert_eq!(RAW_OF_B.token(), NO_TOKEN);
        assert_eq!(RAW_OF_B.acquire(b"a"), Decision::Refuse);
        assert_eq!(RAW_OF_B.acquire(b"b"), Decision::Grant(8));
        assert_eq!(RAW_OF_B.renew(b"b", None), Decision::Grant(8));
        assert!(!RAW_OF_B.is_held_by(b"b", Some(7)));
    }

    #[test]
    fn the_last_token_is_not_given_twice() {
        let spent = Lease { last_token: i64::MAX, ..FREE };
        assert_eq!(spent.acquire(b"a"), Decision::Exhausted);
    }

    proptest! {
        #[test]
        fn a_grant_is_higher_than_all_before(last in 0..i64::MAX, held: bool, by_us: bool) {
            let holder = held.then_some(if by_us { &b"us"[..] } else { b"them" });
            let lease = Lease { holder, last_token: last, token_holder: None };
            if let Decision::Grant(token) = lease.acquire(b"us") {
                prop_assert!(token > last);
                prop_assert!(!held || by_us);
            }
        }
    }
}
