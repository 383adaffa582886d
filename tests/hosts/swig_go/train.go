// train DIR: trains through damo_c.i's module for Go.
package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"

	damo "hosts/damo_c"
)

const (
	dim, nKeys, nRows, steps, stepsAFlush = 8, 200, 1000, 2000, 50
)

func refused(call func(), words ...string) {
	defer func() {
		failure := recover()
		if failure == nil {
			panic("it was accepted")
		}
		message := fmt.Sprint(failure)
		for _, word := range words {
			if !strings.Contains(message, word) {
				panic("not refused as expected: " + message)
			}
		}
	}()
	call()
}

// Texts are UTF-8 on every way, have no NUL, and numbers fit.
func checkArguments() {
	bag, noEmbedding := damo.Damo_params_new(), damo.SwigcptrDamo_embedding(0)
	damo.Damo_params_set_str(bag, "\U0001f600", "\u00e4")
	json := damo.Damo_params_to_json(bag)
	if json != "{\"\U0001f600\":\"\u00e4\"}" {
		panic(json)
	}
	refused(func() { damo.Damo_params_set_str(bag, "a\x00b", "c") }, "INVALID_ARGUMENT: key", "NUL")
	refused(func() { damo.Damo_params_set_str(bag, "a", "c\x00") }, "INVALID_ARGUMENT: value", "NUL")
	if damo.Damo_params_to_json(bag) != json {
		panic("a refused text was taken")
	}
	tooLarge := uint(1) << 32
	refused(func() { damo.Damo_embedding_delete(noEmbedding, nil) }, "INVALID_ARGUMENT", "NULL")
	refused(func() { damo.Damo_iterator_new(damo.SwigcptrDamo_storage(0), tooLarge) }, "INVALID_ARGUMENT: group")
	damo.Damo_params_free(bag)
}

// The size of the process in memory.
func resident() int {
	pages, size := 0, 0
	statm, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(statm), &size, &pages)
	}
	if err != nil {
		panic(err)
	}
	return pages * os.Getpagesize()
}

// A call that fails leaves nothing behind.
func checkMemory() {
	const texts, length = 500, 1 << 20
	bag, text := damo.Damo_params_new(), strings.Repeat("x", length)
	before := resident()
	for i := 0; i < texts; i++ {
		refused(func() { damo.Damo_params_set_str(bag, "", text) }, "INVALID_ARGUMENT", "key")
	}
	runtime.GC()
	if grown := resident() - before; grown > texts*length/2 {
		panic(fmt.Sprint("calls that failed have left ", grown, " bytes behind"))
	}
	damo.Damo_params_free(bag)
}

func main() {
	checkArguments()
	checkMemory()
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
