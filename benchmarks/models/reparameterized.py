"""Networks in the form that their papers deploy: parallel branches folded into one convolution.

timm builds MobileOne, FastViT and RepViT as they are trained, with branches and normalisations
that the published parameters, multiply-adds and latencies leave out.
"""

from __future__ import annotations

from benchmarks.timm_library import timm
from profiler.errors import UnknownName
from profiler.types import Model

SUFFIX = "_deployed"
# A constant, because asking timm takes seconds; a test compares it with timm's own list.
FAMILIES = {
    "mobileone": ("s0", "s1", "s2", "s3", "s4"),
    "fastvit": ("t8", "t12", "s12", "sa12", "sa24", "sa36", "ma36"),
    "repvit": ("m0_9", "m1_0", "m1_1", "m1_5", "m2_3"),
}


def names() -> list[str]:
    """timm's names with `_deployed` at the end, such as `mobileone_s0_deployed`."""
    return [f"{family}_{size}{SUFFIX}" for family, sizes in FAMILIES.items() for size in sizes]


def create(name: str, batch: int = 1) -> Model:
    """A network at its own input size: (batch, channels, height, width), float32.

    Raises UnknownName on a name that is not in `names()`.
    """
    if name not in names():
        raise UnknownName("model", name, names())
    trained = timm().create_model(name.removesuffix(SUFFIX), pretrained=False).eval()
    import torch
    from timm.utils.model import reparameterize_model

    shape = trained.pretrained_cfg["input_size"]
    deployed = reparameterize_model(trained, inplace=True)
    return Model(deployed.eval(), (torch.randn(batch, *shape),))
