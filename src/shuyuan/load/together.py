"""Question and passage read together: an encoder's upper layers over both at once, and a score from what they make.

The lower layers read each text alone, as they were trained to, so what they make of it serves every pair it is in
(PreTTR; MacAvaney et al., 2020, arXiv 2004.14255). The upper ones are a copy that learns; the score begins at 0.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from shuyuan.base.errors import Fixable
from shuyuan.base.files import write_whole
from shuyuan.load.embedder import Embedder

SHARE = 1 / 6  # of the layers that read both together
_PAIRS = 8  # read at once: those of like length share a batch
AGAIN = "train it again: shuyuan tune rerank; or take it out: shuyuan tune rerank --off"


class Joint(nn.Module):
    """The layers that read a question and a passage together, and what their means are worth.

    `below`: how many layers have read each text alone before.
    """

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        layers = getattr(getattr(embedder.net, "encoder", None), "layer", None)
        if not isinstance(layers, nn.ModuleList):
            raise Fixable(
                f"{embedder.name} has no layers that could read two texts together",
                "use an embedder of BERT's form, such as the one in the catalogue",
            )
        self.below = len(layers) - max(1, round(len(layers) * SHARE))
        self.layers = copy.deepcopy(layers[self.below :]).eval()
        self.worth = nn.Linear(3 * embedder.width, 1, device=embedder.net.device)
        for weight in self.worth.parameters():
            nn.init.zeros_(weight)

    def forward(self, question: Tensor, passages: Sequence[Tensor]) -> Tensor:
        """float32 [passages]: what each is worth; all [tokens, width], read by the first `below` layers alone."""
        # B passages, Q and T tokens of the question and of both together, D width
        Q, longest = len(question), max(len(passage) for passage in passages)
        both_BTD = question.new_zeros(len(passages), Q + longest, question.shape[1])
        there_BT = torch.zeros(both_BTD.shape[:2], dtype=torch.bool, device=question.device)
        for row, passage in enumerate(passages):
            both_BTD[row, : Q + len(passage)] = torch.cat([question, passage])
            there_BT[row, : Q + len(passage)] = True
        mask_B11T = torch.zeros(there_BT.shape, dtype=both_BTD.dtype, device=question.device)
        mask_B11T = mask_B11T.masked_fill(~there_BT, torch.finfo(both_BTD.dtype).min)[:, None, None]
        for layer in self.layers:
            both_BTD = layer(both_BTD, mask_B11T)
        states_BTD, there_BT1 = both_BTD.float(), there_BT[:, Q:, None]
        of_question = nn.functional.normalize(states_BTD[:, :Q].mean(1), dim=-1)
        of_passage = nn.functional.normalize((states_BTD[:, Q:] * there_BT1).sum(1) / there_BT1.sum(1), dim=-1)
        together = 20 * of_question * of_passage  # of the others' size: each of 384 parts is about 1/20
        worth_B: Tensor = self.worth(torch.cat([of_question, of_passage, together], -1))[:, 0]
        return worth_B

    @torch.inference_mode()
    def scores(self, question: Tensor, passages: Sequence[Tensor]) -> list[float]:
        """`forward`, in batches of passages of like length."""
        order = sorted(range(len(passages)), key=lambda row: len(passages[row]))
        found = [0.0] * len(passages)
        for start in range(0, len(order), _PAIRS):
            rows = order[start : start + _PAIRS]
            for row, score in zip(rows, self(question, [passages[row] for row in rows]).tolist(), strict=True):
                found[row] = score
        return found


def save_joint(joint: Joint, file: Path, said: Mapping[str, str]) -> None:
    """Write the weights, with what is `said` of them, as safetensors."""
    kept = {name: weight.detach().cpu().contiguous() for name, weight in joint.state_dict().items()}
    write_whole(file, save(kept, metadata=dict(said)))


def open_joint(embedder: Embedder, file: Path, said: Mapping[str, str]) -> Joint:
    """The weights that were kept. Raises `Fixable` where the file is not whole, or says something else of itself."""
    try:
        with safe_open(file, "pt") as opened:
            if (opened.metadata() or {}) != dict(said):
                raise Fixable("this reranker was trained for another embedder, or by another version", AGAIN, file)
        kept = load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        raise Fixable("the reranker of this library is not whole", AGAIN, file) from error
    joint = Joint(embedder)
    shapes = {name: weight.shape for name, weight in joint.state_dict().items()}
    if {name: weight.shape for name, weight in kept.items()} != shapes:
        raise Fixable("this reranker does not fit its embedder", AGAIN, file)
    if not all(bool(weight.isfinite().all()) for weight in kept.values()):
        raise Fixable("the reranker of this library is not whole", AGAIN, file)
    joint.load_state_dict(kept)  # each in the embedder's own number format
    return joint
