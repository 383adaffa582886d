# Trains briefly on the generated log and on every real log that is present; says which were absent.

function(train expected)
  execute_process(COMMAND "${TRAIN_FM}" ${ARGN}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  string(JOIN " " command ${ARGN})
  message("train_fm ${command}\n${output}${errors}")
  if(NOT result STREQUAL "0")
    message(FATAL_ERROR "train_fm ${command} ended with ${result}")
  endif()
  if(NOT output MATCHES "${expected}")
    message(FATAL_ERROR "train_fm ${command} did not print '${expected}'")
  endif()
endfunction()

set(same "same as before closing")

# The same seed and data on one thread give the same bits; another seed gives others.
foreach(run one two other)
  set(seed 7)
  if(run STREQUAL "other")
    set(seed 8)
  endif()
  train("best possible AUC.*${same}"
    --generated --epochs 1 --seed ${seed} --save-weights "weights.${run}")
endforeach()
file(SHA256 weights.one one)
file(SHA256 weights.two two)
file(SHA256 weights.other other)
file(REMOVE weights.one weights.two weights.other)
if(NOT one STREQUAL two)
  message(FATAL_ERROR "two runs with the same seed stored different weights")
endif()
if(one STREQUAL other)
  message(FATAL_ERROR "another seed stored the same weights")
endif()

# A malformed log ends with exit code 2 and one line that says where, before a store is created.
# tests/logs/cases.txt tests the readers themselves.
function(refuse content expected)
  file(WRITE refused.log "${content}")
  execute_process(COMMAND "${TRAIN_FM}" refused.log --store refused.store ${ARGN}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  if(NOT result STREQUAL "2" OR NOT errors STREQUAL "train_fm: ${expected}\n"
      OR EXISTS refused.store)
    message(FATAL_ERROR "train_fm on a log that should be refused ended with ${result}: ${errors}")
  endif()
  file(REMOVE refused.log)
endfunction()
refuse("1 5:1\n2 5:1\n" "refused.log:2: label '2' should be 1, or -1 or 0")
set(int64 "an integer from -9223372036854775808 to 9223372036854775807")
refuse("Label,I1\n1,1.0\n" "refused.log:2: I1 '1.0' should be empty or ${int64}")
refuse("1 5:1\n" "refused.log: one sample cannot be both trained on and held out")
refuse("" "refused.log: is empty")

set(undefined "test AUC undefined \\(one label only\\).*${same}")
file(WRITE one_label.log "1 5:1\n1 6:1\n1 5:1\n")
train("have the same label, so there is no AUC.*${undefined}" one_label.log --epochs 1)
file(WRITE one_label.log "-1 5:1\n-1 6:1\n-1 5:1\n")
train("have the same label.*${undefined}" one_label.log --epochs 1)
file(WRITE both_labels.log "1 5:1\n-1 6:1\n1 5:1\n")
train("have the same label.*${undefined}" both_labels.log one_label.log --epochs 1)
file(REMOVE one_label.log both_labels.log)

if(EXISTS "${DATA}/frappe.train.libfm")
  # PyTorch's own factorization machine reaches 0.932 on this log in five epochs.
  train("epoch 5/5[^\n]*test AUC 0\\.9[3-9].*${same}"
    "${DATA}/frappe.train.libfm" "${DATA}/frappe.test.libfm")
  train("${same}" "${DATA}/criteo.train.csv" "${DATA}/criteo.test.csv" --epochs 1)
  # The labels of the Criteo test file are all 0, so an AUC needs part of the other file held out.
  train("test AUC 0\\.[6-9].*${same}" "${DATA}/criteo.train.csv" --epochs 2)
  train("test AUC 0\\.[6-9].*${same}" "${DATA}/ml-100k.inter" --epochs 1)
else()
  message("SKIPPED the real logs: ${DATA} is absent")
endif()
