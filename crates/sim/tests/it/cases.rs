use sim::{Case, CaseId, Trace, play};

/// The same name, the same schedule, to the last line.
#[test]
fn a_case_goes_the_same_way_each_time() {
    for seed in 1..40 {
        let case = Case::of_seed(seed);
        let (one, other) = (play(&case, Trace::Kept), play(&case, Trace::Kept));
        assert!(!one.trace.is_empty());
        assert_eq!(one.trace, other.trace, "seed {seed}");
        let heads = [&one, &other].map(|story| story.shelf.records.last().map(|r| r.hash));
        assert_eq!(heads[0], heads[1], "seed {seed}");
    }
}

#[test]
fn a_name_plays_the_case_it_names() {
    for name in ["seed:7", "grid:3:5:1"] {
        let id: CaseId = name.parse().unwrap();
        assert_eq!(id.to_string(), name);
        assert!(Case::of(id).is_ok());
    }
    for wrong in ["7", "seed:x", "grid:1:2", "grid:1:2:3:4", "seed:1:2"] {
        assert!(wrong.parse::<CaseId>().is_err(), "{wrong}");
    }
    assert!(Case::of(CaseId::Grid(u32::MAX, 0, 0)).is_err());
}
