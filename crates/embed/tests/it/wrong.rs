//! Programs that must not compile, each with the words it is refused in (C033): attributes on what they do not fit
//! (C089), and ways to make a `Trusted` of something a tool or a model said (C155).

#[test]
fn wrong_use_does_not_compile_and_says_why() {
    let programs = trybuild::TestCases::new();
    programs.compile_fail("tests/wrong/*.rs");
}
