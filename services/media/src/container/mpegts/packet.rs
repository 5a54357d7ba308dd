//! Transport stream packets (ISO/IEC 13818-1, 2.4.3.2), and the search for them in a stream cut anywhere.

use memchr::memchr;

/// Bytes of a packet. Streams with a time code before (192) or parity after each packet (204) stay opaque.
pub(crate) const PACKET_BYTES: usize = 188;

const SYNC: u8 = 0x47;

/// One packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    pub(crate) bytes: &'a [u8; PACKET_BYTES],
    pub(crate) pid: u16,
    /// A PES packet or a section starts in this one.
    pub(crate) unit_start: bool,
    pub(crate) random_access: bool,
    /// The continuity counter and time may jump here.
    pub(crate) discontinuity: bool,
    pub(crate) continuity: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// `None` for a packet that carries nothing to be read: damaged, scrambled, or against the syntax.
    pub(crate) fn parse(bytes: &'a [u8; PACKET_BYTES]) -> Option<Self> {
        let [_, flags, pid_low, control, ..] = *bytes;
        let (damaged, scrambled) = (flags & 0x80 != 0, control & 0xc0 != 0);
        if damaged || scrambled {
            return None;
        }
        let (has_adaptation, has_payload) = (control & 0x20 != 0, control & 0x10 != 0);
        let adaptation_bytes = if has_adaptation { usize::from(bytes[4]) } else { 0 };
        let adaptation_flags = if adaptation_bytes > 0 { bytes[5] } else { 0 };
        let payload_at = 4 + usize::from(has_adaptation) + adaptation_bytes;
        let payload = bytes.get(payload_at..)?;
        Some(Self {
            bytes,
            pid: u16::from(flags & 0x1f) << 8 | u16::from(pid_low),
            unit_start: flags & 0x40 != 0,
            random_access: adaptation_flags & 0x40 != 0,
            discontinuity: adaptation_flags & 0x80 != 0,
            continuity: control & 0xf,
            payload: if has_payload { payload } else { &[] },
        })
    }
}

/// Cuts a stream into packets.
///
/// As long as each packet begins with the sync byte, all is well. Where one does not, two sync bytes at the right
/// distance are believed again.
#[derive(Debug)]
pub(crate) struct Packets {
    /// Offset of the first byte of `carry`, or of the next push when it is empty.
    offset: u64,
    synced: bool,
    /// The beginning of a packet whose end was not there yet. Starts with a sync byte.
    carry: [u8; PACKET_BYTES + 1],
    carried: usize,
}

impl Packets {
    pub(crate) fn new() -> Self {
        Self { offset: 0, synced: true, carry: [0; PACKET_BYTES + 1], carried: 0 }
    }

    /// Calls `found` with each packet and its offset.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut found: impl FnMut(u64, &[u8; PACKET_BYTES])) {
        loop {
            if self.carried > 0 && !self.complete_carry(&mut bytes, &mut found) {
                return;
            }
            if self.carried > 0 {
                continue;
            }
            if self.synced {
                while let Some((packet, rest)) =
                    bytes.split_first_chunk().filter(|(packet, _)| packet[0] == SYNC)
                {
                    found(self.offset, packet);
                    self.offset += PACKET_BYTES as u64;
                    bytes = rest;
                }
                self.synced = bytes.first().is_none_or(|&byte| byte == SYNC);
            }
            let skipped = if self.synced { 0 } else { memchr(SYNC, bytes).unwrap_or(bytes.len()) };
            self.offset += skipped as u64;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            self.carry[0] = SYNC;
            self.carried = 1;
            bytes = &bytes[1..];
        }
    }

    /// Adds to the carried bytes what they lack, and handles them. `false` if they still lack some.
    fn complete_carry(
        &mut self,
        bytes: &mut &[u8],
        found: &mut impl FnMut(u64, &[u8; PACKET_BYTES]),
    ) -> bool {
        // To find sync again takes the first byte of the next packet, too.
        let wanted = PACKET_BYTES + usize::from(!self.synced);
        let take = bytes.len().min(wanted - self.carried);
        self.carry[self.carried..self.carried + take].copy_from_slice(&bytes[..take]);
        self.carried += take;
        *bytes = &bytes[take..];
        if self.carried < wanted {
            return false;
        }
        let used = match self.carry.first_chunk() {
            Some(packet) if self.synced || self.carry[PACKET_BYTES] == SYNC => {
                found(self.offset, packet);
                self.synced = true;
                PACKET_BYTES
            }
            _ => 1 + memchr(SYNC, &self.carry[1..]).unwrap_or(PACKET_BYTES),
        };
        self.carry.copy_within(used..wanted, 0);
        self.carried = wanted - used;
        self.offset += used as u64;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(stream: &[u8], cut: usize) -> Vec<(u64, u8)> {
        let mut packets = Packets::new();
        let mut found = Vec::new();
        for part in stream.chunks(cut) {
            packets.push(part, |at, packet| found.push((at, packet[3])));
        }
        found
    }

    fn packet(number: u8) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        (packet[0], packet[3]) = (SYNC, number);
        packet
    }

    #[test]
    fn lost_sync_is_found_again_wherever_the_stream_is_cut() {
        let mut stream = Vec::new();
        stream.extend_from_slice(&packet(1));
        stream.extend_from_slice(&packet(2)[..100]);
        stream.extend_from_slice(&[1, SYNC, 2, SYNC, SYNC]);
        for number in 3..7 {
            stream.extend_from_slice(&packet(number));
        }
        // The packet that was cut short swallows the beginning of the third.
        let expected = offsets(&stream, stream.len());
        assert_eq!(expected.iter().map(|found| found.1).collect::<Vec<_>>(), [1, 2, 4, 5, 6]);
        for cut in 1..400 {
            assert_eq!(offsets(&stream, cut), expected, "cut {cut}");
        }
    }

    #[test]
    fn an_adaptation_field_longer_than_the_packet_is_refused() {
        let mut bytes = packet(0x30);
        bytes[4] = 184;
        assert!(Packet::parse(&bytes).is_none());
        bytes[4] = 183;
        assert!(Packet::parse(&bytes).is_some_and(|packet| packet.payload.is_empty()));
    }
}
