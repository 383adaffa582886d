# Trains on generated logs, and on those of Criteo and MovieLens if they are present. The program
# itself fails when a checkpoint or a dump gives other scores.

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

# A MovieLens log whose clicks depend on a genre. Each film comes once.
set(log "user_id:token\titem_id:token\trating:float\ttimestamp:float\n")
set(films "item_id:token\trelease_year:token\tclass:token_seq\n")
foreach(n RANGE 1 1500)
  math(EXPR user "${n} * 7 % 20")
  math(EXPR rest "${n} % 3")
  if(rest EQUAL 0)
    string(APPEND log "${user}\t${n}\t5\t${n}\n")
    string(APPEND films "${n}\t1990\tDrama War\n")
  else()
    string(APPEND log "${user}\t${n}\t2\t${n}\n")
    string(APPEND films "${n}\t1990\tDrama\n")
  endif()
endforeach()
file(WRITE genres.inter "${log}")
file(WRITE genres.item "${films}")
train("2 numbers, 6 features with one key, and bags of 1\\.3.*test AUC (0\\.9|1).*${same}"
  dlrm genres.inter)
file(WRITE genres.item "${films}7\t1990\tDrama\n")
execute_process(COMMAND "${TRAIN_DLRM}" dlrm genres.inter
  RESULT_VARIABLE result OUTPUT_QUIET ERROR_VARIABLE errors)
if(NOT result STREQUAL "2"
    OR NOT errors MATCHES "genres.item:1502: item_id '7' should be there once")
  message(FATAL_ERROR "train_dlrm with a film that is there twice ended with ${result}: ${errors}")
endif()
file(REMOVE genres.inter genres.item)
file(REMOVE_RECURSE dlrm)

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
if(EXISTS "${DATA}/ml-100k.inter")
  train("and bags of 2\\.1.*test AUC 0\\.(6[5-9]|7).*${same}" dlrm "${DATA}/ml-100k.inter"
    --batch 256)
else()
  message("SKIPPED MovieLens with genres: ${DATA} has none")
endif()
file(REMOVE_RECURSE dlrm)
