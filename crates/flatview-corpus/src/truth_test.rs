use super::*;

const REGION: &str = r#"{"name":"system","addr":18446744073709547520,"size":18446744073709551616,"prio":-1500,
    "enabled":1,"term":0,"ram":0,"ro":0,"nv":0,"romdev":0,"romd":1,"ramdev":0,"iommu":0,"unm":0,"dirty":0,
    "vgalog":3,"alias":7,"aoff":0,"sub":[2,1],"cont":null,"owner":null}"#;

#[test]
fn the_whole_range_of_every_number_is_read() {
    let region: TruthRegion = serde_json::from_str(REGION).unwrap();
    assert_eq!(region.addr, u64::MAX - 0xfff);
    assert_eq!(region.size, 1 << 64);
    assert_eq!(region.prio, -1500);
    assert_eq!((region.enabled, region.term, region.vgalog), (true, false, 3));
    assert_eq!(
        (region.alias, region.cont, region.owner),
        (Some(RegionId(7)), None, None)
    );
    assert_eq!(region.sub, [RegionId(2), RegionId(1)]);
}

#[test]
fn what_is_written_is_what_was_read() {
    let text: String = REGION.split_whitespace().collect();
    let region: TruthRegion = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&region).unwrap(), text);
}

#[test]
fn a_flag_is_0_or_1() {
    let error = serde_json::from_str::<TruthRegion>(&REGION.replace("\"term\":0", "\"term\":2")).unwrap_err();
    assert!(error.to_string().contains("expected 0 or 1"), "{error}");
}

#[test]
fn a_reference_that_leads_nowhere_is_told() {
    let truth = |root| format!(r#"{{"as":[["memory",{root}]],"mr":{{"0":{REGION}}}}}"#);
    let dangling = |root| serde_json::from_str::<Truth>(&truth(root)).unwrap().dangling();
    assert_eq!(
        dangling(9),
        Some(("address space \"memory\"".to_owned(), RegionId(9)))
    );
    assert_eq!(dangling(0), Some(("region 0: alias".to_owned(), RegionId(7))));
}
