// Trained weights as a file, in an order that depends on nothing but the weights: two runs that
// should agree can be compared with `cmp`.
//
// Two blocks, linear and then factors, with nothing between them. All numbers are little-endian.
//
//     uint32   group      0 = linear, with the bias in it; 1 = factors
//     uint32   dim        1, or the number of factors
//     uint64   rows
//     rows times:
//         int64    key             ascending; the bias is the smallest, -2^63
//         float32  weights[dim]
#pragma once

#include <string>

#include "click_log.hpp"
#include "factorization_machine.hpp"

// Throws std::runtime_error if the file cannot be written; creates it if need be.
void check_weight_file(const std::string& path);

// Writes the rows of all features in `log` that have one. Throws std::runtime_error when the file
// cannot be written.
void save_weights(const std::string& path, const factorization_machine& model,
                  const click_log& log);
