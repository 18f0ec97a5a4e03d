"""Do the exam's intervals hold the truth, and can a worse assistant win? By simulation.

python bench/exam_statistics.py
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paired import keep, place, stamp

from shuyuan.base.progress import say
from shuyuan.examine.power import detectable
from shuyuan.examine.quantiles import NORMAL
from shuyuan.examine.statistics import Floats, compare, holm, intervals, pooled, verdict

SIMULATIONS, SITTINGS, SEED = 2000, 200, 11
PLAIN = 2000  # resamples of the plain bootstraps that are shown for contrast
Random = np.random.Generator


@dataclass(frozen=True)
class Cell:
    """A world to draw sittings from: scores [S, N] of S sittings, the fact of each item, and the true mean."""

    name: str
    draw: Callable[[Random, int], Floats]
    facts: list[str]
    truth: float
    bounded: bool = True


def sizes_of(clusters: int, wordings: int, uneven: bool) -> NDArray[np.int64]:
    """How many questions each fact has: all the same, or in turn 1, 2, … so that the mean is about the same."""
    return np.arange(clusters) % (2 * wordings - 1) + 1 if uneven else np.full(clusters, wordings)


def facts_of(sizes: NDArray[np.int64]) -> list[str]:
    """The name of each item's fact."""
    return [f"f{at:04}" for at, size in enumerate(sizes) for _ in range(size)]


def shares(clusters: int, wordings: int, rate: float, alike: float, uneven: bool = False) -> Cell:
    """Right or wrong, with `rate` right and an intraclass correlation of `alike` between the wordings of a fact."""
    sizes = sizes_of(clusters, wordings, uneven)

    def draw(random: Random, times: int) -> Floats:
        k = 1 / alike - 1 if alike else 0
        chance = random.beta(rate * k, (1 - rate) * k, (times, clusters)) if alike else np.full((times, clusters), rate)
        return (random.random((times, int(sizes.sum()))) < np.repeat(chance, sizes, axis=1)).astype(float)

    name = f"right/wrong, {clusters} facts × {'1–' + str(2 * wordings - 1) if uneven else wordings}"
    return Cell(f"{name}, {rate:.0%} right, alike {alike:g}", draw, facts_of(sizes), rate)


def likenesses(clusters: int, wordings: int, alike: float, power: float) -> Cell:
    """F1-like scores: a quarter 0, nearly half 1, the rest between, bent by `power`."""

    def shape(uniform: Floats) -> Floats:
        return np.clip((uniform - 0.25) / 0.3, 0, 1) ** power

    def draw(random: Random, times: int) -> Floats:
        return shape(_copula(random, times, clusters, wordings, alike))

    grid = shape((np.arange(10**6) + 0.5) / 10**6)
    sizes = sizes_of(clusters, wordings, False)
    return Cell(f"F1-like, {clusters} facts × {wordings}, alike {alike:g}", draw, facts_of(sizes), float(grid.mean()))


def seconds(clusters: int) -> Cell:
    """Seconds an answer: log-normal, skewed."""
    truth = float(np.exp(0.5 * 0.6**2))
    draw = lambda random, times: random.lognormal(0, 0.6, (times, clusters))  # noqa: E731
    return Cell(f"seconds (log-normal), {clusters} answers", draw, facts_of(np.full(clusters, 1)), truth, bounded=False)


def _copula(random: Random, times: int, clusters: int, wordings: int, alike: float) -> Floats:
    common, own = random.standard_normal((times, clusters, 1)), random.standard_normal((times, clusters, wordings))
    normal = np.sqrt(alike) * common + np.sqrt(1 - alike) * own
    table = np.array([NORMAL.cdf(x) for x in np.linspace(-6, 6, 2001)])
    return np.interp(normal, np.linspace(-6, 6, 2001), table).reshape(times, -1)


CELLS = (
    *(shares(n, 1, rate, 0) for n in (30, 100, 300) for rate in (0.3, 0.5, 0.8)),
    *(shares(c, 3, rate, alike) for c in (20, 60) for rate in (0.5, 0.8) for alike in (0, 0.3, 0.7)),
    shares(10, 5, 0.5, 0.3),
    shares(10, 5, 0.8, 0.3),
    shares(30, 3, 0.9, 0.3),
    shares(40, 3, 0.8, 0.3, uneven=True),
    shares(100, 2, 0.7, 0.5, uneven=True),
    *(likenesses(c, m, alike, 1.5) for c, m, alike in ((20, 1, 0), (10, 3, 0.3), (20, 3, 0.6), (60, 3, 0.3))),
    *(seconds(n) for n in (20, 60, 200)),
)


@dataclass(frozen=True)
class Pair:
    """Two assistants to draw sittings of: their scores [S, N] each, the facts, the true difference."""

    name: str
    draw: Callable[[Random, int], tuple[Floats, Floats]]
    facts: list[str]
    truth: float


def pair(clusters: int, wordings: int, better: float, worse: float, alike: float) -> Pair:
    """Right or wrong: only one is right on `better`, only the other on `worse` of the items; half of the rest both."""
    shape = np.array([better, worse, (1 - better - worse) / 2, (1 - better - worse) / 2])
    sizes = sizes_of(clusters, wordings, False)

    def draw(random: Random, times: int) -> tuple[Floats, Floats]:
        if alike:
            chance = random.gamma(shape * (1 / alike - 1), size=(times, clusters, 4)) + 1e-300
        else:
            chance = np.broadcast_to(shape, (times, clusters, 4))
        edges = np.repeat((chance / chance.sum(-1, keepdims=True)).cumsum(-1), wordings, axis=1)
        kind = (random.random((times, clusters * wordings, 1)) > edges[..., :3]).sum(-1)
        return np.isin(kind, (0, 2)).astype(float), np.isin(kind, (1, 2)).astype(float)

    name = f"right/wrong, {clusters} facts × {wordings}, {better:.0%} against {worse:.0%}, alike {alike:g}"
    return Pair(name, draw, facts_of(sizes), better - worse)


def alike_pair(clusters: int, wordings: int, alike: float) -> Pair:
    """F1-like scores of two assistants of equal merit that share the facts' difficulty."""

    def draw(random: Random, times: int) -> tuple[Floats, Floats]:
        both = [_copula(random, times, clusters, wordings, alike) for _ in range(2)]
        shared = np.repeat(random.random((times, clusters)), wordings, axis=1)
        one, other = (np.clip(((part + shared) / 2 - 0.25) / 0.4, 0, 1) for part in both)
        return one, other

    facts = facts_of(sizes_of(clusters, wordings, False))
    return Pair(f"F1-like, {clusters} facts × {wordings}, alike {alike:g}", draw, facts, 0.0)


PAIRS = (
    *(pair(n, 1, 0.1, 0.1, 0) for n in (30, 60, 200)),
    pair(60, 1, 0.05, 0.05, 0),
    pair(60, 1, 0.25, 0.05, 0),
    *(pair(c, 3, 0.1, 0.1, alike) for c in (20, 60) for alike in (0.3, 0.7)),
    pair(10, 5, 0.2, 0.2, 0.3),
    pair(40, 3, 0.25, 0.10, 0.5),
    alike_pair(12, 3, 0.3),
    alike_pair(40, 3, 0.3),
)


def plain_bootstraps(sums_SC: Floats, sizes_C: Floats, random: Random) -> dict[str, tuple[Floats, Floats]]:
    """The percentile and the BCa interval of S rows of cluster sums, as textbooks have them."""
    clusters, total = len(sizes_C), sizes_C.sum()
    draws_CB = random.multinomial(clusters, np.full(clusters, 1 / clusters), PLAIN).T.astype(float)
    means = np.sort((sums_SC @ draws_CB) / (sizes_C @ draws_CB), axis=1)
    value = sums_SC.sum(1, keepdims=True) / total
    below = ((means < value - 1e-12).mean(1) + (means <= value + 1e-12).mean(1)) / 2
    bias = np.array([NORMAL.inv_cdf(min(max(x, 1 / PLAIN), 1 - 1 / PLAIN)) for x in below])
    left_out = (sums_SC.sum(1, keepdims=True) - sums_SC) / (total - sizes_C)
    away = left_out.mean(1, keepdims=True) - left_out
    skew = (away**3).sum(1) / np.maximum(6 * (away**2).sum(1) ** 1.5, 1e-300)
    ends = []
    for z in (-1.959964, 1.959964):
        level = np.array([NORMAL.cdf(x) for x in bias + (bias + z) / (1 - skew * (bias + z))])
        ends.append(means[np.arange(len(means)), np.clip(np.rint(level * (PLAIN - 1)), 0, PLAIN - 1).astype(int)])
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    return {"percentile": (low, high), "BCa": (ends[0], ends[1])}


def covered(ends: tuple[Floats, Floats], truth: float) -> float:
    """How often the truth lies within."""
    return float(((ends[0] <= truth + 1e-12) & (truth - 1e-12 <= ends[1])).mean())


def _sums(scores_SN: Floats, facts: list[str]) -> tuple[Floats, Floats]:
    names, at = np.unique(facts, return_inverse=True)
    member = np.eye(len(names))[at]
    return scores_SN @ member, member.sum(0)


def one_figure(times: int) -> Iterator[dict[str, Any]]:
    """Coverage of the intervals of one score."""
    for cell in CELLS:
        random = np.random.default_rng([SEED, len(cell.name), sum(map(ord, cell.name))])
        scores = cell.draw(random, times)
        found = intervals(scores, cell.facts, bounded=cell.bounded)
        ours = np.array([i.low for i in found], float), np.array([i.high for i in found], float)
        plain = plain_bootstraps(*_sums(scores, cell.facts), random)
        row = {"cell": cell.name, "ours": covered(ours, cell.truth), "width": float((ours[1] - ours[0]).mean())}
        yield row | {name: covered(ends, cell.truth) for name, ends in plain.items()}


def pooled_figures(times: int) -> Iterator[dict[str, Any]]:
    """Coverage of formulas of added counts: bits per byte of texts of very different length, and precision."""
    for items in (10, 20, 60):
        random = np.random.default_rng([SEED, items])
        sizes = random.lognormal(6, 0.8, (times, items))
        bits = sizes * random.gamma(16, 1 / 16, (times, items)) * (sizes / np.exp(6)) ** -0.1
        truth = float(np.exp(6) ** 0.1 * np.exp(6 * 0.9 + (0.8 * 0.9) ** 2 / 2) / np.exp(6 + 0.8**2 / 2))
        yield _pooled_row(f"bits per byte, {items} texts", bits, sizes, truth, random, bounded=False)
        said = random.integers(1, 6, (times, items)).astype(float)
        right = random.binomial(said.astype(int), random.beta(3, 1.5, (times, items))).astype(float)
        yield _pooled_row(f"precision, pooled over {items} facts", right, said, 2 / 3, random, bounded=True)


def _pooled_row(
    name: str, parts: Floats, wholes: Floats, truth: float, random: Random, *, bounded: bool
) -> dict[str, Any]:
    items = parts.shape[1]
    found = [
        pooled(row, lambda sums: sums[..., 0] / sums[..., 1], facts_of(np.full(items, 1)), bounded=bounded)
        for row in np.stack([parts, wholes], axis=-1)
    ]
    ours = np.array([i.low for i in found], float), np.array([i.high for i in found], float)
    draws_IB = random.multinomial(items, np.full(items, 1 / items), PLAIN).T.astype(float)
    low, high = np.quantile((parts @ draws_IB) / (wholes @ draws_IB), [0.025, 0.975], axis=1)
    row = {"cell": name, "ours": covered(ours, truth), "BCa": None, "percentile": covered((low, high), truth)}
    return row | {"width": float((ours[1] - ours[0]).mean())}


def two_assistants(times: int) -> Iterator[dict[str, Any]]:
    """Coverage of the difference, and how often the test says that there is one."""
    for each in PAIRS:
        random = np.random.default_rng([SEED, len(each.name), sum(map(ord, each.name))])
        one, other = each.draw(random, times)
        found = [compare(("a", a), ("b", b), each.facts) for a, b in zip(one, other, strict=True)]
        ours = np.array([c.low for c in found], float), np.array([c.high for c in found], float)
        plain = plain_bootstraps(*_sums(one - other, each.facts), random)
        row = {"cell": each.name, "truth": each.truth, "ours": covered(ours, each.truth)}
        row |= {name: covered(ends, each.truth) for name, ends in plain.items()}
        yield row | {"told apart": float(np.mean([c.p <= 0.05 for c in found]))}


def verdicts(times: int) -> Iterator[dict[str, Any]]:
    """Assistants of equal merit through the real verdict: false winners, and any that is wrongly called worse."""
    for count in (2, 3, 5, 10):
        random = np.random.default_rng([SEED, count])
        facts = facts_of(np.full(40, 3))
        winners = worse = plain = 0
        for _ in range(times):
            hard = np.repeat(random.beta(1, 1, 40), 3)
            made = {f"a{at}": (random.random(120) < hard).astype(float) for at in range(count)}
            found = verdict(made, facts)
            winners += bool(found.winner)
            worse += len(found.leaders) < count
            uncorrected = holm([one.p for one in found.comparisons])
            plain += any(p <= 0.05 for p in uncorrected)
        yield {
            "assistants": count,
            "sittings": times,
            "false winner": winners / times,
            "wrongly worse": worse / times,
            "wrongly worse by plain Holm": plain / times,
        }


def worse_ones(sittings: int) -> Iterator[dict[str, Any]]:
    """A copy, and assistants that are truly worse by some points, 200 sittings of 60 facts each."""
    for gap in (0.0, 0.02, 0.05, 0.10, round(detectable(60) or 0, 2)):
        each = pair(60, 1, 0.05 + gap, 0.05, 0)
        one, other = each.draw(np.random.default_rng([SEED, round(100 * gap)]), sittings)
        found = [verdict({"better": a, "worse": b}, each.facts).winner for a, b in zip(one, other, strict=True)]
        yield {
            "gap": gap,
            "better wins": found.count("better") / sittings,
            "worse wins": found.count("worse") / sittings,
        }
    copies = [verdict({"a": a, "b": a.copy()}, each.facts) for a in one]
    tied = sum(c.winner == "" and c.leaders == ("a", "b") and c.comparisons[0].p == 1 for c in copies)
    yield {"gap": "identical answers", "better wins": 0.0, "worse wins": 0.0, "tied": tied / sittings}


def speed() -> dict[str, float]:
    """CPU-seconds for ten assistants on a thousand questions of their own facts."""
    random = np.random.default_rng(SEED)
    right, facts = (random.random((10, 1000)) < 0.7).astype(float), facts_of(np.full(1000, 1))
    smooth = random.beta(0.5, 0.5, (10, 1000))
    counts = random.poisson(3, (1000, 10)).astype(float) + 1

    def jobs() -> Iterator[tuple[str, Callable[[], object]]]:
        yield "10 shares", lambda: intervals(right, facts)
        yield "10 amounts", lambda: intervals(smooth * 9, facts, bounded=False)
        yield "1 pooled metric of 10 counts, BCa", lambda: pooled(counts, lambda s: s[..., 0] / s.sum(-1), facts)
        yield "verdict, marks of 0 and 1", lambda: verdict({f"a{n}": row for n, row in enumerate(right)}, facts)
        yield "verdict, F1-like, 10,000 swaps", lambda: verdict({f"a{n}": row for n, row in enumerate(smooth)}, facts)

    found = {}
    for name, job in jobs():
        begin = time.process_time()
        job()
        found[name] = round(time.process_time() - begin, 3)
    return found


def percent(share: float | None) -> str:
    """`95.1`, in bold outside 93 to 97."""
    if share is None:
        return "–"
    return f"{100 * share:.1f}" if 0.93 <= round(share, 3) <= 0.97 else f"**{100 * share:.1f}**"


def _gap(gap: float | str) -> str:
    return gap if isinstance(gap, str) else f"{100 * gap:.0f} points"


def drawn(record: Mapping[str, Any]) -> str:
    """The result as Markdown."""
    part = record["simulation"]
    outside = [row["cell"] for row in (*part["one"], *part["two"]) if not 0.93 <= round(row["ours"], 3) <= 0.97]
    null = [row["told apart"] for row in part["two"] if row["truth"] == 0]
    lines = [
        "# The exam's statistics on simulated sittings",
        "",
        place(part),
        "",
        f"{part['simulations']:,} sittings a cell (±0.5 points on 95 % by chance alone), seed {part['seed']}, "
        f"{part['cpu_seconds']} CPU-seconds. Bold: outside 93 to 97 %. Ours is outside in {len(outside)} of "
        f"{len(part['one']) + len(part['two'])} cells{': ' + '; '.join(outside) if outside else ''}. The test calls "
        f"equals different in at most {100 * max(null):.1f} % of sittings.",
        "",
        "## How often the 95 % interval of a score holds the truth",
        "",
        "Ours: Wilson with effective n and Student's t for scores from 0 to 1; for amounts (seconds, bits per byte) "
        "Student's t on a log scale; for pooled scores from 0 to 1 (precision, BLEU) the widened BCa bootstrap over "
        f"facts. Beside it the plain bootstraps over facts ({PLAIN:,} resamples). “Alike” is the intraclass "
        "correlation of the wordings of one fact.",
        "",
        "| sittings of | ours | BCa | percentile | ours, mean width |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {row['cell']} | {percent(row['ours'])} | {percent(row['BCa'])} | {percent(row['percentile'])} | "
            f"{row['width']:.3f} |"
            for row in part["one"]
        ),
        "",
        "## How often the interval of a difference holds the truth, and the test says “different”",
        "",
        "Ours: Student's t over facts. Where the truth is 0, “different” is a false alarm and may be 5 %.",
        "",
        "| sittings of | true difference | ours | BCa | percentile | different, % |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {row['cell']} | {row['truth']:.2f} | {percent(row['ours'])} | {percent(row['BCa'])} | "
            f"{percent(row['percentile'])} | {100 * row['told apart']:.1f} |"
            for row in part["two"]
        ),
        "",
        "## Equals before the verdict",
        "",
        "Assistants of equal merit, 40 facts × 3, marks of their own. Nobody should win or be called worse.",
        "",
        "| assistants | false winner, % | one wrongly worse, % | the same by plain Holm, % |",
        "|---:|---:|---:|---:|",
        *(
            f"| {row['assistants']} | {100 * row['false winner']:.1f} | {100 * row['wrongly worse']:.1f} | "
            f"{100 * row['wrongly worse by plain Holm']:.1f} |"
            for row in part["equals"]
        ),
        "",
        f"## A worse one, {part['sittings']} sittings of 60 facts",
        "",
        "| truly better by | the better wins, % | the worse wins, % | tied, % |",
        "|---:|---:|---:|---:|",
        *(
            f"| {_gap(row['gap'])} | "
            f"{100 * row['better wins']:.1f} | {100 * row['worse wins']:.1f} | "
            f"{100 * row.get('tied', 1 - row['better wins'] - row['worse wins']):.1f} |"
            for row in part["worse"]
        ),
        "",
        f"The last gap is what is said before a sitting of 60 facts: {100 * (detectable(60) or 0):.0f} points are seen "
        "4 times of 5.",
        "",
        "## Ten assistants, a thousand questions",
        "",
        "| work | CPU-seconds |",
        "|---|---:|",
        *(f"| {name} | {spent:.3f} |" for name, spent in part["speed"].items()),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Simulate and keep the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    parser.add_argument("--print", action="store_true", help="show the figures instead of keeping them")
    given = parser.parse_args()
    begin, times = time.process_time(), given.simulations
    about = {**stamp(), "seed": SEED, "simulations": times, "sittings": SITTINGS, "speed": speed()}
    parts: dict[str, list[dict[str, Any]]] = {}
    for name, rows in (
        ("one", itertools.chain(one_figure(times), pooled_figures(times))),
        ("two", two_assistants(times)),
        ("equals", verdicts(times)),
        ("worse", worse_ones(SITTINGS)),
    ):
        parts[name] = list(rows)
        say(f"{name}: {time.process_time() - begin:.0f} CPU-seconds so far")
    record = {**about, **parts, "cpu_seconds": round(time.process_time() - begin, 1)}
    if given.print:
        say(drawn({"simulation": record}))
    else:
        keep("exam_statistics", "simulation", record, drawn)


if __name__ == "__main__":
    main()
