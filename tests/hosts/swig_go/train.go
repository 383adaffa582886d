// train DIR: trains through damo_c.i's module for Go.
package main

import (
	"fmt"
	"math"
	"os"
	"strings"

	damo "hosts/damo_c"
)

const (
	dim, nKeys, nRows, steps, stepsAFlush = 8, 200, 1000, 2000, 50
)

func refused(call func(), words ...string) {
	defer func() {
		message := fmt.Sprint(recover())
		for _, word := range words {
			if !strings.Contains(message, word) {
				panic("not refused as expected: " + message)
			}
		}
	}()
	call()
}

func main() {
	noParams, noScheduler := damo.SwigcptrDamo_params(0), damo.SwigcptrDamo_scheduler(0)
	adamParams, normalParams, options := damo.Damo_params_new(), damo.Damo_params_new(), damo.Damo_params_new()
	damo.Damo_params_set_float(adamParams, "gamma", 0.01)
	damo.Damo_params_set_int(normalParams, "seed", 7)
	damo.Damo_params_set_str(options, "duplicates", "sum")
	adam := damo.Damo_optimizer_new("adam", adamParams, noScheduler)
	normal := damo.Damo_initializer_new("random_normal", normalParams)
	storage := damo.Damo_storage_new(os.Args[1], 0, noParams)
	users := damo.Damo_embedding_new(storage, adam, normal, dim, 0, options)
	keys, weights, gradients := make([]int64, nKeys), make([]float32, nKeys*dim), make([]float32, nKeys*dim)
	for step := 0; step < steps; step++ {
		for i := range keys {
			keys[i] = -4611686018427387904 + int64((i*7919+step*104729)%nRows)
		}
		for i := range gradients {
			gradients[i] = float32((i*37+step*11)%101-50) / 64
		}
		damo.Damo_embedding_lookup(users, keys, weights)
		damo.Damo_embedding_apply_gradients(users, keys, gradients)
		if step%stepsAFlush == 0 {
			damo.Damo_storage_flush(storage)
		}
	}
	found := make([]byte, nKeys)
	damo.Damo_embedding_peek(users, keys, weights, found)
	for _, has := range found {
		if has != 1 || weights[0] == 0 {
			panic("peek found nothing")
		}
	}
	done := []int64{0}
	damo.Damo_embedding_step(users, done)
	if done[0] != steps {
		panic(fmt.Sprint("step is ", done[0]))
	}
	gradients[5] = float32(math.NaN())
	refused(func() { damo.Damo_embedding_apply_gradients(users, keys, gradients) }, "INVALID_ARGUMENT", "gradients")
	refused(func() { damo.Damo_optimizer_new("no", noParams, noScheduler) }, "INVALID_ARGUMENT", "adam")
	damo.Damo_embedding_free(users)
	damo.Damo_storage_free(storage)
}
