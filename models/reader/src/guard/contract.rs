//! Attributes and pixels of a film against the input contract. What is absent and therefore unchecked is noted; what is
//! outside is refused with attribute, found and expected, and never with a text that could hold a name.

use vidimus_imaging::{Image, Instance};

use super::{NotAccepted, Refusal, RefusalCode};
use crate::{contract::InputContract, reading::Note};

/// Ages of one study may differ by this: an age string counts whole years, and may be a year behind.
const AGE_SPREAD_YEARS: f64 = 2.0;
/// Below this standard deviation of the display values an image shows nothing.
const CONTRAST_MIN: f64 = 0.02;
/// Above this share of pixels at either end of the display range the exposure is noted.
const CLIPPED_NOTED: f64 = 0.3;
/// The side of the films that the model was trained on; smaller ones are noted.
const SIDE_TRAINED: u32 = 224;

/// One patient has one age: films of a study, and the age and the dates of a film, may not contradict each other.
pub(super) fn one_age(study: &[&Instance]) -> Result<(), NotAccepted> {
    let stated = study.iter().flat_map(|instance| [instance.patient_age, instance.patient_age_by_dates]);
    let ages: Vec<f64> = stated.flatten().map(|age| age.years).collect();
    let (youngest, oldest) =
        ages.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), age| (low.min(*age), high.max(*age)));
    if oldest - youngest > AGE_SPREAD_YEARS {
        let text = "Patient's Age (0010,1010), Patient's Birth Date (0010,0030) and Study Date (0008,0020) contradict \
                    each other: the intended use cannot be checked";
        return Err(Refusal::new(RefusalCode::AgeContradictory, text).into());
    }
    Ok(())
}

/// The attributes against the contract; what is absent and therefore unchecked is noted.
pub(super) fn attributes(contract: &InputContract, instance: &Instance) -> Result<Vec<Note>, NotAccepted> {
    use RefusalCode as Code;
    let mut notes = Vec::new();
    let mut note = |code: &str, text: String| notes.push(Note { code: code.into(), text });
    let listed = |list: &[String], value: &str| list.iter().any(|known| known.eq_ignore_ascii_case(value));
    if !instance.has_pixels() {
        return Err(Refusal::new(Code::NoImage, "the object holds no pixel data").into());
    }
    let expected = |list: &[String]| list.join(", ");
    if !listed(&contract.modalities, &instance.modality) {
        let found = Some(instance.modality.as_str()).filter(|modality| !modality.is_empty());
        let text =
            format!("Modality (0008,0060): expected {}, found {}", expected(&contract.modalities), printable(found));
        return Err(Refusal::new(Code::ModalityUnsupported, text).into());
    }
    match instance.body_part.as_deref() {
        Some(part) if listed(&contract.body_parts, part) => {}
        None => note(
            "body-part-absent",
            "Body Part Examined (0018,0015) is absent: the region was judged by the pixels alone".into(),
        ),
        found => {
            let text = format!(
                "Body Part Examined (0018,0015): expected {}, found {}",
                expected(&contract.body_parts),
                printable(found)
            );
            return Err(Refusal::new(Code::BodyPartUnsupported, text).into());
        }
    }
    match instance.view_position.as_deref() {
        Some(view) if listed(&contract.views, view) => {}
        None => note(
            "view-absent",
            "View Position (0018,5101) is absent: a lateral film cannot be told from its attributes".into(),
        ),
        found => {
            let text = format!(
                "View Position (0018,5101): expected {}, found {}",
                expected(&contract.views),
                printable(found)
            );
            return Err(Refusal::new(Code::ViewUnsupported, text).into());
        }
    }
    match instance.patient_age.map(|age| age.years) {
        Some(age) if age >= contract.age_years.min && age < contract.age_years.max => {}
        None => note(
            "age-absent",
            "Patient's Age (0010,1010) and Birth Date are absent: the intended use cannot be checked".into(),
        ),
        Some(_) => {
            let text = format!(
                "Patient's Age (0010,1010): the model is meant for ages {} to below {} years; adults and infants are outside its intended use",
                contract.age_years.min, contract.age_years.max
            );
            return Err(Refusal::new(Code::AgeOutsideIntendedUse, text).into());
        }
    }
    if instance.presentation_intent.as_deref().is_some_and(|intent| intent.eq_ignore_ascii_case("FOR PROCESSING")) {
        return Err(Refusal::new(
            Code::NotForPresentation,
            "Presentation Intent Type (0008,0068): expected FOR PRESENTATION, found FOR PROCESSING",
        )
        .into());
    }
    let description = instance.description().map_err(NotAccepted::Unreadable)?;
    if !listed(&contract.photometric, description.photometric.term()) {
        let text = format!(
            "Photometric Interpretation (0028,0004): expected {}, found {}",
            expected(&contract.photometric),
            description.photometric.term()
        );
        return Err(Refusal::new(Code::PhotometricUnsupported, text).into());
    }
    if description.frames > 1 {
        let text = format!("Number of Frames (0028,0008): expected 1, found {}", description.frames);
        return Err(Refusal::new(Code::FramesUnsupported, text).into());
    }
    let (short, long) =
        (description.rows.min(description.columns), f64::from(description.rows.max(description.columns)));
    if short < contract.side_min {
        let text =
            format!("Rows (0028,0010) or Columns (0028,0011): expected at least {}, found {short}", contract.side_min);
        return Err(Refusal::new(Code::TooSmall, text).into());
    }
    if long > contract.aspect_max * f64::from(short) {
        let text = format!(
            "Rows (0028,0010) and Columns (0028,0011): expected a ratio of at most {}, found {:.2}",
            contract.aspect_max,
            long / f64::from(short)
        );
        return Err(Refusal::new(Code::AspectUnsupported, text).into());
    }
    if short < SIDE_TRAINED {
        note("low-resolution", format!("the shorter side has {short} pixels; training films have {SIDE_TRAINED}"));
    }
    if instance.burned_in_annotation.as_deref().is_some_and(|value| value.eq_ignore_ascii_case("YES")) {
        note(
            "burned-in-annotation",
            "Burned In Annotation (0028,0301) is YES: text in the image may mislead the network".into(),
        );
    }
    Ok(notes)
}

/// Terms of body parts and views that a message may repeat; any other text could hold a name, and is not repeated.
const TERMS: &[&str] = &[
    "ABDOMEN",
    "ANKLE",
    "ARM",
    "BRAIN",
    "BREAST",
    "CHEST",
    "CSPINE",
    "ELBOW",
    "EXTREMITY",
    "EYE",
    "FEMUR",
    "FINGER",
    "FOOT",
    "FOREARM",
    "HAND",
    "HEAD",
    "HEART",
    "HIP",
    "HUMERUS",
    "JAW",
    "KNEE",
    "LEG",
    "LSPINE",
    "NECK",
    "PELVIS",
    "RIB",
    "SHOULDER",
    "SKULL",
    "SPINE",
    "STERNUM",
    "THIGH",
    "THORAX",
    "TOE",
    "TSPINE",
    "WHOLEBODY",
    "WRIST",
    "AP",
    "PA",
    "LL",
    "RL",
    "LLD",
    "RLD",
    "LLO",
    "RLO",
    "LATERAL",
    "OBLIQUE",
    "CC",
    "MLO",
];

/// A code string of an attribute as it may stand in a message.
fn printable(value: Option<&str>) -> String {
    let modality = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    match value {
        None => "nothing".into(),
        Some(value) if TERMS.contains(&value) || modality(value) => value.into(),
        Some(_) => "another value".into(),
    }
}

/// Contrast and exposure.
pub(super) fn pixels(display: &Image<f32>) -> Result<Vec<Note>, Refusal> {
    let count = display.pixels.len().max(1) as f64;
    let mean = display.pixels.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let variance = display.pixels.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / count;
    let deviation = variance.sqrt();
    if deviation.is_nan() || deviation < CONTRAST_MIN {
        let text = format!(
            "the display values have a standard deviation of {deviation:.3}; at least {CONTRAST_MIN} is expected"
        );
        return Err(Refusal::new(RefusalCode::NoContrast, text));
    }
    let share = |at: fn(f32) -> bool| display.pixels.iter().filter(|&&value| at(value)).count() as f64 / count;
    let mut notes = Vec::new();
    for (code, clipped) in
        [("clipped-dark", share(|value| value <= 0.0)), ("clipped-bright", share(|value| value >= 1.0))]
    {
        if clipped > CLIPPED_NOTED {
            let text = format!(
                "{:.0} % of the pixels lie at the end of the display range: check exposure and window",
                clipped * 100.0
            );
            notes.push(Note { code: code.into(), text });
        }
    }
    Ok(notes)
}
