//! Distributions from a seeded source of chance.

use fastrand::Rng;

/// How long something takes, in microseconds.
#[derive(Clone, Copy, Debug)]
pub enum Time {
    Constant(u64),
    /// By its mean.
    Exponential(u64),
    /// By its mean and the standard deviation as a share of it.
    Lognormal(u64, f64),
}

impl Time {
    pub fn draw(self, rng: &mut Rng) -> u64 {
        match self {
            Self::Constant(us) => us,
            Self::Exponential(mean_us) => (mean_us as f64 * exponential(rng)) as u64,
            Self::Lognormal(mean_us, deviation) => {
                let variance = (1.0 + deviation * deviation).ln();
                let exponent = normal(rng) * variance.sqrt() - variance / 2.0;
                (mean_us as f64 * exponent.exp()) as u64
            }
        }
    }
}

/// Exponential of mean 1.
pub fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

/// Normal of mean 0 and deviation 1 (Box and Muller).
fn normal(rng: &mut Rng) -> f64 {
    (2.0 * exponential(rng)).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}
