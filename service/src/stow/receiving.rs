//! The body of a request on its way in: from the socket through the parser into the spool, within the limits of bytes
//! and time of its operation.
//!
//! Before the first byte is read: is there room in the queue, can the answer be given in a form that the caller takes,
//! is the media type one that is taken. Bytes are parsed, hashed and written on a blocking thread in batches, while
//! the socket waits. A sender that is silent, drips or takes too long is told so; what it sent is gone. A body that
//! breaks off stores nothing, the parts that came whole among it: the sender has no answer and sends them all again.
//! Errors: [`Problem`]. Requirement: REQ-SVC-168, REQ-SVC-169.

use std::time::{Duration, Instant};

use actix_web::{
    rt::time::timeout,
    web::{self, Bytes},
};
use futures_util::StreamExt as _;
use vidimus_log::Digest;

use super::{
    answer,
    arrival::Part,
    media::MediaType,
    multipart::{Event, Fault, Parser},
    spool::{Spool, SpoolError},
};
use crate::http::{Kind, Limits, Problem, Stream, Streamed, accepted};

/// A sender that is silent for so long has stopped.
const SILENCE: Duration = Duration::from_secs(15);
/// From here on a sender is held to a rate.
const GRACE: Duration = Duration::from_secs(30);
/// Bytes a second at least: below it a sender drips.
const RATE_MIN: u64 = 1_024;
/// Bytes that are handed to a blocking thread at once.
const BATCH_BYTES: usize = 256 * 1024;
/// Seconds after which a full queue is worth another try: at least, and how many more at most, so that senders that
/// were turned away together do not come back together.
const RETRY_SECONDS: (u32, u32) = (2, 5);
/// Media types of a single film or picture.
const SINGLE: &[&str] = &["application/dicom", "image/png", "image/jpeg"];

/// A body that has come whole.
pub(super) struct Body {
    pub spool: Spool,
    pub parts: Vec<Part>,
    /// Media type of the answer that it is to have.
    pub answer: &'static str,
}

impl Body {
    /// What came, whatever the boundary between: with an `Idempotency-Key` the same parts are the same request.
    pub(super) fn digest(&self) -> Digest {
        let said = |part: &Part| {
            let digest = part.span.digest.map_or_else(String::new, |digest| digest.hex());
            format!("{}\n{}\n{digest}\n", part.media, part.span.length)
        };
        Digest::of(self.parts.iter().map(said).collect::<String>().as_bytes())
    }
}

/// Reads a body.
pub(super) async fn receive(request: &Streamed, stream: Stream, payload: web::Payload) -> Result<Body, Problem> {
    let (service, limits) = (&request.service, request.operation.limits);
    if service.queue.is_full() {
        let detail = "too many studies wait for their reading: nothing of this request was read; send it again";
        let chance = request.id().as_bytes().last().copied().map_or(0, u32::from);
        let seconds = RETRY_SECONDS.0 + chance % (RETRY_SECONDS.1 + 1);
        return Err(Problem::later(detail, seconds).because("queue-full"));
    }
    let offered = match stream {
        Stream::Stow => answer::MEDIA,
        Stream::Upload => &["application/json"],
    };
    let answer = accepted(request.header("accept"), offered)?;
    let content_type = request.header("content-type").unwrap_or_default();
    let writer = Writer::new(service.arrivals.spool(), stream, content_type)?;
    if request.header("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Problem::new(Kind::UnsupportedMedia, "Content-Encoding: send the body as it is"));
    }
    let declared = request.header("content-length").and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limits.body_bytes) {
        return Err(too_large(limits));
    }
    let (spool, parts) = pump(writer, limits, payload).await?.end()?;
    Ok(Body { spool, parts, answer })
}

/// Moves the body from the socket to the writer.
async fn pump(mut writer: Writer, limits: Limits, mut payload: web::Payload) -> Result<Writer, Problem> {
    let (begun, whole) = (Instant::now(), Duration::from_secs(limits.seconds));
    let (mut bytes, mut batch, mut waiting) = (0_u64, Vec::new(), 0);
    loop {
        let left = whole.saturating_sub(begun.elapsed());
        let chunk = match timeout(left.min(SILENCE), payload.next()).await {
            Err(_) if left < SILENCE => return Err(slow("the body took longer than it may")),
            Err(_) => return Err(slow("the sender was silent for 15 seconds")),
            Ok(None) => break,
            Ok(Some(chunk)) => chunk.map_err(|_| Problem::new(Kind::BadRequest, "the body broke off"))?,
        };
        bytes += chunk.len() as u64;
        if bytes > limits.body_bytes {
            return Err(too_large(limits));
        }
        if drips(begun.elapsed(), bytes) {
            return Err(slow("the sender was slower than 1 KiB a second"));
        }
        waiting += chunk.len();
        batch.push(chunk);
        if waiting >= BATCH_BYTES {
            writer = write(writer, std::mem::take(&mut batch)).await?;
            waiting = 0;
        }
    }
    write(writer, batch).await
}

async fn write(mut writer: Writer, batch: Vec<Bytes>) -> Result<Writer, Problem> {
    if batch.is_empty() {
        return Ok(writer);
    }
    let task = web::block(move || {
        for chunk in &batch {
            writer.push(chunk)?;
        }
        Ok::<_, Problem>(writer)
    });
    task.await.map_err(|_| Problem::new(Kind::Internal, "the body was not read to its end"))?
}

/// Whether a sender is slower than any line that works.
fn drips(elapsed: Duration, bytes: u64) -> bool {
    elapsed > GRACE && bytes < elapsed.as_secs() * RATE_MIN
}

fn slow(detail: &str) -> Problem {
    Problem::new(Kind::Timeout, detail)
}

fn too_large(limits: Limits) -> Problem {
    Problem::new(Kind::TooLarge, format!("the body: at most {} bytes", limits.body_bytes))
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let kind = match fault {
            Fault::Media => Kind::UnsupportedMedia,
            Fault::Parts => Kind::TooLarge,
            _ => Kind::BadRequest,
        };
        Self::new(kind, fault.to_string())
    }
}

impl From<SpoolError> for Problem {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::DiskFull(_) => Self::new(Kind::NoRoom, error.to_string()),
            SpoolError::Broken { .. } => anyhow::Error::from(error).into(),
        }
    }
}

/// Parser and spool of one body.
struct Writer {
    /// None where the whole body is one part.
    parser: Option<Parser>,
    spool: Spool,
    parts: Vec<Part>,
    /// Media type of the open part.
    media: String,
}

impl Writer {
    fn new(mut spool: Spool, stream: Stream, content_type: &str) -> Result<Self, Problem> {
        let (mut parser, mut media) = (None, String::new());
        match stream {
            Stream::Stow => parser = Some(Parser::new(content_type)?),
            Stream::Upload => {
                media = MediaType::parse(content_type).map(|media| media.name).unwrap_or_default();
                if !SINGLE.contains(&media.as_str()) {
                    let detail = format!("Content-Type: taken is {}", SINGLE.join(" or "));
                    return Err(Problem::new(Kind::UnsupportedMedia, detail));
                }
                spool.begin();
            }
        }
        Ok(Self { parser, spool, parts: Vec::new(), media })
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        let Self { parser, spool, parts, media } = self;
        let Some(parser) = parser else { return Ok(spool.write(bytes)?) };
        parser.push(bytes, |event| {
            match event {
                Event::Start { media: named } => {
                    *media = named;
                    spool.begin();
                }
                Event::Data(data) => spool.write(data)?,
                Event::Stop => parts.extend(spool.end().map(|span| Part { media: std::mem::take(media), span })),
            }
            Ok(())
        })
    }

    fn end(mut self) -> Result<(Spool, Vec<Part>), Problem> {
        match &self.parser {
            Some(parser) => parser.finish()?,
            None => {
                let span = self.spool.end().filter(|span| span.length > 0);
                let span = span.ok_or_else(|| Problem::new(Kind::BadRequest, "the body is empty"))?;
                self.parts.push(Part { media: self.media, span });
            }
        }
        Ok((self.spool, self.parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves: REQ-SVC-169
    #[test]
    fn a_sender_below_the_rate_drips_once_its_grace_is_over() {
        assert!(!drips(GRACE, 1));
        assert!(drips(GRACE + Duration::from_secs(1), 31 * RATE_MIN - 1));
        assert!(!drips(GRACE + Duration::from_secs(1), 31 * RATE_MIN));
    }
}
