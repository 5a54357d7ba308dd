//! One seed for everything random in a test.

use std::ops::{Deref, DerefMut};

use fastrand::Rng;

const VARIABLE: &str = "RELAYCAST_TEST_SEED";

/// A random generator that names its seed when the test fails.
#[derive(Debug)]
pub struct Seed {
    seed: u64,
    rng: Rng,
}

impl Seed {
    /// The seed of `RELAYCAST_TEST_SEED`, else a new one.
    ///
    /// # Panics
    /// When the variable holds something else than a number.
    pub fn from_environment() -> Self {
        let seed = match std::env::var(VARIABLE) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{VARIABLE} is not a number: {text}")),
            Err(_) => fastrand::u64(..),
        };
        Self { seed, rng: Rng::with_seed(seed) }
    }

    /// A length from 1 to `max`, each order of magnitude as likely as another.
    pub fn length(&mut self, max: usize) -> usize {
        let bits = self.rng.u32(0..=max.ilog2());
        self.rng.usize(1..=(2 << bits) - 1).min(max)
    }
}

impl Deref for Seed {
    type Target = Rng;

    fn deref(&self) -> &Rng {
        &self.rng
    }
}

impl DerefMut for Seed {
    fn deref_mut(&mut self) -> &mut Rng {
        &mut self.rng
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to play this again: {VARIABLE}={}", self.seed);
        }
    }
}
