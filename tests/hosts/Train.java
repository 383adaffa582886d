import damo.*;
import java.io.IOException;
import java.io.UncheckedIOException;

/** Train DIR [STEPS INDEX HOSTS]: trains through damo_c.i's module for Java, in turns as train.c does. */
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

  /** Waits while another host has it open. */
  static damo_storage open(String dir) throws InterruptedException {
    while (true) {
      try {
        return damo_c.damo_storage_new(dir, 0, null);
      } catch (UncheckedIOException error) {
        if (!error.getMessage().startsWith("BUSY")) throw error;
        Thread.sleep(2);
      }
    }
  }

  /** Texts are UTF-8 on every way, have no NUL, and numbers fit. */
  static void checkArguments() {
    final String face = "\ud83d\ude00";
    final damo_params params = damo_c.damo_params_new();
    damo_c.damo_params_set_str(params, face, "\u00e4" + face);
    String json = damo_c.damo_params_to_json(params);
    check(json.equals("{\"" + face + "\":\"\u00e4" + face + "\"}"), json);
    refused(() -> damo_c.damo_optimizer_new(face, null, null), "'" + face + "'");
    refused(() -> damo_c.damo_params_set_str(params, "a\0b", "c"), "INVALID_ARGUMENT: key", "NUL");
    refused(() -> damo_c.damo_params_set_str(params, "a", "c\0"), "INVALID_ARGUMENT: value", "NUL");
    refused(() -> damo_c.damo_params_set_str(params, face.substring(1), "c"), "INVALID_ARGUMENT: key", "surrogate");
    refused(() -> damo_c.damo_params_set_str(params, null, "c"), "key is NULL");
    check(damo_c.damo_params_to_json(params).equals(json), "a refused text was taken");
    try {
      damo_c.damo_storage_new("/dev/null/" + face, 0, null);
      check(false, "/dev/null is a directory");
    } catch (UncheckedIOException error) {
      IOException cause = error.getCause();
      check(error.getMessage().startsWith("IO: ") && error.getMessage().contains("/" + face + "'"), error.getMessage());
      check(error.getMessage().equals(cause.getMessage()), cause.getMessage());
    }
    for (long group : new long[] {-1, 1L << 32}) {
      refused(() -> damo_c.damo_embedding_new(null, null, null, DIM, group, null), "group is " + group, "4294967295");
    }
    long[] step = {7};
    double[] rate = {0.5};
    refused(() -> damo_c.damo_embedding_step(null, step), "embedding is NULL");
    refused(() -> damo_c.damo_optimizer_learning_rate(null, rate), "optimizer is NULL");
    check(step[0] == 7 && rate[0] == 0.5, "a call that failed has written");
    params.delete();
  }

  public static void main(String[] arguments) throws InterruptedException {
    boolean shares = arguments.length > 1;
    long turn = shares ? Long.parseLong(arguments[1]) : STEPS;
    long index = shares ? Long.parseLong(arguments[2]) : 0, hosts = shares ? Long.parseLong(arguments[3]) : 1;
    System.loadLibrary("damo_c");
    checkArguments();
    damo_params adamParams = damo_c.damo_params_new(), normalParams = damo_c.damo_params_new();
    damo_params options = damo_c.damo_params_new();
    damo_c.damo_params_set_float(adamParams, "gamma", 0.01);
    damo_c.damo_params_set_int(normalParams, "seed", 7);
    damo_c.damo_params_set_str(options, "duplicates", "sum");
    check(damo_c.damo_params_to_json(normalParams).equals("{\"seed\":7}"), "json");
    damo_optimizer adam = damo_c.damo_optimizer_new("adam", adamParams, null);
    damo_initializer normal = damo_c.damo_initializer_new("random_normal", normalParams);
    damo_storage storage;
    damo_embedding users;
    long[] done = new long[1];
    long[] keys = new long[KEYS];
    float[] weights = new float[KEYS * DIM], gradients = new float[KEYS * DIM];
    while (true) {
      storage = open(arguments[0]);
      users = damo_c.damo_embedding_new(storage, adam, normal, DIM, 0, options);
      damo_c.damo_embedding_step(users, done);
      if (done[0] == STEPS) break;
      long end = done[0] / turn % hosts == index ? Math.min((done[0] / turn + 1) * turn, STEPS) : done[0];
      for (int step = (int) done[0]; step < end; step++) {
        for (int i = 0; i < KEYS; i++) keys[i] = -4611686018427387904L + (i * 7919 + step * 104729) % ROWS;
        for (int i = 0; i < KEYS * DIM; i++) gradients[i] = ((i * 37 + step * 11) % 101 - 50) / 64f;
        damo_c.damo_embedding_lookup(users, keys, weights);
        damo_c.damo_embedding_apply_gradients(users, keys, gradients);
        if (step % STEPS_A_FLUSH == 0) damo_c.damo_storage_flush(storage);
      }
      users.delete();
      storage.delete();
      Thread.sleep(5);
    }
    byte[] found = new byte[KEYS];
    damo_c.damo_embedding_peek(users, keys, weights, found);
    for (byte has : found) check(has == 1, "found");
    check(weights[0] != 0, "weights were not filled");
    check(damo_c.DAMO_ALL_GROUPS == 4294967295L, "DAMO_ALL_GROUPS");
    gradients[5] = Float.NaN;
    final damo_embedding last = users;
    refused(() -> damo_c.damo_embedding_apply_gradients(last, keys, gradients), "INVALID_ARGUMENT", "gradients");
    refused(() -> damo_c.damo_optimizer_new("no", null, null), "INVALID_ARGUMENT", "damo_optimizer_new", "adam");
    users.delete();
    storage.delete();
  }
}
