//! Makes the sample radiographs again: `cargo run --example make_samples -- DATA OUT`.
//! DATA is the folder of the chest set (`labels.csv`, `test.tar`); the JPEG bytes are encapsulated unchanged. Twelve
//! films of the official test split are taken: in each class those with the smallest digests, so that nobody's eye or
//! model chose them. Patients are fictitious; labels do not enter the files.

use std::{collections::BTreeMap, error::Error, fs, io::Read as _, path::Path};

use vidimus_imaging::import::{ImportFacts, picture_to_instance};
use vidimus_log::Phi;

/// Films of each subtype.
const TAKEN: [(&str, usize); 3] = [("none", 5), ("bacteria", 4), ("virus", 3)];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, out] = arguments.as_slice() else { return Err("usage: make_samples DATA OUT".into()) };
    let (data, out) = (Path::new(data), Path::new(out));
    let mut by_subtype: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in csv::Reader::from_path(data.join("labels.csv"))?.deserialize() {
        let row: BTreeMap<String, String> = row?;
        if row["split"] == "test" {
            by_subtype
                .entry(row["subtype"].clone())
                .or_default()
                .push((row["file_sha256"].clone(), row["file"].clone()));
        }
    }
    let mut chosen = Vec::new();
    for (subtype, count) in TAKEN {
        let mut films = by_subtype.remove(subtype).ok_or("a subtype is missing")?;
        films.sort();
        chosen.extend(films.into_iter().take(count));
    }
    // In the order of digests the classes are mixed.
    chosen.sort();
    let mut archive = tar::Archive::new(fs::File::open(data.join("test.tar"))?);
    let mut bytes = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        if chosen.iter().any(|(_, file)| *file == path) {
            let mut film = Vec::new();
            entry.read_to_end(&mut film)?;
            bytes.insert(path, film);
        }
    }
    fs::create_dir_all(out)?;
    let mut list = String::from("sample,source file,SHA-256 of the source file\n");
    for (place, (digest, file)) in chosen.iter().enumerate() {
        let number = place + 1;
        let facts = ImportFacts {
            modality: Some("DX".into()),
            body_part: Some("CHEST".into()),
            view: Some("AP".into()),
            patient_id: Some(Phi::new(format!("DEMO-{number:04}"))),
            patient_name: Some(Phi::new(format!("Sample^Child {number:02}"))),
            birth_date: Some(Phi::new("20160401".into())),
            sex: Some("O".into()),
            age: Some("003Y".into()),
            accession_number: Some(Phi::new(format!("SAMPLE{number:02}"))),
            study_date: Some(Phi::new("20200101".into())),
            study_time: Some(Phi::new("120000".into())),
            institution: Some("Fictitious Children's Hospital".into()),
            study_description: Some("Chest AP (sample, CC BY 4.0)".into()),
            ..ImportFacts::default()
        };
        let name = format!("sample-{number:02}.dcm");
        fs::write(out.join(&name), picture_to_instance(&bytes[file], &facts)?)?;
        list.push_str(&format!("{name},{file},{digest}\n"));
    }
    fs::write(out.join("sources.csv"), list)?;
    Ok(())
}
