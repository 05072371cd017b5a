//! Cookies, and requests that another page makes a browser send.

use super::{super::Proof, *};

/// A house with a session, and its `Cookie` line.
fn signed_in() -> (House, String) {
    let house = House::new();
    let code = house.access.one_time_code(Role::Clinician, "Demo Reader", NOW).unwrap();
    let (_, set) = house.access.sign_in(Proof::Code(&code), &browser(None, false), NOW).unwrap();
    (house, cookie_of(&set))
}

/// `Origin`, `Sec-Fetch-Site` and `Host` of a request, and whether its cookie counts for GET and for POST.
type Case = (Option<&'static str>, Option<&'static str>, &'static str, bool, bool);

/// Proves: REQ-SVC-116
#[test]
fn a_cookie_counts_only_in_requests_of_our_own_pages() {
    let (house, cookie) = signed_in();
    let own = Some("http://127.0.0.1:8042");
    let cases: &[Case] = &[
        (own, Some("same-origin"), "127.0.0.1:8042", true, true),
        (own, None, "127.0.0.1:8042", true, true),
        (None, Some("same-origin"), "127.0.0.1:8042", true, true),
        (None, None, "127.0.0.1:8042", true, false),
        (None, Some("none"), "127.0.0.1:8042", true, false),
        (None, Some("same-site"), "127.0.0.1:8042", false, false),
        (None, Some("cross-site"), "127.0.0.1:8042", false, false),
        (None, Some("Same-Origin"), "127.0.0.1:8042", false, false),
        (own, Some("cross-site"), "127.0.0.1:8042", false, false),
        (Some("http://attacker.example"), None, "127.0.0.1:8042", false, false),
        (Some("http://attacker.example"), Some("same-origin"), "127.0.0.1:8042", false, false),
        (Some("null"), None, "127.0.0.1:8042", false, false),
        (Some(""), None, "127.0.0.1:8042", false, false),
        (Some("http://"), None, "", false, false),
        (Some("http://127.0.0.1:8043"), Some("same-site"), "127.0.0.1:8042", false, false),
        (Some("http://127.0.0.1:8043"), None, "127.0.0.1:8042", false, false),
        (Some("https://127.0.0.1:8042"), None, "127.0.0.1:8042", false, false),
        (Some("http://127.0.0.1:8042.attacker.example"), None, "127.0.0.1:8042", false, false),
        (Some("http://127.0.0.1:8042@attacker.example"), None, "127.0.0.1:8042", false, false),
        (Some("http://127.0.0.1:8042, http://attacker.example"), None, "127.0.0.1:8042", false, false),
        (Some("http://Reader.Example"), None, "reader.example:80", true, true),
        (Some("http://reader.example:80"), None, "reader.example", true, true),
    ];
    for (origin, fetch_site, host, get, post) in cases {
        for (safe_method, passes) in [(true, *get), (false, *post)] {
            let from = Credentials {
                cookie: Some(&cookie),
                origin: *origin,
                fetch_site: *fetch_site,
                host: Some(host),
                safe_method,
                ..Credentials::default()
            };
            let code = house.access.authenticate(&from, NOW).map_or_else(|denial| denial.code, |_| "in");
            let expected = if passes { "in" } else { "origin" };
            assert_eq!(code, expected, "{origin:?} {fetch_site:?} {host} safe {safe_method}");
        }
    }
}

/// Proves: REQ-SVC-116
#[test]
fn another_page_cannot_sign_a_person_in_or_out() {
    let (house, cookie) = signed_in();
    let code = house.access.one_time_code(Role::Clinician, "Attacker", NOW).unwrap();
    let foreign = Credentials { origin: Some("http://attacker.example"), ..browser(Some(&cookie), false) };
    assert_eq!(house.access.sign_in(Proof::Code(&code), &foreign, NOW).unwrap_err().code, "origin");
    assert_eq!(house.access.sign_out(&foreign, NOW).unwrap_err().code, "origin");
    house.access.authenticate(&browser(Some(&cookie), true), NOW).unwrap();
    let tool = Credentials { host: Some("127.0.0.1:8042"), ..Credentials::default() };
    house.access.sign_in(Proof::Code(&code), &tool, NOW).unwrap();
}

/// Proves: REQ-SVC-117
#[test]
fn a_token_goes_before_a_cookie_and_needs_no_origin() {
    let (house, cookie) = signed_in();
    let line = format!("Bearer {}", house.token(Role::Quality));
    let foreign = Credentials {
        authorization: Some(&line),
        origin: Some("http://elsewhere.example"),
        fetch_site: Some("cross-site"),
        ..browser(Some(&cookie), false)
    };
    assert_eq!(house.access.authenticate(&foreign, NOW).unwrap().role, Role::Quality);
    let bad = Credentials { authorization: Some("Bearer x.y.z"), ..browser(Some(&cookie), true) };
    assert_eq!(house.access.authenticate(&bad, NOW).unwrap_err().code, "malformed", "no way back to the cookie");
}

/// Proves: REQ-SVC-117
#[test]
fn the_cookie_is_hidden_from_scripts_and_bound_to_this_host() {
    let house = House::new();
    let issue = |https| {
        let code = house.access.one_time_code(Role::Clinician, "N", NOW).unwrap();
        let from = Credentials { https, ..Credentials::default() };
        house.access.sign_in(Proof::Code(&code), &from, NOW).unwrap().1
    };
    let (plain, tls) = (issue(false), issue(true));
    assert!(plain.starts_with("vidimus_session=") && plain.ends_with("; Path=/; HttpOnly; SameSite=Strict"));
    assert!(tls.starts_with("__Host-vidimus=") && tls.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"));
    // A cookie of the other scheme, and two of one name, are nobody's.
    let code_of = |cookie: &str, https| {
        let from = Credentials { cookie: Some(cookie), https, safe_method: true, ..Credentials::default() };
        house.access.authenticate(&from, NOW).map_or_else(|denial| denial.code, |_| "in")
    };
    let (plain, tls) = (cookie_of(&plain), cookie_of(&tls));
    assert_eq!(code_of(&format!("theme=dark; {plain}"), false), "in");
    assert_eq!(code_of(&tls, true), "in");
    assert_eq!(code_of(&plain, true), "no-credentials");
    assert_eq!(code_of(&tls, false), "no-credentials");
    assert_eq!(code_of(&format!("{plain}; {plain}"), false), "malformed");
    assert_eq!(code_of("vidimus_session=", false), "malformed");
    assert_eq!(code_of(&format!("vidimus_session={}", "A".repeat(43)), false), "unknown-session");
}
