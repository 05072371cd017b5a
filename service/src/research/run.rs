//! One research run: input, intent, inference, outcome, files.
//! The order is the same as of a clinical reading: durable intent before inference, durable outcome before a file
//! leaves.
//! Errors: an input that does not fit is refused with an entry; a failure after the intent is an outcome.

use std::{path::Path, time::Instant};

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use vidimus_engine::{Memory, PROFILE, Plan};

use super::{
    Candidate, NOTICE, REFUSED,
    entries::Journal,
    input::{Input, Place, Source},
    output::{self, Raw, digest_of},
};
use crate::site::House;

/// Memory that one run may take beside its input and output: 16 GiB.
const BYTES_MAX: usize = 16 << 30;

/// Milliseconds by step.
#[derive(Default)]
struct Clock(Map<String, Value>);

impl Clock {
    fn step<T>(&mut self, name: &str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.0.insert(name.to_owned(), json!((start.elapsed().as_secs_f64() * 1e6).round() / 1e3));
        result
    }
}

/// Runs a candidate on an input and writes what came out into `out`. Returns the object of `--json`.
pub(crate) fn run(house: &House, candidate: &Candidate, input: &Path, out: &Path) -> anyhow::Result<Value> {
    crate::pipeline::probe(out)?;
    let mut clock = Clock::default();
    let source = clock.step("read", || Source::read(input))?;
    let digest = source.digest;
    let journal = Journal::new(house, candidate, digest)?;
    let prepared = clock.step("prepare", || source.prepare(&candidate.network, &candidate.description.preparation));
    let planned = prepared.and_then(|input| {
        let plan = clock.step("plan", || plan(candidate, &input))?;
        Ok((input, plan))
    });
    let (input, plan) = match planned {
        Ok(planned) => planned,
        Err(error) => {
            let receipt = journal.refused(digest, REFUSED)?;
            return Err(error.context(format!("{} was not run (entry {})", candidate.name, receipt.index)));
        }
    };
    let intent = journal.intent(&input)?;
    let started = Instant::now();
    let computed = clock.step("infer", || infer(&plan, &input));
    let raw = match computed {
        Ok(raw) => raw,
        Err(error) => {
            let receipt = journal.failed(&intent, started.elapsed())?;
            return Err(error.context(format!("{} failed (entry {})", candidate.name, receipt.index)));
        }
    };
    let found = digest_of(&raw.values);
    let digests = [digest, digest_of(&input.values), found];
    let receipt = journal.outcome(&intent, digests, started.elapsed())?;
    let averaged = clock.step("mirror", || mirrored(candidate, &plan, &input, &raw))?;
    let written =
        clock.step("write", || output::write(out, (&raw, found), averaged, &input, &candidate.description))?;
    let proof = out.join(receipt.file_name());
    std::fs::write(&proof, receipt.to_tlog_proof())
        .with_context(|| format!("{}: cannot be written", proof.display()))?;

    let shown = |path: &Path| json!(path.to_string_lossy());
    let mut files: Map<String, Value> =
        written.files.iter().map(|(key, path)| ((*key).to_owned(), shown(path))).collect();
    files.insert("receipt".into(), shown(&proof));
    let Memory { weights_bytes, arena_bytes } = plan.memory();
    Ok(json!({
        "model": candidate.name,
        "architecture": candidate.family(),
        "weights_sha256": candidate.weights,
        "profile": PROFILE,
        "purpose": "research",
        "notice": NOTICE,
        "input": { "sha256": digest, "shape": shape(&input), "spacing_mm": spacing(&input) },
        "outputs": written.outputs,
        "measurements": written.measurements,
        "files": files,
        "notes": candidate.notes,
        "receipt": {
            "entry_id": receipt.entry_id.to_string(),
            "index": receipt.index,
            "tree_size": receipt.tree_size,
            "checkpoint": receipt.checkpoint,
        },
        "memory_bytes": { "weights": weights_bytes, "arena": arena_bytes },
        "timing_ms": clock.0,
    }))
}

fn plan(candidate: &Candidate, input: &Input) -> anyhow::Result<Plan> {
    let network = &candidate.network;
    let plan = Plan::new(&network.graph, &network.weights, input.shape, &[network.graph.output()])?;
    let needed = plan.memory().arena_bytes;
    anyhow::ensure!(
        needed <= BYTES_MAX,
        "memory: this input needs {needed} bytes, {BYTES_MAX} are allowed; use a smaller one"
    );
    Ok(plan)
}

/// The network's raw result, cut back to the input's size where that was padded.
fn infer(plan: &Plan, input: &Input) -> anyhow::Result<Raw> {
    let values = plan.run(&input.values, input.images)?.remove(0);
    anyhow::ensure!(
        values.values.iter().all(|value| value.is_finite()),
        "the network's answer holds a value that is not finite"
    );
    let raw = Raw {
        images: input.images,
        channels: values.shape.channels,
        extent: values.shape.extent,
        planar: input.planar,
        values: values.values,
    };
    if input.unpadded == input.shape.extent || raw.extent != input.shape.extent {
        return Ok(raw);
    }
    let [depth, rows, columns] = input.unpadded;
    let mut cut = Vec::with_capacity(raw.images * raw.channels * depth * rows * columns);
    for plane in 0..raw.images * raw.channels {
        for d in 0..depth {
            for row in 0..rows {
                let from = ((plane * raw.extent[0] + d) * raw.extent[1] + row) * raw.extent[2];
                cut.extend_from_slice(&raw.values[from..from + columns]);
            }
        }
    }
    Ok(Raw { values: cut, extent: input.unpadded, ..raw })
}

/// The mean over the four mirrored passes of the first channel's probability, turned back; none where the description
/// asks for none.
fn mirrored(candidate: &Candidate, plan: &Plan, input: &Input, raw: &Raw) -> anyhow::Result<Option<Vec<f32>>> {
    if !candidate.description.mirrored || !matches!(input.place, Place::Picture { .. }) {
        return Ok(None);
    }
    let [_, rows, columns] = input.shape.extent;
    let mut passes = Vec::with_capacity(3 * input.values.len());
    for (down, across) in TURNS {
        for plane in input.values.chunks_exact(rows * columns) {
            passes.extend(flipped(plane, (rows, columns), down, across));
        }
    }
    let turned = Input { values: passes, images: TURNS.len(), ..bare_of(input) };
    let turned = infer(plan, &turned)?;
    let [_, rows, columns] = raw.extent;
    let space = rows * columns;
    let mut sums: Vec<f64> = raw.values[..space].iter().map(|logit| output::probability(*logit)).collect();
    for (image, (down, across)) in TURNS.into_iter().enumerate() {
        let logits = &turned.values[image * turned.channels * space..][..space];
        for (sum, logit) in sums.iter_mut().zip(flipped(logits, (rows, columns), down, across)) {
            *sum += output::probability(logit);
        }
    }
    Ok(Some(sums.into_iter().map(|sum| (sum / 4.0) as f32).collect()))
}

/// Left-right, up-down, both.
const TURNS: [(bool, bool); 3] = [(false, true), (true, false), (true, true)];

fn flipped(plane: &[f32], (rows, columns): (usize, usize), down: bool, across: bool) -> Vec<f32> {
    let place = |at: usize, length: usize, turned: bool| if turned { length - 1 - at } else { at };
    (0..rows)
        .flat_map(|row| (0..columns).map(move |column| (row, column)))
        .map(|(row, column)| plane[place(row, rows, down) * columns + place(column, columns, across)])
        .collect()
}

/// The shape of an input, without its values.
fn bare_of(input: &Input) -> Input {
    Input {
        values: Vec::new(),
        place: Place::Tensor,
        patient: String::new(),
        study: String::new(),
        modality: String::new(),
        body_part: String::new(),
        ..*input
    }
}

fn shape(input: &Input) -> Vec<usize> {
    match &input.place {
        Place::Tensor => {
            let space = &input.shape.extent[usize::from(input.planar)..];
            [&[input.images, input.shape.channels], space].concat()
        }
        Place::Picture { rows, columns, .. } => vec![*rows, *columns],
        Place::Volume { original, .. } => original.shape.to_vec(),
    }
}

fn spacing(input: &Input) -> Option<Vec<f64>> {
    match &input.place {
        Place::Tensor => None,
        Place::Picture { spacing_mm, .. } => spacing_mm.map(|both| both.to_vec()),
        Place::Volume { original, .. } => Some(original.spacing_mm().to_vec()),
    }
}
