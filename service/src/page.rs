//! The page of text that a clinician reads: finding, probability, operating point with its figures, what is not sure,
//! where the rest lies.
//! Widths: 100 columns. No patient data: the study is named by its files and its entry in the log.

use std::fmt::Write as _;

use vidimus_reader::explain::badge::Trust;

use crate::{
    fhir,
    pipeline::{Status, StudyReading},
};

/// Wrapped text starts here.
const INDENT: usize = 15;
const WIDTH: usize = 100;

/// One reading as a page.
pub(crate) fn page(study: &StudyReading) -> String {
    let mut page = String::new();
    let _ = writeln!(page, "{}", "─".repeat(WIDTH));
    line(&mut page, "Film", &study.title);
    match (&study.status, &study.reading) {
        (Status::Evaluated, Some(reading)) => {
            for finding in &reading.findings {
                let decision = if finding.decision == "present" { "PRESENT" } else { "absent" };
                line(
                    &mut page,
                    "Finding",
                    &format!(
                        "{} {decision}, probability {} (threshold {:.2}, operating point {})",
                        finding.code.display,
                        shown(finding.probability.get()),
                        finding.operating_point.threshold,
                        finding.operating_point.name
                    ),
                );
                line(&mut page, "That point", &fhir::figures(finding));
            }
            let uncertainty = &reading.uncertainty;
            line(
                &mut page,
                "Sureness",
                &format!(
                    "{:.2} from the threshold; mirrored film differs by {:.2}; distance from training films {:.2} of at most {:.2}",
                    uncertainty.margin, uncertainty.mirrored_spread, uncertainty.ood_score, uncertainty.ood_limit
                ),
            );
            if let Some(calibration) = &uncertainty.calibration {
                line(&mut page, "Calibration", &format!("on that set: {}", calibration.sentence()));
            }
            for note in uncertainty.notes.iter().filter(|note| note.code != "limit").chain(&reading.quality) {
                line(&mut page, "Mind", &note.text);
            }
            if let Some(limit) = uncertainty.notes.iter().find(|note| note.code == "limit") {
                line(
                    &mut page,
                    "Limits",
                    &format!("{} All of them: vidimus model show {}", limit.text, reading.model.id),
                );
            }
            line(
                &mut page,
                "Model",
                &format!(
                    "{} {} ({}), {} only",
                    reading.model.id, reading.model.version, reading.model.precision, reading.model.mode
                ),
            );
        }
        _ => {
            let word = if study.status == Status::Failed { "FAILED" } else { "NOT EVALUATED" };
            let (code, text) =
                study.reason.as_ref().map_or(("", ""), |reason| (reason.code.as_str(), reason.text.as_str()));
            line(&mut page, word, &format!("{text} [{code}]"));
        }
    }
    let badge = study.reading.as_ref().map(|reading| &reading.badge);
    let reasons = badge.map(|badge| badge.reasons.iter().map(|reason| reason.text).collect::<Vec<_>>().join("; "));
    match (badge.map(|badge| badge.trust), reasons, &study.files.overlay_png) {
        (Some(Trust::Unreliable), Some(reasons), _) => {
            line(&mut page, "Explanation", &format!("unreliable and not shown: {reasons}"));
        }
        (Some(Trust::Caution), Some(reasons), Some(overlay)) => {
            line(&mut page, "Explanation", overlay);
            line(&mut page, "With caution", &reasons);
        }
        (_, _, Some(overlay)) => line(&mut page, "Explanation", overlay),
        (_, _, None) => {}
    }
    if let Some(receipt) = &study.files.receipt {
        line(&mut page, "Receipt", receipt);
    }
    page.trim_end().to_owned()
}

/// A probability in two digits; rounding makes no certainty of one that is none.
fn shown(probability: f64) -> String {
    if probability >= 0.995 {
        "over 0.99".into()
    } else if probability < 0.005 {
        "under 0.01".into()
    } else {
        format!("{probability:.2}")
    }
}

/// A label and its text, wrapped.
fn line(page: &mut String, label: &str, text: &str) {
    let mut column = INDENT;
    let _ = write!(page, "{label:<INDENT$}");
    for (place, word) in text.split(' ').enumerate() {
        if place > 0 {
            if column + 1 + word.chars().count() > WIDTH {
                let _ = write!(page, "\n{:INDENT$}", "");
                column = INDENT;
            } else {
                page.push(' ');
                column += 1;
            }
        }
        page.push_str(word);
        column += word.chars().count();
    }
    page.push('\n');
}

#[cfg(test)]
mod tests {
    use vidimus_reader::explain::badge::{Badge, Checks, LIMITS};

    use super::page;
    use crate::{
        fhir,
        pipeline::{Files, Status, StudyReading, Timing},
    };

    /// Proves: REQ-EXP-009
    #[test]
    fn an_unreliable_explanation_is_called_so_and_no_picture_is_named() {
        let good = Checks { fall_strongest: 2.0, fall_random: 0.5, mirror: 0.8, border: 1.0, empty: false };
        let text = |checks: &Checks| {
            let mut reading = fhir::tests::reading("present", 0.9);
            reading.badge = Badge::judge(checks, &LIMITS);
            page(&StudyReading {
                title: "film.dcm".into(),
                study_uid: None,
                status: Status::Evaluated,
                reason: None,
                model: None,
                reading: Some(reading),
                input: None,
                receipt: None,
                files: Files { overlay_png: Some("overlay.png".into()), ..Files::default() },
                timing: Timing::default(),
                published: true,
            })
        };
        let shown = text(&good);
        assert!(shown.contains("overlay.png") && !shown.contains("unreliable"), "{shown}");
        let careful = text(&Checks { border: 3.0, ..good });
        assert!(careful.contains("overlay.png") && careful.contains("With caution"), "{careful}");
        let hidden = text(&Checks { fall_strongest: 0.4, ..good });
        assert!(hidden.contains("unreliable and not shown") && !hidden.contains("overlay.png"), "{hidden}");
    }
}
