//! Access over HTTP, against the served program: every operation for strangers and wrong roles, every forged token,
//! sessions and their cookies, and the entry that each refusal leaves in the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use vidimus_log::Digest;
use vidimus_tests::{
    http::{Request, Response, Served},
    vidimus, vidimus_run,
};

use crate::site::{assert_log_whole, copy, text};

/// Every role.
const ROLES: [&str; 5] = ["clinician", "quality", "regulator", "admin", "modality"];

/// One row of the served document.
struct Row {
    id: String,
    method: String,
    template: String,
    roles: BTreeSet<String>,
    takes_body: bool,
}

impl Row {
    /// Its path with some value for each name.
    fn path(&self) -> String {
        let mut path = String::new();
        let mut rest = self.template.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (_, behind) = after.split_once('}').unwrap();
            path.push_str(before);
            path.push('1');
            rest = behind;
        }
        path + rest
    }

    fn request(&self) -> Request {
        let request = Request::new(&self.method, &self.path());
        if self.takes_body { request.body("application/json", "{}") } else { request }
    }
}

fn rows(served: &Served) -> Vec<Row> {
    let document = served.call(&Request::new("GET", "/openapi.json")).expect_status(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.0"));
    let mut rows = Vec::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        for (method, row) in item.as_object().unwrap() {
            let roles = row["x-roles"].as_array().unwrap().iter().map(|role| role.as_str().unwrap().to_owned());
            rows.push(Row {
                id: row["operationId"].as_str().unwrap().to_owned(),
                method: method.to_ascii_uppercase(),
                template: template.clone(),
                roles: roles.collect(),
                takes_body: !row["requestBody"].is_null(),
            });
        }
    }
    assert!(rows.len() > 30, "{} operations", rows.len());
    rows
}

/// The code of a refusal, in the form of its address.
#[track_caller]
fn refused(response: &Response, path: &str, status: u16) {
    if path.starts_with("/fhir/") {
        assert_eq!(response.status, status, "{path}: {}", response.text());
        assert_eq!(response.json()["resourceType"], "OperationOutcome", "{path}");
    } else {
        response.expect_problem(status);
    }
}

/// Every `access` entry, by its id: what was denied and why.
fn access_entries(served: &Served) -> BTreeMap<String, Value> {
    let token = served.token("quality");
    let (mut entries, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let page = served.get(&format!("/log/entries?kind=access&limit=200{cursor}"), &token).expect_status(200).json();
        for entry in page["entries"].as_array().unwrap() {
            entries.insert(entry["entry_id"].as_str().unwrap().to_owned(), entry.clone());
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return entries,
        }
    }
}

fn request_id(response: &Response) -> String {
    response.header("x-request-id").expect("every answer names its request").to_owned()
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The issuer's key, as somebody who reads the site's folder has it.
fn issuer_key(dir: &Path) -> SigningKey {
    let digest: Digest = fs::read_to_string(dir.join("keys/issuer.key")).unwrap().trim().parse().unwrap();
    SigningKey::from_bytes(digest.as_bytes())
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header and claims of a token.
fn parts(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (next(), next())
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
}

fn signed(header: &Value, claims: &Value, key: &SigningKey) -> String {
    let message = message(header, claims);
    format!("{message}.{}", encode(key.sign(message.as_bytes()).to_bytes()))
}

/// HMAC-SHA-256 (RFC 2104) with a key of at most a block.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect() };
    let (inner, outer) = (pad(0x36), pad(0x5c));
    let inner = Digest::of_parts([inner.as_slice(), message]);
    *Digest::of_parts([outer.as_slice(), inner.as_bytes()]).as_bytes()
}

/// Proves: REQ-SVC-120
#[test]
fn every_operation_refuses_strangers_and_wrong_roles_and_says_so_in_the_log() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &[]);
    let tokens: BTreeMap<&str, String> = ROLES.iter().map(|role| (*role, served.token(role))).collect();
    let mut expected = Vec::new();
    let rows = rows(&served);
    for row in rows.iter().filter(|row| !row.roles.is_empty()) {
        let (path, call) = (row.path(), format!("{} {}", row.method, row.template));
        let stranger = served.call(&row.request());
        refused(&stranger, &path, 401);
        assert_eq!(stranger.header("www-authenticate"), Some(r#"Bearer realm="vidimus""#), "{call}");
        expected.push((request_id(&stranger), row.id.clone(), "stranger", "no-credentials"));
        for role in ROLES.iter().filter(|role| !row.roles.contains(**role)) {
            let wrong = served.call(&row.request().token(&tokens[role]));
            refused(&wrong, &path, 403);
            expected.push((request_id(&wrong), row.id.clone(), *role, "role"));
        }
        for role in ROLES.iter().filter(|role| row.roles.contains(**role)) {
            let right = served.call(&row.request().token(&tokens[role]));
            assert!(![401, 403, 405].contains(&right.status), "{call} for {role}: {} {}", right.status, right.text());
            assert!(right.status < 500 || right.status == 503, "{call} for {role}: {} {}", right.status, right.text());
        }
    }
    let entries = access_entries(&served);
    for (id, operation, role, why) in expected {
        let entry = entries.get(&id).unwrap_or_else(|| panic!("{operation} for {role}: the denial is not in the log"));
        let body = &entry["body"];
        assert_eq!((&body["operation"], &body["result"]), (&json!(operation), &json!("denied")), "{role}");
        assert_eq!((&body["why"], &entry["actor"]["role"]), (&json!(why), &json!(role)), "{operation}");
    }
    let (code, messages) = served.end();
    assert_eq!(code, Some(0), "{messages}");
    assert_log_whole(&dir);
}

/// Proves: REQ-SVC-121
#[test]
fn roles_reach_what_the_plan_says_and_no_more() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &[]);
    let rows = rows(&served);
    // The public list of the contract, word for word; what is not in it asks for a role.
    let public = |path: &str| {
        ["/", "/health", "/ready", "/log/checkpoint", "/fhir/metadata", "/openapi.json", "/session"].contains(&path)
            || ["/.well-known/", "/static/", "/fhir/.well-known/"].iter().any(|start| path.starts_with(start))
            || (path.starts_with("/log/tile/") && !path.starts_with("/log/tile/entries"))
    };
    for row in &rows {
        assert_eq!(row.roles.is_empty(), public(&row.template), "{} {}", row.method, row.template);
        if row.roles.contains("modality") {
            assert_eq!(
                (row.method.as_str(), row.template.starts_with("/dicom-web/studies")),
                ("POST", true),
                "{}",
                row.id
            );
        }
        let patient = row.template.starts_with("/readings")
            || row.template.starts_with("/dicom-web")
            || ["DiagnosticReport", "Observation", "ImagingStudy", "Task", "Media", "Patient"]
                .iter()
                .any(|kind| row.template.starts_with(&format!("/fhir/{kind}")));
        for role in ["regulator", "admin"] {
            assert!(!(patient && row.roles.contains(role)), "{role} would see patients at {}", row.template);
        }
        let signs = ["/sign-off", "/override", "/$sign"].iter().any(|end| row.template.ends_with(end));
        if signs {
            assert_eq!(row.roles, BTreeSet::from(["clinician".to_owned()]), "{}", row.template);
        }
    }
    let reach = |role: &str| rows.iter().filter(|row| row.roles.contains(role)).count();
    assert!(ROLES.iter().all(|role| reach(role) > 0));
}

/// Proves: REQ-SVC-122
#[test]
fn methods_that_are_not_served_are_named_and_refused() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &[]);
    let token = served.token("clinician");
    let mut by_path: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let rows = rows(&served);
    for row in &rows {
        let methods = by_path.entry(row.path()).or_default();
        methods.insert(row.method.clone());
        if row.method == "GET" {
            methods.insert("HEAD".to_owned());
        }
    }
    for (path, methods) in &by_path {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "GETX"] {
            if methods.contains(method) {
                continue;
            }
            let answer = served.call(&Request::new(method, path).token(&token));
            refused(&answer, path, 405);
            let allow: BTreeSet<String> =
                answer.header("allow").expect("405 names what is served").split(", ").map(str::to_owned).collect();
            assert_eq!(&allow, methods, "{method} {path}");
        }
    }
    let stranger = served.call(&Request::new("PUT", "/readings"));
    refused(&stranger, "/readings", 401);
    let nowhere = served.call(&Request::new("GET", "/nowhere"));
    refused(&nowhere, "/nowhere", 401);
    refused(&served.get("/nowhere", &token), "/nowhere", 404);
    refused(&served.get("/fhir/Nothing", &token), "/fhir/Nothing", 404);
}

/// A change of a token's header and claims.
type Change = fn(&mut Value, &mut Value);

/// Proves: REQ-SVC-123
#[test]
fn every_forged_token_gets_the_same_answer_and_its_own_code_in_the_log() {
    let (_site, dir) = copy();
    let (_elsewhere, other) = copy();
    fs::remove_dir_all(other.join("keys")).unwrap();
    fs::create_dir(other.join("keys")).unwrap();
    fs::set_permissions(other.join("keys"), fs::metadata(dir.join("keys")).unwrap().permissions()).unwrap();
    let foreign = vidimus_run(&["token", "--role", "clinician", "--dir", text(&other)]).expect_code(0).out;
    let served = Served::start(&dir, &[]);
    let token = served.token("clinician");
    let key = issuer_key(&dir);
    let changed = |change: Change| {
        let (mut header, mut claims) = parts(&token);
        change(&mut header, &mut claims);
        signed(&header, &claims, &key)
    };
    let (header, claims) = parts(&token);
    let with_mac = |secret: &[u8]| {
        let mut header = header.clone();
        header["alg"] = json!("HS256");
        let message = message(&header, &claims);
        format!("{message}.{}", encode(hmac(secret, message.as_bytes())))
    };
    let with_none = || {
        let mut header = header.clone();
        header["alg"] = json!("none");
        format!("{}.", message(&header, &claims))
    };
    let jwks = served.call(&Request::new("GET", "/.well-known/jwks.json")).expect_status(200).json();
    let public = key.verifying_key();
    assert_eq!(jwks["keys"][0]["x"], encode(public.as_bytes()));
    let doubled = {
        let text = claims.to_string();
        let message =
            format!("{}.{}", encode(header.to_string()), encode(format!(r#"{{"roles":["admin"],{}"#, &text[1..])));
        format!("{message}.{}", encode(key.sign(message.as_bytes()).to_bytes()))
    };
    let (start, last) = token.split_at(token.len() - 4);
    let attacks: Vec<(&str, String)> = vec![
        ("algorithm", with_none()),
        ("algorithm", with_mac(public.as_bytes())),
        ("algorithm", with_mac(encode(public.as_bytes()).as_bytes())),
        ("signature", format!("{start}{}", if last == "AAAA" { "BBBA" } else { "AAAA" })),
        ("signature", signed(&header, &claims, &SigningKey::from_bytes(&[9; 32]))),
        ("unknown-key", foreign.trim().to_owned()),
        ("unknown-key", changed(|h, _| h["kid"] = json!("../../keys/issuer.key"))),
        ("critical", changed(|h, _| h["crit"] = json!(["exp"]))),
        ("header-key", changed(|h, _| h["jku"] = json!("http://127.0.0.1:9/jwks.json"))),
        ("type", changed(|h, _| h["typ"] = json!("JWT"))),
        ("issuer", changed(|_, c| c["iss"] = json!("https://attacker.example"))),
        ("audience", changed(|_, c| c["aud"] = json!("https://attacker.example/api"))),
        ("audience", changed(|_, c| c["aud"] = json!([c["aud"], "https://attacker.example/api"]))),
        (
            "expired",
            changed(|_, c| {
                c["iat"] = json!(c["iat"].as_u64().unwrap() - 7_200);
                c["auth_time"] = c["iat"].clone();
                c["exp"] = json!(c["iat"].as_u64().unwrap() + 3_600);
            }),
        ),
        ("not-yet", changed(|_, c| c["nbf"] = json!(c["nbf"].as_u64().unwrap() + 600))),
        ("lifetime", changed(|_, c| c["exp"] = json!(c["exp"].as_u64().unwrap() + 100_000))),
        ("role", changed(|_, c| c["roles"] = json!(["superuser"]))),
        ("role", changed(|_, c| c["roles"] = json!(["clinician", "admin"]))),
        ("claims", changed(|_, c| c["sub"] = json!("sys"))),
        ("malformed", doubled),
        ("malformed", "x".repeat(9_000)),
        ("malformed", "null".to_owned()),
    ];
    let mut expected = Vec::new();
    let mut answers = BTreeSet::new();
    for (why, token) in attacks {
        let answer = served.get("/readings", &token);
        answer.expect_problem(401);
        assert_eq!(
            answer.header("www-authenticate"),
            Some(r#"Bearer realm="vidimus", error="invalid_token""#),
            "{why}"
        );
        let mut body = answer.json();
        body["instance"] = json!("");
        body["requestId"] = json!("");
        answers.insert(body.to_string());
        expected.push((request_id(&answer), why));
    }
    assert_eq!(answers.len(), 1, "the caller learns which check failed: {answers:?}");
    let lines = |lines: &[String]| {
        let request = lines.iter().fold(Request::new("GET", "/readings"), |r, line| r.header("Authorization", line));
        served.call(&request)
    };
    for (why, authorization) in [
        ("scheme", vec!["Basic YTpi".to_owned()]),
        ("malformed", vec![token.clone()]),
        ("malformed", vec![format!("Bearer {token}"), format!("Bearer {token}")]),
        ("scheme", vec!["Basic YTpi".to_owned(), format!("Bearer {token}")]),
    ] {
        let answer = lines(&authorization);
        answer.expect_problem(401);
        expected.push((request_id(&answer), why));
    }
    let in_the_query = served.call(&Request::new("GET", &format!("/readings?access_token={token}")));
    in_the_query.expect_problem(401);
    expected.push((request_id(&in_the_query), "no-credentials"));
    served.get("/readings", &token).expect_status(200);
    let entries = access_entries(&served);
    for (id, why) in expected {
        assert_eq!(entries[&id]["body"]["why"], why);
        assert_eq!(entries[&id]["body"]["result"], "denied");
    }
    let (code, messages) = served.end();
    assert_eq!(code, Some(0));
    assert!(!messages.contains(&token[..40]), "a token stands in the messages");
    assert_log_whole(&dir);
}

/// Proves: REQ-SVC-120
#[test]
fn a_stranger_learns_nothing_of_what_exists() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &[]);
    let list = served.get("/readings?limit=1", &served.token("clinician")).expect_status(200).json();
    let there = list["readings"][0]["id"].as_str().expect("the demonstration has readings").to_owned();
    let missing = "0".repeat(32);
    let ask = |id: &str, token: Option<&str>| {
        let request = Request::new("GET", &format!("/readings/{id}"));
        let answer = served.call(&token.map_or(request.clone(), |token| request.token(token)));
        let mut body = answer.json();
        body["instance"] = json!("");
        body["requestId"] = json!("");
        (answer.status, body)
    };
    let admin = served.token("admin");
    for token in [None, Some(admin.as_str())] {
        let answer = ask(&there, token);
        assert!([401, 403].contains(&answer.0));
        for id in [missing.as_str(), "x", "..%2f..%2fetc%2fpasswd", "%00"] {
            assert_eq!(ask(id, token), answer, "{id}");
        }
    }
    // A wrong role is refused before its parameters are judged.
    served.get("/readings?limit=-1", &admin).expect_problem(403);
    served.get("/log/entries?limit=-1", &admin).expect_problem(400);
}

/// A browser's request on our own pages.
fn own_page(served: &Served, method: &str, path: &str) -> Request {
    Request::new(method, path)
        .header("Origin", &format!("http://{}", served.address))
        .header("Sec-Fetch-Site", "same-origin")
}

/// Signs in with a token: the `Cookie` line.
#[track_caller]
fn sign_in(served: &Served, token: &str) -> String {
    let proof = json!({ "token": token }).to_string();
    let answer = served.call(&own_page(served, "POST", "/session").body("application/json", proof)).expect_status(200);
    assert_eq!(answer.json()["signed_in"], true);
    let set = answer.header("set-cookie").expect("the session's cookie");
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{set}");
    set.split(';').next().unwrap().to_owned()
}

/// Proves: REQ-SVC-124
#[test]
fn a_cookie_of_another_origin_is_refused_and_noted() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &[]);
    let token = served.token("clinician");
    let cookie = sign_in(&served, &token);
    served.call(&own_page(&served, "GET", "/readings").header("Cookie", &cookie)).expect_status(200);
    let shown = served.call(&own_page(&served, "GET", "/session").header("Cookie", &cookie)).expect_status(200).json();
    assert_eq!((&shown["role"], &shown["name"]), (&json!("clinician"), &json!("Test clinician")));
    let other_port =
        format!("http://127.0.0.1:{}", 1 + served.address.split(':').nth(1).unwrap().parse::<u16>().unwrap());
    let mut expected = Vec::new();
    for (method, path) in
        [("GET", "/readings"), ("POST", "/readings"), ("POST", "/dicom-web/studies"), ("GET", "/fhir/DiagnosticReport")]
    {
        for headers in [
            vec![("Origin", "http://attacker.example")],
            vec![("Origin", "null")],
            vec![("Origin", other_port.as_str()), ("Sec-Fetch-Site", "same-site")],
            vec![("Sec-Fetch-Site", "cross-site")],
            vec![("Origin", "http://attacker.example"), ("Sec-Fetch-Site", "same-origin")],
        ] {
            let request = headers.iter().fold(Request::new(method, path), |r, (name, value)| r.header(name, value));
            let answer = served.call(&request.header("Cookie", &cookie));
            refused(&answer, path, 401);
            expected.push(request_id(&answer));
        }
    }
    let silent = served.call(&Request::new("POST", "/readings").header("Cookie", &cookie));
    refused(&silent, "/readings", 401);
    expected.push(request_id(&silent));
    // Neither can another page sign anybody in or out, or read who is signed in.
    let proof = json!({ "token": served.token("admin") }).to_string();
    let foreign = |method: &str| {
        Request::new(method, "/session").header("Origin", "http://attacker.example").header("Cookie", &cookie)
    };
    served.call(&foreign("POST").body("application/json", proof)).expect_problem(401);
    served.call(&foreign("DELETE")).expect_problem(401);
    assert_eq!(served.call(&foreign("GET")).expect_status(200).json(), json!({ "signed_in": false }));
    served.call(&own_page(&served, "GET", "/readings").header("Cookie", &cookie)).expect_status(200);
    for answer in [
        served.get("/readings", &token),
        served.call(&Request::new("GET", "/health").header("Origin", "http://attacker.example")),
    ] {
        assert!(answer.header("access-control-allow-origin").is_none(), "no other origin is let in");
    }
    let entries = access_entries(&served);
    for id in expected {
        assert_eq!(
            (&entries[&id]["body"]["why"], &entries[&id]["body"]["result"]),
            (&json!("origin"), &json!("denied"))
        );
    }
}

/// Proves: REQ-SVC-124
#[test]
fn behind_a_proxy_the_public_address_is_the_pages_own() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &["--behind-proxy", "--public-url", "https://vidimus.hospital.example"]);
    let proof = json!({ "token": served.token("clinician") }).to_string();
    let at = |method: &str, path: &str, origin: &str| Request::new(method, path).header("Origin", origin);
    let (own, inner) = ("https://vidimus.hospital.example", format!("http://{}", served.address));
    for foreign in [inner.as_str(), "http://vidimus.hospital.example", "https://vidimus.hospital.example:8443"] {
        served.call(&at("POST", "/session", foreign).body("application/json", proof.clone())).expect_problem(401);
    }
    let signed_in = served.call(&at("POST", "/session", own).body("application/json", proof)).expect_status(200);
    let set = signed_in.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-vidimus=") && set.ends_with("; Secure"), "the browser's side is TLS: {set}");
    let cookie = set.split(';').next().unwrap();
    served.call(&at("GET", "/readings", own).header("Cookie", cookie)).expect_status(200);
    served.call(&at("GET", "/readings", &inner).header("Cookie", cookie)).expect_problem(401);
    served.call(&at("DELETE", "/session", own).header("Cookie", cookie)).expect_status(204);
}

/// Proves: REQ-SVC-125
#[test]
fn tokens_are_exchanged_once_and_sign_out_lasts_over_a_restart() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &[]);
    let token = served.token("clinician");
    let cookie = sign_in(&served, &token);
    let again = |served: &Served, token: &str| {
        let proof = json!({ "token": token }).to_string();
        let answer = served.call(&own_page(served, "POST", "/session").body("application/json", proof));
        answer.expect_problem(401);
        request_id(&answer)
    };
    let replayed = again(&served, &token);
    let with = |served: &Served, method: &str, path: &str| {
        served.call(&own_page(served, method, path).header("Cookie", &cookie))
    };
    let out = with(&served, "DELETE", "/session").expect_status(204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    with(&served, "GET", "/readings").expect_problem(401);
    served.get("/readings", &token).expect_problem(401);
    let entries = access_entries(&served);
    assert_eq!(entries[&replayed]["body"]["why"], "replayed");
    let said = |why: &str| entries.values().filter(|entry| entry["body"]["why"] == why).count();
    assert!(said("sign-in") == 1 && said("sign-out") == 1 && said("revoked") == 1 && said("unknown-session") == 1);
    assert_eq!(served.end().0, Some(0));

    let served = Served::start(&dir, &[]);
    served.get("/readings", &token).expect_problem(401);
    again(&served, &token);
    let entries = access_entries(&served);
    assert_eq!(entries.values().filter(|entry| entry["body"]["why"] == "revoked").count(), 3);
    served.get("/readings", &served.token("clinician")).expect_status(200);
}

/// A token of the same person whose authentication is too old for a signature.
pub(crate) fn stale(fresh: &str, dir: &Path, id: &str) -> String {
    let (header, mut claims) = parts(fresh);
    for name in ["iat", "nbf", "auth_time"] {
        claims[name] = json!(now_s() - 301);
    }
    claims["jti"] = json!(id);
    signed(&header, &claims, &issuer_key(dir))
}

/// Proves: REQ-SVC-126
#[test]
fn a_signature_with_an_old_authentication_asks_for_a_fresh_one() {
    let (_site, dir) = copy();
    let served = Served::start(&dir, &[]);
    let fresh = served.token("clinician");
    let old = stale(&fresh, &dir, "an-older-token");
    let list = served.get("/readings?status=evaluated&signed=false&limit=1", &old).expect_status(200).json();
    let id = list["readings"][0]["id"].as_str().unwrap().to_owned();
    let sign = |token: &str| {
        let body = json!({ "meaning": "review", "comment": "<script>alert('shown as text')</script>" }).to_string();
        served.call(
            &Request::new("POST", &format!("/readings/{id}/sign-off")).token(token).body("application/json", body),
        )
    };
    let stale = sign(&old);
    stale.expect_problem(401);
    let challenge = stale.header("www-authenticate").unwrap();
    assert!(
        challenge.contains(r#"error="insufficient_user_authentication""#) && challenge.contains("max_age=300"),
        "{challenge}"
    );
    assert_eq!(access_entries(&served)[&request_id(&stale)]["body"]["result"], "denied");
    sign(&fresh).expect_status(201);
    let shown = served.get(&format!("/readings/{id}"), &old).expect_status(200).json();
    assert_eq!(shown["sign_off"]["comment"], "<script>alert('shown as text')</script>");
    sign(&served.token("clinician")).expect_problem(409);
    assert_eq!(served.end().0, Some(0));
    assert_log_whole(&dir);
}

/// Proves: REQ-SVC-107
/// Proves: REQ-SVC-108
#[test]
fn tokens_are_made_before_and_beside_a_service_by_processes_that_race() {
    let (_site, dir) = copy();
    let racers: Vec<_> = (0..6)
        .map(|_| {
            let mut command = vidimus();
            command.args(["token", "--role", "quality", "--dir", text(&dir)]).stdout(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let tokens: Vec<String> = racers
        .into_iter()
        .map(|racer| {
            let output = racer.wait_with_output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        })
        .collect();
    let served = Served::start(&dir, &[]);
    for token in &tokens {
        let line = token.strip_suffix('\n').expect("one line");
        assert_eq!(line.split('.').count(), 3, "nothing but the token");
        served.get("/log/entries?limit=1", line).expect_status(200);
    }
    let beside = vidimus_run(&["token", "--role", "quality", "--minutes", "1", "--dir", text(&dir)]).expect_code(0);
    assert!(beside.err.is_empty(), "{}", beside.err);
    served.get("/log/entries?limit=1", beside.out.trim_end()).expect_status(200);
    let none = tempfile::TempDir::new().unwrap();
    let missing = vidimus_run(&["token", "--role", "quality", "--dir", text(none.path())]).expect_code(1);
    assert!(missing.out.is_empty() && missing.err.contains("vidimus demo --dir"), "{}", missing.err);
    assert_eq!(fs::read_dir(none.path()).unwrap().count(), 0, "it makes no site");
    for (role, minutes) in [("quality", "0"), ("quality", "1441"), ("root", "10")] {
        vidimus_run(&["token", "--dir", text(&dir), "--role", role, "--minutes", minutes]).expect_code(2);
    }
}
