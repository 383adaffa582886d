# Trains on the generated log, and on Criteo's if it is present. The program itself fails when a
# checkpoint or a dump gives other scores.

function(train expected)
  execute_process(COMMAND "${TRAIN_DLRM}" ${ARGN}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  string(JOIN " " command ${ARGN})
  message("train_dlrm ${command}\n${output}${errors}")
  if(NOT result STREQUAL "0")
    message(FATAL_ERROR "train_dlrm ${command} ended with ${result}")
  endif()
  if(NOT output MATCHES "${expected}")
    message(FATAL_ERROR "train_dlrm ${command} did not print '${expected}'")
  endif()
endfunction()

set(same "resumed from the checkpoint: the same.*served from the table: the same")

file(REMOVE_RECURSE dlrm)
# A small log without one of the columns, and one that is not of this format.
file(WRITE refused.csv "Label,I1,C1\n1,2,a\n0,3,b\n")
execute_process(COMMAND "${TRAIN_DLRM}" dlrm refused.csv
  RESULT_VARIABLE result OUTPUT_QUIET ERROR_VARIABLE errors)
file(REMOVE refused.csv)
if(NOT result STREQUAL "2" OR NOT errors MATCHES "refused.csv: has 1 I columns and 1 C columns"
    OR EXISTS dlrm)
  message(FATAL_ERROR "train_dlrm on a log that should be refused ended with ${result}: ${errors}")
endif()

train("a generated log.*test AUC 0\\.[6-9].*${same}" dlrm --generate 3000 --epochs 3)
file(REMOVE_RECURSE dlrm)
if(EXISTS "${DATA}/criteo.train.csv")
  train("test AUC 0\\.[6-9].*${same}" dlrm "${DATA}/criteo.train.csv")
  # A second run goes on from the first.
  train("groups, [1-9][0-9]* steps so far.*${same}" dlrm "${DATA}/criteo.train.csv" --epochs 1)
else()
  message("SKIPPED Criteo's log: ${DATA} is absent")
endif()
file(REMOVE_RECURSE dlrm)
