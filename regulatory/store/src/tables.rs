//! The tables of both files, as Diesel sees them; `migrations/sqlite` and `migrations/sqlite_vault` make them.

diesel::table! {
    log_meta (key) { key -> Text, value -> Text, }
}
diesel::table! {
    log_entry (idx) { idx -> BigInt, entry_id -> Binary, leaf -> Binary, body -> Binary, }
}
diesel::table! {
    log_tile (level, n) { level -> BigInt, n -> BigInt, data -> Binary, root -> Binary, }
}
diesel::table! {
    log_head (one) {
        one -> BigInt,
        size -> BigInt,
        root -> Binary,
        frontier -> Binary,
        note -> Text,
        last_t_ms -> BigInt,
    }
}
diesel::table! {
    open_intent (intent_id) { intent_id -> Binary, idx -> BigInt, deadline_ms -> BigInt, }
}
diesel::table! {
    registry_instance (key) {
        key -> Binary,
        study -> Binary,
        patient -> Binary,
        content -> Binary,
        object -> Binary,
        idx -> BigInt,
    }
}
diesel::table! {
    registry_reading (intent_id) {
        intent_id -> Binary,
        outcome_id -> Binary,
        status -> Text,
        model_root -> Binary,
        reading -> Binary,
        idx -> BigInt,
    }
}
diesel::table! {
    registry_model (root) { root -> Binary, name -> Text, version -> Text, state -> Text, idx -> BigInt, }
}
diesel::table! {
    vault_key (id) { id -> Binary, subject -> Binary, epoch -> BigInt, wrapped -> Binary, }
}
diesel::table! {
    vault_opening (entry_id, field) { entry_id -> Binary, field -> Text, key_id -> Binary, sealed -> Binary, }
}
diesel::table! {
    vault_object (id) { id -> Binary, key_id -> Binary, }
}
