//! A served site, and a client of HTTP/1.1 over a plain socket that sends exactly what a test says: also what no honest
//! client would.
//! Errors: panics with what to do, as a test's helpers should.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{vidimus, vidimus_run};

/// Until a service answers, or has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `vidimus serve` on a free port of loopback; killed when dropped.
pub struct Served {
    child: Child,
    /// Host and port.
    pub address: String,
    /// The site's folder.
    pub dir: PathBuf,
    messages: PathBuf,
}

impl Served {
    /// Serves the site in `dir`, with these further arguments, and waits until it is ready.
    pub fn start(dir: &Path, arguments: &[&str]) -> Self {
        Self::start_as(vidimus(), dir, arguments)
    }

    /// The same by a command that ends in the program, such as a shell that sets limits.
    pub fn start_as(mut command: Command, dir: &Path, arguments: &[&str]) -> Self {
        let port = {
            let socket = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
            socket.local_addr().expect("a bound socket has an address").port()
        };
        let address = format!("127.0.0.1:{port}");
        let messages = dir.with_extension(format!("serve-{port}"));
        let child = command
            .args(["serve", "--listen", &address, "--dir"])
            .arg(dir)
            .args(arguments)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&messages).expect("the folder beside the site can be written"))
            .spawn()
            .expect("the program starts");
        let mut served = Self { child, address, dir: dir.to_owned(), messages };
        let started = Instant::now();
        while served.try_send(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").is_none() {
            let ended = served.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "serve ended before it answered: {ended:?}\n{}", served.messages());
            assert!(started.elapsed() < PATIENCE, "serve does not answer:\n{}", served.messages());
            thread::sleep(Duration::from_millis(50));
        }
        served
    }

    /// What it wrote to standard error.
    pub fn messages(&self) -> String {
        fs::read_to_string(&self.messages).unwrap_or_default()
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A token for a role, made beside the running service.
    pub fn token(&self, role: &str) -> String {
        let dir = self.dir.to_str().expect("the folder's name is text");
        vidimus_run(&["token", "--role", role, "--name", &format!("Test {role}"), "--dir", dir])
            .expect_code(0)
            .out
            .trim_end()
            .to_owned()
    }

    /// A connection of its own, with a limit on silence.
    pub fn connect(&self) -> TcpStream {
        self.try_connect().expect("the service takes connections")
    }

    fn try_connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn try_send(&self, bytes: &[u8]) -> Option<Response> {
        let mut stream = self.try_connect().ok()?;
        // A service that refuses may stop reading: its answer counts.
        let _ = stream.write_all(bytes);
        Response::read(stream, bytes.starts_with(b"HEAD "))
    }

    /// Sends these bytes on a connection of their own.
    #[track_caller]
    pub fn send(&self, bytes: &[u8]) -> Response {
        self.try_send(bytes)
            .unwrap_or_else(|| panic!("no answer to {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)])))
    }

    /// Sends a request.
    #[track_caller]
    pub fn call(&self, request: &Request) -> Response {
        self.send(&request.bytes(&self.address))
    }

    /// Reads a path as the owner of a token.
    #[track_caller]
    pub fn get(&self, path: &str, token: &str) -> Response {
        self.call(&Request::new("GET", path).token(token))
    }

    /// Asks the service to end, as a supervisor does; its exit code and messages.
    pub fn end(mut self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().expect("kill starts");
        assert!(told.success(), "serve had ended before it was told to:\n{}", self.messages());
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return (status.code(), self.messages());
            }
            assert!(started.elapsed() < PATIENCE, "serve does not end:\n{}", self.messages());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request as text.
#[derive(Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request without body.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: None }
    }

    /// With one header line more.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As the owner of a token.
    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// With a body of this media type.
    pub fn body(mut self, media: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", media)
    }

    /// Its bytes.
    pub fn bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let mut line = |name: &str, value: &str| {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        };
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            line("Host", host);
        }
        line("Connection", "close");
        for (name, value) in &self.headers {
            line(name, value);
        }
        if let Some(body) = &self.body {
            line("Content-Length", &body.len().to_string());
        }
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body, without the form of its transfer.
    pub body: Vec<u8>,
}

impl Response {
    /// Reads one answer; none where the connection ends before its head does.
    pub fn read(stream: TcpStream, head_only: bool) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        let mut status = 0;
        // Informational answers go before the one that counts.
        while status < 200 {
            let mut headers = Vec::new();
            line.clear();
            reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
            status = line.split(' ').nth(1)?.parse().ok()?;
            loop {
                line.clear();
                reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
                let Some((name, value)) = line.trim_end().split_once(':') else { break };
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            if status >= 200 {
                let mut response = Self { status, headers, body: Vec::new() };
                if !head_only && status != 204 && status != 304 {
                    response.body = response.read_body(&mut reader)?;
                }
                return Some(response);
            }
        }
        None
    }

    fn read_body(&self, reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        if self.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            let mut line = String::new();
            loop {
                line.clear();
                reader.read_line(&mut line).ok()?;
                let length = u64::from_str_radix(line.trim(), 16).ok()?;
                reader.by_ref().take(length).read_to_end(&mut body).ok()?;
                line.clear();
                reader.read_line(&mut line).ok()?;
                if length == 0 {
                    return Some(body);
                }
            }
        }
        match self.header("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => reader.by_ref().take(length).read_to_end(&mut body).ok()?,
            None => reader.read_to_end(&mut body).ok()?,
        };
        Some(body)
    }

    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// Fails the test unless the status is this one.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "status; the body:\n{}", self.text());
        self
    }

    /// Fails the test unless the answer is a problem of this status: as problem+json, which names no path, no library
    /// and no line of a program. Its code.
    #[track_caller]
    pub fn expect_problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "status; the body:\n{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for name in ["type", "title", "detail", "instance", "code", "requestId"] {
            assert!(problem[name].is_string(), "{name}: {problem}");
        }
        let text = self.text();
        for telling in
            [".rs:", "/src/", "/tmp/", "panicked", "stack backtrace", "thread '", "SELECT", "sqlite", "No such file"]
        {
            assert!(!text.contains(telling), "a problem tells {telling:?}: {text}");
        }
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}
