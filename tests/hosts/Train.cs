using System;

/// Train DIR: trains through damo_c.i's module for C#.
public static class Train {
  const int DIM = 8, KEYS = 200, ROWS = 1000, STEPS = 2000, STEPS_A_FLUSH = 50;

  static void Check(bool so, string what) {
    if (!so) throw new Exception(what);
  }

  static void Refused(Action call, params string[] words) {
    try {
      call();
    } catch (ArgumentException error) {
      foreach (string word in words) Check(error.Message.Contains(word), error.Message);
      return;
    }
    Check(false, "it was accepted");
  }

  /// Texts are UTF-8 on every way, and have no NUL.
  static void CheckArguments() {
    const string face = "\ud83d\ude00";
    damo_params bag = damo_c.damo_params_new();
    damo_c.damo_params_set_str(bag, face, "\u00e4" + face);
    string json = damo_c.damo_params_to_json(bag);
    Check(json == "{\"" + face + "\":\"\u00e4" + face + "\"}", json);
    Refused(() => damo_c.damo_optimizer_new(face, null, null), "'" + face + "'");
    Refused(() => damo_c.damo_params_set_str(bag, "a\0b", "c"), "INVALID_ARGUMENT: key", "NUL");
    Refused(() => damo_c.damo_params_set_str(bag, "a", "c\0"), "INVALID_ARGUMENT: value", "NUL");
    Refused(() => damo_c.damo_params_set_str(bag, face.Substring(1), "c"), "INVALID_ARGUMENT: key", "surrogate");
    Refused(() => damo_c.damo_params_set_str(bag, null, "c"), "key is NULL");
    Check(damo_c.damo_params_to_json(bag) == json, "a refused text was taken");
  }

  public static int Main(string[] arguments) {
    CheckArguments();
    damo_params adamParams = damo_c.damo_params_new(), normalParams = damo_c.damo_params_new();
    damo_params options = damo_c.damo_params_new();
    damo_c.damo_params_set_float(adamParams, "gamma", 0.01);
    damo_c.damo_params_set_int(normalParams, "seed", 7);
    damo_c.damo_params_set_str(options, "duplicates", "sum");
    Check(damo_c.damo_params_to_json(normalParams) == "{\"seed\":7}", "json");
    damo_optimizer adam = damo_c.damo_optimizer_new("adam", adamParams, null);
    damo_initializer normal = damo_c.damo_initializer_new("random_normal", normalParams);
    damo_storage storage = damo_c.damo_storage_new(arguments[0], 0, null);
    damo_embedding users = damo_c.damo_embedding_new(storage, adam, normal, DIM, 0, options);
    var keys = new long[KEYS];
    float[] weights = new float[KEYS * DIM], gradients = new float[KEYS * DIM];
    for (int step = 0; step < STEPS; step++) {
      for (int i = 0; i < KEYS; i++) keys[i] = -4611686018427387904L + (i * 7919 + step * 104729) % ROWS;
      for (int i = 0; i < KEYS * DIM; i++) gradients[i] = ((i * 37 + step * 11) % 101 - 50) / 64f;
      damo_c.damo_embedding_lookup(users, keys, weights);
      damo_c.damo_embedding_apply_gradients(users, keys, gradients);
      if (step % STEPS_A_FLUSH == 0) damo_c.damo_storage_flush(storage);
    }
    var found = new byte[KEYS];
    damo_c.damo_embedding_peek(users, keys, weights, found);
    foreach (byte has in found) Check(has == 1, "found");
    Check(weights[0] != 0, "weights were not filled");
    long steps;
    damo_c.damo_embedding_step(users, out steps);
    Check(steps == STEPS, "step is " + steps);
    gradients[5] = float.NaN;
    Refused(() => damo_c.damo_embedding_apply_gradients(users, keys, gradients), "INVALID_ARGUMENT", "gradients");
    Refused(() => damo_c.damo_optimizer_new("no", null, null), "INVALID_ARGUMENT", "damo_optimizer_new", "adam");
    users.Dispose();
    storage.Dispose();
    return 0;
  }
}
