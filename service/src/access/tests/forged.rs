//! Each way to forge, bend or reuse a token. Signatures are right unless the attack is on the signature, so that
//! nothing hides behind another check.

use jsonwebtoken::{EncodingKey, crypto, jwk::Jwk};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::verify, *};

/// A change of a token's header and claims.
type Change = fn(&mut Value, &mut Value);

fn changed(house: &House, change: Change) -> String {
    let (mut header, mut claims) = parts(&house.token(Role::Clinician));
    change(&mut header, &mut claims);
    signed(&header.to_string(), &claims.to_string(), &house.key())
}

#[track_caller]
fn refused(house: &House, token: &str, code: &str) {
    let denial = house.bearer(token, NOW + 10).expect_err(code);
    assert_eq!(denial.code, code);
    assert_eq!(
        denial.challenge, r#"Bearer realm="vidimus", error="invalid_token""#,
        "{code}: the caller learns nothing"
    );
}

/// Proves: REQ-SVC-102
#[test]
fn every_header_that_is_not_the_issuers_is_refused() {
    let house = House::new();
    let attacks: &[(&str, Change)] = &[
        ("algorithm", |h, _| h["alg"] = json!("none")),
        ("algorithm", |h, _| h["alg"] = json!("None")),
        ("algorithm", |h, _| h["alg"] = json!("HS256")),
        ("algorithm", |h, _| h["alg"] = json!("ES256")),
        ("algorithm", |h, _| h["alg"] = json!("RS256")),
        ("algorithm", |h, _| h["alg"] = json!("eddsa")),
        ("algorithm", |h, _| h["alg"] = json!(["EdDSA"])),
        ("algorithm", |h, _| h["alg"] = Value::Null),
        ("unknown-key", |h, _| h["kid"] = json!("other")),
        ("unknown-key", |h, _| h["kid"] = json!("")),
        ("unknown-key", |h, _| h["kid"] = json!("../../../dev/null")),
        ("unknown-key", |h, _| h["kid"] = json!("' OR 1=1 --")),
        ("unknown-key", |h, _| h["kid"] = json!(0)),
        ("unknown-key", |h, _| drop(h.as_object_mut().unwrap().remove("kid"))),
        ("critical", |h, _| h["crit"] = json!(["exp"])),
        ("critical", |h, _| h["crit"] = json!([])),
        ("critical", |h, _| {
            h["crit"] = json!(["b64"]);
            h["b64"] = json!(false);
        }),
        ("type", |h, _| h["typ"] = json!("JWT")),
        ("type", |h, _| h["typ"] = json!("vidimus-signoff+jws")),
        ("type", |h, _| drop(h.as_object_mut().unwrap().remove("typ"))),
        ("header-key", |h, _| h["jku"] = json!("https://attacker.example/jwks.json")),
        ("header-key", |h, _| h["x5u"] = json!("https://attacker.example/chain.pem")),
        ("header-key", |h, _| h["x5c"] = json!(["MIIB"])),
        ("header-key", |h, _| h["jwk"] = json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"})),
    ];
    for (code, change) in attacks {
        refused(&house, &changed(&house, *change), code);
    }
    let media_type = changed(&house, |h, _| h["typ"] = json!("application/AT+JWT"));
    house.bearer(&media_type, NOW).unwrap();
}

/// Proves: REQ-SVC-103
#[test]
fn every_claim_that_is_not_for_this_site_and_time_is_refused() {
    let house = House::new();
    let attacks: &[(&str, Change)] = &[
        ("issuer", |_, c| c["iss"] = json!("https://attacker.example")),
        ("issuer", |_, c| c["iss"] = json!(format!("{}/", c["iss"].as_str().unwrap()))),
        ("audience", |_, c| c["aud"] = json!("https://other.example/api")),
        ("audience", |_, c| c["aud"] = json!([])),
        ("audience", |_, c| c["aud"] = json!([c["aud"], "https://other.example/api"])),
        ("audience", |_, c| c["aud"] = json!([[c["aud"]]])),
        ("audience", |_, c| c["aud"] = json!(7)),
        ("expired", |_, c| c["exp"] = json!(NOW - 60)),
        ("not-yet", |_, c| c["nbf"] = json!(NOW + 120)),
        ("not-yet", |_, c| c["iat"] = json!(NOW + 120)),
        ("not-yet", |_, c| c["auth_time"] = json!(NOW + 120)),
        ("lifetime", |_, c| c["exp"] = json!(NOW + 1_441 * 60)),
        ("lifetime", |_, c| c["exp"] = json!(u64::MAX)),
        ("lifetime", |_, c| c["auth_time"] = json!(NOW + 30)),
        ("lifetime", |_, c| {
            c["iat"] = json!(NOW + 30);
            c["exp"] = json!(NOW + 20);
        }),
        ("role", |_, c| c["roles"] = json!(["superuser"])),
        ("role", |_, c| c["roles"] = json!(["Clinician"])),
        ("role", |_, c| c["roles"] = json!([])),
        ("role", |_, c| c["roles"] = json!(["clinician", "admin"])),
        ("role", |_, c| c["roles"] = json!([["clinician"]])),
        ("claims", |_, c| c["roles"] = json!("clinician")),
        ("claims", |_, c| c["roles"] = json!(["modality"])),
        ("claims", |_, c| c["sub"] = json!("sys")),
        ("claims", |_, c| c["sub"] = json!("stf_short")),
        ("claims", |_, c| c["sub"] = json!(format!("svc_{}", "a".repeat(26)))),
        ("claims", |_, c| c["jti"] = json!("")),
        ("claims", |_, c| c["jti"] = json!("a\nb")),
        ("claims", |_, c| c["jti"] = json!("j".repeat(129))),
        ("claims", |_, c| c["name"] = json!("a\r\nSet-Cookie: x=y")),
        ("claims", |_, c| c["acr"] = json!("0")),
        ("claims", |_, c| c["exp"] = json!(1e18)),
        ("claims", |_, c| c["exp"] = json!(-1)),
        ("claims", |_, c| c["exp"] = json!("1766000100")),
        ("claims", |_, c| c["iat"] = json!(null)),
    ];
    for (code, change) in attacks {
        refused(&house, &changed(&house, *change), code);
    }
    let listed = changed(&house, |_, c| c["aud"] = json!([c["aud"]]));
    house.bearer(&listed, NOW).unwrap();
}

/// Proves: REQ-SVC-103
#[test]
fn a_token_without_one_of_its_claims_is_refused() {
    let house = House::new();
    let (header, claims) = parts(&house.token(Role::Clinician));
    for name in claims.as_object().unwrap().keys() {
        let mut without = claims.clone();
        without.as_object_mut().unwrap().remove(name);
        refused(&house, &signed(&header.to_string(), &without.to_string(), &house.key()), "claims");
    }
}

/// Proves: REQ-SVC-103
#[test]
fn clocks_may_differ_by_a_minute_and_no_more() {
    let house = House::new();
    let token = house.issuer().token(Role::Clinician, "N", 10, NOW).unwrap();
    let code = |now_s| house.bearer(&token, now_s).err().map(|denial| denial.code);
    assert_eq!(code(NOW - 61), Some("not-yet"));
    assert_eq!(code(NOW - 60), None);
    assert_eq!(code(NOW + 600 + 59), None);
    assert_eq!(code(NOW + 600 + 60), Some("expired"));
    assert_eq!(code(u64::MAX), Some("expired"));
    assert_eq!(code(0), Some("not-yet"));
}

/// Proves: REQ-SVC-104
#[test]
fn a_name_that_stands_twice_is_refused() {
    let house = House::new();
    let (header, claims) = parts(&house.token(Role::Regulator));
    let (header, claims) = (header.to_string(), claims.to_string());
    let both = |text: &str, more: &str| format!("{{{more},{}", &text[1..]);
    for more in
        [r#""roles":["admin"]"#, r#""exp":1"#, r#""extra":1,"extra":2"#, r#""extra":{"a":1,"a":2}"#, r#""\u0065xp":1"#]
    {
        refused(&house, &signed(&header, &both(&claims, more), &house.key()), "malformed");
    }
    for more in [r#""alg":"none""#, r#""kid":"x""#, r#""extra":[{"a":1,"a":2}]"#] {
        refused(&house, &signed(&both(&header, more), &claims, &house.key()), "malformed");
    }
    let more = both(&claims, r#""extra":{"a":[1,null,true,"x",{"b":1.5}]}"#);
    house.bearer(&signed(&header, &more, &house.key()), NOW).unwrap();
}

/// Proves: REQ-SVC-102
#[test]
fn the_public_key_is_no_shared_secret() {
    let house = House::new();
    let (mut header, claims) = parts(&house.token(Role::Admin));
    header["alg"] = json!("HS256");
    let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let set: Value = serde_json::from_str(house.access.jwks()).unwrap();
    let public = house.key().verifying_key();
    let secrets: [&[u8]; 5] = [
        public.as_bytes(),
        set["keys"][0]["x"].as_str().unwrap().as_bytes(),
        &set["keys"][0].to_string().into_bytes(),
        house.access.jwks().as_bytes(),
        b"",
    ];
    for secret in secrets {
        let mac = crypto::sign(message.as_bytes(), &EncodingKey::from_secret(secret), jsonwebtoken::Algorithm::HS256);
        refused(&house, &format!("{message}.{}", mac.unwrap()), "algorithm");
    }
    // The header keeps the right name: the keyed hash is then read as a signature.
    let token = house.token(Role::Admin);
    let message = token.rsplit_once('.').unwrap().0;
    let mac =
        crypto::sign(message.as_bytes(), &EncodingKey::from_secret(public.as_bytes()), jsonwebtoken::Algorithm::HS256);
    refused(&house, &format!("{message}.{}", mac.unwrap()), "signature");
}

/// Proves: REQ-SVC-102
#[test]
fn a_signature_of_another_key_or_text_is_refused() {
    let house = House::new();
    let token = house.token(Role::Clinician);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = parts(&token);
    let stranger = SigningKey::from_bytes(&[7; 32]);
    refused(&house, &signed(&header.to_string(), &claims.to_string(), &stranger), "signature");
    refused(&house, &format!("{message}."), "signature");
    refused(&house, &format!("{message}.{}", encode([0; 64])), "signature");
    refused(&house, &format!("{message}.{}", encode([0; 63])), "signature");
    let mut raised = claims;
    raised["roles"] = json!(["admin"]);
    let message = format!("{}.{}", encode(header.to_string()), encode(raised.to_string()));
    refused(&house, &format!("{message}.{signature}"), "signature");
}

/// Proves: REQ-SVC-105
#[test]
fn a_token_of_another_site_is_refused() {
    let (here, there) = (House::new(), House::new());
    refused(&here, &there.token(Role::Admin), "unknown-key");
    // Even where somebody copied the keys: the origin is another.
    let copied = Issuer::open(here.folder.path(), "other.example/vidimus/test").unwrap();
    refused(&here, &copied.token(Role::Admin, "N", 10, NOW).unwrap(), "issuer");
}

/// Proves: REQ-SVC-104
#[test]
fn what_is_no_token_is_refused() {
    let house = House::new();
    let token = house.token(Role::Clinician);
    let (header, claims) = parts(&token);
    let key = house.key();
    let padded = claims.to_string().len() % 3;
    let spaced = format!("{claims}{}", " ".repeat((4 - padded) % 3));
    let fitting = signed(&header.to_string(), &spaced, &key);
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b".into(),
        "a.b.c.d.e".into(),
        format!("{token}."),
        format!("{token}="),
        format!(" {token} x"),
        token.replace('.', ".."),
        fitting.replacen('.', "=.", 1),
        format!("{}.{}.{}", encode("[]"), encode("{}"), encode([0; 64])),
        format!("{}.{}.{}", encode("null"), encode("{}"), encode([0; 64])),
        format!("{}.{}.{}", encode(header.to_string() + "x"), encode("{}"), encode([0; 64])),
        format!("{}.{}.{}", encode([0xff, 0xfe]), encode("{}"), encode([0; 64])),
        format!("{}.{}.{}", encode("[".repeat(5_000)), encode("{}"), encode([0; 64])),
    ] {
        refused(&house, &bad, "malformed");
    }
    refused(&house, &signed(&header.to_string(), "[1]", &key), "malformed");
}

/// Proves: REQ-SVC-104
#[test]
fn a_token_of_8_kib_is_read_and_a_longer_one_is_not() {
    let house = House::new();
    let (header, claims) = parts(&house.token(Role::Clinician));
    let with = |count: usize| {
        let mut long = claims.clone();
        long["scope"] = json!("s".repeat(count));
        signed(&header.to_string(), &long.to_string(), &house.key())
    };
    let room = (8_192 - with(1).len()) * 3 / 4;
    let fits = (room - 8..=room + 8).map(&with).filter(|token| token.len() <= 8_192).max_by_key(String::len).unwrap();
    assert!(fits.len() > 8_188);
    house.bearer(&fits, NOW).unwrap();
    refused(&house, &with(room + 16), "malformed");
}

/// Proves: REQ-SVC-104
#[test]
fn other_schemes_are_refused_and_none_is_asked_for_plainly() {
    let house = House::new();
    let token = house.token(Role::Clinician);
    let code = |line: Option<&str>| {
        let from = Credentials { authorization: line, safe_method: true, ..Credentials::default() };
        house.access.authenticate(&from, NOW).map(|_| "in").unwrap_or_else(|denial| denial.code)
    };
    assert_eq!(code(None), "no-credentials");
    assert_eq!(code(Some("Basic YTpi")), "scheme");
    assert_eq!(code(Some(&format!("DPoP {token}"))), "scheme");
    assert_eq!(code(Some(&token)), "malformed");
    assert_eq!(code(Some("")), "malformed");
    assert_eq!(code(Some(&format!("Bearer {token}, Bearer {token}"))), "malformed", "two lines");
    assert_eq!(code(Some(&format!("bearer {token}"))), "in");
    let denial = house.access.authenticate(&Credentials::default(), NOW).unwrap_err();
    assert_eq!(denial.challenge, r#"Bearer realm="vidimus""#);
}

/// Proves: REQ-SVC-106
#[test]
fn a_key_set_with_an_unfit_key_is_refused() {
    let open = |keys: Value| {
        verify::Verifier::new(
            "https://i.example".into(),
            "https://a.example".into(),
            &json!({"keys": keys}).to_string(),
        )
    };
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": encode([1; 32]), "kid": "a"});
    let with = |name: &str, value: Value| {
        let mut key = ed.clone();
        key[name] = value;
        json!([key])
    };
    assert!(open(json!([ed])).is_ok());
    for keys in [
        json!([]),
        json!([ed, ed]),
        with("kid", Value::Null),
        with("use", json!("enc")),
        with("alg", json!("HS256")),
        with("alg", json!("ES256")),
        with("x", json!(encode([1; 31]))),
        with("crv", json!("X25519")),
        json!([{"kty": "oct", "k": encode([1; 32]), "kid": "a"}]),
        json!([{"kty": "oct", "k": encode([1; 32]), "kid": "a", "alg": "EdDSA"}]),
        json!([{"kty": "RSA", "n": encode([0xff; 128]), "e": "AQAB", "kid": "a"}]),
        json!([{"kty": "EC", "crv": "P-256", "x": encode([1; 31]), "y": encode([1; 32]), "kid": "a"}]),
    ] {
        assert!(open(keys.clone()).is_err(), "{keys}");
    }
    assert!(verify::Verifier::new(String::new(), String::new(), r#"{"keys":[],"keys":[]}"#).is_err());
}

/// Proves: REQ-SVC-106
#[test]
fn published_signatures_of_the_rfcs_hold_under_their_keys_only() {
    // RFC 8037 appendix A.4 and RFC 7515 appendix A.3: public keys, texts and signatures as printed there.
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let ed_text = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let ed_sign = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let ec = json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let ec_text = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let ec_sign = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let holds = |jwk: &Value, text: &str, signature: &str| {
        let jwk: Jwk = serde_json::from_value(jwk.clone()).unwrap();
        verify::holds_under(&jwk, text, signature)
    };
    assert!(holds(&ed, ed_text, ed_sign) && holds(&ec, ec_text, ec_sign));
    assert!(!holds(&ed, ec_text, ec_sign) && !holds(&ec, ed_text, ed_sign));
    assert!(!holds(&ed, &ed_text[1..], ed_sign) && !holds(&ec, &ec_text[1..], ec_sign));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Proves: REQ-SVC-102
    #[test]
    fn a_token_with_one_changed_character_is_refused(place in any::<prop::sample::Index>(), to in any::<u8>()) {
        static HOUSE: std::sync::LazyLock<(House, String)> = std::sync::LazyLock::new(|| {
            let house = House::new();
            let token = house.token(Role::Clinician);
            (house, token)
        });
        let (house, token) = &*HOUSE;
        let mut bytes = token.clone().into_bytes();
        let place = place.index(bytes.len());
        prop_assume!(bytes[place] != to);
        bytes[place] = to;
        prop_assert!(house.bearer(&String::from_utf8_lossy(&bytes), NOW).is_err());
    }

    /// Proves: REQ-SVC-104
    #[test]
    fn no_line_makes_it_panic_or_lets_a_stranger_in(
        authorization in proptest::option::of(".{0,80}"), cookie in proptest::option::of(".{0,80}"),
        origin in proptest::option::of(".{0,30}"), header in ".{0,60}", claims in ".{0,60}",
    ) {
        static HOUSE: std::sync::LazyLock<House> = std::sync::LazyLock::new(House::new);
        let from = Credentials {
            authorization: authorization.as_deref(), cookie: cookie.as_deref(), origin: origin.as_deref(),
            ..Credentials::default()
        };
        prop_assert!(HOUSE.access.authenticate(&from, NOW).is_err());
        let token = format!("{}.{}.{}", encode(header), encode(claims), encode([0; 64]));
        prop_assert!(HOUSE.bearer(&token, NOW).is_err());
    }
}
