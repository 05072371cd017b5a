-- A vault is never taken down by a migration; erasure is by subject and is logged (AUDIT_LOG section 4).
SELECT 1;
