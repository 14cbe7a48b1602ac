use std::collections::BTreeSet;

use super::*;

#[test]
fn the_packed_corpus_holds_277_machines_and_every_id_in_them_exists() {
    let mut names = BTreeSet::new();
    for machine in &Corpus::packed() {
        let Machine { name, truth, .. } = machine.unwrap();
        assert!(!truth.spaces.is_empty(), "{name}");
        for (space, root) in &truth.spaces {
            assert!(truth.regions.contains_key(root), "{name}: {space}");
        }
        for (id, region) in &truth.regions {
            for to in region.sub.iter().chain(&region.alias).chain(&region.cont) {
                assert!(
                    truth.regions.contains_key(to),
                    "{name}: region {id} refers to {to}"
                );
            }
        }
        assert!(names.insert(name));
    }
    assert_eq!(names.len(), 277);
}

#[test]
fn the_packed_corpus_holds_every_text() {
    let mut without_owners = Vec::new();
    for machine in &Corpus::packed() {
        let Machine {
            name, cmdline, texts, ..
        } = machine.unwrap();
        assert!(cmdline.starts_with("qemu-system-"), "{name}");
        for text in [
            &texts.mtree,
            &texts.mtree_d_upper,
            &texts.mtree_f,
            &texts.mtree_fd,
        ] {
            assert!(text.as_ref().is_some_and(|text| !text.is_empty()), "{name}");
        }
        let owners = [&texts.mtree_o, &texts.mtree_do_upper, &texts.mtree_fo];
        if owners.iter().all(|text| text.is_none()) {
            without_owners.push(name);
        } else {
            assert_eq!(texts.iter().count(), 7, "{name}");
        }
    }
    assert_eq!(without_owners, ["riscv64-virt-iommu", "riscv64-virt-iommu-pci"]);
}

#[test]
fn a_machine_is_found_by_its_name() {
    assert_eq!(
        Corpus::packed().machine("alpha-clipper-run").unwrap().name,
        "alpha-clipper-run"
    );
    assert!(matches!(Corpus::packed().machine("vax"), Err(Error::NoMachine { name }) if name == "vax"));
}

#[test]
fn the_setting_names_a_folder_and_without_it_the_packed_machines_are_taken() {
    for none in [None, Some(OsString::new())] {
        let Corpus(Source::Archive { place, .. }) = Corpus::from_setting(none).unwrap() else {
            panic!("not packed");
        };
        assert_eq!(place, Path::new(ARCHIVE));
    }
    let folder = tempfile::tempdir().unwrap();
    let corpus = Corpus::from_setting(Some(folder.path().into())).unwrap();
    assert_eq!(corpus.machines().count(), 0);

    let missing = folder.path().join("missing");
    let error = Corpus::from_setting(Some(missing.clone().into())).unwrap_err();
    assert!(
        error.to_string().starts_with(missing.to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn a_machine_without_truth_is_an_error_in_its_place_and_the_walk_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("README.md"), "plain files are not looked at").unwrap();
    for name in [".git", "a", "b"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("b/truth.json"), r#"{"as":[],"mr":{}}"#).unwrap();

    let corpus = Corpus::folder(folder.path()).unwrap();
    let machines: Vec<_> = corpus.machines().collect();
    let [Err(Error::NoTruth { path }), Ok(machine)] = machines.as_slice() else {
        panic!("{machines:?}");
    };
    assert_eq!(*path, folder.path().join("a/truth.json"));
    assert_eq!((machine.name.as_str(), machine.cmdline.as_str()), ("b", ""));
    assert_eq!(machine.texts, crate::Texts::default());
}

#[test]
fn a_truth_that_is_not_whole_is_an_error_that_names_file_and_reference() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(
        folder.path().join("a/truth.json"),
        r#"{"as":[["memory",3]],"mr":{}}"#,
    )
    .unwrap();
    let error = Corpus::folder(folder.path()).unwrap().machine("a").unwrap_err();
    let file = folder.path().join("a/truth.json");
    let says = format!(
        "{}: address space \"memory\" refers to region 3, which is not there",
        file.display()
    );
    assert_eq!(error.to_string(), says);
}
