-- train.lua DIR: trains through damo_c.i's module for Lua.
local damo = require("damo_c")

local DIM, KEYS, ROWS, STEPS, STEPS_A_FLUSH = 8, 200, 1000, 2000, 50

local function refused(call, ...)
  local done, message = pcall(call)
  assert(not done, "it was accepted")
  -- Lua puts nothing before it: a message begins with the status.
  assert(tostring(message):find("INVALID_ARGUMENT: ", 1, true) == 1, message)
  for _, word in ipairs({...}) do assert(tostring(message):find(word, 1, true), message) end
end

-- Texts are bytes, and have no NUL.
local bag = damo.damo_params_new()
refused(function() damo.damo_params_set_str(bag, "a\0b", "c") end, "key", "NUL at byte 1")
refused(function() damo.damo_params_set_str(bag, "a", "\0") end, "value", "NUL at byte 0")
refused(function() damo.damo_params_set_str(bag, nil, "c") end, "key is NULL")
assert(damo.damo_params_to_json(bag) == "{}", "a refused text was taken")
damo.damo_params_set_str(bag, "\u{1f600}", "\u{e4}")
assert(damo.damo_params_to_json(bag) == '{"\u{1f600}":"\u{e4}"}')

local adam_params, normal_params, options = damo.damo_params_new(), damo.damo_params_new(), damo.damo_params_new()
damo.damo_params_set_float(adam_params, "gamma", 0.01)
damo.damo_params_set_int(normal_params, "seed", 7)
damo.damo_params_set_str(options, "duplicates", "sum")
assert(damo.damo_params_to_json(normal_params) == '{"seed":7}')
local adam = damo.damo_optimizer_new("adam", adam_params, nil)
local normal = damo.damo_initializer_new("random_normal", normal_params)
local storage = damo.damo_storage_new(arg[1], 0, nil)
local users = damo.damo_embedding_new(storage, adam, normal, DIM, 0, options)
local keys, weights, gradients, found = {}, {}, {}, {}
for i = 1, KEYS * DIM do weights[i] = 0 end
for step = 0, STEPS - 1 do
  for i = 0, KEYS - 1 do keys[i + 1] = -4611686018427387904 + (i * 7919 + step * 104729) % ROWS end
  for i = 0, KEYS * DIM - 1 do gradients[i + 1] = ((i * 37 + step * 11) % 101 - 50) / 64 end
  damo.damo_embedding_lookup(users, keys, weights)
  damo.damo_embedding_apply_gradients(users, keys, gradients)
  if step % STEPS_A_FLUSH == 0 then damo.damo_storage_flush(storage) end
end
for i = 1, KEYS do found[i] = 0 end
damo.damo_embedding_peek(users, keys, weights, found)
for i = 1, KEYS do assert(found[i] == 1) end
assert(weights[1] ~= 0, "weights were not filled")
assert(damo.damo_embedding_step(users) == STEPS)
-- A key of 64 bits goes out and in as a number of its own.
local row = {}
for i = 1, 3 * DIM do row[i] = 0 end
damo.damo_embedding_record(users, keys[1], row)
assert(row[1] == weights[1])
-- What is no integer, or does not fit, is no key, length or byte; 3.0 is 3.
local rows = damo.damo_storage_stat(storage, "rows_created")
for _, wrong in ipairs({1.5, 1e19, 0 / 0, "5", true, {}}) do
  refused(function() damo.damo_embedding_lookup(users, {wrong}, {0, 0, 0, 0, 0, 0, 0, 0}) end, "keys[1]", "integer")
end
for _, wrong in ipairs({-1, 256, 0.5}) do
  refused(function() damo.damo_embedding_peek(users, {1}, {0, 0, 0, 0, 0, 0, 0, 0}, {wrong}) end, "found[1]", "255")
end
refused(function() damo.damo_embedding_lookup(users, {1}, {"0", 0, 0, 0, 0, 0, 0, 0}) end, "weights[1]", "number")
for _, wrong in ipairs({1.5, 1e19}) do
  refused(function() damo.damo_params_set_int(options, "seed", wrong) end, "argument[3]", "integer")
end
for _, wrong in ipairs({-1, 2.5}) do
  refused(function() damo.damo_embedding_new(storage, adam, normal, wrong, 9, nil) end, "argument[4]")
  refused(function() damo.damo_embedding_new(storage, adam, normal, DIM, wrong, nil) end, "argument[5]")
end
refused(function() damo.damo_embedding_new(storage, adam, normal, DIM, 2 ^ 32, nil) end, "argument[5]")
assert(not pcall(damo.damo_params_set_int, options, "seed", "5"), "a string was taken for a number")
assert(damo.damo_storage_stat(storage, "rows_created") == rows, "a row was made")
damo.damo_embedding_peek(users, {3.0}, {0, 0, 0, 0, 0, 0, 0, 0}, {0})
gradients[6] = 0 / 0
refused(function() damo.damo_embedding_apply_gradients(users, keys, gradients) end, "INVALID_ARGUMENT", "gradients")
refused(function() damo.damo_optimizer_new("no", nil, nil) end, "INVALID_ARGUMENT", "damo_optimizer_new", "adam")
damo.damo_embedding_free(users)
damo.damo_storage_free(storage)
