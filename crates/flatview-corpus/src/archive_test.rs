use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;

/// Two real machines as a folder: the first with all files plain, the second with `extra.json.gz` as QEMU's
/// owners and truth come in.
fn folder() -> (TempDir, [Machine; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let machines = ["arm-collie", "none-s390x"].map(|name| Corpus::packed().machine(name).unwrap());
    for (machine, gzip) in machines.iter().zip([false, true]) {
        let place = folder.path().join(&machine.name);
        fs::create_dir(&place).unwrap();
        fs::write(place.join("cmdline.txt"), &machine.cmdline).unwrap();
        let extra = |file: &str| gzip && ["mtree-fo.txt", "mtree-Do.txt"].contains(&file);
        for (file, text) in machine.texts.iter().filter(|(file, _)| !extra(file)) {
            fs::write(place.join(file), text).unwrap();
        }
        if gzip {
            let json = |text: &Option<String>| serde_json::to_string(text).unwrap();
            let fo = json(&machine.texts.mtree_fo);
            let upper = json(&machine.texts.mtree_do_upper);
            let truth = serde_json::to_string(&machine.truth).unwrap();
            let extra = format!(r#"{{"mtree-fo.txt":{fo},"mtree-Do.txt":{upper},"truth":{truth}}}"#);
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(extra.as_bytes()).unwrap();
            fs::write(place.join("extra.json.gz"), gzip.finish().unwrap()).unwrap();
        } else {
            fs::write(
                place.join("truth.json"),
                serde_json::to_string(&machine.truth).unwrap(),
            )
            .unwrap();
        }
    }
    (folder, machines)
}

fn read(corpus: &Corpus) -> Vec<Machine> {
    corpus.machines().collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_is_packed_is_what_is_read_back() {
    let (folder, machines) = folder();
    assert_eq!(read(&Corpus::folder(&folder).unwrap()), machines);

    let packed = folder.path().join("packed.tar.xz");
    fs::write(&packed, pack(&[&folder]).unwrap()).unwrap();
    assert_eq!(read(&Corpus::archive(&packed).unwrap()), machines);
}

#[test]
fn packing_twice_gives_the_same_bytes() {
    let (folder, _) = folder();
    assert_eq!(pack(&[&folder]).unwrap(), pack(&[&folder]).unwrap());
}

#[test]
fn two_machines_of_one_name_cannot_be_packed() {
    let (folder, _) = folder();
    assert!(matches!(pack(&[&folder, &folder]), Err(Error::SameName { .. })));
}

#[test]
fn a_damaged_archive_is_an_error_and_the_end() {
    let (folder, _) = folder();
    let packed = pack(&[&folder]).unwrap();
    let place = folder.path().join("damaged.tar.xz");
    for cut in [0, 10, packed.len() / 2, packed.len() - 1] {
        fs::write(&place, &packed[..cut]).unwrap();
        let corpus = Corpus::archive(&place).unwrap();
        let errors: Vec<_> = corpus.machines().filter_map(Result::err).collect();
        assert_eq!(errors.len(), 1, "{cut}: {errors:?}");
        assert!(
            errors[0].to_string().starts_with(place.to_str().unwrap()),
            "{cut}: {}",
            errors[0]
        );
    }
}
