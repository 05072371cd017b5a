//! `vidimus serve`: the site over HTTP, for modalities, FHIR clients and people at a screen.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Args;

use super::Common;
use crate::{
    http::{self, Options},
    site::House,
};

/// Where `serve` and `demo` listen unless told otherwise.
const LISTEN: &str = "127.0.0.1:8042";

/// How to serve: arguments that `serve` and `demo` share.
#[derive(Args, Clone)]
pub(crate) struct Listening {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDRESS:PORT", help = format!("Address and port to listen on [default: {LISTEN}]"))]
    listen: Option<SocketAddr>,
    /// Certificate chain in PEM; with --tls-key the service speaks TLS only.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Address under which clients know the service, where a proxy stands before it.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Listen on an address of the network without TLS: only behind a proxy that ends TLS.
    #[arg(long)]
    behind_proxy: bool,
    /// Threads that read studies.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    readers: u16,
    /// Studies that may wait for their reading; beyond it senders are told to try later.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    waiting: usize,
}

impl Listening {
    /// The options; refuses what would send patients' data in clear over a network.
    pub(super) fn options(&self) -> anyhow::Result<Options> {
        let listen = match self.listen {
            Some(listen) => listen,
            None => LISTEN.parse()?,
        };
        let tls = self.tls_cert.clone().zip(self.tls_key.clone());
        anyhow::ensure!(
            tls.is_some() || self.behind_proxy || listen.ip().is_loopback(),
            "--listen {}: patients' data would cross a network in clear; give --tls-cert and --tls-key, or say \
             --behind-proxy where a proxy ends TLS",
            listen
        );
        let public_url = self.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) = &public_url {
            let good = (url.starts_with("https://") || url.starts_with("http://"))
                && !url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '?' || c == '#');
            anyhow::ensure!(good, "--public-url: expected an address such as https://vidimus.hospital.example");
        }
        Ok(Options {
            listen,
            tls,
            public_url,
            readers: usize::from(self.readers),
            waiting: self.waiting,
            any_port: self.listen.is_none(),
            sign_in: Vec::new(),
            ready: Box::new(|base, _| eprintln!("vidimus: serving at {base}")),
        })
    }
}

/// Arguments of `vidimus serve`.
#[derive(Args)]
#[command(after_help = "Examples:
  vidimus serve --dir site                                              on this machine, http://127.0.0.1:8042
  vidimus serve --listen 0.0.0.0:8443 --tls-cert chain.pem --tls-key key.pem
  vidimus token --role clinician --dir site                             a token for the sign-in page or a client")]
pub(crate) struct Serve {
    #[command(flatten)]
    listening: Listening,
}

pub(super) fn run(verb: &Serve, common: &Common) -> anyhow::Result<ExitCode> {
    let options = Options { any_port: false, ..verb.listening.options()? };
    http::serve(House::open(&common.dir()?)?, &options)?;
    Ok(ExitCode::SUCCESS)
}
