"""The modules that compiled text names. Every file here imports torch only, so eject can copy it."""

from assembler.library.modules.adapt import LowRank
from assembler.library.modules.attention import Attention, CrossAttention
from assembler.library.modules.bridge import GumbelSoftmax, StraightThrough, VectorQuantize
from assembler.library.modules.combine import SparseCombine, sparse_combine
from assembler.library.modules.gating import Gating, Jitter
from assembler.library.modules.given import Given, SiteHook, Sites
from assembler.library.modules.graft import GraftedLinear
from assembler.library.modules.join import Attend, Blend, MultiBlend, Select, Vote, WeightedSum
from assembler.library.modules.mlp import GLU, MLP, GatedMLP, QuickGELU, StackedMLP
from assembler.library.modules.position import LearnedPosition, SinusoidalPosition
from assembler.library.modules.scale import Scale
from assembler.library.modules.token import ClsToken, LearnedTokens, MeanPool, PatchEmbed

__all__ = [
    "GLU",
    "MLP",
    "Attend",
    "Attention",
    "Blend",
    "ClsToken",
    "CrossAttention",
    "GatedMLP",
    "Gating",
    "Given",
    "GraftedLinear",
    "GumbelSoftmax",
    "Jitter",
    "LearnedPosition",
    "LearnedTokens",
    "LowRank",
    "MeanPool",
    "MultiBlend",
    "PatchEmbed",
    "QuickGELU",
    "Scale",
    "Select",
    "SinusoidalPosition",
    "SiteHook",
    "Sites",
    "SparseCombine",
    "StackedMLP",
    "StraightThrough",
    "VectorQuantize",
    "Vote",
    "WeightedSum",
    "sparse_combine",
]
