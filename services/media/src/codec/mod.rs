//! Codec configuration: what the parameter sets of H.264, H.265, AAC, VP9, AV1 and Opus tell.
