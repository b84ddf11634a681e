//! A filter over system calls as the program that the kernel runs at each one: as short as it can be, because the kernel
//! runs it once for every call there is when it is installed.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::sock_filter;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// Numbers from here on are the x32 interface to the same calls, which no rule would match.
const X32: u32 = 0x4000_0000;

// Instructions of the classic packet filter, as in linux/bpf_common.h.
const LOAD: u16 = 0x20; // a word of `seccomp_data` by its offset
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_ABOVE: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Offsets in `seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
const ABSENT: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();

/// A look at one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check(pub(super) u8, pub(super) Test);

/// What an argument is looked at for. All but the last look at the lower half, as the kernel does for these arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Is(u32),
    IsNot(u32),
    AnyBit(u32),
    /// With this mask over it, it is this.
    Masked(u32, u32),
    /// With this mask over it, it is anything but this.
    NotMasked(u32, u32),
    /// A pointer that is there.
    IsNoNull,
}

/// Which calls are not let through.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// Calls above this number do not exist, and those of other architectures kill.
    pub(super) newest: Option<c_long>,
    /// Calls that do not exist.
    pub(super) absent: Vec<c_long>,
    /// Calls that are refused.
    pub(super) refused: Vec<c_long>,
    /// Calls that are refused where one of the rules matches: where all checks of it do.
    pub(super) refused_if: BTreeMap<c_long, Vec<Vec<Check>>>,
}

impl Filter {
    pub(super) fn is_empty(&self) -> bool {
        self.newest.is_none()
            && self.absent.is_empty()
            && self.refused.is_empty()
            && self.refused_if.is_empty()
    }

    /// The program; where a jump would be too far, the call whose rules are too long.
    pub(super) fn compile(&self) -> Result<Vec<sock_filter>, c_long> {
        let foreign = match self.newest {
            Some(_) => libc::SECCOMP_RET_KILL_PROCESS,
            None => libc::SECCOMP_RET_ALLOW,
        };
        let mut program = vec![
            step(LOAD, ARCHITECTURE_AT),
            jump(IF_EQUAL, ARCHITECTURE, 1, 0),
            step(RETURN, foreign),
            step(LOAD, NUMBER_AT),
        ];
        if let Some(newest) = self.newest {
            program.extend([
                jump(IF_AT_LEAST, X32, 0, 1),
                step(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
                jump(IF_ABOVE, number(newest), 0, 1),
                step(RETURN, ABSENT),
            ]);
        }
        push_list(&mut program, &self.absent, ABSENT);
        push_list(&mut program, &self.refused, REFUSE);
        for (call, rules) in &self.refused_if {
            let block: Vec<sock_filter> =
                rules.iter().flat_map(|rule| compile_rule(rule)).collect();
            let past = u8::try_from(block.len() + 1).map_err(|_| *call)?;
            program.push(jump(IF_EQUAL, number(*call), 0, past));
            program.extend(block);
            program.push(step(RETURN, libc::SECCOMP_RET_ALLOW));
        }
        program.push(step(RETURN, libc::SECCOMP_RET_ALLOW));
        Ok(program)
    }
}

/// Each call jumps to the one answer behind them.
fn push_list(program: &mut Vec<sock_filter>, calls: &[c_long], answer: u32) {
    for part in calls.chunks(usize::from(u8::MAX - 1)) {
        for (call, left) in part.iter().zip((1..=u8::MAX).take(part.len()).rev()) {
            program.push(jump(IF_EQUAL, number(*call), left, 0));
        }
        program.extend([step(JUMP, 1), step(RETURN, answer)]);
    }
}

/// Refuses, or falls through behind its end.
fn compile_rule(checks: &[Check]) -> Vec<sock_filter> {
    // From the end, so that each check knows how far the end is.
    let mut rule = vec![step(RETURN, REFUSE)];
    for Check(argument, test) in checks.iter().rev() {
        let end = u8::try_from(rule.len()).unwrap_or(u8::MAX);
        let low = ARGUMENTS_AT + 8 * u32::from(*argument);
        let mut look = match *test {
            Test::Is(value) => vec![step(LOAD, low), jump(IF_EQUAL, value, 0, end)],
            Test::IsNot(value) => vec![step(LOAD, low), jump(IF_EQUAL, value, end, 0)],
            Test::AnyBit(bits) => vec![step(LOAD, low), jump(IF_ANY_BIT, bits, 0, end)],
            Test::Masked(mask, value) => {
                vec![step(LOAD, low), step(AND, mask), jump(IF_EQUAL, value, 0, end)]
            }
            Test::NotMasked(mask, value) => {
                vec![step(LOAD, low), step(AND, mask), jump(IF_EQUAL, value, end, 0)]
            }
            Test::IsNoNull => vec![
                step(LOAD, low),
                jump(IF_EQUAL, 0, 0, 2),
                step(LOAD, low + 4),
                jump(IF_EQUAL, 0, end, 0),
            ],
        };
        look.append(&mut rule);
        rule = look;
    }
    rule
}

fn step(code: u16, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// No call has a number that does not fit.
fn number(call: c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

    /// What the kernel would answer.
    fn answer(program: &[sock_filter], call: u32, arguments: [u64; 6]) -> u32 {
        answer_on(program, ARCHITECTURE, call, arguments)
    }

    fn answer_on(program: &[sock_filter], machine: u32, call: u32, arguments: [u64; 6]) -> u32 {
        let mut data = vec![call, machine, 0, 0];
        let halves = |word: u64| [word as u32, (word >> 32) as u32];
        data.extend(arguments.into_iter().flat_map(halves));
        let (mut at, mut held) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let mut go = |taken: bool| at += usize::from(if taken { jt } else { jf });
            match code {
                LOAD => held = data[usize::try_from(k).unwrap() / 4],
                AND => held &= k,
                JUMP => at += usize::try_from(k).unwrap(),
                IF_EQUAL => go(held == k),
                IF_ABOVE => go(held > k),
                IF_AT_LEAST => go(held >= k),
                IF_ANY_BIT => go(held & k != 0),
                RETURN => return k,
                _ => panic!("no such instruction: {code}"),
            }
        }
    }

    fn only(rules: Vec<Vec<Check>>) -> Vec<sock_filter> {
        Filter { refused_if: BTreeMap::from([(7, rules)]), ..Filter::default() }.compile().unwrap()
    }

    #[test]
    fn lists_are_answered_whatever_the_arguments_are() {
        for count in [0, 1, 3, 253, 254, 255, 600] {
            let refused: Vec<c_long> = (1000..1000 + count).collect();
            let filter = Filter { refused, absent: vec![5, 6], ..Filter::default() };
            let program = filter.compile().unwrap();
            for call in 1000..1000 + u32::try_from(count).unwrap() {
                assert_eq!(answer(&program, call, [9; 6]), REFUSE);
            }
            for call in [0, 4, 7, 999, 1000 + u32::try_from(count).unwrap()] {
                assert_eq!(answer(&program, call, [9; 6]), ALLOW);
            }
            assert_eq!([5, 6].map(|call| answer(&program, call, [0; 6])), [ABSENT; 2]);
        }
    }

    #[test]
    fn what_is_foreign_or_too_new_is_not_let_through() {
        let program = Filter { newest: Some(462), ..Filter::default() }.compile().unwrap();
        let calls = [0, 462, 463, X32 - 1, X32, X32 | 1, u32::MAX];
        let answers = calls.map(|call| answer(&program, call, [0; 6]));
        assert_eq!(answers, [ALLOW, ALLOW, ABSENT, ABSENT, KILL, KILL, KILL]);
        assert_eq!(answer_on(&program, 0x4000_0003, 1, [0; 6]), KILL);
        let without = Filter::default().compile().unwrap();
        assert_eq!(answer_on(&without, 0x4000_0003, 1, [0; 6]), ALLOW);
    }

    #[test]
    fn a_rule_needs_all_of_its_checks_and_a_call_one_of_its_rules() {
        let program = only(vec![
            vec![Check(0, Test::Is(1)), Check(1, Test::AnyBit(6))],
            vec![Check(2, Test::Masked(0xf, 2))],
            vec![Check(3, Test::Is(5)), Check(4, Test::NotMasked(0xf, 1))],
        ]);
        let asks = |a, b, c| answer(&program, 7, [a, b, c, 0, 0, 0]);
        assert_eq!([asks(1, 2, 0), asks(1, 4, 0), asks(0, 0, 0x12)], [REFUSE; 3]);
        assert_eq!([asks(1, 1, 0), asks(0, 6, 0), asks(1, 0, 0x21)], [ALLOW; 3]);
        let other = |d, e| answer(&program, 7, [0, 0, 0, d, e, 0]);
        assert_eq!([other(5, 2), other(5, 0x12), other(5, 0)], [REFUSE; 3]);
        assert_eq!([other(5, 1), other(5, 0x801), other(4, 2)], [ALLOW; 3]);
        assert_eq!(answer(&program, 8, [1, 2, 2, 0, 0, 0]), ALLOW, "another call");
    }

    #[test]
    fn arguments_are_compared_as_wide_as_the_kernel_reads_them() {
        let high = 1 << 40;
        let is = only(vec![vec![Check(0, Test::Is(3))]]);
        assert_eq!([3, 3 | high].map(|a| answer(&is, 7, [a; 6])), [REFUSE; 2]);
        let is_not = only(vec![vec![Check(0, Test::IsNot(3))]]);
        assert_eq!([3, 3 | high].map(|a| answer(&is_not, 7, [a; 6])), [ALLOW; 2]);
        let pointer = only(vec![vec![Check(0, Test::IsNoNull), Check(1, Test::Is(0))]]);
        let asks = |a, b| answer(&pointer, 7, [a, b, 0, 0, 0, 0]);
        assert_eq!([asks(1, 0), asks(high, 0), asks(high | 1, 0)], [REFUSE; 3]);
        assert_eq!([asks(0, 0), asks(1, 1), asks(high, 1)], [ALLOW; 3]);
    }
}
