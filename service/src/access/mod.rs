//! Who may do what: the site's own issuer of tokens, their verification, and the sessions of the pages.
//!
//! A credential is a bearer token (RFC 9068, signed by the site's issuer) or the cookie of a session. The session comes
//! from a one-time code or from a token, each good for one exchange. Nothing here knows HTTP: [`Credentials`] go in,
//! a [`Caller`] or a [`Denial`] comes out, and time is an argument, in UTC seconds.
//! Errors: [`Denial`], a code for the audit and a challenge that tells a stranger nothing; `anyhow` where the site's
//! keys cannot be opened.
//! Source: INTERFACES section 6, AUDIT_LOG section 9, RFC 6750, 7515 to 7519, 8725, 9068 and 9470.

mod browser;
mod denial;
mod issuer;
mod json;
mod keys;
mod limits;
mod role;
mod session;
mod spent;
#[cfg(test)]
mod tests;
mod verify;

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use vidimus_log::{Actor, note::VerifyingKey};

pub(crate) use self::{
    denial::Denial,
    issuer::Issuer,
    limits::{FRESH_S_MAX, TOKEN_MINUTES, TOKEN_MINUTES_MAX},
    role::Role,
};
use self::{
    session::{Sessions, SignedIn},
    spent::{Spent, Use},
    verify::Verifier,
};

/// Who calls, after the credential was verified. Only this room makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The pseudonym under which the log knows the caller, and the role.
    pub actor: Actor,
    /// The role.
    pub role: Role,
    /// The person's name as the issuer gave it: for the pages and for a signature, never for the log.
    pub name: String,
    /// When the person proved who they are, UTC seconds.
    pub auth_time_s: u64,
    /// Names the credential in the audit: the token's `jti`, or the session's public name.
    pub token_id: String,
    /// Whether the credential is the cookie of a session.
    pub session: bool,
    /// When the credential ends if nobody acts before, UTC seconds: a token's `exp`, a session's idle end.
    pub ends_s: u64,
}

impl Caller {
    /// What the pages may offer, by the words of `GET /session`.
    pub(crate) fn capabilities(&self) -> &'static [&'static str] {
        self.role.capabilities()
    }
}

/// What a request says about its sender, unchecked. More than one `Authorization` or `Cookie` line of a request is
/// joined by `", "` or `"; "`, so that the second one is seen too.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Credentials<'a> {
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `Cookie`.
    pub cookie: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// `Host`, or the authority of HTTP/2.
    pub host: Option<&'a str>,
    /// Whether the connection is TLS.
    pub https: bool,
    /// Whether the method changes nothing: GET, HEAD.
    pub safe_method: bool,
    /// Whether the request comes by itself, without a person's act (a poll): it does not keep a session alive.
    pub passive: bool,
}

/// With what a person signs in at the pages.
#[derive(Clone, Copy)]
pub(crate) enum Proof<'a> {
    /// A one-time code.
    Code(&'a str),
    /// A bearer token.
    Token(&'a str),
}

/// Tokens, codes and sessions of one site.
pub(crate) struct Access {
    issuer: Issuer,
    verifier: Verifier,
    state: Mutex<State>,
}

struct State {
    sessions: Sessions,
    spent: Spent,
}

impl Access {
    /// Opens what the site in `dir`, whose log has this origin, needs to tell callers apart; makes the issuer's keys at
    /// first use. One process a site, the one that serves: it keeps the list of what was used up.
    pub(crate) fn open(dir: &Path, origin: &str, now_s: u64) -> anyhow::Result<Self> {
        // Another crate may switch a second back end on; then nothing is chosen by itself. The error of a second call
        // says that it was chosen already.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let issuer = Issuer::open(dir, origin)?;
        let verifier = Verifier::new(issuer.issuer(), issuer.audience(), issuer.jwks())
            .context("the key set of the site's own issuer")?;
        let spent = Spent::open(&dir.join("access.spent"), now_s)?;
        let state = Mutex::new(State { sessions: Sessions::default(), spent });
        Ok(Self { issuer, verifier, state })
    }

    /// The key set as served at `/.well-known/jwks.json`.
    pub(crate) fn jwks(&self) -> &str {
        self.issuer.jwks()
    }

    /// Who sends a request. A token goes before a cookie: whoever names a token means it, whatever the browser adds;
    /// a bad one is refused and the cookie is not looked at.
    pub(crate) fn authenticate(&self, from: &Credentials<'_>, now_s: u64) -> Result<Caller, Denial> {
        if let Some(authorization) = from.authorization {
            let verified = self.verifier.verify(bearer(authorization)?, now_s)?;
            if self.state().spent.is(Use::Revoked, &verified.token_id) {
                return Err(Denial::new("revoked"));
            }
            return Ok(verified.caller());
        }
        let secret = browser::session_cookie(from)?.ok_or(Denial::new("no-credentials"))?;
        browser::same_origin(from)?;
        self.state().sessions.caller(&secret, now_s, !from.passive)
    }

    /// A code that signs one person in once, within ten minutes.
    pub(crate) fn one_time_code(&self, role: Role, name: &str, now_s: u64) -> anyhow::Result<String> {
        anyhow::ensure!(role.has_pages(), "role {}: it has no pages to sign in to", role.as_str());
        let actor = self.issuer.actor(role, name)?;
        self.state().sessions.new_code(SignedIn { actor, role, name: name.to_owned(), auth_time_s: 0 }, now_s)
    }

    /// Exchanges a code or a token for a session: the caller, and the `Set-Cookie` line. The session that the request
    /// came with ends. A fresh proof of the same person is the step-up that a signature asks for.
    pub(crate) fn sign_in(
        &self,
        proof: Proof<'_>,
        from: &Credentials<'_>,
        now_s: u64,
    ) -> Result<(Caller, String), Denial> {
        browser::not_foreign(from)?;
        let before = browser::session_cookie(from)?;
        let mut state = self.state();
        let State { sessions, spent } = &mut *state;
        let (secret, caller) = match proof {
            Proof::Code(code) => sessions.exchange_code(code, now_s)?,
            Proof::Token(token) => {
                let verified = self.verifier.verify(token, now_s)?;
                if !verified.role.has_pages() {
                    return Err(Denial::new("role"));
                }
                if spent.is(Use::Revoked, &verified.token_id) {
                    return Err(Denial::new("revoked"));
                }
                if spent.is(Use::Exchanged, &verified.token_id) {
                    return Err(Denial::new("replayed"));
                }
                // Durable before the session exists: a restart does not make a token fresh again.
                spent.add(Use::Exchanged, &verified.token_id, verified.ends_s, now_s)?;
                sessions.begin(verified, now_s)?
            }
        };
        if let Some(before) = before {
            sessions.end(&before);
        }
        Ok((caller, browser::set_cookie(&secret, from.https)))
    }

    /// Ends what the request came with: the session and the token it was made from, or the token and its session. The
    /// caller, and the `Set-Cookie` line that clears the cookie.
    pub(crate) fn sign_out(&self, from: &Credentials<'_>, now_s: u64) -> Result<(Caller, String), Denial> {
        let caller = self.authenticate(from, now_s)?;
        let mut state = self.state();
        let token = if caller.session {
            let ended = browser::session_cookie(from)?.and_then(|secret| state.sessions.end(&secret));
            ended.and_then(|session| session.token)
        } else {
            Some((caller.token_id.clone(), caller.ends_s))
        };
        if let Some((id, ends_s)) = token {
            state.sessions.end_of_token(&id);
            state.spent.add(Use::Revoked, &id, ends_s, now_s)?;
        }
        Ok((caller, browser::clear_cookie(from.https)))
    }

    /// Whether the caller proved who they are within the last five minutes, as a signature asks.
    pub(crate) fn fresh(&self, caller: &Caller, now_s: u64) -> Result<(), Denial> {
        if now_s.saturating_sub(caller.auth_time_s) <= FRESH_S_MAX { Ok(()) } else { Err(Denial::stale()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one insertion or removal: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token of an `Authorization` line.
fn bearer(authorization: &str) -> Result<&str, Denial> {
    let (scheme, token) = authorization.split_once(' ').ok_or(Denial::new("malformed"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Denial::new("scheme"));
    }
    Ok(token.trim_start_matches(' '))
}

/// The origin of the log of the site in `dir`, without opening the site: another process may hold it.
pub(crate) fn origin(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join("log.vkey");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => anyhow::bail!(
            "{0}: there is no site here; `vidimus demo --dir {0}` makes one, --dir DIR names another",
            dir.display()
        ),
        Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    };
    let key = VerifyingKey::parse(&text).with_context(|| format!("{}: is no key of a log", path.display()))?;
    Ok(key.name().to_owned())
}
