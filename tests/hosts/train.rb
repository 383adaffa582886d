# train.rb DIR: trains through damo_c.i's module for Ruby.
require "damo_c"

DIM, KEYS, ROWS, STEPS, STEPS_A_FLUSH = 8, 200, 1000, 2000, 50

def refused(*words, as: ArgumentError)
  yield
rescue as => error
  words.each { |word| raise error unless error.message.include?(word) }
else
  raise "it was accepted"
end

# Texts are UTF-8 on every way, and have no NUL.
def check_texts
  bag = Damo_c.damo_params_new
  Damo_c.damo_params_set_str(bag, "\u{1f600}", "\u00e4\u{1f600}")
  json = Damo_c.damo_params_to_json(bag)
  raise json unless json == "{\"\u{1f600}\":\"\u00e4\u{1f600}\"}"
  refused("'\u{1f600}'") { Damo_c.damo_optimizer_new("\u{1f600}", nil, nil) }
  refused("INVALID_ARGUMENT: key", "NUL at byte 1") { Damo_c.damo_params_set_str(bag, "a\0b", "c") }
  refused("INVALID_ARGUMENT: value", "NUL at byte 0") { Damo_c.damo_params_set_str(bag, "a", "\0") }
  refused("key is NULL") { Damo_c.damo_params_set_str(bag, nil, "c") }
  refused("value is a Integer", as: TypeError) { Damo_c.damo_params_set_str(bag, "a", 1) }
  raise "a refused text was taken" unless Damo_c.damo_params_to_json(bag) == json
end

# Nothing is rounded, wrapped or cut off, and what is refused has changed nothing.
def check_numbers(storage, users)
  rows = Damo_c.damo_storage_stat(storage, "rows_created")
  row = Array.new(DIM, 0.0)
  [1.5, 3.0, Float::NAN, 1r, "5", nil, true].each do |wrong|
    refused("keys[0]", "Integer", as: TypeError) { Damo_c.damo_embedding_lookup(users, [wrong], row) }
    refused("group", "Integer", as: TypeError) { Damo_c.damo_embedding_new(storage, nil, nil, DIM, wrong, nil) }
  end
  [2**63, -2**63 - 1, 2**64, -2**64, 2**64 - 1, 2**128 - 1, -2**128, 2**200, -2**200 - 1].each do |wrong|
    refused("INVALID_ARGUMENT: keys[0] is #{wrong};") { Damo_c.damo_embedding_lookup(users, [wrong], row) }
  end
  [-1, 256].each do |wrong|
    refused("found[0] is #{wrong};", "255") { Damo_c.damo_embedding_peek(users, [1], row, [wrong]) }
    refused("bytes[1] is #{wrong};") { Damo_c.damo_key_hash([0, wrong]) }
  end
  [-1, 2**32, -2**40].each do |wrong|
    refused("nums[0] is #{wrong};", "4294967295") { Damo_c.damo_filter_add_counts(nil, 0, [1], [wrong]) }
    refused("num is #{wrong};") { Damo_c.damo_filter_add(nil, 0, 1, wrong) }
  end
  refused("dim is -1;") { Damo_c.damo_embedding_new(storage, nil, nil, -1, 9, nil) }
  refused("weights[0]", as: TypeError) { Damo_c.damo_embedding_lookup(users, [1], ["0"] + row) }
  refused("weights is a String", as: TypeError) { Damo_c.damo_embedding_lookup(users, [1], "row") }
  refused("weights is frozen", as: FrozenError) { Damo_c.damo_embedding_lookup(users, [1], row.dup.freeze) }
  refused("found is frozen", as: FrozenError) { Damo_c.damo_embedding_peek(users, [1], row, [0].freeze) }
  raise "a row was made" unless Damo_c.damo_storage_stat(storage, "rows_created") == rows
  # What is only read may be frozen, and these are the keys at both ends.
  Damo_c.damo_embedding_peek(users, [-2**63, 2**63 - 1].freeze, row * 2, [0, 0])
end

check_texts
adam_params, normal_params, options = Array.new(3) { Damo_c.damo_params_new }
Damo_c.damo_params_set_float(adam_params, "gamma", 0.01)
Damo_c.damo_params_set_int(normal_params, "seed", 7)
Damo_c.damo_params_set_str(options, "duplicates", "sum")
raise "json" unless Damo_c.damo_params_to_json(normal_params) == '{"seed":7}'
adam = Damo_c.damo_optimizer_new("adam", adam_params, nil)
normal = Damo_c.damo_initializer_new("random_normal", normal_params)
storage = Damo_c.damo_storage_new(ARGV[0], 0, nil)
users = Damo_c.damo_embedding_new(storage, adam, normal, DIM, 0, options)
weights = Array.new(KEYS * DIM, 0.0)
keys = gradients = nil
STEPS.times do |step|
  keys = Array.new(KEYS) { |i| -(2**62) + (i * 7919 + step * 104_729) % ROWS }
  gradients = Array.new(KEYS * DIM) { |i| ((i * 37 + step * 11) % 101 - 50) / 64.0 }
  Damo_c.damo_embedding_lookup(users, keys, weights)
  Damo_c.damo_embedding_apply_gradients(users, keys, gradients)
  Damo_c.damo_storage_flush(storage) if (step % STEPS_A_FLUSH).zero?
end
found = Array.new(KEYS, 0)
Damo_c.damo_embedding_peek(users, keys, weights, found)
raise "found" unless found.all?(1)
raise "weights were not filled" if weights[0].zero?
raise "step" unless Damo_c.damo_embedding_step(users) == STEPS
raise "groups" unless Damo_c::DAMO_ALL_GROUPS == 2**32 - 1
check_numbers(storage, users)
gradients[5] = Float::NAN
refused("INVALID_ARGUMENT", "gradients") { Damo_c.damo_embedding_apply_gradients(users, keys, gradients) }
refused("INVALID_ARGUMENT", "damo_optimizer_new", "adam") { Damo_c.damo_optimizer_new("no", nil, nil) }
Damo_c.damo_embedding_free(users)
Damo_c.damo_storage_free(storage)
