#!/usr/bin/env bash
# The whole journey on this project's own handbook, in the public commands. Run it with `make demo`.
#
# usage: demo.sh [FOLDER]     the workspace to make or to go on with (default: demo)
# FULL=1                      read every page, teach every fact and ask every question; otherwise every third fact, no page
#                             on the server, and as many questions as two cores answer in half an hour
# QUESTIONS=n  GENERAL=n      how many questions the exam asks on the handbook, and on general knowledge
# EPOCHS=n                    how often each lesson is seen; empty: as each route advises
# ROUTES="lora full …"        which routes move weights (lora full continue; lora alone where float32 has to be used)
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
slow() { [[ $(SHUYUAN_LANG=en shuyuan doctor --quick --json) == *"bfloat16 not native"*"none: the processor"* ]]; }

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
if [ -z "${ROUTES:-}" ]; then
  ROUTES="lora full continue"
  if [ -z "${FULL:-}" ] && slow; then
    ROUTES=lora
    echo "no bfloat16 here, so teaching takes several times as long: of lora, full and continue lora alone (ROUTES=…)" >&2
  fi
fi
run teach prompt --again
both=""
for route in $ROUTES; do
  case $route in
    continue) run teach continue --again --epochs "${READINGS:-1}" ;;
    *) run teach "$route" --again $epochs ;;
  esac
  [ "$route" = full ] || both="$both $route+retrieve"
done

step "4. Taught assistants with a library as well"
for name in $both; do
  run teach retrieve --on "${name%+retrieve}" --name "$name" --again
done

step "5. The same exam for all of them"
run exam bare prompt retrieve $ROUTES $both --questions "${QUESTIONS:-60}" --general "${GENERAL:-20}"

step "Look at it in the page, and ask them yourself"
printf '  %s serve --workspace %s\n' "$(command -v shuyuan)" "$folder" >&2
