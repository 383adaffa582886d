import damo.*;

/** Train DIR: trains through damo_c.i's module for Java. */
public class Train {
  static final int DIM = 8, KEYS = 200, ROWS = 1000, STEPS = 2000, STEPS_A_FLUSH = 50;

  static void refused(Runnable call, String... words) {
    try {
      call.run();
    } catch (IllegalArgumentException error) {
      for (String word : words) check(error.getMessage().contains(word), error.getMessage());
      return;
    }
    check(false, "it was accepted");
  }

  static void check(boolean so, String what) {
    if (!so) throw new AssertionError(what);
  }

  public static void main(String[] arguments) {
    System.loadLibrary("damo_c");
    damo_params adamParams = damo_c.damo_params_new(), normalParams = damo_c.damo_params_new();
    damo_params options = damo_c.damo_params_new();
    damo_c.damo_params_set_float(adamParams, "gamma", 0.01);
    damo_c.damo_params_set_int(normalParams, "seed", 7);
    damo_c.damo_params_set_str(options, "duplicates", "sum");
    check(damo_c.damo_params_to_json(normalParams).equals("{\"seed\":7}"), "json");
    damo_optimizer adam = damo_c.damo_optimizer_new("adam", adamParams, null);
    damo_initializer normal = damo_c.damo_initializer_new("random_normal", normalParams);
    damo_storage storage = damo_c.damo_storage_new(arguments[0], 0, null);
    damo_embedding users = damo_c.damo_embedding_new(storage, adam, normal, DIM, 0, options);
    long[] keys = new long[KEYS];
    float[] weights = new float[KEYS * DIM], gradients = new float[KEYS * DIM];
    for (int step = 0; step < STEPS; step++) {
      for (int i = 0; i < KEYS; i++) keys[i] = -4611686018427387904L + (i * 7919 + step * 104729) % ROWS;
      for (int i = 0; i < KEYS * DIM; i++) gradients[i] = ((i * 37 + step * 11) % 101 - 50) / 64f;
      damo_c.damo_embedding_lookup(users, keys, weights);
      damo_c.damo_embedding_apply_gradients(users, keys, gradients);
      if (step % STEPS_A_FLUSH == 0) damo_c.damo_storage_flush(storage);
    }
    byte[] found = new byte[KEYS];
    damo_c.damo_embedding_peek(users, keys, weights, found);
    for (byte has : found) check(has == 1, "found");
    check(weights[0] != 0, "weights were not filled");
    long[] step = new long[1];
    damo_c.damo_embedding_step(users, step);
    check(step[0] == STEPS, "step is " + step[0]);
    check(damo_c.DAMO_ALL_GROUPS == 4294967295L, "DAMO_ALL_GROUPS");
    gradients[5] = Float.NaN;
    refused(() -> damo_c.damo_embedding_apply_gradients(users, keys, gradients), "INVALID_ARGUMENT", "gradients");
    refused(() -> damo_c.damo_optimizer_new("no", null, null), "INVALID_ARGUMENT", "damo_optimizer_new", "adam");
    users.delete();
    storage.delete();
  }
}
