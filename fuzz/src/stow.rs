//! Target of the multipart parser: the first byte is the length of the chunks, then a `Content-Type`, an empty line, a
//! body. Laws: what is read does not depend on the chunks; parts begin and end in turn; no byte is given out twice.

#[path = "../../service/src/stow/media.rs"]
mod media;
#[path = "../../service/src/stow/multipart.rs"]
mod parser;

use parser::{Event, Fault, Parser};

/// Parts with their media types and bytes.
type Parts = Vec<(String, Vec<u8>)>;

/// A request's media type and body.
pub fn multipart(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let Some(place) = rest.windows(2).position(|pair| pair == b"\n\n") else { return };
    let Ok(kind) = std::str::from_utf8(&rest[..place]) else { return };
    let body = &rest[place + 2..];
    let whole = read(kind, body, body.len());
    assert_eq!(whole.as_ref().ok(), read(kind, body, usize::from(*length)).as_ref().ok(), "chunks change nothing");
    let given: usize = whole.iter().flatten().map(|(_, data)| data.len()).sum();
    assert!(given <= body.len(), "no byte is given out twice");
}

fn read(kind: &str, body: &[u8], length: usize) -> Result<Parts, Fault> {
    let mut parser = Parser::new(kind)?;
    let (mut parts, mut open) = (Parts::new(), false);
    for chunk in body.chunks(length.max(1)) {
        parser.push(chunk, |event| {
            match &event {
                Event::Start { media } => parts.push((media.clone(), Vec::new())),
                Event::Data(data) => {
                    parts.iter_mut().last().into_iter().for_each(|part| part.1.extend_from_slice(data))
                }
                Event::Stop => {}
            }
            assert!(open != matches!(event, Event::Start { .. }), "parts begin and end in turn");
            open = !matches!(event, Event::Stop);
            Ok::<_, Fault>(())
        })?;
    }
    parser.finish().map(|()| parts)
}
