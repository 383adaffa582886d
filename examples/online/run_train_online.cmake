# Trains on the generated log, and on Frappe if it is present, alone and with two threads. The
# program itself fails when a row has not had each of its steps.

function(train expected store)
  execute_process(COMMAND "${TRAIN_ONLINE}" "${store}" ${ARGN}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  string(JOIN " " command ${store} ${ARGN})
  message("train_online ${command}\n${output}${errors}")
  if(NOT result STREQUAL "0")
    message(FATAL_ERROR "train_online ${command} ended with ${result}")
  endif()
  if(NOT output MATCHES "${expected}")
    message(FATAL_ERROR "train_online ${command} did not print '${expected}'")
  endif()
endfunction()

function(forget)
  foreach(store ${ARGN})
    file(REMOVE_RECURSE "${store}" "${store}.checkpoint" "${store}.table")
  endforeach()
endfunction()

forget(online.one online.two)
set(learned "test AUC 0\\.[6-9]")

# One thread, one log, two stores: the same file to serve, byte for byte, since steps are made in
# the order in which they are handed over.
foreach(store online.one online.two)
  train("${learned}" ${store} --epochs 1 --threads 1)
endforeach()
file(SHA256 online.one.table one)
file(SHA256 online.two.table two)
if(NOT one STREQUAL two)
  message(FATAL_ERROR "two runs of one thread stored different models")
endif()

# Two threads go on from there, with each durability, a sample a call and several.
foreach(durability process checkpoint)
  train("${learned}.* all of them in the rows" online.one --epochs 1 --durability ${durability})
endforeach()
train("the store has [1-9].*${learned}.* all of them in the rows"
  online.one --epochs 1 --samples 16)

# The checkpoint is a store, with the steps of all runs.
train("the store has [1-9].*${learned}" online.one.checkpoint --epochs 1)
forget(online.one.checkpoint online.one online.two)

if(EXISTS "${DATA}/frappe.train.libfm")
  train("test AUC 0\\.9[1-9].* all of them in the rows" online.frappe
    "${DATA}/frappe.train.libfm" "${DATA}/frappe.test.libfm" --samples 4)
  forget(online.frappe)
else()
  message("SKIPPED Frappe: ${DATA} is absent")
endif()
