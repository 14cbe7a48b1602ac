use flatview_corpus::Corpus;
use flatview_mtree::check::check;
use flatview_mtree::text::parse;

#[test]
fn baseline() {
    let mut n = [[0; 4]; 3];
    for machine in &Corpus::from_env().unwrap() {
        let machine = machine.unwrap();
        let flat = machine.texts.mtree_fo.as_ref();
        for (k, text) in [
            (0, &machine.texts.mtree),
            (1, &machine.texts.mtree_d_upper),
            (2, &machine.texts.mtree_do_upper),
        ] {
            let Some(text) = text else { continue };
            let dumps = parse(text).unwrap();
            let flat = if k == 2 {
                flat.unwrap()
            } else {
                machine.texts.mtree_f.as_ref().unwrap()
            };
            let flats = parse(flat).unwrap();
            let start = std::time::Instant::now();
            match check(dumps[0].tree().unwrap(), flats[0].flat().unwrap()) {
                Err(e) => {
                    n[k][3] += 1;
                    println!("{k} {} {e}", machine.name)
                }
                Ok(r) => {
                    let t = start.elapsed();
                    n[k][r.verdict as usize] += 1;
                    if r.verdict as usize == 2 {
                        println!(
                            "{k} {} {:?} {t:?} {} {:?}",
                            machine.name,
                            r.verdict,
                            r.differences.len(),
                            r.differences.first()
                        )
                    } else if r.verdict as usize == 1 {
                        println!("{k} {} {:?} {t:?} {:?}", machine.name, r.verdict, r.assumed)
                    }
                }
            }
        }
    }
    println!("{n:?}");
}
