"""Which part of a network an operator belongs to: its category, its block, its stage.

Categories are those of the papers' latency figures. What is called the same wherever it stands (a
normalisation, an activation, a reshape) keeps its name; a matrix product or a convolution takes its
name from the module around it: attention, MLP, patch embedding. Modules are known by the names of
their classes and by their paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from profiler.operators import category

CATEGORIES = (
    "patch embedding",
    "attention",
    "MLP",
    "convolution",
    "normalisation",
    "activation",
    "reshape and layout",
    "pooling",
    "element-wise",
    "other",
)
# Kinds of work, heaviest first: a fused operator is named after the first of its members' kinds.
HEAVIEST = (
    "convolution",
    "matrix product",
    "attention",
    "normalisation",
    "softmax",
    "pooling",
    "resampling",
    "reduction",
    "activation",
    "element-wise",
    "selection and joining",
    "reshape and layout",
    "conversion",
)
# What is called the same wherever it stands in a network.
ANYWHERE = {
    "reshape and layout": "reshape and layout",
    "conversion": "reshape and layout",
    "selection and joining": "reshape and layout",
    "normalisation": "normalisation",
    "activation": "activation",
    "pooling": "pooling",
    "reduction": "pooling",
}
# What compilers take a normalisation or an activation apart into is still that module's work.
TAKEN_APART = ("element-wise", "reduction")
INSIDE = {"normalisation": ("norm",), "activation": ("silu", "gelu", "swish", "sigmoid", "act")}
# What takes its name from the module around it; in classes' names and in paths.
AROUND = {
    "attention": ("attention", "attn", "mhsa"),
    "MLP": ("mlp", "feedforward", "ffn"),
    "patch embedding": ("patchembed", "patch_embed", "stem"),
}
# Only as a class: a residual network's `downsample` is a plain convolution beside a block.
EMBEDDING_CLASSES = ("downsample", "embedding")
ELSEWHERE = {"convolution": "convolution", "attention": "attention", "softmax": "attention"}
ELSEWHERE |= {"element-wise": "element-wise"}


def weight_of(operator: str) -> int:
    """Where an operator's kind of work stands among the heaviest: 0 is the heaviest."""
    kind = category(operator)
    return HEAVIEST.index(kind) if kind in HEAVIEST else len(HEAVIEST)


def category_of(kind: str, module: str, classes: Sequence[str]) -> str:
    """One of CATEGORIES, from an operator's kind of work and the modules around it."""
    innermost = [*[c.rpartition(".")[2].lower() for c in classes[-1:]], module.rpartition(".")[2]]
    if kind in TAKEN_APART:
        for found, marks in INSIDE.items():
            if any(mark in word for word in innermost for mark in marks):
                return found
    if kind in ANYWHERE:
        return ANYWHERE[kind]
    names = [c.rpartition(".")[2].lower() for c in classes if not c.startswith("torch.nn.")]
    words = [*names, *module.lower().split(".")]
    for found, marks in AROUND.items():
        if any(mark in word for word in words for mark in marks):
            return found
    if any(mark in name for name in names for mark in EMBEDDING_CLASSES):
        return "patch embedding"
    return ELSEWHERE.get(kind, "other")


def parents_of(modules: Iterable[str]) -> set[str]:
    """The paths of modules that have parts of their own among these."""
    found: set[str] = set()
    for module in modules:
        words = module.split(".")
        found |= {".".join(words[:i]) for i in range(1, len(words))}
    return found


def block_of(module: str, parents: Set[str]) -> str:
    """The block that a module belongs to: its path up to the last number that has parts.

    `stages.2.blocks.1.mlp.fc1` is of `stages.2.blocks.1`, `layer1.0.downsample.0` of `layer1.0`;
    where there are no such numbers, the first name is the block.
    """
    words = module.split(".")
    for end in range(len(words), 0, -1):
        path = ".".join(words[:end])
        if words[end - 1].isdigit() and path in parents:
            return path
    return words[0]


def stage_of(block: str, parents: Set[str]) -> str:
    """The stage of a block: up to the first number where there are numbers inside, or before it.

    `stages.2.blocks.1` is of `stages.2`, and so is what lies in `stages.2` beside the blocks;
    `layer1.0` is of `layer1`.
    """
    words = block.split(".")
    first = next((i for i, word in enumerate(words) if word.isdigit()), None)
    if first is None:
        return words[0]
    inside = ".".join(words[: first + 1]) + "."
    deeper = (p.removeprefix(inside).split(".") for p in parents if p.startswith(inside))
    nested = any(word.isdigit() for names in deeper for word in names)
    return ".".join(words[: first + nested]) or words[0]
