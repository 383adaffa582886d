//! The source: its layers, lines, header and exported symbols, and what benches include of it.

mod benches;
mod header;
mod header_for_generators;
mod layers;
mod lines;
mod one_guess;
mod symbols;
mod uses;
