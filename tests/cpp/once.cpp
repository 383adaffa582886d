// Calls that are sent again, and reads at an expected step.

#include <string>

#include "damo.hpp"
#include "support/throws.hpp"

// A group whose rows start at `value` and step by minus the gradient.
damo::embedding open(const damo::storage& storage, double value, std::size_t dim,
                     std::uint32_t group) {
  return {storage, damo::optimizer("sgd", {{"gamma", 1}}),
          damo::initializer("constant", {{"value", value}}), dim, group,
          {{"duplicates", "sum"}}};
}

void a_call_on_one_group_is_made_once(const damo::storage& storage) {
  const damo::embedding users = open(storage, 2, 1, 0);
  CHECK(users.apply_gradients_once({7, 1}, {1, 2}, {1, 1}));
  CHECK(!users.apply_gradients_once({7, 1}, {1, 2}, {1, 1}));
  CHECK(users.apply_gradients_once({7, 3}, {1}, {1}, 1));
  CHECK(!users.apply_gradients_once({7, 2}, {1}, {1}, 99));
  CHECK((users.lookup({1, 2}) == std::vector<float>{0, 1}) && users.step() == 2);
  throws(DAMO_STATUS_STEP_MISMATCH, "expected is 1, and the global step of group 0 is 2",
         [&] { users.apply_gradients_once({7, 4}, {1}, {1}, 1); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "expected is -1; a number >= 0, or DAMO_ANY_STEP",
         [&] { users.apply_gradients_once({7, 4}, {1}, {1}, -1); });
  std::vector<float> weights(2, 9);
  throws(DAMO_STATUS_STEP_MISMATCH, "step is 0", [&] { users.lookup_at(0, {1, 2}, weights); });
  CHECK((weights == std::vector<float>(2, 9)));
  users.lookup_at(2, {1, 2}, weights);
  CHECK((weights == std::vector<float>{0, 1}));
  users.lookup_at(damo::any_step, {2, 1}, weights);
  CHECK((weights == std::vector<float>{1, 0}));
}

void a_step_is_made_once(const damo::storage& storage) {
  const damo::embedding users = open(storage, 2, 1, 0), items = open(storage, 4, 2, 1);
  damo::step step(storage);
  step.add(users, {5, 6});
  step.add(items, {5, 6});
  std::vector<float> matrix(6);
  step.lookup_at({}, matrix);
  step.lookup_at({2, 0}, matrix);
  CHECK((matrix == std::vector<float>{2, 4, 4, 2, 4, 4}));
  throws(DAMO_STATUS_STEP_MISMATCH, "steps[1] is 3, and the global step of group 1 is 0",
         [&] { step.lookup_at({damo::any_step, 3}, matrix); });
  throws(DAMO_STATUS_INVALID_ARGUMENT, "lookup_at: steps has 1 steps; one for each of the 2",
         [&] { step.lookup_at({2}, matrix); });
  const std::vector<float> gradients(6, 1);
  throws(DAMO_STATUS_STEP_MISMATCH, "expected[0] is 1",
         [&] { step.apply_gradients_once({7, 9}, gradients, {1, 0}); });
  CHECK(step.apply_gradients_once({7, 9}, gradients, {2, 0}));
  CHECK(!step.apply_gradients_once({7, 9}, gradients, {2, 0}));
  std::vector<float> one(2, 1), two(4, 1);
  CHECK(!step.apply_gradients_once({7, 9}, {{one, 1}, {two, 2}}));
  CHECK(step.apply_gradients_once({8, 9}, {{one, 1}, {two, 2}}));
  step.lookup_at({4, 2}, {{one, 1}, {two, 2}});
  CHECK((one == std::vector<float>(2, 0)) && (two == std::vector<float>(4, 2)));
}

void clients_are_listed_and_forgotten(const damo::storage& storage) {
  CHECK(storage.describe().find("{\"client\":8,\"sequence\":9,") != std::string::npos);
  CHECK(storage.forget_client(8) && !storage.forget_client(8));
  CHECK(storage.describe().find("\"client\":8") == std::string::npos);
  const damo::embedding users = open(storage, 2, 1, 0);
  CHECK(users.apply_gradients_once({8, 0}, {1}, {1}) && users.step() == 5);
}

int main() {
  const damo::storage storage("storage");
  a_call_on_one_group_is_made_once(storage);
  a_step_is_made_once(storage);
  clients_are_listed_and_forgotten(storage);
}
