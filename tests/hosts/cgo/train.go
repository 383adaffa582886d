// train DIR [STEPS INDEX HOSTS]: trains through cgo, in turns as train.c does, from goroutines that no thread is locked to. After each failure its
// message is asked for by the number that cgo has as errno, wherever the goroutine runs by then.
package main

// #include <stdlib.h>
// #include "damo.h"
import "C"

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	dim, nKeys, nRows, steps, stepsAFlush = 8, 200, 1000, 2000, 50
	goroutines, failures                  = 16, 2000
)

// What the call that gave this errno has failed with; NOT_FOUND if that is forgotten, which it is once
// 4096 other calls have failed.
func failure(errno error) (C.damo_status, string) {
	number, ok := errno.(syscall.Errno)
	if !ok {
		return C.DAMO_STATUS_OK, ""
	}
	buffer := make([]byte, 4096)
	var length C.size_t
	room := (*C.char)(unsafe.Pointer(&buffer[0]))
	if status := C.damo_failure_message(C.int32_t(number), room, C.size_t(len(buffer)), &length); status != C.DAMO_STATUS_OK {
		return status, ""
	}
	return C.damo_failure_code(C.int32_t(number)), string(buffer[:length])
}

func check(status C.damo_status, errno error) {
	if status != C.DAMO_STATUS_OK {
		_, message := failure(errno)
		panic(message)
	}
}

// Each goroutine fails with names of its own, and must get messages about these, or none if its thread
// has waited for so long that the others have failed 4096 times. That is rare on the busiest machine.
func fail(worker int) {
	forgotten := 0
	for i := 0; i < failures; i++ {
		name := fmt.Sprintf("worker-%d-%d", worker, i)
		text := C.CString(name)
		made, errno := C.damo_optimizer_new(text, nil, nil)
		runtime.Gosched()
		status, message := failure(errno)
		C.free(unsafe.Pointer(text))
		if made == nil && status == C.DAMO_STATUS_NOT_FOUND && forgotten < failures/10 {
			forgotten++
			continue
		}
		if made != nil || status != C.DAMO_STATUS_INVALID_ARGUMENT || !strings.Contains(message, "'"+name+"'") {
			panic(fmt.Sprintf("%s got %d: %s", name, status, message))
		}
	}
}

// Waits while another host has it open.
func open(dir *C.char) *C.damo_storage {
	for {
		storage, errno := C.damo_storage_new(dir, 0, nil)
		if storage != nil {
			return storage
		}
		if status, message := failure(errno); status != C.DAMO_STATUS_BUSY {
			panic(message)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// STEPS, INDEX and HOSTS.
func turns() (int64, int64, int64) {
	numbers := []int64{steps, 0, 1}
	for i, argument := range os.Args[2:] {
		number, err := strconv.ParseInt(argument, 10, 64)
		if err != nil {
			panic(err)
		}
		numbers[i] = number
	}
	return numbers[0], numbers[1], numbers[2]
}

func main() {
	var status C.damo_status
	var errno error
	gamma, seed, duplicates, sum := C.CString("gamma"), C.CString("seed"), C.CString("duplicates"), C.CString("sum")
	adamParams, normalParams, options := C.damo_params_new(), C.damo_params_new(), C.damo_params_new()
	status, errno = C.damo_params_set_float(adamParams, gamma, 0.01)
	check(status, errno)
	status, errno = C.damo_params_set_int(normalParams, seed, 7)
	check(status, errno)
	status, errno = C.damo_params_set_str(options, duplicates, sum)
	check(status, errno)
	adam := C.damo_optimizer_new(C.CString("adam"), adamParams, nil)
	normal := C.damo_initializer_new(C.CString("random_normal"), normalParams)
	dir := C.CString(os.Args[1])
	turn, index, hosts := turns()
	var storage *C.damo_storage
	var users *C.damo_embedding
	var group sync.WaitGroup
	for worker := 0; worker < goroutines; worker++ {
		group.Add(1)
		go func(worker int) {
			defer group.Done()
			fail(worker)
		}(worker)
	}
	keys, weights, gradients := make([]int64, nKeys), make([]float32, nKeys*dim), make([]float32, nKeys*dim)
	key, weight := (*C.int64_t)(unsafe.Pointer(&keys[0])), (*C.float)(unsafe.Pointer(&weights[0]))
	gradient := (*C.float)(unsafe.Pointer(&gradients[0]))
	for {
		storage = open(dir)
		users = C.damo_embedding_new(storage, adam, normal, dim, 0, options)
		var done C.int64_t
		status, errno = C.damo_embedding_step(users, &done)
		check(status, errno)
		if done == steps {
			break
		}
		first := int64(done)
		end := first
		if first/turn%hosts == index {
			end = (first/turn + 1) * turn
		}
		for step := int(first); step < int(end) && step < steps; step++ {
			for i := range keys {
				keys[i] = -4611686018427387904 + int64((i*7919+step*104729)%nRows)
			}
			for i := range gradients {
				gradients[i] = float32((i*37+step*11)%101-50) / 64
			}
			status, errno = C.damo_embedding_lookup(users, key, nKeys, weight, nKeys*dim)
			check(status, errno)
			status, errno = C.damo_embedding_apply_gradients(users, key, nKeys, gradient, nKeys*dim)
			check(status, errno)
			if step%stepsAFlush == 0 {
				status, errno = C.damo_storage_flush(storage)
				check(status, errno)
			}
		}
		C.damo_embedding_free(users)
		C.damo_storage_free(storage)
		time.Sleep(5 * time.Millisecond)
	}
	group.Wait()
	gradients[5] = float32(math.NaN())
	status, errno = C.damo_embedding_apply_gradients(users, key, nKeys, gradient, nKeys*dim)
	if code, message := failure(errno); status != C.DAMO_STATUS_INVALID_ARGUMENT || code != status ||
		!strings.Contains(message, "gradients") {
		panic(message)
	}
	C.damo_embedding_free(users)
	C.damo_storage_free(storage)
	C.damo_optimizer_free(adam)
	C.damo_initializer_free(normal)
}
