"""What the report says, in English and Chinese."""

from __future__ import annotations

from typing import Any, Literal

from markupsafe import Markup, escape

Language = Literal["en", "zh", "both"]

WORDS: dict[str, tuple[str, str]] = {
    "title": ("Exam “{name}”", "考试“{name}”"),
    "verdict": ("Verdict", "结论"),
    "win": (
        "<b>{best}</b> answers best: {share} of {n} questions right (95 % interval {interval}), {gap} points more than "
        "{other} (interval {gap_interval}, {p}).",
        "<b>{best}</b> 答得最好：{n} 道题答对 {share}（95% 区间 {interval}），比 {other} 高 {gap} 个百分点"
        "（区间 {gap_interval}，{p}）。",
    ),
    "draw": (
        "No clear winner. <b>{best}</b> leads with {share} of {n} questions right (95 % interval {interval}), but "
        "{other} is not shown to be worse (difference {gap} points, interval {gap_interval}, {p}).",
        "没有明确的胜者。<b>{best}</b> 领先：{n} 道题答对 {share}（95% 区间 {interval}），但没有证据表明 {other} 更差"
        "（相差 {gap} 个百分点，区间 {gap_interval}，{p}）。",
    ),
    "alone": (
        "<b>{best}</b> answers {share} of {n} questions right (95 % interval {interval}). Nobody else sat this exam, "
        "so there is nothing to compare.",
        "<b>{best}</b> 在 {n} 道题中答对 {share}（95% 区间 {interval}）。没有别的助手参加，无从比较。",
    ),
    "no_questions": (
        "This paper has no answerable question, so it cannot say who answers best.",
        "这份考卷没有可回答的题，无法说明谁答得最好。",
    ),
    "undecided": ("Not told apart: {names}.", "分不出高下的有：{names}。"),
    "power": (
        "With {facts} facts in {n} questions, this paper sees a difference of {points} points four times out of five.",
        "这份考卷有 {n} 道题、{facts} 条事实；相差 {points} 个百分点时，五次里有四次能看出来。",
    ),
    "needed": (
        "To settle a difference as small as this one, about {facts} facts would be needed.",
        "要确认现在看到的这样小的差别，大约需要 {facts} 条事实。",
    ),
    "forgets": (
        "Beside the untaught model, {name} answers {points} points fewer general questions right ({interval}).",
        "与未学习的模型相比，{name} 的通用题少答对 {points} 个百分点（{interval}）。",
    ),
    "scores": ("Scores", "成绩"),
    "scores_note": (
        "Percent unless another unit is given; the small figures are 95 % intervals. Bold: the best in its column. "
        "Δ: change against the untaught model, for items in points. A dash: not measured.",
        "除注明单位者外均为百分数；小字是 95% 区间。粗体为该列最好；Δ 是与未学习的模型相比的变化，通用题以百分点计；"
        "短横表示没有测量。",
    ),
    "assistant": ("assistant", "助手"),
    "g_knowledge": ("knowledge", "知识"),
    "g_refusal": ("refusing", "拒答"),
    "g_search": ("search", "检索"),
    "g_forgetting": ("general ability", "通用能力"),
    "g_answer": ("one answer", "每次回答"),
    "g_teach": ("teaching", "教学"),
    "accuracy": ("right", "答对"),
    "exact": ("exact match", "完全一致"),
    "f1": ("token F1", "词元 F1"),
    "rouge": ("ROUGE-L", "ROUGE-L"),
    "precision": ("precision", "精确率"),
    "recall": ("recall", "召回率"),
    "recall_k": ("recall@{k}", "召回@{k}"),
    "bits": ("Δ bits/byte", "Δ比特/字节"),
    "items": ("Δ items", "Δ通用题"),
    "seconds": ("seconds", "秒"),
    "tokens": ("tokens", "词元"),
    "minutes": ("minutes", "分钟"),
    "memory": ("memory, GB", "内存 GB"),
    "right_answers": ("Right answers", "答对的比例"),
    "right_note": (
        "Percent of the knowledge paper answered right, with 95 % intervals over facts. Dotted: the untaught model.",
        "知识卷答对的百分比与按事实计算的 95% 区间。虚线：未学习的模型。",
    ),
    "gaps": ("Behind the best", "与第一名的差距"),
    "gaps_note": (
        "Points by which {best} is ahead, question by question, with p after Holm’s correction. An interval across 0: "
        "not told apart.",
        "{best} 逐题领先的百分点，p 值经 Holm 校正。区间跨过 0：分不出高下。",
    ),
    "by_language": ("In each language", "分语言"),
    "cost": ("Quality against cost", "质量与花费"),
    "cost_note": (
        "Up is better, left is cheaper. Cost: teaching once, then 1,000 answers one after another, in minutes on this "
        "machine (logarithmic).",
        "越高越好，越左越省。花费：教一次，再逐个回答 1,000 次，在这台机器上的分钟数（对数刻度）。",
    ),
    "cost_x": ("minutes for teaching and 1,000 answers", "教学加 1,000 次回答的分钟数"),
    "right_y": ("right, %", "答对 %"),
    "learned": ("Learned against forgotten", "学到的与忘掉的"),
    "learned_note": (
        "Up: more of the documents’ questions right than untaught. Right: general text has become more surprising, so "
        "something was forgotten.",
        "越高：比未学习时多答对的文档题。越右：对一般文字更感意外，说明忘了一些。",
    ),
    "learned_x": ("change in bits a byte on general text", "一般文字每字节比特的变化"),
    "learned_y": ("learned, points", "学到，百分点"),
    "facts": ("Fact by fact", "逐条事实"),
    "facts_note": (
        "Each column is one of {n} facts, hardest on the right; full colour: all its questions right, faint: none.",
        "每一列是 {n} 条事实之一，越右越难；颜色最浓：全部答对，最淡：全错。",
    ),
    "apart": ("Where they disagree most", "分歧最大的题"),
    "apart_none": ("All assistants did the same on every question.", "所有助手在每道题上结果相同。"),
    "expected": ("expected", "标准答案"),
    "no_answer_expected": ("declining: the documents do not say", "应当拒答：文档里没有"),
    "declined": ("declines", "拒答"),
    "made": ("How the paper was made", "考卷怎么来的"),
    "made_questions": (
        "{questions} questions were asked: {answerable} answerable ones about {facts} facts and {unanswerable} without "
        "an answer; {not_asked} more were left out by the seeded choice. They were split off by near-duplicate groups "
        "before anything was taught, and checked against the {examples} teaching examples again before this sitting.",
        "共问 {questions} 题：{answerable} 道有答案，涉及 {facts} 条事实；{unanswerable} 道没有答案；另有 "
        "{not_asked} 道按种子抽样未用。考题在教学之前就按近似重复成组分出，开考前又与 "
        "{examples} 个教学样例核对过泄漏。",
    ),
    "made_material": (
        "Material: {documents} documents in {passages} passages. For {with_evidence} of the {answerable} answerable "
        "questions the evidence was found in a passage; recall@k looks at those.",
        "材料：{documents} 份文档，{passages} 个段落。{answerable} 道有答案的题中，{with_evidence} 道的依据能"
        "定位到段落，召回@k 只看这些题。",
    ),
    "made_general": (
        "General ability: {general} items of Shuyuan’s own and its own prose in two languages, all CC0.",
        "通用能力：书院自编的 {general} 道题和两种语言的短文，全部 CC0。",
    ),
    "made_marking": (
        "Right means: a right answer stands in the reply, token by token. No judge model is involved. Intervals: "
        "10,000 bootstrap resamples of facts, paired over assistants; p: randomisation test, Holm-corrected for best "
        "against each other. An assistant wins only with p ≤ .05 against every other.",
        "“答对”指标准答案逐词出现在回答里，不用模型当裁判。区间：按事实重抽样 10,000 次，助手之间配对；p 值：随机化"
        "检验，第一名对其余各名，经 Holm 校正。对每一名都有 p ≤ .05 才算胜出。",
    ),
    "limits": ("Limits", "局限"),
    "limits_1": (
        "It speaks about these documents, this base model ({model}) and this machine; other material may rank the "
        "routes otherwise.",
        "结论只针对这些文档、这个基础模型（{model}）和这台机器；换了材料，各路线的名次可能不同。",
    ),
    "limits_2": (
        "A long reply has more chances to hold the right words, so read “right” beside token F1; a right answer in "
        "other words than the paper knows counts as wrong.",
        "回答越长，越容易碰上正确的词，所以请把“答对”与词元 F1 对照着看；说法与考卷不同的正确回答会算错。",
    ),
    "limits_3": (
        "Refusals without a flag are told by a list of phrases. Wordings of one fact are not independent, so facts are "
        "counted, not wordings. One seed of teaching was examined: other seeds would vary.",
        "没有标记的拒答靠词表判断。同一事实的不同问法并不独立，所以按事实计算。每条路线只考了一个训练种子，换种子会有波动。",
    ),
    "repeat": ("To repeat it", "如何重现"),
    "repeat_note": (
        "Exam rules {version}, Shuyuan {shuyuan}, paper {paper}, seed {seed}, {decoding} decoding. Signatures:",
        "考试规则 {version}，书院 {shuyuan}，考卷 {paper}，种子 {seed}，解码 {decoding}。指标签名：",
    ),
    "language_switch": ("中文", "English"),
}


class Speech:
    """Says the words in one language, or in both with the reader's choice deciding what shows."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def __call__(self, key: str, **values: Any) -> Markup:
        """HTML; the values are escaped. Both languages: two spans of which the style sheet shows one."""
        english, chinese = (Markup(text).format(**values) for text in WORDS[key])
        if self.language != "both":
            return chinese if self.language == "zh" else english
        return Markup('<span class="en" lang="en">{}</span><span class="zh" lang="zh-Hans">{}</span>').format(
            english, chinese
        )

    def svg(self, key: str, **values: Any) -> Markup:
        """The same inside an SVG text."""
        return Markup(str(self(key, **values)).replace("<span", "<tspan").replace("</span", "</tspan"))


def plain(key: str, language: str, **values: Any) -> str:
    """Text without markup, for Markdown and the terminal."""
    text = WORDS[key][1 if language == "zh" else 0].format(**values)
    return text.replace("<b>", "").replace("</b>", "")


def escaped(text: str) -> str:
    """Text made safe for HTML."""
    return str(escape(text))
