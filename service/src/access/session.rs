//! One-time codes and sessions of the pages, in memory: a restart ends them all.
//! A secret is 256 random bits; only its SHA-256 is kept, and look-up goes by that digest, whose comparison takes the
//! same time for all: time tells nothing about a secret that is not held already. Both tables are bounded.
//! Errors: [`Denial`] with `unknown-code`, `replayed`, `expired`, `unknown-session`, `idle`.
//! Source: AUDIT_LOG section 9.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use vidimus_log::{Actor, Digest};

use super::{
    Caller, Denial, Role, keys,
    limits::{CODE_S, CODES_MAX, IDLE_S, SESSION_S, SESSIONS_MAX, SESSIONS_OF_ONE_MAX},
    verify::Verified,
};

/// Who signed in.
#[derive(Clone)]
pub(super) struct SignedIn {
    pub(super) actor: Actor,
    pub(super) role: Role,
    pub(super) name: String,
    /// When they proved who they are, UTC seconds.
    pub(super) auth_time_s: u64,
}

/// A code that waits, or was used and is remembered until its end.
struct Code {
    who: SignedIn,
    ends_s: u64,
    used: bool,
}

/// A session.
pub(super) struct Session {
    who: SignedIn,
    /// Names it in the audit; tells nothing about its secret.
    id: String,
    /// The token it was made from, with that token's end.
    pub(super) token: Option<(String, u64)>,
    seen_s: u64,
    ends_s: u64,
}

/// Codes and sessions by the digest of their secret.
#[derive(Default)]
pub(super) struct Sessions {
    codes: HashMap<Digest, Code>,
    open: HashMap<Digest, Session>,
}

impl Sessions {
    /// A code for this person.
    pub(super) fn new_code(&mut self, who: SignedIn, now_s: u64) -> anyhow::Result<String> {
        let code = keys::random_text()?;
        self.codes.retain(|_, code| now_s < code.ends_s);
        while self.codes.len() >= CODES_MAX {
            drop_least(&mut self.codes, |code| code.ends_s);
        }
        let ends_s = now_s.saturating_add(CODE_S);
        self.codes.insert(Digest::of(code.as_bytes()), Code { who, ends_s, used: false });
        Ok(code)
    }

    /// A session for whoever has the code.
    pub(super) fn exchange_code(&mut self, code: &str, now_s: u64) -> Result<(String, Caller), Denial> {
        let code = self.codes.get_mut(&Digest::of(code.as_bytes())).ok_or(Denial::new("unknown-code"))?;
        if code.used {
            return Err(Denial::new("replayed"));
        }
        if now_s >= code.ends_s {
            return Err(Denial::new("expired"));
        }
        code.used = true;
        let who = SignedIn { auth_time_s: now_s, ..code.who.clone() };
        self.insert(who, None, now_s.saturating_add(SESSION_S), now_s)
    }

    /// A session for whoever has this token; it ends with the token.
    pub(super) fn begin(&mut self, token: Verified, now_s: u64) -> Result<(String, Caller), Denial> {
        let Verified { actor, role, name, auth_time_s, token_id, ends_s } = token;
        self.insert(SignedIn { actor, role, name, auth_time_s }, Some((token_id, ends_s)), ends_s, now_s)
    }

    fn insert(
        &mut self,
        who: SignedIn,
        token: Option<(String, u64)>,
        ends_s: u64,
        now_s: u64,
    ) -> Result<(String, Caller), Denial> {
        let no_randomness = |_| Denial::new("not-durable");
        let secret = keys::random_text().map_err(no_randomness)?;
        let id = format!("ses_{}", URL_SAFE_NO_PAD.encode(keys::random::<16>().map_err(no_randomness)?));
        self.open.retain(|_, session| session.fault(now_s).is_none());
        while self.open.values().filter(|session| session.who.actor == who.actor).count() >= SESSIONS_OF_ONE_MAX {
            let other = |session: &Session| (session.who.actor != who.actor, session.seen_s);
            drop_least(&mut self.open, other);
        }
        while self.open.len() >= SESSIONS_MAX {
            drop_least(&mut self.open, |session| session.seen_s);
        }
        let session = Session { who, id, token, seen_s: now_s, ends_s };
        let caller = session.caller();
        self.open.insert(Digest::of(secret.as_bytes()), session);
        Ok((secret, caller))
    }

    /// Who has the session with this secret; an act of a person puts its idle end off.
    pub(super) fn caller(&mut self, secret: &str, now_s: u64, act: bool) -> Result<Caller, Denial> {
        let digest = Digest::of(secret.as_bytes());
        let session = self.open.get_mut(&digest).ok_or(Denial::new("unknown-session"))?;
        if let Some(fault) = session.fault(now_s) {
            self.open.remove(&digest);
            return Err(Denial::new(fault));
        }
        if act {
            session.seen_s = session.seen_s.max(now_s);
        }
        Ok(session.caller())
    }

    /// Ends the session with this secret.
    pub(super) fn end(&mut self, secret: &str) -> Option<Session> {
        self.open.remove(&Digest::of(secret.as_bytes()))
    }

    /// Ends the sessions that were made from this token.
    pub(super) fn end_of_token(&mut self, token_id: &str) {
        self.open.retain(|_, session| session.token.as_ref().is_none_or(|(id, _)| id != token_id));
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.codes.len(), self.open.len())
    }
}

impl Session {
    /// Why it has ended.
    fn fault(&self, now_s: u64) -> Option<&'static str> {
        if now_s >= self.ends_s {
            return Some("expired");
        }
        (now_s > self.seen_s.saturating_add(IDLE_S)).then_some("idle")
    }

    fn caller(&self) -> Caller {
        let SignedIn { actor, role, name, auth_time_s } = self.who.clone();
        let ends_s = self.ends_s.min(self.seen_s.saturating_add(IDLE_S));
        Caller { actor, role, name, auth_time_s, token_id: self.id.clone(), session: true, ends_s }
    }
}

/// Drops the row with the least `rank`.
fn drop_least<V, R: Ord>(table: &mut HashMap<Digest, V>, rank: impl Fn(&V) -> R) {
    if let Some(digest) = table.iter().min_by_key(|(_, value)| rank(value)).map(|(digest, _)| *digest) {
        table.remove(&digest);
    }
}
