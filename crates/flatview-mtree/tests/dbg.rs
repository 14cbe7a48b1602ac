use flatview_corpus::Corpus;
use flatview_mtree::check::facts_from;
use flatview_mtree::graph::*;
use flatview_mtree::text::parse;
#[test]
fn dbg() {
    let m = Corpus::from_env().unwrap().machine("x86-q35-switch-run").unwrap();
    let t = m.texts.mtree.unwrap();
    let f = m.texts.mtree_f.unwrap();
    let t = parse(&t).unwrap();
    let f = parse(&f).unwrap();
    let g = Graph::new(t[0].tree().unwrap());
    let guess = flatview_mtree::facts::Facts::guess(&g);
    let facts = facts_from(&g, f[0].flat().unwrap(), false).unwrap();
    for (i, n) in g.nodes.iter().enumerate() {
        if let What::Alias {
            target: "pci_bridge_io",
            candidates,
            ..
        } = &n.what
        {
            println!(
                "{i} line {:?} in {:?} {:#x} -> guess {:?} now {:?} of {:?}",
                n.line,
                n.container.map(|c| g.nodes[c].line),
                n.address,
                guess.of[i].target.map(|t| g.nodes[t].line),
                facts.of[i].target.map(|t| g.nodes[t].line),
                candidates
                    .iter()
                    .map(|&t| g.nodes[t].line.unwrap())
                    .collect::<Vec<_>>()
            );
        }
    }
    for (i, n) in g.nodes.iter().enumerate() {
        if n.name == "pci_bridge_io" && !n.is_alias() {
            println!("{i} {:?} {}", n.line, n.children.len());
        }
    }
}
