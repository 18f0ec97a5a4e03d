#!/usr/bin/env bash
# The whole journey on this project's own handbook, in the public commands. Run it with `make demo`.
#
# usage: demo.sh [FOLDER]     the workspace to make or to go on with (default: demo)
# FULL=1                      read every page, teach every fact and ask every question; otherwise every third fact, no page
#                             on the server, and as many questions as two cores answer in half an hour
# QUESTIONS=n  GENERAL=n      how many questions the exam asks on the handbook, and on general knowledge
# EPOCHS=n                    how often each lesson is seen; empty: as each route advises
# READINGS=n                  how often the documents are read by the route continue (1; it advises 2)
#
# Every step keeps what it finishes: stopped at any point and started again, it goes on from there.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=${1:-demo}
questions=examples/handbook/questions.jsonl
export SHUYUAN_WORKSPACE=$folder

step() { printf '\n── %s\n' "$*" >&2; }
run() { printf '$ shuyuan %s\n' "$*" >&2; shuyuan "$@"; }
epochs=${EPOCHS:+--epochs=$EPOCHS}

step "1. A workspace, its models and its material"
run new "$folder"
run pull
exclude=commands.md
if [ -n "${FULL:-}" ]; then
  QUESTIONS=0 GENERAL=0
else  # a fact stands in ten rows; the rows after the last fact have no answer
  mkdir -p "$folder/handbook"
  awk '/"fact": "unanswerable/ || !/(serve|security)\.md/ && int((NR - 1) / 10) % 3 == 0' "$questions" >"$folder/handbook/questions.jsonl"
  questions=$folder/handbook/questions.jsonl
  exclude="$exclude serve.md security.md"
fi
run add docs --questions "$questions" --exclude $exclude

step "2. Give the model a library, and ask it"
run teach retrieve --again
run ask "What is the exit code after Ctrl-C?" --with retrieve
run ask "工作区的记录存放在哪种数据库里？" --with retrieve

step "3. The other routes"
run teach prompt --again
run teach lora --again $epochs
run teach full --again $epochs
run teach continue --again --epochs "${READINGS:-1}"

step "4. Taught assistants with a library as well"
run teach retrieve --on lora --name lora+retrieve --again
run teach retrieve --on continue --name continue+retrieve --again

step "5. The same exam for all of them"
run exam bare prompt retrieve lora full continue lora+retrieve continue+retrieve \
  --questions "${QUESTIONS:-60}" --general "${GENERAL:-20}"

step "Look at it in the page, and ask them yourself"
printf '  %s serve --workspace %s\n' "$(command -v shuyuan)" "$folder" >&2
