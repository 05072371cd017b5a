//! The tables of both files, as Diesel sees them; `migrations/sqlite` and `migrations/sqlite_vault` make them.

diesel::table! {
    log_meta (key) { key -> Text, value -> Text, }
}
diesel::table! {
    log_entry (idx) {
        idx -> BigInt,
        entry_id -> Binary,
        leaf -> Binary,
        body -> Binary,
        kind -> Nullable<Text>,
        actor -> Nullable<Text>,
        operation -> Nullable<Text>,
        t_ms -> Nullable<BigInt>,
    }
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
    registry_work (study) {
        study -> Binary,
        patient -> Binary,
        arrival -> Binary,
        document -> Binary,
        attempts -> BigInt,
        idx -> BigInt,
    }
}
diesel::table! {
    registry_published (reading) {
        reading -> Binary,
        study -> Binary,
        patient -> Binary,
        status -> Text,
        decision -> Nullable<Text>,
        attention -> BigInt,
        model_root -> Binary,
        document -> Binary,
        issued_ms -> BigInt,
        idx -> BigInt,
        sign_off -> Nullable<Binary>,
        agrees -> Nullable<Bool>,
        signed_idx -> Nullable<BigInt>,
    }
}
diesel::table! {
    registry_resource (sequence) {
        sequence -> BigInt,
        kind -> Text,
        id -> Text,
        version -> BigInt,
        patient -> Nullable<Binary>,
        study -> Nullable<Binary>,
        reading -> Nullable<Binary>,
        status -> Text,
        code -> Nullable<Text>,
        document -> Binary,
        updated_ms -> BigInt,
        idx -> BigInt,
        newest -> Bool,
    }
}
diesel::table! {
    registry_request (key) { key -> Binary, body -> Binary, answer -> Binary, made_ms -> BigInt, idx -> BigInt, }
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
