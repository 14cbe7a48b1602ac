//! Every text of the corpus: parsed, and printed as it was.

use flatview_corpus::Corpus;
use flatview_mtree::text::{Dump, Reader, parse};

#[test]
fn every_text_is_printed_as_it_was() {
    let mut texts = 0;
    let mut all = String::new();
    for machine in &Corpus::from_env().unwrap() {
        let machine = machine.unwrap();
        for (file, text) in machine.texts.iter() {
            let dumps = parse(text).unwrap_or_else(|error| panic!("{}/{file}: {error}", machine.name));
            let [dump] = &dumps[..] else {
                panic!("{}/{file}: {} dumps", machine.name, dumps.len());
            };
            assert_eq!(dump.to_string(), text, "{}/{file}", machine.name);
            assert_eq!(dump.flat().is_some(), file.starts_with("mtree-f"));
            texts += 1;
            all.push_str(text);
        }
    }
    let mut one_by_one = Reader::new(all.as_bytes());
    let read: Vec<String> = (&mut one_by_one)
        .map(|text| text.unwrap().parse().unwrap().unwrap().to_string())
        .collect();
    assert_eq!(read.len(), texts, "dumps one behind the other are kept apart");
    let read_all = read.concat();
    let differs = read_all
        .lines()
        .zip(all.lines())
        .position(|(read, real)| read != real);
    let context = |text: &str| -> Vec<String> {
        let from = differs.unwrap_or_default().saturating_sub(8);
        text.lines().skip(from).take(12).map(str::to_owned).collect()
    };
    assert!(read_all == all, "{:#?}\n{:#?}", context(&read_all), context(&all));
    let count = |dumps: &[Dump<'_>]| dumps.len();
    assert_eq!(count(&parse(&all).unwrap()), texts);
}
