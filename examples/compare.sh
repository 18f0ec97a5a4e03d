#!/usr/bin/env bash
# Every route on the material of one workspace, one exam for all of them, and the report of it.
#
# usage: compare.sh WORKSPACE REPORT      REPORT: the folder that gets report.html, report.md and scores.json
# QUESTIONS=n  GENERAL=n                  how many questions the exam asks on the material, and on general knowledge
# READINGS=n                              how often `continue` reads the documents (1; it advises 2)
# LONG=n                                  characters of the documents in the long prompt
#
# Every step keeps what it finishes: stopped at any point and started again, it goes on from there.
set -euo pipefail
export SHUYUAN_WORKSPACE=$1
report=$2

run() { printf '$ shuyuan %s\n' "$*" >&2; shuyuan "$@"; }

run teach prompt --documents "${LONG:-20000}" --name long-prompt --again
run teach retrieve --again
run teach lora --again
run teach full --again
run teach continue --epochs "${READINGS:-1}" --again
run teach lora --on continue --name continue+lora --again
run teach retrieve --on lora --name lora+retrieve --again
run teach retrieve --on continue+lora --name continue+lora+retrieve --again
run exam bare long-prompt retrieve lora full continue lora+retrieve continue+lora+retrieve \
  --questions "${QUESTIONS:-60}" --general "${GENERAL:-20}" --name compare
mkdir -p "$report"
newest=$(ls -dt "$SHUYUAN_WORKSPACE"/exams/compare* | head -1)
cp "$newest"/{report.html,report.md,scores.json} "$report"
