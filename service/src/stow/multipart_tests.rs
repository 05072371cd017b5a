//! The parser against a second one that reads the whole body at once, over any chunking, and at each of its limits.

use proptest::prelude::*;

use super::multipart::{ASIDE_BYTES_MAX, DICOM, Event, Fault, HEAD_BYTES_MAX, PARTS_MAX, Parser};

const KIND: &str = "multipart/related; type=\"application/dicom\"; boundary=b";

/// A part: its media type and its bytes.
type Part = (String, Vec<u8>);

/// What a body holds, read in chunks of these lengths (the last one for the rest).
fn read(kind: &str, body: &[u8], lengths: &[usize]) -> Result<Vec<Part>, Fault> {
    let mut parser = Parser::new(kind)?;
    let (mut parts, mut open): (Vec<Part>, bool) = (Vec::new(), false);
    let mut rest = body;
    let mut lengths = lengths.iter().cycle();
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(lengths.next().map_or(rest.len(), |length| (*length).clamp(1, rest.len())));
        parser.push(chunk, |event| {
            match event {
                Event::Start { media } => {
                    assert!(!std::mem::replace(&mut open, true), "a part begins when none is open");
                    parts.push((media, Vec::new()));
                }
                Event::Data(bytes) => {
                    assert!(open && !bytes.is_empty());
                    parts.last_mut().unwrap().1.extend_from_slice(bytes);
                }
                Event::Stop => assert!(std::mem::replace(&mut open, false), "an open part ends"),
            }
            Ok::<_, Fault>(())
        })?;
        rest = behind;
    }
    parser.finish()?;
    assert!(!open);
    Ok(parts)
}

/// The same by cutting the whole body at its delimiters: slow, short, and written from the grammar of RFC 2046.
fn naive(body: &[u8]) -> Option<Vec<Part>> {
    fn find(text: &[u8], what: &[u8]) -> Option<usize> {
        text.windows(what.len()).position(|window| window == what)
    }
    let mut rest = [b"\r\n", body].concat();
    let mut parts = Vec::new();
    rest.drain(..find(&rest, b"\r\n--b")? + 5);
    loop {
        if rest.starts_with(b"--") {
            let line = rest[2..].split(|byte| *byte == b'\r').next()?;
            let behind = &rest[2 + line.len()..];
            let sound =
                line.iter().all(|byte| b" \t".contains(byte)) && (behind.is_empty() || behind.starts_with(b"\r\n"));
            return (sound && !parts.is_empty()).then_some(parts);
        }
        let end = find(&rest, b"\r\n--b")?;
        let part = &rest[..end];
        let line = find(part, b"\r\n")?;
        let padding = part[..line].iter().all(|byte| b" \t".contains(byte));
        let part = [&part[line..], b"\r\n"].concat();
        let head = find(&part, b"\r\n\r\n")?;
        let fields = std::str::from_utf8(&part[2.min(head)..head]).ok()?;
        let data = part.get(head + 4..part.len() - 2).unwrap_or_default();
        if fields.starts_with([' ', '\t']) {
            return None;
        }
        for line in fields.split("\r\n").filter(|line| !line.is_empty()) {
            if line.chars().any(|one| one.is_control() && one != '\t') {
                return None;
            }
            if line.starts_with([' ', '\t']) {
                continue;
            }
            let (name, _) = line.split_once(':')?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
                return None;
            }
        }
        if !padding {
            return None;
        }
        parts.push((DICOM.to_owned(), data.to_vec()));
        rest.drain(..end + 5);
    }
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "\r\n--b\r\n\r\n",
        "\r\n--b--",
        "\r\n--b",
        "--b\r\n",
        "\r\n",
        "\r",
        "\n",
        "-",
        "--",
        "b",
        " ",
        "A: b\r\n",
        "x",
        "\0",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..14).prop_map(|words| words.concat().into_bytes())
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..40_usize, 1..5)
}

fn sound_body() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let words = ["\r", "\n", "\r\n", "--", "b", "\r\n-", "\r\n--", "\0\u{1}", "\r\r\r\n--a"];
    let data = prop::collection::vec(prop::sample::select(words.to_vec()), 0..9).prop_map(|words| words.concat());
    prop::collection::vec(data.prop_filter("no delimiter", |data| !format!("\r\n{data}").contains("\r\n--b")), 1..5)
        .prop_map(|parts| {
            let mut body = String::from("text\r\n");
            for part in &parts {
                body += &format!("--b \t\r\nContent-Type: application/dicom\r\n\r\n{part}\r\n");
            }
            ((body + "--b--\r\nmore").into_bytes(), parts.len())
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Proves: REQ-SVC-150, REQ-SVC-151
    #[test]
    fn any_chunking_gives_what_the_whole_body_gives(body in body(), lengths in lengths()) {
        let whole = read(KIND, &body, &[]);
        prop_assert_eq!(read(KIND, &body, &lengths).ok(), whole.clone().ok());
        prop_assert_eq!(read(KIND, &body, &[1]).ok(), whole.clone().ok());
        prop_assert_eq!(whole.ok(), naive(&body));
    }

    /// Proves: REQ-SVC-150, REQ-SVC-151
    #[test]
    fn a_sound_body_is_read_whole_in_any_chunking((body, parts) in sound_body(), lengths in lengths()) {
        let whole = read(KIND, &body, &[]).unwrap();
        prop_assert_eq!(whole.len(), parts);
        prop_assert_eq!(Some(whole.clone()), naive(&body));
        prop_assert_eq!(whole, read(KIND, &body, &lengths).unwrap());
    }
}

/// Proves: REQ-SVC-152
#[test]
fn the_content_type_is_read_in_any_order_case_and_quotation() {
    let long = "b".repeat(70);
    for kind in [
        "multipart/related; type=\"application/dicom\"; boundary=b",
        "multipart/related;type=application/dicom;boundary=b",
        "Multipart/Related ; Boundary=\"b\" ; TYPE=\"Application/DICOM\"; start=\"<1@x>\"",
        "multipart/related; boundary=b; type=\"application\\/dicom\";",
        "multipart/related; boundary=----=_Part_0_1.2; type=application/dicom",
        "multipart/related; boundary=\"a b'()+_,-./:=?c\"; type=application/dicom",
        &format!("multipart/related; type=application/dicom; boundary={long}"),
    ] {
        assert!(Parser::new(kind).is_ok(), "{kind}");
    }
    for (kind, fault) in [
        ("application/dicom", Fault::Media),
        ("multipart/mixed; type=application/dicom; boundary=b", Fault::Media),
        ("multipart/related; boundary=b", Fault::Media),
        ("multipart/related; type=application/dicom+json; boundary=b", Fault::Media),
        ("multipart/related; type=application/dicom", Fault::Boundary),
        ("multipart/related; type=application/dicom; boundary=\"\"", Fault::Boundary),
        ("multipart/related; type=application/dicom; boundary=\"b \"", Fault::Boundary),
        ("multipart/related; type=application/dicom; boundary=b\u{e9}", Fault::Boundary),
        ("multipart/related; type=application/dicom; boundary=\"b\r\nX: y\"", Fault::Boundary),
        (&format!("multipart/related; type=application/dicom; boundary={long}b"), Fault::Boundary),
        ("multipart/related; type=application/dicom; boundary=a; boundary=b", Fault::Parameters),
        ("multipart/related; type=application/dicom; boundary=\"b", Fault::Parameters),
        ("multipart/related type=application/dicom", Fault::Parameters),
        ("", Fault::Media),
    ] {
        assert_eq!(Parser::new(kind).map(|_| ()), Err(fault), "{kind}");
    }
}

/// Proves: REQ-SVC-153
#[test]
fn a_part_bears_its_own_type_or_that_of_the_request() {
    let of = |head: &str| {
        read(KIND, format!("--b\r\n{head}\r\nx\r\n--b--").as_bytes(), &[3]).map(|parts| parts[0].0.clone())
    };
    assert_eq!(of("").unwrap(), DICOM);
    assert_eq!(of("Content-Location: a\r\nCONTENT-TYPE:Application/Dicom; transfer-syntax=1.2\r\n").unwrap(), DICOM);
    assert_eq!(of("Content-Type:\r\n application/dicom\r\n").unwrap(), DICOM);
    assert_eq!(of("Content-Type: text/plain\r\n").unwrap(), "text/plain");
    assert_eq!(of("Content-Type: dicom\r\n").unwrap(), "");
    for broken in [
        "Content-Type: a/b\r\nContent-Type: a/b\r\n",
        "no colon\r\n",
        " folded\r\n",
        "A: \0\r\n",
        "A b: c\r\n",
        "--b: c\r\n",
    ] {
        assert_eq!(of(broken), Err(Fault::Head { part: 1 }), "{broken:?}");
    }
}

/// Proves: REQ-SVC-154
#[test]
fn what_is_no_whole_multipart_body_is_named() {
    for (body, fault) in [
        ("", Fault::NoBoundary),
        ("junk", Fault::NoBoundary),
        ("--c\r\n\r\n--c--", Fault::NoBoundary),
        ("--b--\r\n", Fault::Empty),
        ("--b", Fault::Ended),
        ("--b\r\n\r\nx", Fault::Ended),
        ("--b\r\n\r\nx\r\n--b", Fault::Ended),
        ("--b\r\n\r\nx\r\n--b-", Fault::Ended),
        ("--b\r\n\r\nx\r\n--b\r\n", Fault::Ended),
        ("--b\r\n\r\nx\r\n--b--\r", Fault::Ended),
        ("--b\n\nx\n--b--", Fault::Delimiter),
        ("--bc\r\n\r\nx\r\n--b--", Fault::Delimiter),
        ("--b\r\n\r\nx\r\n--bc\r\n--b--", Fault::Delimiter),
        ("--b\r\n\r\nx\r\n--b--\n", Fault::Delimiter),
        ("--b\r\n\r\nx\r\n--b -- \r\n", Fault::Delimiter),
    ] {
        assert_eq!(read(KIND, body.as_bytes(), &[1]), Err(fault), "{body:?}");
    }
    assert_eq!(read(KIND, b"--b\r\n\r\n--b--", &[1]).unwrap(), [(DICOM.to_owned(), Vec::new())]);
}

/// Proves: REQ-SVC-155
#[test]
fn each_limit_holds_just_below_and_just_above() {
    let parts = |count: usize| format!("{}--b--", "--b\r\n\r\nx\r\n".repeat(count)).into_bytes();
    assert_eq!(read(KIND, &parts(PARTS_MAX), &[4096]).unwrap().len(), PARTS_MAX);
    assert_eq!(read(KIND, &parts(PARTS_MAX + 1), &[4096]), Err(Fault::Parts));
    assert_eq!(read(KIND, &parts(10_000), &[4096]), Err(Fault::Parts));
    let head = |bytes: usize| format!("--b\r\nA: {}\r\n\r\nx\r\n--b--", "a".repeat(bytes - 7)).into_bytes();
    assert_eq!(read(KIND, &head(HEAD_BYTES_MAX), &[100]).unwrap().len(), 1);
    assert_eq!(read(KIND, &head(HEAD_BYTES_MAX + 1), &[100]), Err(Fault::HeadLength { part: 1 }));
    let preamble = |bytes: usize| format!("{}\r\n--b\r\n\r\nx\r\n--b--", "a".repeat(bytes)).into_bytes();
    assert!(read(KIND, &preamble(ASIDE_BYTES_MAX), &[100]).is_ok());
    assert_eq!(read(KIND, &preamble(ASIDE_BYTES_MAX + 1), &[100]), Err(Fault::NoBoundary));
    let epilogue = |bytes: usize| format!("--b\r\n\r\nx\r\n--b--\r\n{}", "a".repeat(bytes)).into_bytes();
    assert!(read(KIND, &epilogue(ASIDE_BYTES_MAX), &[100]).is_ok());
    assert_eq!(read(KIND, &epilogue(ASIDE_BYTES_MAX + 1), &[100]), Err(Fault::Epilogue));
    let padding = format!("--b{}\r\n\r\nx\r\n--b--", " ".repeat(HEAD_BYTES_MAX));
    assert_eq!(read(KIND, padding.as_bytes(), &[100]), Err(Fault::Delimiter));
}

/// Proves: REQ-SVC-151
#[test]
fn beginnings_of_a_delimiter_cost_no_more_than_other_bytes() {
    // Each line nearly matches; a search that went back would read each byte as often as the boundary is long.
    let boundary = "b".repeat(70);
    let kind = format!("multipart/related; type=application/dicom; boundary={boundary}");
    let data = format!("\r\n--{}", "b".repeat(69)).repeat(40_000);
    let body = format!("--{boundary}\r\n\r\n{data}\r\n--{boundary}--");
    let mut parser = Parser::new(&kind).unwrap();
    let (mut events, mut bytes, mut chunks) = (0, 0, 0);
    for chunk in body.as_bytes().chunks(4096) {
        chunks += 1;
        parser
            .push(chunk, |event| {
                events += 1;
                bytes += if let Event::Data(data) = event { data.len() } else { 0 };
                Ok::<_, Fault>(())
            })
            .unwrap();
    }
    parser.finish().unwrap();
    assert_eq!(bytes, data.len());
    assert!(events <= 2 * chunks + 2, "{events} events of {chunks} chunks");
}
