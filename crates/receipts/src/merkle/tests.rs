use proptest::prelude::*;

use super::*;

/// Inputs, roots and proofs that the certificate-transparency projects have tested against since 2013.
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
/// (leaf, size, proof)
const INCLUSION: [(u64, u64, &[&str]); 4] = [
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];
/// (old size, new size, proof)
const CONSISTENCY: [(u64, u64, &[&str]); 5] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        6,
        7,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
];

fn digest(hex: &str) -> Digest {
    format!("sha256:{hex}").parse().unwrap()
}

fn digests(hex: &[&str]) -> Vec<Digest> {
    hex.iter().map(|h| digest(h)).collect()
}

fn vector_tree() -> Tree {
    LEAVES.iter().map(|leaf| leaf_hash(&kernel::id::unhex(leaf).unwrap())).collect()
}

/// The definition of RFC 6962, section 2.1, word for word and nothing else.
fn naive_root(leaves: &[Digest]) -> Digest {
    match leaves.len() {
        0 => Digest::of(b""),
        1 => leaves[0],
        n => {
            let mut k = 1;
            while k * 2 < n {
                k *= 2;
            }
            let bytes =
                [&[1][..], &naive_root(&leaves[..k]).0, &naive_root(&leaves[k..]).0].concat();
            Digest::of(&bytes)
        }
    }
}

/// PATH of RFC 6962, section 2.1.1.
fn naive_path(m: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() <= 1 {
        return vec![];
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(k);
    if m < k {
        [naive_path(m, left), vec![naive_root(right)]].concat()
    } else {
        [naive_path(m - k, right), vec![naive_root(left)]].concat()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum OldRoot {
    Known,
    Unknown,
}

/// SUBPROOF of RFC 6962, section 2.1.2.
fn naive_subproof(m: usize, leaves: &[Digest], old: OldRoot) -> Vec<Digest> {
    if m == leaves.len() {
        return if old == OldRoot::Known { vec![] } else { vec![naive_root(leaves)] };
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(k);
    if m <= k {
        [naive_subproof(m, left, old), vec![naive_root(right)]].concat()
    } else {
        [naive_subproof(m - k, right, OldRoot::Unknown), vec![naive_root(left)]].concat()
    }
}

fn leaves(count: usize) -> Vec<Digest> {
    (0..count).map(|i| leaf_hash(i.to_string().as_bytes())).collect()
}

fn head(leaves: &[Digest]) -> Head {
    Head { size: leaves.len() as u64, root: naive_root(leaves) }
}

#[test]
fn known_roots() {
    assert_eq!(
        empty_root(),
        digest("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    );
    assert_eq!(Frontier::default().root(), empty_root());
    let mut frontier = Frontier::default();
    let tree = vector_tree();
    assert_eq!(tree.root(0), Some(empty_root()));
    for (index, (leaf, root)) in LEAVES.iter().zip(ROOTS).enumerate() {
        assert_eq!(frontier.append(leaf_hash(&kernel::id::unhex(leaf).unwrap())), index as u64);
        assert_eq!(frontier.root(), digest(root));
        assert_eq!(tree.root(index as u64 + 1), Some(digest(root)));
    }
    assert_eq!(tree.root(9), None);
}

#[test]
fn known_inclusion_proofs() {
    let tree = vector_tree();
    for (index, size, proof) in INCLUSION {
        let (proof, root) = (digests(proof), digest(ROOTS[size as usize - 1]));
        assert_eq!(tree.prove_inclusion(index, size).unwrap(), proof);
        let leaf = leaf_hash(&kernel::id::unhex(LEAVES[index as usize]).unwrap());
        check_inclusion(&leaf, index, size, &proof, &root).unwrap();
        for (index, size) in
            [(index + 1, size), (index ^ 2, size), (index, size * 2), (index, size / 2)]
        {
            assert!(check_inclusion(&leaf, index, size, &proof, &root).is_err());
        }
    }
    assert_eq!(tree.prove_inclusion(8, 8), None);
    assert_eq!(tree.prove_inclusion(0, 9), None);
}

#[test]
fn known_consistency_proofs() {
    let tree = vector_tree();
    let head = |size: u64| Head { size, root: digest(ROOTS[size as usize - 1]) };
    for (from, to, proof) in CONSISTENCY {
        let proof = digests(proof);
        assert_eq!(tree.prove_consistency(from, to).unwrap(), proof);
        check_consistency(&head(from), &head(to), &proof).unwrap();
    }
    assert!(check_consistency(&head(2), &head(1), &[]).is_err());
    assert!(check_consistency(&head(1), &head(2), &[]).is_err());
    assert!(check_consistency(&head(1), &head(1), &[empty_root()]).is_err());
    let nothing = Head { size: 0, root: empty_root() };
    check_consistency(&nothing, &head(3), &[]).unwrap();
    assert!(check_consistency(&Head { size: 0, root: head(1).root }, &head(3), &[]).is_err());
    assert_eq!(tree.prove_consistency(3, 9), None);
    assert_eq!(tree.prove_consistency(4, 3), None);
}

#[test]
fn a_frontier_reads_back_and_refuses_nonsense() {
    let mut frontier = Frontier::default();
    for leaf in leaves(11) {
        frontier.append(leaf);
    }
    let text = serde_json::to_string(&frontier).unwrap();
    let mut read: Frontier = serde_json::from_str(&text).unwrap();
    assert_eq!(read, frontier);
    read.append(leaf_hash(b"11"));
    assert_eq!(read.root(), naive_root(&leaves(12)));
    assert!(serde_json::from_str::<Frontier>(&text.replace(":11", ":12")).is_err());
}

#[test]
fn every_small_tree_agrees_with_the_definition() {
    for size in 0..=33_usize {
        let all = leaves(size);
        let tree: Tree = all.iter().copied().collect();
        assert_eq!(tree.root(size as u64), Some(naive_root(&all)));
        for index in 0..size {
            let proof = tree.prove_inclusion(index as u64, size as u64).unwrap();
            assert_eq!(proof, naive_path(index, &all));
            check_inclusion(&all[index], index as u64, size as u64, &proof, &naive_root(&all))
                .unwrap();
        }
        for from in 1..=size {
            let proof = tree.prove_consistency(from as u64, size as u64).unwrap();
            assert_eq!(proof, naive_subproof(from, &all, OldRoot::Known));
            check_consistency(&head(&all[..from]), &head(&all), &proof).unwrap();
        }
    }
}

fn flip(digest: &mut Digest, bit: usize) {
    digest.0[bit / 8 % 32] ^= 1 << (bit % 8);
}

#[test]
fn the_longest_log_is_one_and_a_longer_one_is_none() {
    let nodes: &Nodes<'_> = &|_, _| Some(Digest([7; 32]));
    let edge = |size: u64| {
        let peaks = vec![Digest([7; 32]); size.count_ones() as usize];
        let text = serde_json::json!({"size": size, "peaks": peaks});
        serde_json::from_value::<Frontier>(text)
    };
    assert_eq!(edge(LOG_SIZE_MAX).unwrap().size(), LOG_SIZE_MAX);
    assert!(root(nodes, LOG_SIZE_MAX).is_some());
    assert!(prove_inclusion(nodes, 0, LOG_SIZE_MAX).is_some());
    assert!(prove_consistency(nodes, 1, LOG_SIZE_MAX).is_some());
    for more in [LOG_SIZE_MAX + 1, LOG_SIZE_MAX + 2, u64::MAX] {
        assert!(edge(more).is_err(), "{more}");
        assert!(root(nodes, more).is_none());
        assert!(prove_inclusion(nodes, 0, more).is_none());
        assert!(prove_consistency(nodes, 1, more).is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn inclusion_holds_and_no_flipped_bit_passes(
        size in 1_usize..120, pick in any::<prop::sample::Index>(), bit in 0_usize..256,
        which in any::<prop::sample::Index>(),
    ) {
        let all = leaves(size);
        let index = pick.index(size);
        let tree: Tree = all.iter().copied().collect();
        let root = tree.root(size as u64).unwrap();
        prop_assert_eq!(root, naive_root(&all));
        let proof = tree.prove_inclusion(index as u64, size as u64).unwrap();
        let check = |leaf: &Digest, proof: &[Digest], root: &Digest| {
            check_inclusion(leaf, index as u64, size as u64, proof, root).is_ok()
        };
        prop_assert!(check(&all[index], &proof, &root));
        let (mut leaf, mut other_root, mut damaged) = (all[index], root, proof.clone());
        flip(&mut leaf, bit);
        flip(&mut other_root, bit);
        prop_assert!(!check(&leaf, &proof, &root));
        prop_assert!(!check(&all[index], &proof, &other_root));
        if !damaged.is_empty() {
            let at = which.index(damaged.len());
            flip(&mut damaged[at], bit);
            prop_assert!(!check(&all[index], &damaged, &root));
            prop_assert!(!check(&all[index], &proof[1..], &root));
        }
        damaged.push(root);
        prop_assert!(!check(&all[index], &damaged, &root));
        for other in [index, 0, index / 2, index ^ 1, size - 1] {
            let passes = check_inclusion(&all[index], other as u64, size as u64, &proof, &root).is_ok();
            prop_assert_eq!(passes, other == index);
        }
    }

    #[test]
    fn consistency_holds_and_no_flipped_bit_passes(
        size in 2_usize..120, pick in any::<prop::sample::Index>(), bit in 0_usize..256,
        which in any::<prop::sample::Index>(),
    ) {
        let all = leaves(size);
        let from = 1 + pick.index(size - 1);
        let tree: Tree = all.iter().copied().collect();
        let (old, new) = (head(&all[..from]), head(&all));
        let proof = tree.prove_consistency(from as u64, size as u64).unwrap();
        check_consistency(&old, &new, &proof).unwrap();
        let mut damaged = proof.clone();
        let at = which.index(damaged.len());
        flip(&mut damaged[at], bit);
        prop_assert!(check_consistency(&old, &new, &damaged).is_err());
        let mut rewritten = all.clone();
        flip(&mut rewritten[pick.index(from)], bit);
        prop_assert!(check_consistency(&head(&rewritten[..from]), &new, &proof).is_err());
        prop_assert!(check_consistency(&old, &head(&rewritten), &proof).is_err());
        prop_assert!(check_consistency(&old, &new, &proof[1..]).is_err());
        prop_assert!(check_consistency(&old, &new, &[&proof[..], &[old.root]].concat()).is_err());
    }

    #[test]
    fn arbitrary_proofs_never_panic(
        index in any::<u64>(), size in any::<u64>(), proof in prop::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let proof: Vec<Digest> = proof.into_iter().map(Digest).collect();
        prop_assert!(check_inclusion(&Digest::default(), index, size, &proof, &Digest::default()).is_err());
        let old = Head { size: index, root: Digest([1; 32]) };
        let new = Head { size, root: Digest([2; 32]) };
        prop_assert!(check_consistency(&old, &new, &proof).is_err());
    }
}
