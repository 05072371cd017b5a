//! One-time codes, sessions, step-up, sign-out: what ends when, and what is good only once.

use super::{
    super::{Proof, limits},
    *,
};

fn sign_in(house: &House, proof: Proof<'_>, cookie: Option<&str>, now_s: u64) -> Result<(Caller, String), Denial> {
    house.access.sign_in(proof, &browser(cookie, false), now_s).map(|(caller, set)| (caller, cookie_of(&set)))
}

fn code_of(result: Result<impl Sized, Denial>) -> &'static str {
    result.map_or_else(|denial| denial.code, |_| "in")
}

fn seen(house: &House, cookie: &str, now_s: u64) -> Result<Caller, Denial> {
    house.access.authenticate(&browser(Some(cookie), true), now_s)
}

/// Proves: REQ-SVC-110
#[test]
fn a_code_signs_one_person_in_once_within_ten_minutes() {
    let house = House::new();
    let code = house.access.one_time_code(Role::Clinician, "Demo Reader", NOW).unwrap();
    assert_eq!(code.len(), 43, "256 bits");
    let (caller, cookie) = sign_in(&house, Proof::Code(&code), None, NOW + 599).unwrap();
    assert_eq!((caller.role, caller.auth_time_s, caller.session), (Role::Clinician, NOW + 599, true));
    assert_eq!(seen(&house, &cookie, NOW + 600).unwrap(), Caller { ends_s: NOW + 600 + 600, ..caller.clone() });
    let (_, token) = parts(&house.token(Role::Clinician));
    assert_eq!(token["sub"], caller.actor.id.as_str(), "code and token of one person are one actor");
    assert_eq!(code_of(sign_in(&house, Proof::Code(&code), None, NOW + 600)), "replayed");
    let late = house.access.one_time_code(Role::Clinician, "Demo Reader", NOW).unwrap();
    assert_eq!(code_of(sign_in(&house, Proof::Code(&late), None, NOW + 600)), "expired");
    let twice = house.access.one_time_code(Role::Quality, "Demo Reader", NOW).unwrap();
    assert_eq!(code_of(sign_in(&house, Proof::Code(&twice), None, NOW)), "in");
    assert_eq!(code_of(sign_in(&house, Proof::Code(&twice), None, NOW + 1)), "replayed");
    for guess in ["", "a", &"A".repeat(43), &twice[1..]] {
        assert_eq!(code_of(sign_in(&house, Proof::Code(guess), None, NOW)), "unknown-code");
    }
}

/// Proves: REQ-SVC-110
#[test]
fn a_device_has_no_page_to_sign_in_to() {
    let house = House::new();
    assert!(house.access.one_time_code(Role::Modality, "Gantry", NOW).is_err());
    assert_eq!(code_of(sign_in(&house, Proof::Token(&house.token(Role::Modality)), None, NOW)), "role");
}

/// Proves: REQ-SVC-111
#[test]
fn a_session_ends_when_idle_and_at_its_end() {
    let house = House::new();
    let token = house.issuer().token(Role::Clinician, "N", 30, NOW).unwrap();
    let (caller, cookie) = sign_in(&house, Proof::Token(&token), None, NOW).unwrap();
    assert_eq!(caller.ends_s, NOW + 600);
    // Acts put the end off, up to the token's own end.
    for minute in [9, 18, 27] {
        assert_eq!(code_of(seen(&house, &cookie, NOW + minute * 60)), "in", "minute {minute}");
    }
    assert_eq!(code_of(seen(&house, &cookie, NOW + 30 * 60 - 1)), "in");
    assert_eq!(code_of(seen(&house, &cookie, NOW + 30 * 60)), "expired");
    assert_eq!(code_of(seen(&house, &cookie, NOW + 10)), "unknown-session", "what ended stays ended");

    let code = house.access.one_time_code(Role::Clinician, "N", NOW).unwrap();
    let (_, cookie) = sign_in(&house, Proof::Code(&code), None, NOW).unwrap();
    assert_eq!(code_of(seen(&house, &cookie, NOW + 600)), "in");
    assert_eq!(code_of(seen(&house, &cookie, NOW + 1_201)), "idle");
}

/// Proves: REQ-SVC-111
#[test]
fn a_poll_does_not_keep_a_session_alive() {
    let house = House::new();
    let code = house.access.one_time_code(Role::Clinician, "N", NOW).unwrap();
    let (_, cookie) = sign_in(&house, Proof::Code(&code), None, NOW).unwrap();
    let poll = Credentials { passive: true, ..browser(Some(&cookie), true) };
    for second in (0..=600).step_by(50) {
        assert_eq!(house.access.authenticate(&poll, NOW + second).unwrap().ends_s, NOW + 600);
    }
    assert_eq!(code_of(house.access.authenticate(&poll, NOW + 601)), "idle");
}

/// Proves: REQ-SVC-112
#[test]
fn a_token_gives_one_session_also_after_a_restart() {
    let mut house = House::new();
    let token = house.token(Role::Clinician);
    assert_eq!(code_of(sign_in(&house, Proof::Token(&token), None, NOW)), "in");
    assert_eq!(code_of(sign_in(&house, Proof::Token(&token), None, NOW)), "replayed");
    assert_eq!(code_of(house.bearer(&token, NOW)), "in", "as a token it stays good");
    house.access = Access::open(house.folder.path(), ORIGIN, NOW + 1).unwrap();
    assert_eq!(code_of(sign_in(&house, Proof::Token(&token), None, NOW + 2)), "replayed");
}

/// Proves: REQ-SVC-113
#[test]
fn a_signature_asks_for_an_authentication_of_the_last_five_minutes() {
    let house = House::new();
    let token = house.token(Role::Clinician);
    let caller = house.bearer(&token, NOW + 300).unwrap();
    house.access.fresh(&caller, NOW + 300).unwrap();
    let stale = house.access.fresh(&caller, NOW + 301).unwrap_err();
    assert_eq!(stale.code, "stale");
    assert!(stale.challenge.starts_with(r#"Bearer error="insufficient_user_authentication", max_age=300"#));

    let (_, cookie) = sign_in(&house, Proof::Token(&token), None, NOW + 301).unwrap();
    let caller = seen(&house, &cookie, NOW + 301).unwrap();
    assert_eq!(code_of(house.access.fresh(&caller, NOW + 301)), "stale", "an old token makes no fresh session");

    let again = house.issuer().token(Role::Clinician, "Demo Reader", 480, NOW + 310).unwrap();
    let (caller, stepped) = sign_in(&house, Proof::Token(&again), Some(&cookie), NOW + 312).unwrap();
    assert_eq!(caller.auth_time_s, NOW + 310);
    house.access.fresh(&caller, NOW + 312).unwrap();
    assert_ne!(stepped, cookie, "the secret is another after a step-up");
    assert_eq!(code_of(seen(&house, &cookie, NOW + 312)), "unknown-session");
    assert_eq!(code_of(sign_in(&house, Proof::Token(&again), Some(&stepped), NOW + 313)), "replayed");
    assert_eq!(code_of(seen(&house, &stepped, NOW + 313)), "in", "a refused step-up leaves the session");
}

/// Proves: REQ-SVC-114
#[test]
fn signing_out_ends_the_session_and_its_token_also_after_a_restart() {
    let mut house = House::new();
    let token = house.token(Role::Clinician);
    let (_, cookie) = sign_in(&house, Proof::Token(&token), None, NOW).unwrap();
    let (caller, clear) = house.access.sign_out(&browser(Some(&cookie), false), NOW + 1).unwrap();
    assert_eq!(caller.role, Role::Clinician);
    assert_eq!(clear, "vidimus_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    assert_eq!(code_of(seen(&house, &cookie, NOW + 2)), "unknown-session");
    assert_eq!(code_of(house.bearer(&token, NOW + 2)), "revoked");
    assert_eq!(code_of(sign_in(&house, Proof::Token(&token), None, NOW + 2)), "revoked");
    house.access = Access::open(house.folder.path(), ORIGIN, NOW + 3).unwrap();
    assert_eq!(code_of(house.bearer(&token, NOW + 4)), "revoked");

    let other = house.token(Role::Quality);
    let line = format!("Bearer {other}");
    let bearer = Credentials { authorization: Some(&line), ..Credentials::default() };
    let (_, cookie) = sign_in(&house, Proof::Token(&other), None, NOW + 4).unwrap();
    house.access.sign_out(&bearer, NOW + 5).unwrap();
    assert_eq!(code_of(house.bearer(&other, NOW + 6)), "revoked");
    assert_eq!(code_of(seen(&house, &cookie, NOW + 6)), "unknown-session", "its session ends with it");
    assert_eq!(code_of(house.access.sign_out(&Credentials::default(), NOW)), "no-credentials");
}

/// Proves: REQ-SVC-112
#[test]
fn what_was_used_up_survives_a_torn_last_line_and_is_dropped_at_its_end() {
    let mut house = House::new();
    let path = house.folder.path().join("access.spent");
    let token = house.issuer().token(Role::Clinician, "N", 10, NOW).unwrap();
    sign_in(&house, Proof::Token(&token), None, NOW).unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    assert!(!whole.contains(parts(&token).1["jti"].as_str().unwrap()), "only a digest is kept");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, format!("{whole}revoked 17660")).unwrap();
    house.access = Access::open(house.folder.path(), ORIGIN, NOW + 1).unwrap();
    assert_eq!(code_of(sign_in(&house, Proof::Token(&token), None, NOW + 2)), "replayed");
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    Access::open(house.folder.path(), ORIGIN, NOW + 659).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole, "as long as clocks may let it pass");
    Access::open(house.folder.path(), ORIGIN, NOW + 660).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    fs::write(&path, "revoked x y\n").unwrap();
    let error = Access::open(house.folder.path(), ORIGIN, NOW).err().unwrap();
    assert!(format!("{error:#}").contains("access.spent: line 1"), "{error:#}");
}

/// Proves: REQ-SVC-115
#[test]
fn codes_and_sessions_are_bounded() {
    let house = House::new();
    let first = house.access.one_time_code(Role::Clinician, "First", NOW).unwrap();
    let mut codes = Vec::new();
    for number in 0..limits::CODES_MAX as u64 {
        codes.push(house.access.one_time_code(Role::Clinician, &format!("N{number}"), NOW + 1).unwrap());
    }
    assert_eq!(house.access.state().sessions.counts(), (limits::CODES_MAX, 0));
    assert_eq!(code_of(sign_in(&house, Proof::Code(&first), None, NOW + 1)), "unknown-code", "the oldest went");
    assert_eq!(code_of(sign_in(&house, Proof::Code(&codes[0]), None, NOW + 1)), "in");

    // One person's ninth session ends that person's idlest, nobody else's.
    let own: Vec<String> = (0..=limits::SESSIONS_OF_ONE_MAX as u64)
        .map(|second| {
            let code = house.access.one_time_code(Role::Quality, "Busy", NOW + 2 + second).unwrap();
            sign_in(&house, Proof::Code(&code), None, NOW + 2 + second).unwrap().1
        })
        .collect();
    assert_eq!(code_of(seen(&house, &own[0], NOW + 20)), "unknown-session");
    assert!(own[1..].iter().all(|cookie| code_of(seen(&house, cookie, NOW + 20)) == "in"));
    assert_eq!(house.access.state().sessions.counts().1, 1 + limits::SESSIONS_OF_ONE_MAX);

    for number in 0..limits::SESSIONS_MAX {
        let code = house.access.one_time_code(Role::Clinician, &format!("P{number}"), NOW + 30).unwrap();
        sign_in(&house, Proof::Code(&code), None, NOW + 30).unwrap();
    }
    assert_eq!(house.access.state().sessions.counts().1, limits::SESSIONS_MAX);
    assert_eq!(code_of(seen(&house, &own[1], NOW + 30)), "unknown-session");
}
