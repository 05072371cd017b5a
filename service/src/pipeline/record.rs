//! The sealed record of a published reading: all that the list, the page and the API show of it, without computing
//! anything again. It is a JSON document of the vault under the patient's key, named by the registry's row.
//!
//! It holds patient data and therefore has no `Debug`; nothing of it may reach a log line, a span or an error.
//! Units: millimetres, years; windows, least and greatest in the unit of the measured values.
//! Errors: the vault, or a document that is none of ours.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vidimus_imaging::{Viewing, Window, WindowFunction};
use vidimus_log::{Digest, Phi};
use vidimus_reader::{Accepted, NotAccepted};
use vidimus_store::{Batch, ObjectId, PublishedRow, Subject};

use super::{StudyReading, arrive::Kept, study::Study};
use crate::site::House;

/// The form of the document that this program writes.
const VERSION: u32 = 1;

/// A published reading.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    /// The form of this document.
    version: u32,
    /// The object of `vidimus read --json`, without files and names of files.
    pub object: Value,
    pub patient: Person,
    pub study: StudyRecord,
    /// The films that can be shown, in the order of reading.
    pub images: Vec<ImageRecord>,
    /// How many films the study had, those that cannot be shown included.
    pub films: usize,
    pub explanation: Option<Explanation>,
    /// The map alone, PNG.
    #[serde(with = "object_id::optional")]
    pub saliency: Option<ObjectId>,
    /// The map over the film, PNG.
    #[serde(with = "object_id::optional")]
    pub overlay: Option<ObjectId>,
    /// What was not evaluated, and why.
    pub not_evaluated: Vec<Why>,
    /// The limits of the model's intended use.
    pub limits: Vec<String>,
    /// The Bundle as released.
    #[serde(with = "object_id")]
    pub fhir: ObjectId,
}

/// Who was imaged. Empty text where the film does not say.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Person {
    pub id: String,
    /// DICOM form: components parted by carets.
    pub name: String,
    /// YYYYMMDD.
    pub birth_date: String,
    pub sex: Option<String>,
}

/// What was imaged, by the first film.
#[derive(Serialize, Deserialize)]
pub(crate) struct StudyRecord {
    pub study_instance_uid: String,
    /// YYYYMMDD.
    pub date: String,
    pub accession: String,
    pub modality: String,
    pub body_part: Option<String>,
    pub view: Option<String>,
    /// Years at the time of the study.
    pub age: Option<f64>,
    /// Keyed digest of the study.
    pub key: Digest,
}

/// A code and a sentence without patient data.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Why {
    pub code: String,
    pub text: String,
}

/// A film of the study, as a viewer must know it: slope x number + intercept is the measured value, in which windows,
/// least and greatest are given.
#[derive(Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// Its place among the study's films.
    pub instance: usize,
    pub rows: u32,
    pub columns: u32,
    pub frames: u32,
    pub bits: u16,
    pub windows: Vec<WindowRecord>,
    pub slope: f64,
    pub intercept: f64,
    pub unit: Option<String>,
    pub invert: bool,
    /// The least measured value of the first frame, padding left out.
    pub min: f64,
    /// The greatest one.
    pub max: f64,
    /// Between rows, and between columns.
    pub spacing_mm: Option<[f64; 2]>,
    /// The sealed original.
    #[serde(with = "object_id")]
    pub object: ObjectId,
}

/// A window of the file, or one over the whole range.
#[derive(Serialize, Deserialize)]
pub(crate) struct WindowRecord {
    pub center: f64,
    pub width: f64,
    /// `linear`, `linear_exact` or `sigmoid` (PS3.3 C.11.2.1).
    pub function: String,
    pub explanation: Option<String>,
}

/// Where in a film the evidence lies.
#[derive(Serialize, Deserialize)]
pub(crate) struct Explanation {
    pub method: String,
    /// The film's place among the study's.
    pub image: usize,
    /// Size of the film in pixels.
    pub rows: usize,
    pub columns: usize,
    /// The share of each side that the grid leaves out.
    pub cut: f64,
    /// Rows and columns of the grid.
    pub grid: [usize; 2],
    /// The cells, row by row, 0..=1.
    pub values: Vec<f32>,
    /// How far the map can be trusted; absent in records made before badges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub badge: Option<Value>,
}

impl Record {
    /// Opens the record of a published reading.
    pub(crate) fn open(house: &House, row: &PublishedRow) -> anyhow::Result<Self> {
        let bytes = house.site.vault().get(&row.document)?;
        // the parser's own message could repeat a value
        let record: Self =
            serde_json::from_slice(bytes.open()).ok().context("a sealed record of a reading cannot be understood")?;
        anyhow::ensure!(
            record.version == VERSION,
            "a sealed record of a reading has form {}; this program knows form {VERSION}",
            record.version
        );
        Ok(record)
    }

    /// Seals it; durable with the batch.
    pub(super) fn seal(&self, batch: &mut Batch<'_>, subject: &Subject) -> anyhow::Result<ObjectId> {
        Ok(batch.put(subject, &serde_json::to_vec(self)?)?)
    }

    /// The study's report as it was released: a FHIR transaction Bundle.
    pub(crate) fn bundle(&self, house: &House) -> anyhow::Result<Phi<Vec<u8>>> {
        Ok(house.site.vault().get(&self.fhir)?)
    }

    /// The map alone as a PNG of the film's size, where there is an explanation.
    pub(crate) fn saliency_png(&self, house: &House) -> anyhow::Result<Option<Phi<Vec<u8>>>> {
        Ok(self.saliency.map(|id| house.site.vault().get(&id)).transpose()?)
    }

    /// The map over the film as a PNG, where there is an explanation.
    pub(crate) fn overlay_png(&self, house: &House) -> anyhow::Result<Option<Phi<Vec<u8>>>> {
        Ok(self.overlay.map(|id| house.site.vault().get(&id)).transpose()?)
    }

    /// The film at a place among the study's, if it can be shown.
    pub(crate) fn image(&self, instance: usize) -> Option<&ImageRecord> {
        self.images.iter().find(|image| image.instance == instance)
    }
}

/// The objects that a record names.
pub(super) struct Sealed {
    pub saliency: Option<ObjectId>,
    pub overlay: Option<ObjectId>,
    pub fhir: ObjectId,
}

/// What a record is made from.
pub(super) struct Parts<'a> {
    pub result: &'a StudyReading,
    pub study: &'a Study,
    /// Where the guard let it through.
    pub accepted: Option<&'a Accepted>,
    pub limits: &'a [String],
}

impl Parts<'_> {
    /// The record.
    pub(super) fn record(&self, sealed: &Sealed) -> Record {
        let facts = &self.study.facts;
        Record {
            version: VERSION,
            object: self.object(),
            patient: Person {
                id: facts.patient_id.open().clone(),
                name: facts.patient_name.open().clone(),
                birth_date: facts.birth_date.open().clone(),
                sex: facts.sex.clone(),
            },
            study: self.study(),
            images: self.images(),
            films: self.study.films.len(),
            explanation: self.explanation(),
            saliency: sealed.saliency,
            overlay: sealed.overlay,
            not_evaluated: self.not_evaluated(),
            limits: self.limits.to_vec(),
            fhir: sealed.fhir,
        }
    }

    fn object(&self) -> Value {
        let mut object = self.result.object();
        if let Value::Object(members) = &mut object {
            // paths and names of files can name a patient, and say nothing to a stranger to this machine
            members.remove("files");
            members.remove("input");
        }
        object
    }

    fn study(&self) -> StudyRecord {
        let (facts, first) = (&self.study.facts, self.study.films.first().map(|kept| &kept.film.instance));
        StudyRecord {
            study_instance_uid: facts.study_uid.open().clone(),
            date: facts.study_date.open().clone(),
            accession: facts.accession.open().clone(),
            modality: first.map(|instance| instance.modality.clone()).unwrap_or_default(),
            body_part: first.and_then(|instance| instance.body_part.clone()),
            view: first.and_then(|instance| instance.view_position.clone()),
            age: first.and_then(|instance| instance.patient_age).map(|age| age.years),
            key: self.study.key,
        }
    }

    /// A film that cannot be decoded is not shown: `not_evaluated`, or the reason of the whole, says why.
    fn images(&self) -> Vec<ImageRecord> {
        let one = |(place, kept): (usize, &Kept)| {
            // a decoder that panics here has done so before, and the reading has failed of it
            let viewing = catch_unwind(AssertUnwindSafe(|| super::view::viewing(&kept.film.instance)));
            Some(image(place, kept.object, viewing.ok()?.ok()?))
        };
        self.study.films.iter().enumerate().filter_map(one).collect()
    }

    fn explanation(&self) -> Option<Explanation> {
        let (reading, accepted) = (self.result.reading.as_ref()?, self.accepted?);
        let saliency = &reading.saliency;
        let [rows, columns] = saliency.image_size();
        Some(Explanation {
            method: saliency.method().to_owned(),
            image: accepted.images().get(reading.image)?.instance,
            rows,
            columns,
            cut: saliency.cut(),
            grid: saliency.grid(),
            values: saliency.values().to_vec(),
            badge: Some(json!(reading.badge)),
        })
    }

    /// The reason of the whole study, and each film that was set aside.
    fn not_evaluated(&self) -> Vec<Why> {
        let whole =
            self.result.reason.as_ref().map(|reason| Why { code: reason.code.clone(), text: reason.text.clone() });
        let aside = self.accepted.map(Accepted::set_aside).unwrap_or_default().iter().map(|aside| {
            let (code, text) = match &aside.reason {
                NotAccepted::Refused(refusal) => (refusal.code.as_str(), refusal.text.clone()),
                NotAccepted::Unreadable(error) => ("unreadable", error.to_string()),
                NotAccepted::Broken(_) => ("inference", "the network could not run on it".to_owned()),
            };
            Why { code: code.to_owned(), text: format!("Image {}: {text}", aside.instance + 1) }
        });
        whole.into_iter().chain(self.study.lost.iter().cloned()).chain(aside).collect()
    }
}

fn image(instance: usize, object: ObjectId, viewing: Viewing) -> ImageRecord {
    let window = |(window, explanation): (Window, Option<String>)| WindowRecord {
        center: window.center,
        width: window.width,
        function: match window.function {
            WindowFunction::Linear => "linear",
            WindowFunction::LinearExact => "linear_exact",
            WindowFunction::Sigmoid => "sigmoid",
        }
        .to_owned(),
        explanation,
    };
    let Viewing { rows, columns, frames, bits, slope, intercept, unit, invert, min, max, windows, spacing_mm } =
        viewing;
    let windows = windows.into_iter().map(window).collect();
    ImageRecord {
        instance,
        rows,
        columns,
        frames,
        bits,
        windows,
        slope,
        intercept,
        unit,
        invert,
        min,
        max,
        spacing_mm,
        object,
    }
}

/// Names of sealed documents as text.
mod object_id {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use vidimus_store::ObjectId;

    pub(super) fn serialize<S: Serializer>(id: &ObjectId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectId, D::Error> {
        let text = String::deserialize(deserializer)?;
        ObjectId::parse(&text).ok_or_else(|| D::Error::custom("expected the name of a sealed document"))
    }

    /// The same, where there may be none.
    pub(super) mod optional {
        use super::{Deserializer, ObjectId, Serializer};
        use serde::{Deserialize as _, de::Error as _};

        pub(in super::super) fn serialize<S: Serializer>(
            id: &Option<ObjectId>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match id {
                Some(id) => serializer.collect_str(id),
                None => serializer.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<ObjectId>, D::Error> {
            let named = |text: String| {
                ObjectId::parse(&text).ok_or_else(|| D::Error::custom("expected the name of a sealed document"))
            };
            Option::<String>::deserialize(deserializer)?.map(named).transpose()
        }
    }
}
