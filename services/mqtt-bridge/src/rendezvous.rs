//! Which of several bridges does what all of them could: each finds the same without asking, and when one comes or goes, only
//! what it has to do moves (highest random weight hashing).

use std::hash::Hasher;

use relay_proto::backbone::Peer;

/// How many of the others come before this one, for what has this name: 0 is the first.
pub(crate) fn rank<'a>(name: &str, me: &Peer, others: impl Iterator<Item = &'a Peer>) -> usize {
    let own = weight(name, me);
    others.filter(|other| *other != me && weight(name, other) > own).count()
}

/// Runs have different numbers, so no two weigh the same but by a chance of 2⁻⁶⁴, and then both are as good.
fn weight(name: &str, peer: &Peer) -> u64 {
    let mut hasher = Fnv(0xCBF2_9CE4_8422_2325);
    hasher.write(name.as_bytes());
    hasher.write(b"\0");
    hasher.write(peer.incarnation.to_string().as_bytes());
    // FNV alone lets the last bytes decide little of the highest bits.
    let mut mixed = hasher.finish();
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    mixed ^ (mixed >> 33)
}

/// FNV-1a, 64 bits: the same in every program, which the standard library's hasher does not promise.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
}

#[cfg(test)]
mod tests {
    use relay_proto::Incarnation;

    use super::*;

    fn peers(count: u64) -> Vec<Peer> {
        let peer =
            |run| Peer { node: format!("b{run}").parse().unwrap(), incarnation: Incarnation::new(run) };
        (0..count).map(peer).collect()
    }

    fn first(name: &str, peers: &[Peer]) -> usize {
        let firsts: Vec<_> =
            (0..peers.len()).filter(|index| rank(name, &peers[*index], peers.iter()) == 0).collect();
        assert_eq!(firsts.len(), 1, "all agree");
        firsts[0]
    }

    #[test]
    fn all_agree_who_is_first_and_each_is_about_as_often() {
        let peers = peers(3);
        let mut counts = [0; 3];
        for number in 0..3000 {
            counts[first(&format!("kerberos/hub/cam{number}"), &peers)] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn ranks_are_all_there_are() {
        let peers = peers(4);
        let mut ranks: Vec<_> = peers.iter().map(|peer| rank("a", peer, peers.iter())).collect();
        ranks.sort_unstable();
        assert_eq!(ranks, [0, 1, 2, 3]);
        assert_eq!(rank("a", &peers[0], std::iter::empty()), 0);
    }

    #[test]
    fn only_what_the_one_had_that_left_moves() {
        let before = peers(3);
        let after = &before[..2];
        for number in 0..1000 {
            let name = number.to_string();
            let had = first(&name, &before);
            if had < 2 {
                assert_eq!(first(&name, after), had);
            }
        }
    }
}
