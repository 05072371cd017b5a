//! A client of HTTP/1.1 that keeps its connection, as modalities, browsers and FHIR clients do.
//! Errors: a broken connection is status 0.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

/// Until an answer that does not come is an error.
const PATIENCE: Duration = Duration::from_secs(90);

/// One connection at a time, as one caller.
pub(crate) struct Client {
    address: String,
    token: Option<String>,
    stream: Option<BufReader<TcpStream>>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status; 0 where none came.
    pub(crate) status: u16,
    /// Seconds after which to try again.
    pub(crate) retry_after: Option<u64>,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The body as JSON, null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Client {
    /// A client of the service at `address`.
    pub(crate) fn new(address: &str, token: Option<&str>) -> Self {
        Self { address: address.to_owned(), token: token.map(str::to_owned), stream: None }
    }

    /// Reads a path.
    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, None)
    }

    /// Sends a body of a media type.
    pub(crate) fn post(&mut self, path: &str, media: &str, body: &[u8]) -> Reply {
        self.send("POST", path, Some((media, body)))
    }

    fn send(&mut self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if let Some((media, body)) = body {
            head.push_str(&format!("Content-Type: {media}\r\nContent-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let request = [head.as_bytes(), body.map_or(&[], |(_, body)| body)].concat();
        // A kept connection may have been closed meanwhile: then a fresh one is tried, once.
        let kept = self.stream.is_some();
        let reply = self.exchange(&request).or_else(|error| if kept { self.exchange(&request) } else { Err(error) });
        reply.unwrap_or(Reply { status: 0, retry_after: None, body: Vec::new() })
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<Reply> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                BufReader::new(stream)
            }
        };
        stream.get_mut().write_all(request)?;
        let (reply, keep) = read(&mut stream)?;
        if keep {
            self.stream = Some(stream);
        }
        Ok(reply)
    }
}

/// Reads one answer, and whether the connection stays.
fn read(stream: &mut BufReader<TcpStream>) -> io::Result<(Reply, bool)> {
    let broken = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status: u16 = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    let (mut length, mut chunked, mut keep, mut retry_after) = (0, false, true, None);
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(broken());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(|_| broken())?,
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => keep = !value.eq_ignore_ascii_case("close"),
            "retry-after" => retry_after = value.parse().ok(),
            _ => {}
        }
    }
    let mut body = Vec::new();
    loop {
        if chunked {
            line.clear();
            stream.read_line(&mut line)?;
            length = u64::from_str_radix(line.trim(), 16).map_err(|_| broken())?;
        }
        let whole = stream.by_ref().take(length).read_to_end(&mut body)? as u64 == length;
        if !whole {
            return Err(broken());
        }
        if !chunked {
            break;
        }
        line.clear();
        stream.read_line(&mut line)?;
        if length == 0 {
            break;
        }
    }
    Ok((Reply { status, retry_after, body }, keep))
}
