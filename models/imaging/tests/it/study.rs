//! Studies: what belongs together, and what is set aside with a reason.

use vidimus_imaging::{Conflict, Instance, study};

use crate::build::Build;

fn instance(change: impl FnOnce(&mut Build) -> &mut Build) -> Instance {
    let mut build = Build::grey();
    change(&mut build);
    Instance::from_bytes(&build.file()).unwrap()
}

/// Proves: REQ-IMG-022
#[test]
fn instances_are_grouped_by_study_in_the_order_of_arrival() {
    let studies = study::group([
        instance(|file| file.text(0x0020_000d, b"UI", "1.2.9").text(0x0008_0018, b"UI", "1.1")),
        instance(|file| file),
        instance(|file| file.text(0x0020_000d, b"UI", "1.2.9").text(0x0008_0018, b"UI", "1.2")),
    ]);
    let shape: Vec<_> =
        studies.iter().map(|one| (one.study_instance_uid.open().as_str(), one.instances.len())).collect();
    assert_eq!(shape, [("1.2.9", 2), ("1.2.3", 1)]);
}

/// Proves: REQ-IMG-022
#[test]
fn a_second_patient_other_content_and_a_repeat_are_set_aside() {
    let studies = study::group([
        instance(|file| file),
        instance(|file| file.text(0x0010_0020, b"LO", "P2").text(0x0008_0018, b"UI", "1.2.3.9")),
        instance(|file| file.text(0x0010_0010, b"PN", "Roe^Rob").text(0x0008_0018, b"UI", "1.2.3.10")),
        instance(|file| file.bytes(0x7fe0_0010, b"OW", vec![9; 24])),
        instance(|file| file),
        instance(|file| file.text(0x0010_0010, b"PN", "DOE^JANE^^").text(0x0008_0018, b"UI", "1.2.3.11")),
    ]);
    assert_eq!(studies.len(), 1);
    let conflicts: Vec<Conflict> = studies[0].set_aside.iter().map(|(_, conflict)| *conflict).collect();
    use Conflict::{OtherContent, OtherPatient, Repeated};
    assert_eq!(conflicts, [OtherPatient, OtherPatient, OtherContent, Repeated]);
    // the first is kept, and one name written in two ways is one patient
    assert_eq!(studies[0].instances.len(), 2);
    assert!(OtherContent.refused() && !Repeated.refused() && OtherPatient.text().contains("(0010,0020)"));
}

/// Proves: REQ-IMG-022
#[test]
fn an_instance_without_identifiers_is_part_of_no_study() {
    let studies = study::group([instance(|file| file.without(0x0008_0018))]);
    assert!(studies[0].instances.is_empty());
    assert_eq!(studies[0].set_aside[0].1, Conflict::NoIdentity);
}

/// Proves: REQ-IMG-022
#[test]
fn the_pairs_of_the_corpus_are_conflicts() {
    let Some(folder) = crate::corpus::corpus() else { return };
    for (pair, wanted) in [
        ("two-patients-in-one-study", Conflict::OtherPatient),
        ("duplicate-SOP-different-content", Conflict::OtherContent),
    ] {
        let open = |side: &str| Instance::open(folder.join(format!("broken/made/{pair}_{side}.dcm"))).unwrap();
        let studies = study::group([open("a"), open("b")]);
        assert_eq!(studies.iter().flat_map(|one| &one.set_aside).map(|(_, one)| *one).collect::<Vec<_>>(), [wanted]);
    }
}
