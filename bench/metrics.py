"""Every metric against a trusted implementation of it: the largest deviation over random and adversarial cases.

pip install -e ".[dev]" netcal
python bench/metrics.py
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from paired import keep, place, stamp

from shuyuan.base.progress import say
from shuyuan.base.records import Answer, Citation, Question, TokenLogprob
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.bits_per_byte import BitsPerByte
from shuyuan.measure.bleu import Bleu
from shuyuan.measure.brier import Brier
from shuyuan.measure.chrf import Chrf
from shuyuan.measure.citation_precision import CitationPrecision
from shuyuan.measure.citation_recall import CitationRecall
from shuyuan.measure.distinct_n import DistinctN
from shuyuan.measure.ece import Ece
from shuyuan.measure.exact_match import ExactMatch
from shuyuan.measure.f1 import F1
from shuyuan.measure.marking import Metric
from shuyuan.measure.mrr import Mrr
from shuyuan.measure.ndcg_at_k import NdcgAtK
from shuyuan.measure.pass_at_k import PassAtK
from shuyuan.measure.perplexity import Perplexity
from shuyuan.measure.precision import Precision
from shuyuan.measure.recall import Recall
from shuyuan.measure.recall_at_k import RecallAtK
from shuyuan.measure.refusal_precision import RefusalPrecision
from shuyuan.measure.refusal_recall import RefusalRecall
from shuyuan.measure.rouge_l import RougeL
from shuyuan.measure.rouge_n import RougeN
from shuyuan.measure.self_bleu import SelfBleu
from shuyuan.measure.self_consistency import SelfConsistency
from shuyuan.measure.text import tokens
from shuyuan.measure.token_f1 import TokenF1

Random = random.Random
Pairs = Iterator[tuple[float, float]]
CASES, SEED, MOST = 600, 20, 1e-9
LANGUAGES = ("en", "zh", "")
CHINESE = "书院是中国古代的一种学校，藏书、教学、祭祀三者合一。模型的答案在第三页吗？不知道！我想买一部新手机"
ENGLISH = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "didn't",
    "GPT-4",
    "well-known",
    "e.g.",
    "U.S.",
    "3.14",
    "1,024",
]
ENGLISH += ["-5", "10%", "co-op"]
ODD = ["", " ", "\u3000", "\u00a0\t\n", "\u200b\u200d", "-\n", "<skipped>", "&quot;&amp;lt;", "“”‘’—…", "《》「」"]
ODD += [
    "１２３ＡＢＣ，．",
    "ＡｂＣ",
    "👍🏽",
    "👩‍👩‍👧‍👦",
    "🇨🇳",
    "e\u0301\u0323",
    "n\u0303o",
    "각\u1112\u1161\u11ab",
    "𠀀𪛖",
    "か゛ｶﾞ",
]
ODD += ["ﬁﬀ", "İıſ", "\x00\x01\x1c\x85", "\ufeff", "①②Ⅷ", "²½", "٣٤", "हिन्दी", "שלום", "a.b,c-d", "1.,2", "--", "..."]
ODD += ["#$%^&*()", "{[|]}~`", "\u2028"]


def text(random: Random) -> str:
    """Chinese, English, mixed, full-width, emoji, empty, blank, combined, random code points, seldom very long."""
    kind = random.choices(("words", "odd", "points", "long", "single"), (60, 20, 10, 2, 8))[0]
    if kind == "points":
        planes = (range(0xD800), range(0xE000, 0x30000))
        return "".join(chr(random.choice(random.choice(planes))) for _ in range(9))
    if kind == "single":
        return random.choice(ODD)
    size = 400 if kind == "long" else random.randrange(1, 14)
    pools: list[Sequence[str]] = [CHINESE, ENGLISH, [*CHINESE, *ENGLISH]]
    pool = [*random.choice(pools), *(random.sample(ODD, 6) if kind == "odd" else [])]
    return random.choice(("", " ", " ", "\u3000")).join(random.choice(pool) for _ in range(size))


def near(random: Random, gold: str) -> str:
    """The text itself, changed a little, or another one."""
    if random.random() < 0.3:
        return text(random)
    parts = list(gold)
    for _ in range(random.randrange(4)):
        at = random.randrange(len(parts) + 1)
        parts[at : at + random.randrange(3)] = random.choice(([], [random.choice(CHINESE)], [" the "], parts[:3]))
    return "".join(parts)


def asked(*golds: str, language: str = "", **more: Any) -> Question:
    """A question of which only the answers matter."""
    return Question("q", "?", golds, language, "fact", **more)


def pooled(metric: Metric, items: Sequence[tuple[Answer, Question]]) -> float:
    """The score of a paper."""
    counts = [found for answer, question in items if (found := metric.tally([answer], question)) is not None]
    return float(metric.pooled(np.sum(counts, axis=0)))


def texts_with_golds(random: Random, n: int) -> Iterator[tuple[str, list[str], str]]:
    """An answer, one to three golds, and the language the question says it is in."""
    for _ in range(n):
        golds = [text(random)]
        golds += [near(random, golds[0]) for _ in range(random.choice((0, 0, 1, 2)))]
        yield near(random, golds[0]), golds, random.choice(LANGUAGES)


def rouge(metric: Metric, kind: str) -> Callable[[Random, int], Pairs]:
    """ROUGE by rouge-score, given our tokenizer."""

    def pairs(random: Random, n: int) -> Pairs:
        from rouge_score import rouge_scorer

        class Cut:
            def tokenize(self, words: str) -> list[str]:
                return list(tokens(words, language))

        for said, golds, language in texts_with_golds(random, n):
            scorer = rouge_scorer.RougeScorer([kind], tokenizer=Cut())
            ours = metric.measure(Answer(said), asked(*golds, language=language))
            yield ours, max(scorer.score(gold, said)[kind].fmeasure for gold in golds)

    return pairs


def squad(metric: Metric, kind: str) -> Callable[[Random, int], Pairs]:
    """Exact match and token F1 by torchmetrics' SQuAD; each token of ours is spelt as a word that it cannot change."""

    def pairs(random: Random, n: int) -> Pairs:
        import torch
        from torchmetrics.functional.text import squad as reference

        for said, golds, language in texts_with_golds(random, n):
            names: dict[str, str] = {}
            spelt = [
                " ".join(names.setdefault(t, "w" + "ab" * len(names) + "z") for t in tokens(part, language))
                for part in (said, *golds)
            ]
            if not all(spelt[1:]):
                continue  # nothing to normalise is scored 0 by the reference and 1 by us if both are empty
            target = {"answers": {"text": spelt[1:], "answer_start": [0] * len(golds)}, "id": "q"}
            torch.set_default_dtype(torch.float64)  # else the reference itself is off by 1e-7
            found = reference({"prediction_text": spelt[0], "id": "q"}, target)
            torch.set_default_dtype(torch.float32)
            yield metric.measure(Answer(said), asked(*golds, language=language)), float(found[kind]) / 100

    return pairs


def translation(metric: Metric, reference: Callable[[], Any], language: str) -> Callable[[Random, int], Pairs]:
    """BLEU and chrF by sacrebleu: half the cases are single texts, half whole papers of up to twelve."""

    def pairs(random: Random, n: int) -> Pairs:
        scorer = reference()
        for case in range(n):
            width = random.choice((1, 1, 2, 3))
            rows = []
            for _ in range(1 if case % 2 else random.randrange(2, 12)):
                golds = [text(random)]
                golds += [near(random, golds[0]) for _ in range(width - 1)]
                rows.append((near(random, golds[0]), golds))
            items = [(Answer(said), asked(*golds, language=language)) for said, golds in rows]
            said = [said for said, _ in rows]
            golds_by_place = [[golds[at] for _, golds in rows] for at in range(width)]
            yield pooled(metric, items), scorer.corpus_score(said, golds_by_place).score / 100

    return pairs


def _bleu(tokenizer: str) -> Callable[[], Any]:
    def make() -> Any:
        from sacrebleu.metrics import BLEU

        return BLEU(tokenize=tokenizer)

    return make


def _chrf(words: int) -> Callable[[], Any]:
    def make() -> Any:
        from sacrebleu.metrics import CHRF

        return CHRF(word_order=words)

    return make


def self_bleu(random: Random, n: int) -> Pairs:
    """Self-BLEU by sacrebleu's sentences."""
    scorers = {"zh": _bleu("zh")(), "en": _bleu("13a")()}
    for _ in range(n):
        language = random.choice(("zh", "en"))
        first = text(random)
        answers = [first, *(near(random, first) for _ in range(random.randrange(1, 5)))]
        ours = SelfBleu().sampled([Answer(one) for one in answers], asked("x", language=language))
        theirs = [
            scorers[language].corpus_score([one], [[other] for other in answers[:at] + answers[at + 1 :]]).score / 100
            for at, one in enumerate(answers)
        ]
        yield ours or 0.0, statistics.fmean(theirs)


def distinct(random: Random, n: int) -> Pairs:
    """Distinct-n by nltk's n-grams."""
    from nltk.util import ngrams

    for _ in range(n):
        size, language = random.randrange(1, 4), random.choice(LANGUAGES)
        answers = [text(random) for _ in range(random.randrange(1, 5))]
        all_of_them = [gram for one in answers for gram in ngrams(tokens(one, language), size)]
        ours = DistinctN(n=size).sampled([Answer(one) for one in answers], asked("x", language=language))
        if ours is None:
            assert not all_of_them
            continue
        yield ours, len(set(all_of_them)) / len(all_of_them)


def labels(kind: str, metric: type[F1 | Precision | Recall]) -> Callable[[Random, int], Pairs]:
    """Precision, recall and F1 by scikit-learn over the declared labels; some answers are no label at all."""

    def pairs(random: Random, n: int) -> Pairs:
        import sklearn.metrics

        score = getattr(sklearn.metrics, kind)
        names = ["是", "否", "不确定", "yes", "no", "Ｎｏｔ sure!", "3.14"]
        for _ in range(n):
            chosen = random.sample(names, random.randrange(2, 6))
            true = random.choices(chosen, k=random.randrange(1, 30))
            said = [label if random.random() < 0.5 else random.choice([*chosen, "???", ""]) for label in true]
            items = [(Answer(f" {a.upper()}。"), asked(t)) for a, t in zip(said, true, strict=True)]
            for average in ("macro", "micro"):
                ours = pooled(metric(labels=tuple(chosen), average=average), items)
                yield ours, score(true, said, labels=chosen, average=average, zero_division=0)

    return pairs


def right(metric: Metric) -> Callable[[Random, int], Pairs]:
    """Accuracy and exact match of labels by scikit-learn."""

    def pairs(random: Random, n: int) -> Pairs:
        from sklearn.metrics import accuracy_score

        for _ in range(n):
            true = random.choices(["北京", "上海", "Paris", "3.14", "é"], k=random.randrange(1, 30))
            said = [label if random.random() < 0.5 else random.choice(["北京", "3.14", "14", ""]) for label in true]
            items = [(Answer(f"“{a}” "), asked(t)) for a, t in zip(said, true, strict=True)]
            yield pooled(metric, items), accuracy_score(true, said)

    return pairs


def refusals(kind: str, metric: Metric) -> Callable[[Random, int], Pairs]:
    """Refusal precision and recall by scikit-learn: declining is the positive class."""

    def pairs(random: Random, n: int) -> Pairs:
        import sklearn.metrics

        for _ in range(n):
            none = [True, *(random.random() < 0.5 for _ in range(20))]
            declined = [True, *(random.random() < 0.5 for _ in range(20))]
            items = [
                (
                    Answer("" if d and random.random() < 0.5 else "我不知道。" if d else "七", refused=d),
                    asked(*([] if u else ["八"])),
                )
                for u, d in zip(none, declined, strict=True)
            ]
            yield pooled(metric, items), getattr(sklearn.metrics, kind)(none, declined)

    return pairs


def search(metric: Callable[[int], Metric], measure: str) -> Callable[[Random, int], Pairs]:
    """nDCG, MRR and recall by trec_eval, with grades, misses and more relevant passages than places."""

    def pairs(random: Random, n: int) -> Pairs:
        import pytrec_eval

        for _ in range(n):
            ids = [f"{random.choice('书a👍')}{at}" for at in range(random.randrange(1, 25))]
            grades = {id: random.randrange(4) for id in random.sample(ids, random.randrange(1, len(ids) + 1))}
            grades[ids[0]] = random.randrange(1, 4)
            found = random.sample(ids, random.randrange(1, len(ids) + 1))
            k = random.randrange(1, 12)
            run = {id: float(len(found) - at) for at, id in enumerate(found)}
            wanted = measure.format(k=k)
            theirs = pytrec_eval.RelevanceEvaluator({"q": grades}, {wanted}).evaluate({"q": run})["q"]
            ours = metric(k).measure(Answer("", retrieved=tuple(found)), asked("x"), grades)
            yield ours, theirs[wanted.replace(".", "_")]

    return pairs


def _sure(random: Random) -> tuple[np.ndarray, np.ndarray, list[tuple[Answer, Question]]]:
    size = random.randrange(2, 60)
    chances = [random.choice((random.random(), random.randrange(1, 10) / 10, 1.0, 1e-9)) for _ in range(size)]
    marks = [random.random() < 0.6 for _ in range(size)]
    items = [
        (Answer("对" if mark else "错", logprobs=(TokenLogprob("x", math.log(chance)),)), asked("对"))
        for chance, mark in zip(chances, marks, strict=True)
    ]
    return np.exp(np.log(chances)), np.array(marks, dtype=int), items


def calibration(random: Random, n: int) -> Pairs:
    """ECE by netcal, 1 to 20 bins."""
    from netcal.metrics import ECE

    for _ in range(n):
        chances, marks, items = _sure(random)
        bins = random.choice((1, 2, 5, 10, 15, 20))
        yield pooled(Ece(bins=bins), items), float(ECE(bins).measure(chances, marks))


def brier(random: Random, n: int) -> Pairs:
    """Brier score by scikit-learn."""
    from sklearn.metrics import brier_score_loss

    for _ in range(n):
        chances, marks, items = _sure(random)
        yield pooled(Brier(), items), brier_score_loss(marks, chances, pos_label=1)


def likelihood(metric: Metric) -> Callable[[Random, int], Pairs]:
    """Perplexity and bits per byte from the cross-entropy of torch on random logits."""

    def pairs(random: Random, n: int) -> Pairs:
        import torch

        for _ in range(n):
            words = [text(random)[:30] + "。" for _ in range(random.randrange(1, 6))]
            total = torch.zeros((), dtype=torch.float64)
            items = []
            for one in words:
                made = torch.Generator().manual_seed(random.randrange(10**6))
                logits = torch.randn(len(one), 50, dtype=torch.float64, generator=made) * 3
                ids = torch.randint(0, 50, (len(one),), generator=made)
                total = total + torch.nn.functional.cross_entropy(logits, ids, reduction="sum")
                chosen = logits.log_softmax(-1)[torch.arange(len(one)), ids].tolist()
                kept = tuple(TokenLogprob(char, value) for char, value in zip(one, chosen, strict=True))
                items.append((Answer(one, logprobs=kept), asked("x")))
            whole = "".join(words)
            tokenwise = isinstance(metric, Perplexity)
            theirs = math.exp(total / len(whole)) if tokenwise else float(total / math.log(2) / len(whole.encode()))
            yield pooled(metric, items), theirs

    return pairs


def tries(random: Random, n: int) -> Pairs:
    """pass@k by the product that Chen et al. 2021 print."""
    for _ in range(n):
        size = random.randrange(1, 60)
        good, k = random.randrange(size + 1), random.randrange(1, size + 1)
        answers = [Answer("七")] * good + [Answer("八")] * (size - good)
        theirs = 1.0 if size - good < k else 1.0 - np.prod(1.0 - k / np.arange(size - good + 1, size + 1))
        yield PassAtK(k=k).sampled(answers, asked("七")), float(theirs)


def majority(random: Random, n: int) -> Pairs:
    """Self-consistency by the standard library's multimode."""
    for _ in range(n):
        said = random.choices(["七", "八", "nine", "十 五"], k=random.randrange(1, 9))
        theirs = statistics.fmean(float(mode == "七") for mode in statistics.multimode(said))
        yield SelfConsistency().sampled([Answer(f" {one}。") for one in said], asked("七")), theirs


def citations(kind: str, metric: Metric) -> Callable[[Random, int], Pairs]:
    """Citation precision and recall by scikit-learn, on citations that are good or bad by how they were made."""

    def pairs(random: Random, n: int) -> Pairs:
        import sklearn.metrics

        evidence = "缺省的批大小是 16，the default batch size is sixteen。"
        good = [evidence, f"前文。{evidence}后文。", "The default batch size is sixteen", "缺省的批大小是 16"]
        bad = ["别的句子。", "Another sentence altogether.", "16 是大的", ""]
        for _ in range(n):
            flags = [random.random() < 0.4 for _ in range(random.randrange(1, 6))]
            made = []
            for flag in flags:
                quote = random.choice(good if flag else [*bad, evidence])
                source = "b.md" if quote == evidence and not flag else "a.md"
                made.append(Citation(source, 0, len(quote), quote))
            question = asked("16", source="a.md", evidence=evidence)
            ours = metric.measure(Answer("16", citations=tuple(made)), question)
            one = [any(flags)] if kind == "recall_score" else flags
            score = getattr(sklearn.metrics, kind)
            yield ours, score([True] * len(one), one) if kind == "recall_score" else score(one, [True] * len(one))

    return pairs


@dataclass(frozen=True)
class Check:
    """A metric, who it is held against, and its pairs of values, ours first."""

    name: str
    reference: str
    pairs: Callable[[Random, int], Pairs]


CHECKS = (
    Check("accuracy", "scikit-learn", right(Accuracy())),
    Check("exact match", "scikit-learn", right(ExactMatch())),
    Check("exact match (text)", "torchmetrics", squad(ExactMatch(), "exact_match")),
    Check("token F1", "torchmetrics", squad(TokenF1(), "f1")),
    Check("precision, macro and micro", "scikit-learn", labels("precision_score", Precision)),
    Check("recall, macro and micro", "scikit-learn", labels("recall_score", Recall)),
    Check("F1, macro and micro", "scikit-learn", labels("f1_score", F1)),
    Check("ROUGE-1", "rouge_score", rouge(RougeN(n=1), "rouge1")),
    Check("ROUGE-2", "rouge_score", rouge(RougeN(n=2), "rouge2")),
    Check("ROUGE-L", "rouge_score", rouge(RougeL(), "rougeL")),
    Check("BLEU, 13a", "sacrebleu", translation(Bleu(), _bleu("13a"), "en")),
    Check("BLEU, zh", "sacrebleu", translation(Bleu(), _bleu("zh"), "zh")),
    Check("chrF", "sacrebleu", translation(Chrf(), _chrf(0), "zh")),
    Check("chrF++", "sacrebleu", translation(Chrf(words=2), _chrf(2), "en")),
    Check("self-BLEU", "sacrebleu", self_bleu),
    Check("distinct-n", "nltk", distinct),
    Check("nDCG@k", "pytrec-eval-terrier", search(lambda k: NdcgAtK(k=k), "ndcg_cut.{k}")),
    Check("recall@k", "pytrec-eval-terrier", search(lambda k: RecallAtK(k=k), "recall.{k}")),
    Check("MRR", "pytrec-eval-terrier", search(lambda k: Mrr(), "recip_rank")),
    Check("ECE", "netcal", calibration),
    Check("Brier", "scikit-learn", brier),
    Check("perplexity", "torch", likelihood(Perplexity())),
    Check("bits per byte", "torch", likelihood(BitsPerByte())),
    Check("pass@k", "numpy", tries),
    Check("self-consistency", "python", majority),
    Check("refusal precision", "scikit-learn", refusals("precision_score", RefusalPrecision())),
    Check("refusal recall", "scikit-learn", refusals("recall_score", RefusalRecall())),
    Check("citation precision", "scikit-learn", citations("precision_score", CitationPrecision())),
    Check("citation recall", "scikit-learn", citations("recall_score", CitationRecall())),
)


def deviation(check: Check, n: int, seed: int = SEED) -> tuple[int, float]:
    """How many values were compared, and by how much the worst differs. Fewer than `n` cases are made up for."""
    random, worst, compared = Random(f"{seed}/{check.name}"), 0.0, 0
    while compared < n:
        for ours, theirs in check.pairs(random, n):
            worst, compared = max(worst, abs(ours - theirs)), compared + 1
    return compared, worst


def drawn(record: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    part = record["parity"]
    rows = [
        f"| {row['metric']} | {row['reference']} | {row['values']:,} | {row['deviation']:.1e} |" for row in part["rows"]
    ]
    return "\n".join(
        [
            "# Metrics against their references",
            "",
            place(part),
            "",
            "Random and adversarial cases (Chinese, English, mixed, full-width, emoji, empty, blanks, combining marks, "
            f"random code points, 400 tokens), seed {part['seed']}. All must be within {MOST:.0e}; the largest "
            f"deviation is {max(row['deviation'] for row in part['rows']):.1e}. {part['cpu_seconds']} CPU-seconds.",
            "",
            "| metric | reference | values | largest deviation |",
            "|---|---|---:|---:|",
            *rows,
            "",
            "ROUGE, exact match and token F1 are given our tokens, as the references' own rules drop Chinese. BLEU "
            "and chrF cut text themselves, on both sides. pass@k is held against the product in Chen et al. 2021, "
            "self-consistency against `statistics.multimode`; citations are good or bad by the way they were made.",
            "",
        ]
    )


def main() -> None:
    """Compare all metrics and keep the table. Raises AssertionError where one is off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--print", action="store_true", help="show the figures instead of keeping them")
    given = parser.parse_args()
    begin, about, rows = time.process_time(), stamp(), []
    for check in CHECKS:
        compared, worst = deviation(check, given.cases)
        known = check.reference != "python"
        version = importlib.metadata.version(check.reference) if known else platform.python_version()
        rows.append(
            {"metric": check.name, "reference": f"{check.reference} {version}", "values": compared, "deviation": worst}
        )
        say(f"{check.name}: {worst:.1e} over {compared:,}")
    record = {**about, "seed": SEED, "rows": rows, "cpu_seconds": round(time.process_time() - begin, 1)}
    if given.print:
        say(drawn({"parity": record}))
    else:
        keep("metrics", "parity", record, drawn)
    assert all(row["deviation"] <= MOST for row in rows), "a metric is off"


if __name__ == "__main__":
    main()
