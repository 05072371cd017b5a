-- A log is never taken down: a restore opens a new log that names the old one (AUDIT_LOG section 8).
SELECT 1;
