//! The house around a site: its folder, this process's facts, its clock, its signing keys.
//! Everything below takes time, ids and keys from here; nothing else in the program asks the machine for them.
//! Errors: [`vidimus_store::SiteError`], and files that cannot be read or made.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use vidimus_log::{
    Actor, Body, Digest, Entry, EntryId,
    values::{Code, Commit, is_code},
};
use vidimus_store::{BootFacts, Site, SiteError, SiteFacts, Subject};

use crate::fhir::{ServiceFacts, Terms};

/// Who opens a site for demonstration, and its code.
const DEMO: &str = "demo";
/// Domain of a site that nobody configured: the demonstration's.
const DEMO_DOMAIN: &str = "demo.vidimus.example";

/// The site's folder: as given, or a per-user data folder.
pub(crate) fn folder(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = given {
        return Ok(dir.to_owned());
    }
    let data = env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")))
        .context("no per-user data folder is known: name the site's folder with --dir DIR")?;
    Ok(data.join("vidimus"))
}

/// An open site and this process.
pub(crate) struct House {
    pub site: Site,
    pub service: ServiceFacts,
    pub terms: Terms,
    /// Digest of what computes: binary and processor features; threads do not matter.
    pub runtime: Digest,
    /// Nothing is left to say to the log.
    ended: bool,
}

impl Drop for House {
    /// A run that ends by an error says so in the log, if the log still takes entries.
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = self.site.shutdown("error")
        {
            tracing::warn!(target: "vidimus", %error, "the end of this process could not be recorded");
        }
    }
}

impl House {
    /// Whether `dir` holds a site.
    pub(crate) fn exists(dir: &Path) -> bool {
        dir.join("log.vkey").is_file()
    }

    /// Makes a site for demonstration and opens it.
    pub(crate) fn create(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("{}: cannot be made", dir.display()))?;
        let facts =
            SiteFacts { site: "demo".into(), domain: DEMO_DOMAIN.into(), log_code: None, opened_by: "demo".into() };
        Site::create(dir, &facts)?;
        Self::open(dir)
    }

    /// Opens the site in `dir`; the log gets a `boot` entry.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let mut house = Self::around(dir, Site::open)?;
        house.ended = false;
        Ok(house)
    }

    fn around(dir: &Path, open: impl FnOnce(&Path, &BootFacts) -> Result<Site, SiteError>) -> anyhow::Result<Self> {
        if !Self::exists(dir) {
            anyhow::bail!(
                "{}: there is no site here; `vidimus demo --dir {}` makes one with a released model",
                dir.display(),
                dir.display()
            );
        }
        let binary = own_digest()?;
        let backend = backend();
        let boot = BootFacts {
            binary,
            version: env!("CARGO_PKG_VERSION").into(),
            config: Digest::of(configuration().as_bytes()),
            host: "local".into(),
            backend: "cpu".into(),
        };
        let site = open(dir, &boot)?;
        let terminology = vidimus_evidence::terminology().context("the table of codes in the program")?;
        Ok(Self {
            site,
            service: ServiceFacts {
                version: env!("CARGO_PKG_VERSION").into(),
                binary: binary.hex(),
                site: "Vidimus demonstration site".into(),
            },
            terms: Terms::new(terminology),
            runtime: Digest::of_parts([binary.as_bytes().as_slice(), backend.as_bytes()]),
            ended: true,
        })
    }

    /// Opens the site in `dir` for reading, beside a process that writes it: nothing is appended.
    pub(crate) fn open_read(dir: &Path) -> anyhow::Result<Self> {
        Self::around(dir, |dir, _| Site::open_read(dir))
    }

    /// Whether the site was made for demonstration: only there may role-play persons sign.
    pub(crate) fn is_demonstration(&self) -> anyhow::Result<bool> {
        let first = Entry::parse(&self.site.entry(0)?)?;
        Ok(matches!(first.body, Body::SiteOpened(opened) if opened.opened_by.as_str() == DEMO))
    }

    /// Ends this process's work on the site; the log gets a `shutdown` entry.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        self.ended = true;
        Ok(self.site.shutdown("done")?)
    }

    /// Where readings go by default.
    pub(crate) fn readings(&self) -> PathBuf {
        self.site.dir().join("readings")
    }

    /// Where the packages of registered models lie.
    pub(crate) fn packages(&self) -> PathBuf {
        self.site.dir().join("models")
    }

    /// Who acts on the command line.
    pub(crate) fn actor(&self) -> Actor {
        Actor::system()
    }

    /// UTC milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        now_ms()
    }

    /// UTC now, RFC 3339.
    pub(crate) fn now_text(&self) -> String {
        OffsetDateTime::now_utc()
            .replace_nanosecond(0)
            .unwrap_or_else(|_| OffsetDateTime::now_utc())
            .format(&Rfc3339)
            .unwrap_or_default()
    }

    /// The W3C trace id of the current span, where spans are exported.
    pub(crate) fn trace(&self) -> Option<String> {
        use opentelemetry::trace::TraceContextExt as _;
        use tracing_opentelemetry::OpenTelemetrySpanExt as _;
        let context = tracing::Span::current().context();
        let span = context.span().span_context().clone();
        span.is_valid().then(|| span.trace_id().to_string())
    }

    /// Commitments to the fields of an entry, in one transaction of the vault.
    pub(crate) fn commits<const N: usize>(
        &self,
        subject: &Subject,
        entry: &EntryId,
        fields: [(&str, &[u8]); N],
    ) -> anyhow::Result<[Commit; N]> {
        let commits = self.site.vault().commit_all(subject, entry, &fields)?;
        commits.try_into().map_err(|_| anyhow::anyhow!("the vault answered with another number of commitments"))
    }

    /// The vault's subject of a patient, by its keyed digest.
    pub(crate) fn subject(&self, patient: &Digest) -> anyhow::Result<Subject> {
        Ok(self.site.vault().subject(patient)?)
    }
}

/// A word for a `code` field: a code string of DICOM or of ours in lower case.
pub(crate) fn code_word(text: &str) -> Code {
    let word: String = text.to_ascii_lowercase().replace([' ', '/'], "-");
    if is_code(&word) { word.into() } else { "unknown".into() }
}

/// UTC milliseconds.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Digest of this program's file.
fn own_digest() -> anyhow::Result<Digest> {
    let path = env::current_exe().context("the path of this program")?;
    let bytes = fs::read(&path).with_context(|| format!("{}: this program cannot read itself", path.display()))?;
    Ok(Digest::of(&bytes))
}

/// What of this machine the bits of the profile `f32-candle` may depend on; those of `f32-exact` do not.
fn backend() -> String {
    format!("{} {:?}", env::consts::ARCH, vidimus_engine::Isa::current())
}

/// The configuration that changes behaviour; none of it is secret.
fn configuration() -> String {
    ["VIDIMUS_LOG", "VIDIMUS_LOG_FORMAT", "RAYON_NUM_THREADS", vidimus_engine::ISA_VARIABLE]
        .map(|name| format!("{name}={}\n", env::var(name).unwrap_or_default()))
        .concat()
}
