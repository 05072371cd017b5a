//! Limits of access, each with its reason. Times in seconds where the name does not say otherwise.

/// How old an authentication may be for a signature (INTERFACES section 6: 5 min).
pub(crate) const FRESH_S_MAX: u64 = 300;
/// How far the clocks of issuer and service may be apart (INTERFACES section 6).
pub(super) const SKEW_S: u64 = 60;
/// A token's length: the site's own are below 1 KiB; RSA and long scopes of other issuers fit with room.
pub(super) const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How long a token lives unless asked otherwise: a working day.
pub(crate) const TOKEN_MINUTES: u32 = 480;
/// How long a token may live: a stolen one ends within the day.
pub(crate) const TOKEN_MINUTES_MAX: u32 = 1_440;
/// A person's name on the pages and in a signature, characters.
pub(super) const NAME_CHARS_MAX: usize = 120;
/// How long a one-time code waits: time to open the printed address.
pub(super) const CODE_S: u64 = 600;
/// Codes that wait: far more than a demonstration prints. One more drops the oldest.
pub(super) const CODES_MAX: usize = 256;
/// When a session ends without an act (AUDIT_LOG section 9: idle over 10 min).
pub(super) const IDLE_S: u64 = 600;
/// When a session from a code ends whatever happens: a working day.
pub(super) const SESSION_S: u64 = 8 * 3_600;
/// Sessions at once: a large hospital's readers. One more ends the one that was idle longest.
pub(super) const SESSIONS_MAX: usize = 1_024;
/// Sessions of one person: several rooms and browsers. One more ends the person's own idlest.
pub(super) const SESSIONS_OF_ONE_MAX: usize = 8;
/// Tokens remembered as used up; each is dropped at its end. Beyond it nothing is exchanged: 64 Ki within a day is no
/// clinic's work.
pub(super) const SPENT_MAX: usize = 65_536;
