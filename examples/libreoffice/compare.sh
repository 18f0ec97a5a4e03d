#!/usr/bin/env bash
# All routes on documents that nobody here wrote: pages of LibreOffice Writer's guide, in Chinese and English (Debian's
# packages, MPL-2.0). The questions are made by `shuyuan exam make`, half of the facts to learn and half for the exam.
#
# usage: compare.sh FOLDER REPORT         FOLDER keeps the packages and the workspace between runs
# PAGES=n                                 pages in each language (40)
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
report=$(realpath -m "$2")
folder=$1
mkdir -p "$folder"
cd "$folder"
for package in libreoffice-help-en-us libreoffice-help-zh-cn; do
  ls "$package"_*.deb >/dev/null 2>&1 || apt-get download "$package"
  [ -d "root/$package" ] || { dpkg-deb -x "$package"_*.deb root && mkdir "root/$package"; }
done
guide=usr/share/libreoffice/help
if [ ! -d pages ]; then  # the same pages in both languages
  for page in $(cd "root/$guide/zh-CN/text/swriter/guide" && ls -- *.html | head -n "${PAGES:-40}"); do
    for language in zh-CN en-US; do
      mkdir -p "pages/$language"
      cp "root/$guide/$language/text/swriter/guide/$page" "pages/$language"
    done
  done
fi
export SHUYUAN_WORKSPACE=$PWD/workspace
[ -d workspace ] || shuyuan new workspace
shuyuan add pages
[ -f questions.jsonl ] || shuyuan exam make --count 240 --share 0.5 --choices 0 --out questions.jsonl
shuyuan add pages --questions questions.jsonl
bash "$here/compare.sh" "$SHUYUAN_WORKSPACE" "$report"
