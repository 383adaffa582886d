# train.rb DIR: trains through damo_c.i's module for Ruby.
require "damo_c"

DIM, KEYS, ROWS, STEPS, STEPS_A_FLUSH = 8, 200, 1000, 2000, 50

def refused(*words)
  yield
rescue ArgumentError => error
  words.each { |word| raise error unless error.message.include?(word) }
else
  raise "it was accepted"
end

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
gradients[5] = Float::NAN
refused("INVALID_ARGUMENT", "gradients") { Damo_c.damo_embedding_apply_gradients(users, keys, gradients) }
refused("INVALID_ARGUMENT", "damo_optimizer_new", "adam") { Damo_c.damo_optimizer_new("no", nil, nil) }
Damo_c.damo_embedding_free(users)
Damo_c.damo_storage_free(storage)
