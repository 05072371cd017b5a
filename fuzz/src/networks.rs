//! Targets of imported networks: files that strangers made. Laws: tensors that are taken in are finite f32 values, as
//! many as their shapes say; a description that is taken in says the same when written out and read again.

use candle_core::DType;
use vidimus_networks::{
    architecture::{Description, Network},
    import::read_weights,
};

/// A weights file: safetensors, or PyTorch's zip with its pickle.
pub fn weights(bytes: &[u8]) {
    let Ok((weights, _)) = read_weights(bytes) else { return };
    let mut count = 0;
    for tensor in weights.values() {
        assert_eq!(tensor.dtype(), DType::F32, "tensors are f32");
        let values: Vec<f32> =
            tensor.flatten_all().and_then(|flat| flat.to_vec1()).unwrap_or_else(|error| panic!("{error}"));
        assert!(values.iter().all(|value| value.is_finite()), "tensors are finite");
        count += values.len();
    }
    assert!(count <= 1 << 20, "more values than a small file can hold");
    for family in ["meshnet", "dncnn", "w-net"] {
        let description = Description::parse(&format!("family = \"{family}\"\ndilations = [1]"));
        if let Ok(network) = description.and_then(|description| Network::build(&description, weights.clone())) {
            assert!(network.channels > 0 && network.outputs > 0, "a network takes and gives something");
        }
    }
}

/// A description.
pub fn architecture(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(description) = Description::parse(text) else { return };
    let Ok(json) = serde_json::to_string(&description) else { return };
    let again: Option<Description> = serde_json::from_str(&json).ok();
    assert_eq!(again.as_ref(), Some(&description), "a description is whole");
}
