//! Sockets: the router made from the table, TLS by rustls, limits of connections, a clean end.
//! SIGTERM and SIGINT stop the listening; requests under way are answered, the reading in progress is finished, what
//! waits stays in the registry for the next start.
//! Errors: the address cannot be bound, the certificate cannot be read.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpServer, guard, rt, web};
use anyhow::Context as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::{Operation, Service, Verb, audit, gatekeeper, idempotency, operations};
use crate::{
    access::{Access, Role},
    metrics::Metrics,
    pipeline::Observer,
    queue::{Queue, QueueOptions},
    site::House,
    stow::Arrivals,
};

/// Time for a request's headers.
const HEADERS: Duration = Duration::from_secs(10);
/// Time for requests under way at the end.
const GRACE_SECONDS: u64 = 10;
/// Connections at once, for each of the workers.
const CONNECTIONS_MAX: usize = 512;

/// Is told the address and the one-time codes.
pub(crate) type Ready = dyn Fn(&str, &[(Role, String)]);

/// How to serve.
pub(crate) struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Certificate chain and key (PEM).
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Address under which clients know the service.
    pub public_url: Option<String>,
    /// Threads that read studies.
    pub readers: usize,
    /// Studies that may wait.
    pub waiting: usize,
    /// Whether another free port is taken where that one is not free.
    pub any_port: bool,
    /// Roles for which a one-time sign-in is made when the service is up.
    pub sign_in: Vec<Role>,
    /// Says that the service is up: its address, and the one-time codes.
    pub ready: Box<Ready>,
}

/// Serves until the process is told to end. The site is closed then.
pub(crate) fn serve(house: House, options: &Options) -> anyhow::Result<()> {
    let tls = options.tls.as_ref().map(|(chain, key)| certificate(chain, key)).transpose()?;
    let (workers, listen) = (std::thread::available_parallelism().map_or(2, usize::from), options.listen);
    let house = Arc::new(house);
    let metrics = Arc::new(Metrics::default());
    let access = Access::open(house.site.dir(), house.site.origin(), house.now_ms() / 1000)?;
    let queue_options = QueueOptions { threads: options.readers, capacity: options.waiting };
    let observer: Arc<dyn Observer> = Arc::clone(&metrics) as _;
    let queue = Queue::start(Arc::clone(&house), observer, queue_options)?;
    let service = web::Data::new(Service {
        house: Arc::clone(&house),
        access,
        queue: Arc::clone(&queue),
        metrics,
        public_url: options.public_url.clone(),
        tls: tls.is_some(),
        policy: audit::policy(),
        arrivals: Arrivals::open(house.site.dir())?,
        denials: audit::Denials::new(),
        in_flight: idempotency::InFlight::default(),
    });
    let served = rt::System::new().block_on(async {
        let shared = service.clone();
        let socket = bind(listen, options.any_port)?;
        let server = HttpServer::new(move || App::new().app_data(shared.clone()).configure(route))
            .workers(workers)
            .max_connections(CONNECTIONS_MAX)
            .client_request_timeout(HEADERS)
            .client_disconnect_timeout(Duration::from_secs(5))
            .keep_alive(Duration::from_secs(60))
            .shutdown_timeout(GRACE_SECONDS)
            .server_hostname("vidimus");
        let server = match tls {
            Some(tls) => server.listen_rustls_0_23(socket, tls),
            None => server.listen(socket),
        };
        let server = server.with_context(|| format!("{listen}: cannot listen there"))?;
        let address = server.addrs().first().copied().unwrap_or(listen);
        let scheme = if service.tls { "https" } else { "http" };
        let base = options.public_url.clone().unwrap_or_else(|| format!("{scheme}://{address}"));
        let now_s = service.house.now_ms() / 1000;
        let code = |role: &Role| Ok((*role, service.access.one_time_code(*role, &role_play_name(*role), now_s)?));
        let codes: Vec<(Role, String)> = options.sign_in.iter().map(code).collect::<anyhow::Result<_>>()?;
        (options.ready)(&base, &codes);
        server.run().await.context("the server")
    });
    queue.stop(Duration::from_secs(GRACE_SECONDS));
    service.denials.flush(&service);
    drop((service, queue));
    end(house)?;
    served
}

/// The name of the fictitious person who signs in at a demonstration.
fn role_play_name(role: Role) -> String {
    format!("Demonstration {}", role.as_str())
}

/// The socket, or one at any free port where that is wanted.
fn bind(listen: SocketAddr, any_port: bool) -> anyhow::Result<TcpListener> {
    let socket = match TcpListener::bind(listen) {
        Err(error) if any_port && error.kind() == std::io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::new(listen.ip(), 0))
        }
        other => other,
    };
    let socket = socket.with_context(|| format!("{listen}: cannot listen there; choose another with --listen"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Says the end to the log. A thread that still holds the site cannot keep the process from ending.
fn end(house: Arc<House>) -> anyhow::Result<()> {
    match Arc::try_unwrap(house) {
        Ok(house) => house.close(),
        Err(house) => Ok(house.site.shutdown("done")?),
    }
}

fn certificate(chain: &PathBuf, key: &PathBuf) -> anyhow::Result<rustls::ServerConfig> {
    let read = |path: &PathBuf| fs::read(path).with_context(|| format!("{}: cannot be read", path.display()));
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(chain)?)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{}: expected certificates in PEM", chain.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{}: it holds no certificate", chain.display());
    let key_bytes = zeroize::Zeroizing::new(read(key)?);
    let private = PrivateKeyDer::from_pem_slice(&key_bytes)
        .with_context(|| format!("{}: expected a private key in PEM", key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("the versions of TLS")?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .context("certificate and key do not belong together")
}

/// The table, kept for the life of the process.
pub(super) fn table() -> &'static [Operation] {
    static TABLE: OnceLock<Vec<Operation>> = OnceLock::new();
    TABLE.get_or_init(operations)
}

/// One resource a path, one route a row; anything else is answered by the gatekeeper too.
pub(super) fn route(config: &mut web::ServiceConfig) {
    let mut paths: Vec<&'static str> = Vec::new();
    for operation in table() {
        if !paths.contains(&operation.path.as_ref()) {
            paths.push(&operation.path);
        }
    }
    // The first that matches is taken: what is written out goes before what is a parameter.
    paths.sort_by_key(|path| path.replace('{', "\u{10FFFF}"));
    for path in paths {
        let rows: Vec<&'static Operation> = table().iter().filter(|row| row.path == path).collect();
        let mut resource = web::resource(pattern(rows.first().copied(), path));
        let mut allow = Vec::new();
        for row in rows {
            let guard = match row.verb {
                Verb::Get => guard::Any(guard::Get()).or(guard::Head()),
                Verb::Post => guard::Any(guard::Post()),
                Verb::Delete => guard::Any(guard::Delete()),
            };
            allow.push(if row.verb == Verb::Get { "GET, HEAD" } else { row.verb.as_str() });
            resource = resource.route(
                web::route()
                    .guard(guard)
                    .to(move |request: HttpRequest, payload: web::Payload| gatekeeper::pass(row, request, payload)),
            );
        }
        let allow: &'static str = Box::leak(allow.join(", ").into_boxed_str());
        resource =
            resource.default_service(web::to(move |request: HttpRequest| gatekeeper::elsewhere(request, Some(allow))));
        config.service(resource);
    }
    config.default_service(web::to(|request: HttpRequest| gatekeeper::elsewhere(request, None)));
}

/// The router's pattern: a tail takes the slashes of a path.
fn pattern(row: Option<&Operation>, path: &str) -> String {
    let tails = row.iter().flat_map(|row| &row.parameters).filter(|one| matches!(one.shape, super::Shape::Tail));
    tails.fold(path.to_owned(), |path, tail| {
        path.replace(&format!("{{{}}}", tail.name), &format!("{{{}:.*}}", tail.name))
    })
}
