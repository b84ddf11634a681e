//! Programs that must not compile, each with the words it is refused in.

#[test]
fn wrong_use_does_not_compile_and_says_why() {
    let programs = trybuild::TestCases::new();
    programs.compile_fail("tests/wrong/*.rs");
}
