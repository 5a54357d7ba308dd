//! Opus: how long a packet lasts (RFC 6716, 3.1 and 3.2).

/// Samples per second of every Opus decoder's clock.
pub const SAMPLE_RATE: u32 = 48_000;

/// Samples of each channel in a packet, at [`SAMPLE_RATE`]; `None` for a packet against the rules.
pub fn packet_samples(packet: &[u8]) -> Option<u32> {
    const PACKET_SAMPLES_MAX: u32 = SAMPLE_RATE * 120 / 1000;
    let &toc = packet.first()?;
    let config = u32::from(toc >> 3);
    let frame_samples = match config {
        // SILK: 10, 20, 40, 60 ms.
        0..=11 => [480, 960, 1920, 2880][config as usize % 4],
        // Hybrid: 10, 20 ms.
        12..=15 => [480, 960][config as usize % 2],
        // CELT: 2.5, 5, 10, 20 ms.
        _ => 120 << (config % 4),
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    let samples: u32 = frame_samples * frames;
    (1..=PACKET_SAMPLES_MAX).contains(&samples).then_some(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_tells_its_duration() {
        assert_eq!(packet_samples(&[0xfc]), Some(960), "CELT, 20 ms");
        assert_eq!(packet_samples(&[0x01]), Some(960), "SILK, two of 10 ms");
        assert_eq!(packet_samples(&[0x83, 3]), Some(360), "CELT, three of 2.5 ms");
        assert_eq!(packet_samples(&[0x1b, 63]), None, "longer than 120 ms");
        assert_eq!(packet_samples(&[]), None);
    }
}
