//! Optimizers, schedulers and initializers.

mod initializer;
mod initializer_distributions;
mod optimizer;
mod optimizer_golden;
mod optimizer_rates;
mod scheduler;
