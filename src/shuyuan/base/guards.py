"""What watches over a teaching: settings that all routes that move weights share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from shuyuan.base.settings import Settings

HoldOut: TypeAlias = Annotated[
    float, Field(ge=0, le=0.5, description="share of the examples kept aside to measure on; 0: none")
]
Patience: TypeAlias = Annotated[
    int, Field(ge=0, le=1000, description="looks without a better held-out loss before the run stops; 0: never")
]
ForgetLimit: TypeAlias = Annotated[
    float, Field(ge=0, le=100, description="rise in bits a byte on general text that is too much; 0: no limit")
]


class Guards(Settings):
    """What a run holds out, when it stops early and how much it may forget. 0 switches a guard off."""

    hold_out: HoldOut = 0.05
    patience: Patience = 4
    forget_limit: ForgetLimit = 0.5
